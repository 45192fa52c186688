//! Ending all that a command left behind where there is no pid namespace whose end would do it: whoever loses its parent
//! becomes our child (prctl(2), PR_SET_CHILD_SUBREAPER), whatever group or session it put itself in.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use super::super::error::RunError;

/// Who forks faster than it is killed for so long is told of.
const PATIENCE: Duration = Duration::from_secs(10);

/// From now on the children of dead descendants are ours.
pub(super) fn adopt_orphans() -> Result<(), RunError> {
    set_child_subreaper(Some(getpid())).map_err(|error| RunError::system("becoming the parent of orphans", error))
}

/// Kills all children until there are none, which each time are those of the ones before. A child's number is its own
/// until we have taken its end, so that nobody else is hit.
pub(super) fn end_all() -> Result<(), RunError> {
    let until = Instant::now() + PATIENCE;
    loop {
        if !any_left()? {
            return Ok(());
        }
        let children = children().map_err(|error| RunError::system("looking for what the command left", error))?;
        if Instant::now() > until {
            return Err(RunError::Undying { count: children.len() });
        }
        for child in children {
            // It may have ended by itself.
            let _ = kill_process(child, Signal::KILL);
        }
        sleep(Duration::from_millis(1));
    }
}

/// Takes the ends of those that have ended; whether others are left.
fn any_left() -> Result<bool, RunError> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Ok(true),
            Err(Errno::CHILD) => return Ok(false),
            Err(error) => return Err(RunError::system("waiting for what the command left", error)),
        }
    }
}

fn children() -> std::io::Result<Vec<Pid>> {
    let ours = getpid();
    let mut children = Vec::new();
    for process in fs::read_dir("/proc")? {
        let Some(pid) = process?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // One that has ended meanwhile is nobody's child.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        if parent(&stat) == Some(ours) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// Behind the name, which may hold anything, stand the state and the parent (proc(5), `/proc/pid/stat`).
fn parent(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_behind_a_name_that_looks_like_one() {
        assert_eq!(
            parent("7 (a) S 1 (b) R 42 7 7").and_then(|pid| Pid::from_raw(pid.as_raw_nonzero().get())),
            Pid::from_raw(42)
        );
        assert_eq!(parent("7 (sh) S 0 7"), None);
        assert_eq!(parent(""), None);
    }
}
