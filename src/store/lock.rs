//! Locks that a dead process does not hold: the kernel lets go of a flock when its last descriptor closes.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds the lock.
    pub(super) fn exclusive(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.lock()?;
        Ok(Self { _file: file })
    }

    /// The lock of a file that is there, if nobody holds it.
    pub(super) fn try_exclusive(path: &Path) -> Option<Self> {
        let file = File::options().write(true).open(path).ok()?;
        file.try_lock().ok()?;
        Some(Self { _file: file })
    }

    /// The lock, if nobody holds it in a way that stands against ours.
    pub(super) fn try_hold(path: &Path, alone: bool) -> io::Result<Option<Self>> {
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match if alone { file.try_lock() } else { file.try_lock_shared() } {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
