//! The records of owners on files, by any name that leads to them.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, XattrFlags, getxattr, lgetxattr, removexattr, setxattr, statat};
use rustix::io::Errno;

use crate::owners::{Owner, Record};

/// What is recorded at a path, if anything is there with a record.
pub(super) fn read(path: &[u8], follow: bool) -> Option<Owner> {
    let get = |record: Record| {
        let mut value = [0; 64];
        let length = match follow {
            true => getxattr(path, record.name(), &mut value[..]),
            false => lgetxattr(path, record.name(), &mut value[..]),
        };
        length.ok().and_then(|length| record.read(&value[..length]))
    };
    get(Record::Plain).or_else(|| get(Record::Special))
}

/// What is recorded on an open file, which may be open as a path only.
pub(super) fn of(file: &OwnedFd) -> Option<Owner> {
    read(name(file).as_bytes(), true)
}

/// Records an owner. On what holds no attributes (a pipe, a file in /proc) there is nothing to record: it is in no layer.
pub(super) fn write(file: &OwnedFd, owner: Owner) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(statat(file, "", AtFlags::EMPTY_PATH)?.st_mode);
    let record = Record::of(matches!(kind, FileType::RegularFile | FileType::Directory));
    let written = match owner {
        Owner::ROOT => removexattr(name(file), record.name()),
        owner => setxattr(name(file), record.name(), &record.write(owner), XattrFlags::empty()),
    };
    match written {
        Err(Errno::OPNOTSUPP | Errno::NODATA) => Ok(()),
        written => written,
    }
}

/// Attributes are not had through a descriptor that is open as a path only, but through its name they are. Our working
/// directory is the /proc outside.
fn name(file: &OwnedFd) -> String {
    format!("self/fd/{}", file.as_raw_fd())
}
