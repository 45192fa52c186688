//! SO_PEERCRED: who is at the other end of a local socket (unix(7)). Databases and buses let users in by it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::listener::{Answer, Call, Caller};
use super::{Desk, memory};

/// A struct ucred: pid, uid, gid.
const LENGTH: usize = 12;

impl Desk<'_> {
    /// The peer's ids are those of now and not of when it connected; they rarely change between. What cannot be found
    /// out is answered as the kernel sees it: root.
    pub(super) fn peer(&mut self, call: &Call) -> Option<Answer> {
        let process = Pid::from_raw(numbers_in(call.caller, "Tgid:")?.pop()?)?;
        let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
        let socket = pidfd_getfd(&process, call.int(0), PidfdGetfdFlags::empty()).ok()?;
        let peer = Caller(u32::try_from(peer_pid(&socket)?).ok()?);
        let [room] = memory::read_words(call.caller, call.arguments[4]).ok()?;
        let theirs = self.tokens.of(peer);
        // The number that the command's own pid namespace has for it; a process outside has none.
        let pid = match numbers_in(peer, "NSpid:")?[..] {
            [_, .., pid] => pid.cast_unsigned(),
            _ => return None,
        };
        let bytes = [pid, theirs.user.effective, theirs.group.effective].map(u32::to_ne_bytes).concat();
        let length = LENGTH.min(room as usize);
        memory::write(call.caller, call.arguments[3], &bytes[..length]).ok()?;
        memory::write(call.caller, call.arguments[4], &(length as u32).to_ne_bytes()).ok()?;
        Some(Answer::Value(0))
    }
}

/// The peer's pid in our own pid namespace, if it has one.
fn peer_pid(socket: &OwnedFd) -> Option<i32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = LENGTH as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes, which is the size of the structure.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    (status == 0 && peer.pid > 0).then_some(peer.pid)
}

/// The numbers on a line of a process's status.
fn numbers_in(caller: Caller, line: &str) -> Option<Vec<i32>> {
    let status = fs::read(caller.file("status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|found| found.strip_prefix(line.as_bytes()))?;
    str::from_utf8(line).ok()?.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}
