//! The ladder: which ways of isolating a command this machine offers, found out by trying.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::libc;
use rustix::fs::statfs;
use rustix::thread::{CapabilitySet, capabilities};

use super::error::{NoRung, RunError};
use super::idmap::Map;
use super::launch::{Launcher, Output};
use super::rung::{Rung, RungKind, Stack, Tried, Who};
use super::wire::{Order, Reply, Task, Way};
use crate::owners::Owners;

/// Finds the best rung for a store in `dir`, by making the namespaces and mounting an overlay there.
pub fn probe(launcher: &Launcher, dir: &Path) -> Result<Rung, NoRung> {
    let ground = Ground::new(launcher, dir);
    let mut failed = Vec::new();
    for kind in RungKind::ALL {
        match ground.attempt(kind, &failed) {
            Ok(rung) => return Ok(rung),
            Err(error) => failed.push((kind, error)),
        }
    }
    Err(NoRung::of_all(failed))
}

/// Tries every rung, the best first.
pub fn ladder(launcher: &Launcher, dir: &Path) -> Vec<Tried> {
    let ground = Ground::new(launcher, dir);
    let mut failed = Vec::new();
    let mut tried = Vec::new();
    for kind in RungKind::ALL {
        let result = ground.attempt(kind, &failed);
        if let Err(error) = &result {
            failed.push((kind, error.clone()));
        }
        tried.push(Tried { kind, result });
    }
    tried
}

/// Where and as whom it is tried.
struct Ground<'a> {
    launcher: &'a Launcher,
    dir: &'a Path,
    uid: u32,
    gid: u32,
    capabilities: CapabilitySet,
}

/// What each thing takes that we do to files, as whoever they belong to.
const FILES: [(&str, CapabilitySet); 7] = [
    ("CHOWN", CapabilitySet::CHOWN),
    ("DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("FOWNER", CapabilitySet::FOWNER),
    ("FSETID", CapabilitySet::FSETID),
    ("SETFCAP", CapabilitySet::SETFCAP),
    ("SETGID", CapabilitySet::SETGID),
    ("SETUID", CapabilitySet::SETUID),
];

/// And what a command takes that is in no namespace: to be put into its folder and ended.
const CHROOT: [(&str, CapabilitySet); 3] =
    [("KILL", CapabilitySet::KILL), ("SETPCAP", CapabilitySet::SETPCAP), ("SYS_CHROOT", CapabilitySet::SYS_CHROOT)];

const APPARMOR: &str = "kernel.apparmor_restrict_unprivileged_userns";

impl<'a> Ground<'a> {
    fn new(launcher: &'a Launcher, dir: &'a Path) -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Where they cannot be read we have none.
        let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        Self { launcher, dir, uid, gid, capabilities: held }
    }

    /// `failed` are the rungs above it that were tried and did not hold.
    fn attempt(&self, kind: RungKind, failed: &[(RungKind, NoRung)]) -> Result<Rung, NoRung> {
        let refusal = |of| failed.iter().find(|(kind, _)| *kind == of).map_or(String::new(), |(_, e)| e.to_string());
        match kind {
            RungKind::Root => {
                self.is_root()?;
                self.has(&FILES)?;
                self.not_switched_off()?;
                let map = Map::identity()?;
                let (stack, way) = self.stacked(Some(&map)).map_err(by_apparmor)?;
                Ok(Rung { who: Who::Root { map, admin: self.is_admin() }, stack, way })
            }
            RungKind::BareRoot => {
                self.is_root()?;
                if !self.is_admin() {
                    return Err(NoRung::NoAdmin);
                }
                let (stack, way) = self.stacked(None)?;
                Ok(Rung { who: Who::BareRoot { refusal: refusal(RungKind::Root) }, stack, way })
            }
            RungKind::SubIds => {
                self.is_a_user()?;
                self.not_switched_off()?;
                for tool in ["newuidmap", "newgidmap"] {
                    if !in_path(tool) {
                        return Err(NoRung::NoMapper { tool });
                    }
                }
                let user = user_name(self.uid);
                let map = Map::sub_ids(&user, self.uid, self.gid)?;
                let (stack, way) = self.stacked(Some(&map)).map_err(by_apparmor)?;
                Ok(Rung { who: Who::SubIds { user, map }, stack, way })
            }
            RungKind::OneId => {
                self.is_a_user()?;
                self.not_switched_off()?;
                let map = Map::one_id(self.uid, self.gid);
                let trial = Trial { map: Some(&map), copied: false, owners: Owners::Recorded, chroot: false };
                let way = self.tried(&trial).map_err(by_apparmor)?;
                let missing = refusal(RungKind::SubIds);
                Ok(Rung { who: Who::OneId { missing, map }, stack: Stack::Overlay, way })
            }
            RungKind::Chroot => {
                self.is_root()?;
                self.has(&[&FILES[..], &CHROOT[..]].concat())?;
                let way = self.tried(&Trial { map: None, copied: true, owners: Owners::Real, chroot: true })?;
                let refusal = refusal(RungKind::Root);
                let stack = Stack::Copy { why: "nothing may be mounted".into() };
                Ok(Rung { who: Who::Chroot { refusal }, stack, way })
            }
        }
    }

    fn is_root(&self) -> Result<(), NoRung> {
        if self.uid == 0 { Ok(()) } else { Err(NoRung::NotRoot) }
    }

    fn is_a_user(&self) -> Result<(), NoRung> {
        if self.uid == 0 { Err(NoRung::IsRoot) } else { Ok(()) }
    }

    fn is_admin(&self) -> bool {
        self.capabilities.contains(CapabilitySet::SYS_ADMIN)
    }

    fn has(&self, needed: &[(&'static str, CapabilitySet)]) -> Result<(), NoRung> {
        let missing: Vec<_> =
            needed.iter().filter(|(_, one)| !self.capabilities.contains(*one)).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(()) } else { Err(NoRung::Capabilities { missing }) }
    }

    /// What a distribution or an administrator switches off.
    fn not_switched_off(&self) -> Result<(), NoRung> {
        // The second is for those without CAP_SYS_ADMIN (Debian's patch to kernel/fork.c).
        for (setting, holds) in [("user.max_user_namespaces", true), (UNPRIVILEGED, !self.is_admin())] {
            if let Some(value) = sysctl(setting).filter(|value| holds && value == "0") {
                return Err(NoRung::SwitchedOff { setting, value });
            }
        }
        Ok(())
    }

    /// An overlay, else a copy.
    fn stacked(&self, map: Option<&Map>) -> Result<(Stack, Way), NoRung> {
        let trial = |copied| Trial { map, copied, owners: Owners::Real, chroot: false };
        match self.tried(&trial(false)) {
            Ok(way) => Ok((Stack::Overlay, way)),
            Err(no_overlay @ NoRung::Overlay { .. }) => {
                Ok((Stack::Copy { why: no_overlay.to_string() }, self.tried(&trial(true))?))
            }
            Err(other) => Err(other),
        }
    }

    fn tried(&self, trial: &Trial<'_>) -> Result<Way, NoRung> {
        let &Trial { map, copied, owners, chroot } = trial;
        let folder = tempfile::Builder::new().prefix(".probe-").tempdir_in(self.dir)?;
        let mut helper = self.launcher.start(Output::Stdout)?;
        let dir = folder.path().canonicalize()?.into_os_string().into_vec();
        let task = Task::Probe { dir, copied, owners, chroot };
        let order = Order { user_namespace: map.is_some(), task, after: None };
        let reply = helper.begin(map, &order, b"", None).and_then(|()| helper.reply());
        match reply.map_err(NoRung::Refused)? {
            Reply::Found(way) => Ok(way),
            Reply::Failed(RunError::Overlay { errno, .. }) => {
                Err(NoRung::Overlay { dir: self.dir.to_owned(), kind: file_system(self.dir), errno })
            }
            Reply::Failed(error) => Err(NoRung::Refused(error)),
            Reply::MapMe | Reply::Opened | Reply::WentAround | Reply::Exit(_) | Reply::Done | Reply::JobFailed(_) => {
                Err(NoRung::Refused(super::launch::out_of_turn()))
            }
        }
    }
}

/// One thing to try.
struct Trial<'a> {
    map: Option<&'a Map>,
    copied: bool,
    owners: Owners,
    chroot: bool,
}

const UNPRIVILEGED: &str = "kernel.unprivileged_userns_clone";

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
