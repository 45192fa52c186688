//! What changed in a copy, moved to where overlayfs would have put it.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, renameat};
use rustix::io::{Errno, Result};

use super::{Children, Was, born, enter, file, is_folder, kind, look, marks, names};

/// `root` is the copy, `was` what was in it; `lower` are the layers that it was made of, the topmost first.
pub(super) fn collect(root: &OwnedFd, was: &Children, upper: &OwnedFd, lower: &[OwnedFd]) -> Result<()> {
    let mut collecting = Collecting { upper, lower, above: Vec::new(), at: PathBuf::new() };
    collecting.folder(root, was)
}

struct Collecting<'a> {
    upper: &'a OwnedFd,
    lower: &'a [OwnedFd],
    /// The folders from the root down to where we are, and their doubles in the upper directory, once one is needed.
    above: Vec<(CString, OwnedFd, Option<OwnedFd>)>,
    at: PathBuf,
}

impl Collecting<'_> {
    fn folder(&mut self, folder: &OwnedFd, was: &Children) -> Result<()> {
        let mut gone: BTreeSet<&CString> = was.keys().collect();
        for name in names(folder)? {
            let now = look(folder, &name)?;
            let before = was.get(&name);
            gone.remove(&name);
            self.at.push(OsStr::from_bytes(name.to_bytes()));
            match before {
                Some(before) if is_folder(&now) && same_folder(folder, &name, &now, before)? => {
                    let here = enter(folder, &name)?;
                    let other = self.dressed_anew(&here, &now, &before.stat)?;
                    self.above.push((name, here.try_clone().map_err(|_| Errno::MFILE)?, None));
                    if other {
                        self.double()?;
                    }
                    self.folder(&here, &before.children)?;
                    self.above.pop();
                }
                Some(before)
                    if !is_folder(&now)
                        && same_thing(&now, &before.stat)
                        && !self.touched(folder, &name, &now, &before.stat)? => {}
                before => {
                    let upper = self.double()?;
                    renameat(folder, &*name, upper, &*name)?;
                    if is_folder(&now) && before.is_some_and(|before| is_folder(&before.stat)) {
                        marks::make_opaque(&enter(self.double()?, &name)?)?;
                    }
                }
            }
            self.at.pop();
        }
        for name in gone {
            marks::make_whiteout(self.double()?, name)?;
        }
        Ok(())
    }

    /// The folder of the upper directory for where we are, with the owner and mode that the folder has now.
    fn double(&mut self) -> Result<&OwnedFd> {
        let have = self.above.iter().rposition(|(_, _, double)| double.is_some());
        for number in have.map_or(0, |last| last + 1)..self.above.len() {
            let parent = match number {
                0 => self.upper,
                _ => self.above[number - 1].2.as_ref().unwrap_or(self.upper),
            };
            let (name, folder, _) = &self.above[number];
            mkdirat(parent, &**name, Mode::from_raw_mode(0o700))?;
            let made = enter(parent, name)?;
            file::dress(folder, &made)?;
            self.above[number].2 = Some(made);
        }
        Ok(self.above.last().and_then(|(_, _, double)| double.as_ref()).unwrap_or(self.upper))
    }

    /// Whether a folder itself was changed. Its times are no part of a layer, and change with what is in it.
    fn dressed_anew(&self, folder: &OwnedFd, now: &Stat, before: &Stat) -> Result<bool> {
        if (now.st_mode, now.st_uid, now.st_gid) != (before.st_mode, before.st_uid, before.st_gid) {
            return Ok(true);
        }
        if !changed(now, before) {
            return Ok(false);
        }
        // The first that has it is the one whose attributes show.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.lower.iter().find_map(|layer| below(layer, &self.at, flags).ok()) {
            Some(below) => Ok(attributes(folder)? != attributes(&below)?),
            None => Ok(true),
        }
    }

    /// Whether what is the same inode as before was changed.
    fn touched(&self, folder: &OwnedFd, name: &CStr, now: &Stat, before: &Stat) -> Result<bool> {
        // What is done to one name changes the ctime of the file's other names too, which is no change of theirs.
        let only_named = kind(now) == FileType::RegularFile
            && before.st_nlink > 1
            && (now.st_size, now.st_mode, now.st_uid, now.st_gid, now.st_mtime, now.st_mtime_nsec)
                == (
                    before.st_size,
                    before.st_mode,
                    before.st_uid,
                    before.st_gid,
                    before.st_mtime,
                    before.st_mtime_nsec,
                );
        match changed(now, before) {
            true if only_named => Ok(!self.is_as_below(folder, name)?),
            changed => Ok(changed),
        }
    }

    /// Whether a file has the content and the attributes that it has in the layers.
    fn is_as_below(&self, folder: &OwnedFd, name: &CStr) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let now = openat(folder, name, flags, Mode::empty())?;
        // The first that has it is the one that shows: what hides it would be what shows.
        let below = self.lower.iter().find_map(|layer| below(layer, &self.at, flags).ok());
        let Some(below) = below else { return Ok(false) };
        if attributes(&now)? != attributes(&below)? {
            return Ok(false);
        }
        same_content(File::from(now), File::from(below))
    }
}

fn below(layer: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    openat2(layer, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

fn same_folder(parent: &OwnedFd, name: &CStr, now: &Stat, before: &Was) -> Result<bool> {
    Ok(same_thing(now, &before.stat) && born(&enter(parent, name)?)? == before.born)
}

fn same_thing(now: &Stat, before: &Stat) -> bool {
    (now.st_dev, now.st_ino, kind(now)) == (before.st_dev, before.st_ino, kind(before))
}

/// Nobody can set a ctime, and whatever is done to an inode sets it. The rest is for clocks that are too coarse.
fn changed(now: &Stat, before: &Stat) -> bool {
    let state = |stat: &Stat| {
        (
            (stat.st_ctime, stat.st_ctime_nsec, stat.st_mtime, stat.st_mtime_nsec),
            (stat.st_size, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev),
        )
    };
    state(now) != state(before)
}

fn attributes(file: &OwnedFd) -> Result<Vec<(CString, Vec<u8>)>> {
    let mut attributes = Vec::new();
    for name in marks::xattr_names(file)? {
        if !marks::is_mark(name.to_bytes()) {
            let mut value = vec![0; marks::XATTR];
            let length = rustix::fs::fgetxattr(file, &*name, &mut value[..])?;
            value.truncate(length);
            attributes.push((name, value));
        }
    }
    attributes.sort();
    Ok(attributes)
}

fn same_content(mut one: File, mut other: File) -> Result<bool> {
    let mut buffers = [vec![0; 128 << 10], vec![0; 128 << 10]];
    let [first, second] = &mut buffers;
    let failed = |error: std::io::Error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
    loop {
        let read = one.read(first).map_err(failed)?;
        if read == 0 {
            return Ok(other.read(second).map_err(failed)? == 0);
        }
        match other.read_exact(&mut second[..read]) {
            Ok(()) if first[..read] == second[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
    }
}
