//! The ladder: which ways of isolating a command this machine offers, found out by trying.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::libc;
use rustix::fs::statfs;

use super::error::{NoRung, RunError};
use super::idmap::Map;
use super::launch::{Launcher, Output};
use super::wire::{Order, Reply, Task};
use crate::owners::Owners;

/// A way of isolating a command that was tried on this machine and works.
#[derive(Clone, Debug)]
pub struct Rung {
    kind: Kind,
    stack: Stack,
}

/// How layers become a root.
#[derive(Clone, Debug)]
enum Stack {
    Overlay,
    /// They are copied, since there is no overlay to be had.
    Copy {
        why: String,
    },
}

#[derive(Clone, Debug)]
enum Kind {
    /// Root, in a user namespace where each id is itself.
    Root(Map),
    /// Root, where the kernel refuses it a user namespace.
    BareRoot { refusal: String },
    /// An ordinary user with sub-ids.
    SubIds { user: String, map: Map },
    /// An ordinary user without sub-ids, or with no tool to map them.
    OneId { missing: String, map: Map },
}

impl Rung {
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Root(_) => "root",
            Kind::BareRoot { .. } => "root without a user namespace",
            Kind::SubIds { .. } => "sub-ids",
            Kind::OneId { .. } => "one id",
        }
    }

    /// One line for the user.
    pub fn why(&self) -> String {
        let who = self.who();
        match &self.stack {
            Stack::Overlay => who,
            Stack::Copy { why } => format!("{who}; each RUN stands on a copy of its layers, since {why}"),
        }
    }

    fn who(&self) -> String {
        match &self.kind {
            Kind::Root(_) => {
                "we are root with CAP_SYS_ADMIN; RUN has no power over the host in its own user namespace".into()
            }
            Kind::BareRoot { refusal } => format!(
                "we are root with CAP_SYS_ADMIN; RUN is kept in by dropped capabilities and seccomp alone, since: {refusal}"
            ),
            Kind::SubIds { user, map } => {
                format!("{user} has {} ids by newuidmap and newgidmap; the overlay is the user's own", map.size())
            }
            Kind::OneId { missing, .. } => format!(
                "{missing}, so that one id is all there is: owners are recorded, and what programs ask about ids and owners is answered from that; nothing is denied to a user other than root"
            ),
        }
    }

    /// How files that a command or a job makes hold their owners.
    pub fn owners(&self) -> Owners {
        match self.kind {
            Kind::Root(_) | Kind::BareRoot { .. } | Kind::SubIds { .. } => Owners::Real,
            Kind::OneId { .. } => Owners::Recorded,
        }
    }

    /// Whether a step's root is the machine's own, whom no limit of its own holds (setrlimit(2), RLIMIT_NPROC).
    pub(super) fn is_root(&self) -> bool {
        matches!(self.kind, Kind::Root(_) | Kind::BareRoot { .. })
    }

    /// Whether layers are copied instead of being laid over one another.
    pub(super) fn copies(&self) -> bool {
        matches!(self.stack, Stack::Copy { .. })
    }

    /// What a command gets that is run without our restraints, in one line for the user.
    pub fn insecure(&self) -> &'static str {
        match self.kind {
            Kind::Root(_) => {
                "the command has all capabilities in its user namespace; as its root is the machine's, it may change kernel settings"
            }
            Kind::BareRoot { .. } => "the command has all of root's capabilities over this machine",
            Kind::SubIds { .. } | Kind::OneId { .. } => {
                "the command has all capabilities in its user namespace, and none over this machine: it can mount, \
                  but no disks, and load no modules"
            }
        }
    }

    /// The ids of the namespace that a command lives in.
    pub(super) fn command_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Root(map) | Kind::SubIds { map, .. } | Kind::OneId { map, .. } => Some(map),
            Kind::BareRoot { .. } => None,
        }
    }

    /// The ids of the namespace that our own work on files needs: root can do it as it is.
    pub(super) fn job_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::SubIds { map, .. } | Kind::OneId { map, .. } => Some(map),
            Kind::Root(_) | Kind::BareRoot { .. } => None,
        }
    }
}

/// Finds the best rung for a store in `dir`, by making the namespaces and mounting an overlay there.
pub fn probe(launcher: &Launcher, dir: &Path) -> Result<Rung, NoRung> {
    let uid = rustix::process::geteuid().as_raw();
    if uid != 0 {
        let gid = rustix::process::getegid().as_raw();
        for (setting, off) in SWITCHES {
            if let Some(value) = sysctl(setting).filter(|value| value == off) {
                return Err(NoRung::SwitchedOff { setting, value });
            }
        }
        return probe_sub_ids(launcher, dir, uid, gid)
            .or_else(|missing| probe_one_id(launcher, dir, uid, gid, missing));
    }
    if !has_admin() {
        return Err(NoRung::RootWithoutAdmin);
    }
    let map = Map::identity()?;
    match attempt(launcher, dir, Some(&map)) {
        Ok(stack) => Ok(Rung { kind: Kind::Root(map), stack }),
        Err(refusal) => {
            let stack = attempt(launcher, dir, None)?;
            Ok(Rung { kind: Kind::BareRoot { refusal: refusal.to_string() }, stack })
        }
    }
}

fn probe_sub_ids(launcher: &Launcher, dir: &Path, uid: u32, gid: u32) -> Result<Rung, NoRung> {
    for tool in ["newuidmap", "newgidmap"] {
        if !in_path(tool) {
            return Err(NoRung::NoMapper { tool });
        }
    }
    let user = user_name(uid);
    let map = Map::sub_ids(&user, uid, gid)?;
    let stack = attempt(launcher, dir, Some(&map)).map_err(by_apparmor)?;
    Ok(Rung { kind: Kind::SubIds { user, map }, stack })
}

/// The last rung that isolates, and only where there is an overlay. Where it fails for the same reason as the one above,
/// that one's words are the better.
fn probe_one_id(launcher: &Launcher, dir: &Path, uid: u32, gid: u32, missing: NoRung) -> Result<Rung, NoRung> {
    match missing {
        NoRung::NoMapper { .. } | NoRung::NoRange { .. } | NoRung::Refused(RunError::Map { .. }) => {}
        other => return Err(other),
    }
    let map = Map::one_id(uid, gid);
    match attempt_stack(launcher, dir, Some(&map), false, Owners::Recorded).map_err(by_apparmor) {
        Ok(()) => Ok(Rung { kind: Kind::OneId { missing: missing.to_string(), map }, stack: Stack::Overlay }),
        Err(refused) => Err(NoRung::NeitherManyNorOne { many: Box::new(missing), one: Box::new(refused) }),
    }
}

/// Ubuntu since 23.10 grants the namespace and then refuses every power in it.
fn by_apparmor(error: NoRung) -> NoRung {
    match error {
        NoRung::Refused(RunError::System { errno: libc::EACCES | libc::EPERM, .. })
            if sysctl(APPARMOR).as_deref() == Some("1") =>
        {
            NoRung::SwitchedOff { setting: APPARMOR, value: "1".into() }
        }
        other => other,
    }
}

const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// What a distribution or an administrator switches off, and the value that does it.
const SWITCHES: [(&str, &str); 2] = [("user.max_user_namespaces", "0"), ("kernel.unprivileged_userns_clone", "0")];

/// An overlay, else a copy.
fn attempt(launcher: &Launcher, dir: &Path, map: Option<&Map>) -> Result<Stack, NoRung> {
    match attempt_stack(launcher, dir, map, false, Owners::Real) {
        Ok(()) => Ok(Stack::Overlay),
        Err(no_overlay @ NoRung::Overlay { .. }) => {
            attempt_stack(launcher, dir, map, true, Owners::Real)?;
            Ok(Stack::Copy { why: no_overlay.to_string() })
        }
        Err(other) => Err(other),
    }
}

fn attempt_stack(
    launcher: &Launcher,
    dir: &Path,
    map: Option<&Map>,
    copied: bool,
    owners: Owners,
) -> Result<(), NoRung> {
    let trial = tempfile::Builder::new().prefix(".probe-").tempdir_in(dir)?;
    let mut helper = launcher.start(Output::Stdout)?;
    let place = trial.path().canonicalize()?.into_os_string().into_vec();
    let order = Order { user_namespace: map.is_some(), task: Task::Probe { dir: place, copied, owners }, after: None };
    let reply = helper.begin(map, &order, b"", None).and_then(|()| helper.reply());
    match reply.map_err(NoRung::Refused)? {
        Reply::Failed(RunError::Overlay { errno, .. }) => {
            Err(NoRung::Overlay { dir: dir.to_owned(), kind: file_system(dir), errno })
        }
        Reply::Failed(error) => Err(NoRung::Refused(error)),
        _ => Ok(()),
    }
}

fn has_admin() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().to_owned())
}

fn in_path(tool: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
}

fn user_name(uid: u32) -> String {
    let entry = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    entry.map_or_else(|| uid.to_string(), |user| user.name)
}

/// The name of a folder's file system, where it is one that matters here (statfs(2)).
fn file_system(dir: &Path) -> String {
    match statfs(dir).map(|stat| stat.f_type as u64) {
        Ok(0x794c_7630) => "overlayfs".into(),
        Ok(0x6969) => "nfs".into(),
        Ok(0x6573_5546) => "fuse".into(),
        Ok(0x0102_1994) => "tmpfs".into(),
        Ok(other) => format!("a file system of type {other:#x}"),
        Err(_) => "an unknown file system".into(),
    }
}
