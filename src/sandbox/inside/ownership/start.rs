//! execve(2): programs with set-id bits run as their recorded owner, and saved ids become the effective ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;

use nix::libc;
use rustix::fs::{FileType, StatVfsMountFlags, fstat, fstatvfs};
use rustix::io::Errno;

use super::credentials::Credentials;
use super::listener::{Answer, Call, Caller};
use super::{Desk, Named, Owned, paths, records};
use crate::owners::Owner;

/// Threads that became somebody else for a program that the kernel may still refuse to start: who they were, and the
/// table that the kernel gave their old program, which each new program gets anew, with its random numbers.
#[derive(Default)]
pub(super) struct Started(BTreeMap<Caller, (Credentials, Vec<u8>)>);

impl Desk<'_> {
    pub(super) fn start(&mut self, call: &Call, what: Owned) -> Result<Answer, Errno> {
        // What cannot be read or found the kernel refuses.
        let Ok(Some(named)) = self.named(call.caller, what) else { return Ok(Answer::Continue) };
        let visit = self.roots.visit(call.caller)?;
        let (setuid, setgid) = set_ids(&named).unwrap_or_default();
        drop(visit);
        let before = self.asking(call);
        let after = before.after_exec(setuid, setgid);
        if after != *before {
            let before = before.clone();
            let program = fs::read(call.caller.file("auxv")).map_err(|_| Errno::SRCH)?;
            self.tokens.give(call.caller, after)?;
            self.started.0.insert(call.caller, (before, program));
        }
        Ok(Answer::Continue)
    }

    /// Undoes the becoming of a thread whose program was not started: it asks on from the old one.
    pub(super) fn look_back(&mut self, caller: Caller) -> Result<(), Errno> {
        if !self.started.0.is_empty()
            && let Some((before, program)) = self.started.0.remove(&caller)
            && fs::read(caller.file("auxv")).is_ok_and(|now| now == program)
        {
            self.tokens.give(caller, before)?;
        }
        Ok(())
    }
}

/// The owner and the group that a program runs as, if its bits say so.
fn set_ids(named: &Named) -> Option<(Option<u32>, Option<u32>)> {
    let file = paths::handle(&named.name, named.follow).ok()?;
    let stat = fstat(&file).ok()?;
    let mode = stat.st_mode;
    let (setuid, setgid) = (mode & libc::S_ISUID != 0, mode & libc::S_ISGID != 0 && mode & libc::S_IXGRP != 0);
    let program = FileType::from_raw_mode(mode) == FileType::RegularFile && mode & 0o111 != 0;
    if !program || !(setuid || setgid) || fstatvfs(&file).ok()?.f_flag.contains(StatVfsMountFlags::NOSUID) {
        return None;
    }
    // Of a script the bits mean nothing.
    let mut beginning = [0; 2];
    let mut content = File::open(format!("self/fd/{}", file.as_raw_fd())).ok()?;
    content.read_exact(&mut beginning).ok()?;
    if beginning == *b"#!" {
        return None;
    }
    let owner = records::of(&file).unwrap_or(Owner::ROOT);
    Some((setuid.then_some(owner.uid), setgid.then_some(owner.gid)))
}
