//! The places in the image that are mounted over. Those that the image lacks are made for the run, and vanish
//! afterwards: they must not end up in a layer.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RawMode, ResolveFlags, Stat, StatxFlags, Timespec, Timestamps, mkdirat, openat,
    readlinkat, statat, statx, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::super::error::RunError;
use super::scoped::openat2;

/// What is mounted over, opened.
pub(super) struct Targets {
    pub proc: OwnedFd,
    pub sys: OwnedFd,
    pub dev: OwnedFd,
    pub resolv_conf: OwnedFd,
    pub hosts: OwnedFd,
}

/// What was made for the run.
pub(super) struct Made {
    /// In the order of making.
    stubs: Vec<Stub>,
    /// Folders of lower layers that the making brought into the upper directory, and how it left them there. Those
    /// above come before those below.
    copied_up: Vec<(PathBuf, Stat)>,
}

struct Stub {
    /// Its folder, relative to the root, free of links.
    folder: PathBuf,
    name: OsString,
    kind: Kind,
    inode: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    File,
    Folder,
}

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Opens mount targets in a root, and makes those that are missing.
pub(super) struct Stubs<'a> {
    root: &'a OwnedFd,
    /// The root's mount, by which it is told from what is mounted on it.
    mount: u64,
    upper: &'a OwnedFd,
    stubs: Vec<Stub>,
    /// A set in order has those above before those below.
    copied_up: BTreeSet<PathBuf>,
}

impl<'a> Stubs<'a> {
    pub fn new(root: &'a OwnedFd, upper: &'a OwnedFd) -> Result<Self, RunError> {
        let mount = mount_id(root).map_err(|error| RunError::system("looking at the root", error))?;
        Ok(Self { root, mount, upper, stubs: Vec::new(), copied_up: BTreeSet::new() })
    }

    pub fn of_the_system(&mut self) -> Result<Targets, RunError> {
        Ok(Targets {
            proc: self.folder("proc")?,
            sys: self.folder("sys")?,
            dev: self.folder("dev")?,
            resolv_conf: self.file("etc/resolv.conf")?,
            hosts: self.file("etc/hosts")?,
        })
    }

    /// The target of a step's own mount, wherever in the root its links lead.
    pub fn target(&mut self, path: &Path, kind: Kind) -> Result<OwnedFd, RunError> {
        let refused = |why: &str| RunError::MountTarget { path: path.display().to_string(), why: why.into() };
        let found = self.ensure(path, kind, LINKS).map_err(|error| refused(&words(error)))?;
        let real = self.real(&found).map_err(|error| refused(&words(error)))?;
        if real.as_os_str().is_empty() {
            return Err(refused("it is the root"));
        }
        // What is there now is covered by the kernel's own /proc a moment later.
        if real.starts_with("proc") {
            return Err(refused("it is inside /proc"));
        }
        let stat = status(&found).map_err(|error| refused(&words(error)))?;
        match (kind, rustix::fs::FileType::from_raw_mode(stat.st_mode as RawMode).is_dir()) {
            (Kind::Folder, false) => Err(refused("a directory is mounted, and it is none")),
            (Kind::File, true) => Err(refused("a file is mounted, and it is a directory")),
            (Kind::Folder, true) | (Kind::File, false) => Ok(found),
        }
    }

    /// Looks at the folders once all is made in them.
    pub fn finish(self) -> Result<Made, RunError> {
        let stat = |path: PathBuf| Ok((path.clone(), status(&in_upper(self.upper, &path)?)?));
        let copied_up = self.copied_up.into_iter().map(stat).collect::<rustix::io::Result<_>>();
        let copied_up = copied_up.map_err(|error| RunError::system("making the mount stubs", error))?;
        Ok(Made { stubs: self.stubs, copied_up })
    }

    /// A folder of the root itself. A link there is refused: mounts would cover what it names.
    fn folder(&mut self, name: &str) -> Result<OwnedFd, RunError> {
        let refused = |why: &str| RunError::MountTarget { path: format!("/{name}"), why: why.into() };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(self.root, name, flags | OFlags::DIRECTORY, Mode::empty()) {
            Ok(found) => Ok(found),
            Err(Errno::NOENT) => {
                self.ensure(Path::new(name), Kind::Folder, LINKS).map_err(|error| refused(&words(error)))
            }
            Err(Errno::NOTDIR | Errno::LOOP) => Err(refused("it is not a directory")),
            Err(error) => Err(refused(&words(error))),
        }
    }

    /// A file, wherever in the root its links lead.
    fn file(&mut self, path: &str) -> Result<OwnedFd, RunError> {
        let refused = |why: String| RunError::MountTarget { path: format!("/{path}"), why };
        let found = self.ensure(Path::new(path), Kind::File, LINKS).map_err(|error| refused(words(error)))?;
        let stat = rustix::fs::fstat(&found).map_err(|error| refused(words(error)))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode as RawMode).is_dir() {
            return Err(refused("it is a directory".into()));
        }
        Ok(found)
    }

    fn ensure(&mut self, path: &Path, kind: Kind, links: usize) -> rustix::io::Result<OwnedFd> {
        match in_root(self.root, path) {
            Err(Errno::NOENT) if links > 0 => {}
            other => return other,
        }
        let parent = path.parent().ok_or(Errno::NOENT)?;
        let folder = self.ensure(parent, Kind::Folder, links - 1)?;
        let Some(Component::Normal(name)) = path.components().next_back() else {
            // A path that ends in `..` was missing because of its parent, which is there now.
            return in_root(self.root, path);
        };
        let real = self.real(&folder)?;
        match readlinkat(&folder, name, Vec::new()) {
            Ok(target) => self.ensure(&real.join(OsStr::from_bytes(target.as_bytes())), kind, links - 1),
            Err(Errno::NOENT) => self.create(&folder, real, name, kind),
            // Something that is no link appeared, or the folder is none.
            Err(_) => in_root(self.root, path),
        }
    }

    fn create(&mut self, folder: &OwnedFd, real: PathBuf, name: &OsStr, kind: Kind) -> rustix::io::Result<OwnedFd> {
        let before = status(folder)?;
        // What is mounted there keeps what is made in it: it is no part of the layer.
        let in_layer = mount_id(folder)? == self.mount;
        if in_layer {
            let above = real.ancestors().filter(|path| in_upper(self.upper, path).is_err());
            self.copied_up.extend(above.map(Path::to_owned));
        }
        match kind {
            Kind::Folder => mkdirat(folder, name, Mode::from_raw_mode(0o755))?,
            Kind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                openat(folder, name, flags, Mode::from_raw_mode(0o644))?;
            }
        }
        restore_times(folder, &before)?;
        let fresh = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if !in_layer {
            return Ok(fresh);
        }
        let home = in_upper(self.upper, &real)?;
        let inode = statat(&home, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
        self.stubs.push(Stub { folder: real, name: name.to_owned(), kind, inode });
        Ok(fresh)
    }

    /// Where a folder is in the root, all links resolved.
    fn real(&self, folder: &OwnedFd) -> rustix::io::Result<PathBuf> {
        path_in(self.root, folder)
    }
}

impl Made {
    /// Removes from the upper directory what was made and is as it was left, and a folder that is there only
    /// because of that. The command has ended, but what it made is hostile: no link is followed, and nothing but
    /// the very inodes that we made is touched (CVE-2024-23652).
    pub fn remove(self, upper: &OwnedFd) -> rustix::io::Result<()> {
        // Each change sets the ctime, which nobody can set back. To be asked before we change anything ourselves.
        let untouched = |(path, left): &(PathBuf, Stat)| {
            let now = in_upper(upper, path).and_then(|folder| status(&folder));
            now.is_ok_and(|now| {
                (now.st_ino, now.st_ctime, now.st_ctime_nsec) == (left.st_ino, left.st_ctime, left.st_ctime_nsec)
            })
        };
        let idle: Vec<PathBuf> = self.copied_up.into_iter().filter(untouched).map(|(path, _)| path).collect();
        for stub in self.stubs.iter().rev() {
            stub.remove(upper).or_else(changed_by_the_command)?;
        }
        // With nothing of ours in it, what is below shows through again.
        for path in idle.iter().rev() {
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                let removed = in_upper(upper, parent).and_then(|home| unlink(&home, name, Kind::Folder));
                removed.or_else(changed_by_the_command)?;
            }
        }
        Ok(())
    }
}

impl Stub {
    fn remove(&self, upper: &OwnedFd) -> rustix::io::Result<()> {
        let home = in_upper(upper, &self.folder)?;
        let stat = statat(&home, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_ino != self.inode || (self.kind == Kind::File && stat.st_size != 0) {
            return Ok(());
        }
        unlink(&home, &self.name, self.kind)
    }
}

/// It moved or removed what we made, or filled it: that is its result, and stays.
fn changed_by_the_command(error: Errno) -> rustix::io::Result<()> {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NOTEMPTY | Errno::XDEV => Ok(()),
        error => Err(error),
    }
}

/// Removes a name without a trace in its folder's times.
fn unlink(home: &OwnedFd, name: &OsStr, kind: Kind) -> rustix::io::Result<()> {
    let before = status(home)?;
    let flags = match kind {
        Kind::File => AtFlags::empty(),
        Kind::Folder => AtFlags::REMOVEDIR,
    };
    unlinkat(home, name, flags)?;
    restore_times(home, &before)
}

fn status(folder: &OwnedFd) -> rustix::io::Result<Stat> {
    statat(folder, "", AtFlags::EMPTY_PATH)
}

/// Not the device: a copy of the layers and a folder mounted in it may lie on one disk.
fn mount_id(folder: &OwnedFd) -> rustix::io::Result<u64> {
    Ok(statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Opens a path as the root of the command would.
fn in_root(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, dot(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Opens a folder of the upper directory, which no link may lead to.
pub(super) fn in_upper(upper: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(upper, dot(path), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Where something is below `root`, all links resolved.
pub(super) fn path_in(root: &OwnedFd, found: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let (root, found) = (path_of(root)?, path_of(found)?);
    Ok(found.strip_prefix(&root).map_err(|_| Errno::XDEV)?.to_owned())
}

pub(super) fn path_of(fd: &OwnedFd) -> rustix::io::Result<PathBuf> {
    let link = readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(link.as_bytes())))
}

fn restore_times(folder: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    };
    utimensat(CWD, format!("/proc/self/fd/{}", folder.as_raw_fd()), &times, AtFlags::empty())
}

fn words(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
