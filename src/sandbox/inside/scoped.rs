//! Opening what lies below a folder, where others may be mounting and renaming at the same time.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// How often it is asked again. Each time something was moved at the very moment that it took to go up one folder.
const TRIES: u32 = 1000;

/// openat2(2), which answers EAGAIN where it met a `..` and anything on the machine was renamed or mounted meanwhile: it
/// cannot tell then whether it would have been led out, and is to be asked again.
pub(super) fn openat2(
    folder: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    for _ in 1..TRIES {
        match rustix::fs::openat2(&folder, path, flags, mode, resolve) {
            Err(Errno::AGAIN) => rustix::thread::sched_yield(),
            opened => return opened,
        }
    }
    rustix::fs::openat2(folder, path, flags, mode, resolve)
}
