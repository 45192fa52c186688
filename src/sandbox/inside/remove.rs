//! `rm -rf`, confined: by descriptors, following no link, leaving no file system.

use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, renameat, statat, unlinkat,
};
use rustix::io::Errno;

/// Deeper folders are moved up first: each level holds a descriptor open, and 1024 is all that we may have.
const DEPTH: usize = 200;

pub(super) fn job(payload: &[u8], _: &mut dyn Write) -> Result<(), String> {
    let path = Path::new(OsStr::from_bytes(payload));
    tree(path).map_err(|error| format!("removing {}: {error}", path.display()))
}

/// Removes a file or a folder with all that is in it. That it is not there is no error.
pub(in crate::sandbox) fn tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no entry of a folder"));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match openat(CWD, if parent == Path::new("") { Path::new(".") } else { parent }, flags, Mode::empty())
    {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    entry(&parent, name)
}

/// The same for what is directly in a folder.
pub(super) fn entry(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    let stat = match statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat?,
    };
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Ok(unlinkat(parent, &name, AtFlags::empty())?);
    }
    let top = enter(parent, &name)?;
    let mut moved = 0;
    // What is moved up stays in the top folder, so one more round finds it.
    loop {
        let before = moved;
        empty(&top, &top, 0, &mut moved)?;
        if moved == before {
            break;
        }
    }
    drop(top);
    Ok(unlinkat(parent, &name, AtFlags::REMOVEDIR)?)
}

fn empty(top: &OwnedFd, folder: &OwnedFd, depth: usize, moved: &mut u64) -> io::Result<()> {
    // All names first: entries may be skipped when a folder changes under its reader.
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in entries {
        match unlinkat(folder, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            // Linux says EISDIR, POSIX allows EPERM.
            Err(Errno::ISDIR) => {}
            Err(Errno::PERM) if kind == FileType::Directory => {}
            Err(error) => return Err(named(&name, error)),
        }
        if depth >= DEPTH {
            *moved += 1;
            // A name that is taken by something else sends it to the next number.
            while let Err(error) = move_up(folder, &name, top, *moved) {
                if error != Errno::NOTEMPTY && error != Errno::NOTDIR && error != Errno::EXIST {
                    return Err(named(&name, error));
                }
                *moved += 1;
            }
            continue;
        }
        let below = enter(folder, &name).map_err(|error| named(&name, error))?;
        empty(top, &below, depth + 1, moved)?;
        drop(below);
        match unlinkat(folder, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(named(&name, error)),
        }
    }
    Ok(())
}

fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, number: u64) -> rustix::io::Result<()> {
    renameat(from, name, top, format!(".deep-{number}"))
}

fn enter(parent: impl AsFd, name: &CString) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(parent, name, flags, Mode::empty(), resolve)
}

fn named(name: &CString, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_removed_and_what_it_names_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let (kept, gone) = (dir.path().join("kept"), dir.path().join("gone"));
        fs::create_dir_all(kept.join("inner")).expect("folders");
        fs::create_dir(&gone).expect("a folder");
        symlink(&kept, gone.join("link")).expect("a link");
        tree(&gone).expect("it goes");
        assert!(!gone.exists());
        assert!(kept.join("inner").exists());
        symlink(&kept, &gone).expect("a link");
        tree(&gone).expect("the link itself goes");
        assert!(kept.join("inner").exists());
    }

    #[test]
    fn ten_thousand_folders_in_one_another_are_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let deep = dir.path().join("deep");
        fs::create_dir(&deep).expect("a folder");
        let mut at = openat(CWD, &deep, OFlags::RDONLY, Mode::empty()).expect("open");
        for _ in 0..10_000 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).expect("a folder");
            at = openat(&at, "d", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("open");
        }
        drop(at);
        tree(&deep).expect("it goes");
        assert!(!deep.exists());
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().expect("a folder");
        tree(&dir.path().join("a/b")).expect("nothing to do");
        assert!(tree(Path::new("/")).is_err());
        assert!(tree(Path::new("a/..")).is_err());
    }
}
