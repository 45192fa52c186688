//! A root that is a copy of its layers, for a disk that holds no overlay (it is one itself, as in most containers) or a
//! kernel that mounts none. Afterwards the copy is compared with what was remembered of it, and what changed is moved
//! into the upper directory, in the very form in which overlayfs would have left it: nobody else needs to know.
//!
//! Nothing here mounts anything, so that it serves where nothing may be mounted.

mod changes;
mod file;
mod lay;
mod marks;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat, StatxFlags, openat, statat, statx};
use rustix::io::{Errno, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::error::RunError;
use super::super::wire::{Overlay, path};
use super::overlay::folder;

/// A copy, and what it was like before the command.
pub(super) struct Replica {
    /// Its folder, under no mount of ours.
    root: OwnedFd,
    upper: OwnedFd,
    /// The layers, the topmost first.
    lower: Vec<OwnedFd>,
    was: Children,
}

/// What is in a folder.
type Children = BTreeMap<CString, Was>;

/// One thing, as it was.
struct Was {
    stat: Stat,
    /// When it was made, if it is a folder and the file system knows.
    born: Born,
    children: Children,
}

type Born = Option<(i64, u32)>;

impl Replica {
    /// Copies the layers over one another into the folder `merged`.
    pub fn lay(overlay: &Overlay) -> std::result::Result<Self, RunError> {
        let Overlay { lower_parent, lower, upper, merged, work: _, copied: _ } = overlay;
        many_descriptors();
        let parent = path(lower_parent);
        let lower = lower.iter().map(|name| layer(&parent.join(name))).collect::<std::result::Result<Vec<_>, _>>()?;
        let (upper, root) = (layer(path(upper))?, layer(path(merged))?);
        let copying = |error| RunError::system("copying the layers, since the disk holds no overlay", error);
        lay::lay(&lower, &root).map_err(copying)?;
        // The upper directory is the root that the command sees, to begin with.
        file::dress(&upper, &root).map_err(copying)?;
        let was = remember(&root).map_err(copying)?;
        Ok(Self { root, upper, lower, was })
    }

    /// The copy itself.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Takes no more notice of what is at `path`, which is gone from the copy and will be again.
    pub fn forget(&mut self, path: &Path) {
        // Names come from a directory, and so hold no NUL.
        let key = |name: &OsStr| CString::new(name.as_bytes()).unwrap_or_default();
        let Some((name, folder)) = path.file_name().zip(path.parent()) else { return };
        let inner = folder.iter().try_fold(&mut self.was, |was, part| Some(&mut was.get_mut(&key(part))?.children));
        if let Some(was) = inner {
            was.remove(&key(name));
        }
    }

    /// Moves what changed into the upper directory. Nothing may be mounted on the copy any more.
    pub fn collect(self) -> std::result::Result<(), RunError> {
        let Self { root, upper, lower, was } = self;
        let reading = |error| RunError::system("reading what changed in the copy of the layers", error);
        file::dress(&root, &upper).map_err(reading)?;
        changes::collect(&root, &was, &upper, &lower).map_err(reading)
    }
}

/// Copies a folder as it is into an empty one.
pub(super) fn copy_folder(from: OwnedFd, into: &OwnedFd) -> Result<()> {
    let layers = [from];
    lay::lay(&layers, into)?;
    let [from] = layers;
    file::dress(from, into)
}

fn layer(path: &Path) -> std::result::Result<OwnedFd, RunError> {
    let opened = enter(&folder(path)?, c".");
    opened.map_err(|error| RunError::system(format!("opening {}", path.display()), error))
}

/// Each level holds open one folder of every layer that has it. The command gets limits of its own.
fn many_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // With fewer, a deep tree of many layers is refused by name.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn remember(folder: &OwnedFd) -> Result<Children> {
    let mut children = Children::new();
    for name in names(folder)? {
        let stat = look(folder, &name)?;
        let was = match is_folder(&stat) {
            true => {
                let inner = enter(folder, &name)?;
                Was { stat, born: born(&inner)?, children: remember(&inner)? }
            }
            false => Was { stat, born: None, children: Children::new() },
        };
        children.insert(name, was);
    }
    Ok(children)
}

/// All that is in a folder, in no order.
fn names(folder: &OwnedFd) -> Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn look(folder: &OwnedFd, name: &CStr) -> Result<Stat> {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// A folder that was removed leaves its inode's number to the next that is made.
fn born(folder: &OwnedFd) -> Result<Born> {
    let stat = statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    Ok(known.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)))
}

fn is_folder(stat: &Stat) -> bool {
    kind(stat) == FileType::Directory
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode as RawMode)
}

/// Opens a folder that is directly in another.
fn enter(folder: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

/// Whether a file system or a namespace does not let us do it, and another way must be found.
fn not_here(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::NOTTY | Errno::XDEV)
}
