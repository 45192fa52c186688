//! One thing copied as it is: content (shared with the original where the disk can), holes, owner, mode, extended
//! attributes, time.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, copy_file_range, fchmod, fchown, fgetxattr, fsetxattr, fstat, ftruncate, futimens, ioctl_ficlone, mknodat,
    openat, readlinkat, seek, symlinkat, utimensat,
};
use rustix::io::{Errno, Result, pread, pwrite};

use super::{kind, marks, not_here};

/// Copies what is no folder. What nobody may make here (a device in a user namespace) is left out: layers are mounted
/// `nodev`, so that nothing could use it.
pub(super) fn copy(from: &OwnedFd, name: &CStr, stat: &Stat, to: &OwnedFd) -> Result<()> {
    let mode = Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777);
    match kind(stat) {
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
            let made = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let copy = openat(to, name, made, Mode::from_raw_mode(0o600))?;
            content(&source, stat, &copy)?;
            return dress(&source, &copy);
        }
        FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name)?,
        other => match mknodat(to, name, other, mode, stat.st_rdev) {
            Err(Errno::PERM) if other != FileType::Fifo => return Ok(()),
            made => made?,
        },
    }
    let (uid, gid) = owner(stat);
    chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind(stat) != FileType::Symlink {
        // mknod's mode is subject to the umask, and nobody else is here to put a link in its place.
        chmodat(to, name, mode, AtFlags::empty())?;
    }
    utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives a file or folder the owner, mode, attributes and time of another, in the order in which none undoes another:
/// chown takes set-id bits and capabilities away.
pub(super) fn dress(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let stat = fstat(&from)?;
    let (uid, gid) = owner(&stat);
    fchown(&to, uid, gid)?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777))?;
    for name in marks::xattr_names(&from)? {
        if marks::is_mark(name.to_bytes()) {
            continue;
        }
        let mut value = vec![0; marks::XATTR];
        let length = fgetxattr(&from, &*name, &mut value[..])?;
        match fsetxattr(&to, &*name, &value[..length], XattrFlags::empty()) {
            // Labels of the machine's, which are not ours to give. A capability is a part of the program.
            Err(error) if not_here(error) && name.as_c_str() != c"security.capability" => {}
            set => set?,
        }
    }
    futimens(&to, &times(&stat))
}

fn content(from: &OwnedFd, stat: &Stat, to: &OwnedFd) -> Result<()> {
    // A size is never negative.
    let size = stat.st_size.cast_unsigned();
    if size == 0 || ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < size {
        // Holes stay holes: an image may hold a sparse file larger than the disk.
        let start = match seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) if not_here(error) => at,
            Err(error) => return Err(error),
        };
        let end = seek(from, SeekFrom::Hole(start)).unwrap_or(size).clamp(start, size);
        range(from, to, start, end)?;
        at = end.max(start + 1);
    }
    ftruncate(to, size)
}

fn range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> Result<()> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let left = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, Some(&mut read), to, Some(&mut written), left) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) if not_here(error) => return by_hand(from, to, read, end),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn by_hand(from: &OwnedFd, to: &OwnedFd, mut at: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = pread(from, &mut buffer[..wanted], at)?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = pwrite(to, rest, at)?;
            (rest, at) = (&rest[written..], at + written as u64);
        }
    }
    Ok(())
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
