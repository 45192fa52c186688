//! The listener of a seccomp filter: calls come in, answers go out (seccomp_unotify(2)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use rustix::io::Errno;

pub(super) struct Listener(OwnedFd);

/// A system call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    id: u64,
    pub caller: Caller,
    pub architecture: u32,
    pub number: i64,
    pub arguments: [u64; 6],
}

/// The thread that waits. Its files are found in our working directory, which is the `/proc` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Caller(pub u32);

/// What a call is answered; an error is an error.
#[derive(Debug)]
pub(super) enum Answer {
    /// Let the kernel do it.
    Continue,
    Value(i64),
    /// A descriptor for the caller.
    Descriptor {
        fd: OwnedFd,
        close_on_exec: bool,
    },
}

impl Caller {
    pub fn file(self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }
}

impl Call {
    /// An argument that is an int. The upper half of the register means nothing.
    pub fn int(&self, at: usize) -> i32 {
        self.arguments[at] as i32
    }

    pub fn id_at(&self, at: usize) -> u32 {
        self.arguments[at] as u32
    }
}

/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (linux/seccomp.h, 6.6): the answer wakes the caller on our own CPU.
const SYNC_WAKE_UP: u64 = 1;

impl Listener {
    pub fn new(fd: OwnedFd) -> Self {
        let this = Self(fd);
        // Faster by far; an older kernel does without.
        // SAFETY: the request takes its flags as the argument itself.
        unsafe { libc::ioctl(this.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        this
    }

    /// The next call; none if it was taken back by a signal or the end of its caller.
    pub fn receive(&self) -> Result<Option<Call>, Errno> {
        // SAFETY: all zeroes is a valid value, and what the kernel demands to be given.
        let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request fills a seccomp_notif, which lives until the call returns.
        match self.ioctl(|fd| unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notice) }) {
            Ok(()) => Ok(Some(Call {
                id: notice.id,
                caller: Caller(notice.pid),
                architecture: notice.data.arch,
                number: notice.data.nr.into(),
                arguments: notice.data.args,
            })),
            Err(Errno::NOENT | Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the caller still waits, so that what was read of its thread was its own.
    pub fn waits(&self, call: &Call) -> bool {
        let id = call.id;
        // SAFETY: the request reads a u64, which lives until the call returns.
        self.ioctl(|fd| unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) }).is_ok()
    }

    pub fn answer(&self, call: &Call, answer: Result<Answer, Errno>) -> Result<(), Errno> {
        let (val, error, flags) = match answer {
            Ok(Answer::Continue) => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Ok(Answer::Value(value)) => (value, 0, 0),
            Ok(Answer::Descriptor { fd, close_on_exec }) => match self.hand_over(call, &fd, close_on_exec) {
                Ok(()) => return Ok(()),
                // The caller may have no more descriptors.
                Err(error) => (0, -error.raw_os_error(), 0),
            },
            Err(error) => (0, -error.raw_os_error(), 0),
        };
        let response = libc::seccomp_notif_resp { id: call.id, val, error, flags };
        // SAFETY: the request reads a seccomp_notif_resp, which lives until the call returns.
        let sent = self.ioctl(|fd| unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response) });
        match sent {
            // Nobody waits for it any more.
            Err(Errno::NOENT) => Ok(()),
            sent => sent,
        }
    }

    /// Puts a descriptor into the caller's table, which is its answer.
    fn hand_over(&self, call: &Call, fd: &OwnedFd, close_on_exec: bool) -> Result<(), Errno> {
        let addition = libc::seccomp_notif_addfd {
            id: call.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: fd.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: the request reads a seccomp_notif_addfd, which lives until the call returns.
        self.ioctl(|fd| unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const addition) })
    }

    fn ioctl(&self, request: impl FnOnce(i32) -> i32) -> Result<(), Errno> {
        match request(self.0.as_raw_fd()) {
            status if status < 0 => Err(last_error()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(super) fn last_error() -> Errno {
    Errno::from_raw_os_error(nix::errno::Errno::last_raw())
}
