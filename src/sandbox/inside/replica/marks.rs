//! What says in a layer's folder that something of the layers below is gone.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, Stat, XattrFlags, fgetxattr, flistxattr, fsetxattr, major, makedev, minor, mknodat, openat,
};
use rustix::io::{Errno, Result};

use super::{kind, not_here};

/// Whose extended attributes are marks: overlayfs's own, and ours, for a file system that keeps those for itself
/// (`layer` reads and writes the same).
const PREFIXES: [&[u8]; 3] = [b"user.overlay.", b"trusted.overlay.", b"user.locus-push."];

/// As large as Linux lets a list of names, or a value, be.
pub(super) const XATTR: usize = 65_536;

/// Whether an attribute is no part of its file.
pub(super) fn is_mark(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the folder hides what is below it.
pub(super) fn is_opaque(folder: impl AsFd) -> Result<bool> {
    Ok(mark(folder, b"opaque")?.is_some_and(|value| value == b"y"))
}

/// Whether what is in `folder` only says that something below is gone.
pub(super) fn is_whiteout(folder: &OwnedFd, name: &CStr, stat: &Stat) -> Result<bool> {
    match kind(stat) {
        FileType::CharacterDevice => Ok((major(stat.st_rdev), minor(stat.st_rdev)) == (0, 0)),
        FileType::RegularFile if stat.st_size == 0 => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(mark(openat(folder, name, flags, Mode::empty())?, b"whiteout")?.is_some())
        }
        _ => Ok(false),
    }
}

pub(super) fn make_whiteout(folder: &OwnedFd, name: &CStr) -> Result<()> {
    match mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
        // Overlayfs lets nobody make one.
        Err(error) if not_here(error) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(folder, name, flags, Mode::empty())?;
            fsetxattr(&file, c"user.locus-push.whiteout", b"y", XattrFlags::empty())
        }
        made => made,
    }
}

pub(super) fn make_opaque(folder: &OwnedFd) -> Result<()> {
    match fsetxattr(folder, c"user.overlay.opaque", b"y", XattrFlags::empty()) {
        // On an overlay mounted by an ordinary user that attribute is the overlay's.
        Err(error) if not_here(error) => fsetxattr(folder, c"user.locus-push.opaque", b"y", XattrFlags::empty()),
        made => made,
    }
}

fn mark(file: impl AsFd, what: &[u8]) -> Result<Option<Vec<u8>>> {
    // Most have no attributes at all.
    for name in xattr_names(&file)? {
        let is_it = |prefix: &&[u8]| name.to_bytes().strip_prefix(*prefix) == Some(what);
        if PREFIXES.iter().any(is_it) {
            let mut value = [0; 16];
            return match fgetxattr(&file, &*name, &mut value) {
                Ok(length) => Ok(Some(value[..length].to_vec())),
                Err(Errno::RANGE) => Ok(Some(Vec::new())),
                Err(error) => Err(error),
            };
        }
    }
    Ok(None)
}

pub(super) fn xattr_names(file: impl AsFd) -> Result<Vec<std::ffi::CString>> {
    let mut list = Vec::new();
    match rustix::fs::flistxattr_query(&file) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => list.resize(XATTR, 0),
        Err(error) => return Err(error),
    }
    let length = flistxattr(&file, &mut list[..])?;
    let names = list[..length].split_inclusive(|byte| *byte == 0);
    Ok(names.flat_map(CStr::from_bytes_with_nul).map(CStr::to_owned).collect())
}
