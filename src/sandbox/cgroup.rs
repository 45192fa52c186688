//! A control group for one step. It bounds how many processes there are, where the kernel has no other bound for the
//! machine's own root, and it is what `--cgroup-parent` names.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Where it is mounted everywhere: one hierarchy for all (version 2), or one for each controller.
const UNIFIED: &str = "/sys/fs/cgroup";
const PIDS: &str = "/sys/fs/cgroup/pids";

/// What a group is called that is made without a parent's name.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A group of our own making, removed when dropped. By then its processes must be dead.
#[derive(Debug)]
pub(super) struct Group(PathBuf);

impl Group {
    /// Makes one below `parent`, a path from the top of the hierarchy, which is made if it is not there; without one,
    /// where we are ourselves, else at the top.
    pub fn make(parent: Option<&Path>, processes: u64) -> io::Result<Self> {
        let Hierarchy { top, own } = Hierarchy::find()?;
        let Some(parent) = parent else {
            return Self::below(&top.join(own), processes).or_else(|_| Self::below(&top, processes));
        };
        let parent = top.join(inside(parent)?);
        fs::create_dir_all(&parent)?;
        Self::below(&parent, processes)
    }

    fn below(parent: &Path, processes: u64) -> io::Result<Self> {
        // Version 2 wants it said; a group that has processes of its own may not say it, unless it is the topmost.
        let switch = parent.join("cgroup.subtree_control");
        if fs::read_to_string(&switch).is_ok_and(|on| !on.split_whitespace().any(|name| name == "pids")) {
            fs::write(&switch, "+pids")?;
        }
        let name = format!("locus-push-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let group = Self(parent.join(name));
        fs::create_dir(&group.0)?;
        fs::write(group.0.join("pids.max"), processes.to_string())?;
        Ok(group)
    }

    /// Takes a process in, and all that it will start.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What is killed takes a moment to be gone.
        for _ in 0..50 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(Duration::from_millis(2)),
                _ => return,
            }
        }
    }
}

struct Hierarchy {
    top: PathBuf,
    /// Where we are in it.
    own: PathBuf,
}

impl Hierarchy {
    fn find() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let unified = Path::new(UNIFIED).join("cgroup.controllers").exists();
        let (top, own) = if unified { (UNIFIED, own_group(&text, "")) } else { (PIDS, own_group(&text, "pids")) };
        let none = || io::Error::new(io::ErrorKind::NotFound, "no control groups that count processes are mounted");
        Ok(Self { top: top.into(), own: own.ok_or_else(none)? })
    }
}

/// Our path in the hierarchy of a controller, from its top (cgroups(7): `7:cpu,cpuacct:/path`, and `0::/path` for all).
fn own_group(text: &str, controller: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|one| one == controller).then_some(path)
    })?;
    inside(Path::new(path)).ok()
}

/// The path without its root; none that leads up.
fn inside(path: &Path) -> io::Result<PathBuf> {
    path.components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it leads out of the hierarchy")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_place_is_read_in_both_versions_and_no_name_leads_out() {
        let text = "9:name=systemd:/\n8:cpu,pids:/user/a:b\n0::/unified\n";
        assert_eq!(own_group(text, "pids"), Some("user/a:b".into()));
        assert_eq!(own_group(text, ""), Some("unified".into()));
        assert_eq!(own_group(text, "memory"), None);
        assert!(inside(Path::new("/a/../..")).is_err());
        assert_eq!(inside(Path::new("//a/./b")).expect("it stays inside"), Path::new("a/b"));
    }

    #[test]
    fn a_group_stops_who_has_too_many_processes_and_vanishes() {
        let Ok(group) = Group::make(None, 20) else {
            eprintln!("no group may be made here");
            return;
        };
        let script = "read go; n=0; while [ $n -lt 100 ]; do sleep 30 & n=$((n + 1)); done; echo all";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut shell = shell.stderr(std::process::Stdio::null()).spawn().expect("sh is everywhere");
        group.take(shell.id()).expect("it is our child");
        drop(shell.stdin.take());
        let status = shell.wait().expect("it is our child");
        assert!(!status.success());
        let left = fs::read_to_string(group.0.join("cgroup.procs")).expect("it is ours");
        assert!(left.lines().count() <= 20, "{left}");
        for pid in left.lines().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let folder = group.0.clone();
        drop(group);
        assert!(!folder.exists());
    }
}
