//! What a command finds in place of mounts where none may be made. The place in the copy of the layers is cleared, what
//! would be mounted is put there, and afterwards it is taken away or back home, so that none of it is in the layer.
//!
//! Not as good as a mount: what is to be read only can be written (it is thrown away afterwards), and what the command
//! moves elsewhere is no longer at its place, which ends the step.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Uid, chmodat, chownat, fchmod, fchown, fstat,
    ftruncate, linkat, mkdirat, openat, readlinkat, renameat, statat,
};
use rustix::io::{Errno, Result};

use super::super::error::RunError;
use super::super::wire::{Command, Mount, Mounted, path};
use super::replica::{self, Replica};
use super::scoped::openat2;
use super::stubs::{Kind, Stubs, Targets, in_upper, path_in, path_of};
use super::{overlay, remove, root};

/// All that covers parts of a copy.
pub(super) struct Covers<'a> {
    root: &'a OwnedFd,
    replica: &'a mut Replica,
    covers: Vec<Cover>,
}

struct Cover {
    /// What the user calls it.
    shown: PathBuf,
    /// Its folder in the root, free of links, and its name there.
    folder: PathBuf,
    name: OsString,
    placed: OwnedFd,
    then: Then,
}

/// What becomes of it.
enum Then {
    Gone,
    /// A file of ours, which may hold a secret: emptied first, whatever other names it was given.
    Emptied,
    /// It goes back to where it came from.
    Home(OwnedFd, OsString),
}

/// A folder, and a name in it.
type Entry = (OwnedFd, OsString);

/// A cleared place.
struct Place {
    shown: PathBuf,
    real: PathBuf,
    folder: OwnedFd,
    name: OsString,
}

impl<'a> Covers<'a> {
    pub fn new(root: &'a OwnedFd, replica: &'a mut Replica) -> Self {
        Self { root, replica, covers: Vec::new() }
    }

    /// The system's own: what overlays show of `/proc`, `/sys`, `/dev` and the two files of the network.
    pub fn furnish(
        &mut self,
        command: &Command,
        targets: &Targets,
        fill: impl Fn(&OwnedFd, &OwnedFd) -> Result<()>,
    ) -> std::result::Result<(), RunError> {
        let failed = |doing: &'static str| move |error: Errno| RunError::system(doing, error);
        let Targets { proc, sys, dev, resolv_conf, hosts } = targets;
        let mut folders = Vec::new();
        for (found, name) in [(proc, "/proc"), (sys, "/sys"), (dev, "/dev")] {
            let place = self.clear(found, Path::new(name))?;
            folders.push(self.folder(place, 0o755).map_err(failed("making /dev, /proc and /sys"))?);
        }
        let [proc, _, dev] = &folders[..] else { return Ok(()) };
        fill(dev, proc).map_err(failed("filling /dev and /proc"))?;
        for (found, name, content) in
            [(resolv_conf, "/etc/resolv.conf", &command.resolv_conf), (hosts, "/etc/hosts", &command.hosts)]
        {
            let place = self.clear(found, Path::new(name))?;
            self.file(place, content, 0o644, (0, 0)).map_err(failed("writing /etc/resolv.conf and /etc/hosts"))?;
        }
        Ok(())
    }

    /// The step's own, in their order: a later one may lie inside an earlier one. `contents` holds what is in the files,
    /// one behind the other.
    pub fn place_all(
        &mut self,
        command: &Command,
        mut contents: &[u8],
        stubs: &mut Stubs<'_>,
    ) -> std::result::Result<(), RunError> {
        for Mount { target, what } in &command.mounts {
            let target = path(target);
            let failed = |error: Errno| RunError::system(format!("placing {}", target.display()), error);
            let mut clear = |kind| {
                let found = stubs.target(target, kind)?;
                self.clear(&found, target)
            };
            match what {
                Mounted::Layers { overlay, source, writable: _ } => {
                    let copy = Replica::lay(overlay)?;
                    let (from, kind) = part(copy.root(), path(source))?;
                    let place = clear(kind)?;
                    self.moved(place, from, Then::Gone).map_err(failed)?;
                }
                Mounted::Folder { path: folder, source, writable: true } => {
                    let (from, kind) = part(&overlay::folder(path(folder))?, path(source))?;
                    let place = clear(kind)?;
                    let home = Then::Home(from.0.try_clone().map_err(|_| failed(Errno::MFILE))?, from.1.clone());
                    self.moved(place, from, home).map_err(failed)?;
                }
                Mounted::Folder { path: folder, source, writable: false } => {
                    let (from, kind) = part(&overlay::folder(path(folder))?, path(source))?;
                    let place = clear(kind)?;
                    self.copied(place, &from).map_err(failed)?;
                }
                Mounted::Tmpfs { size: None } => {
                    let place = clear(Kind::Folder)?;
                    self.folder(place, 0o1777).map_err(failed)?;
                }
                Mounted::Tmpfs { size: Some(_) } => {
                    return Err(RunError::NeedsMounts { what: "a tmpfs of a certain size".into() });
                }
                Mounted::File { length, mode, uid, gid, executable: _ } => {
                    let cut_short = || RunError::Helper { how: "got a file that was cut short".into() };
                    let (content, rest) = contents.split_at_checked(*length).ok_or_else(cut_short)?;
                    contents = rest;
                    let place = clear(Kind::File)?;
                    self.file(place, content, *mode, (*uid, *gid)).map_err(failed)?;
                }
                Mounted::Socket { path: socket, mode, uid, gid } => {
                    let place = clear(Kind::File)?;
                    self.socket(place, path(socket), *mode, (*uid, *gid)).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Takes all away, the last first: it may lie in one before it. The command's processes must be dead.
    pub fn take_off(self) -> std::result::Result<(), RunError> {
        let Self { root, replica: _, mut covers } = self;
        let mut moved = None;
        while let Some(cover) = covers.pop() {
            let shown = cover.shown.display().to_string();
            match cover.take_off(root) {
                Ok(true) => {}
                Ok(false) => moved = moved.or(Some(RunError::CoverMoved { path: shown })),
                Err(error) => return Err(RunError::system(format!("taking {shown} away"), error)),
            }
        }
        moved.map_or(Ok(()), Err)
    }

    /// Removes what is at a place of the copy, which holds nothing that is only there.
    fn clear(&mut self, found: &OwnedFd, shown: &Path) -> std::result::Result<Place, RunError> {
        let failed = |error: Errno| RunError::system(format!("clearing {}", shown.display()), error);
        let real = path_in(self.root, found).map_err(failed)?;
        let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else { return Err(failed(Errno::BUSY)) };
        let inside = self.covers.iter().any(|cover| real.starts_with(cover.folder.join(&cover.name)));
        let home = in_upper(self.root, folder).map_err(failed)?;
        if inside {
            // It belongs to somebody: to a cache, perhaps.
            let stat = statat(&home, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let removed = match FileType::from_raw_mode(stat.st_mode as RawMode) {
                FileType::Directory => rustix::fs::unlinkat(&home, name, AtFlags::REMOVEDIR),
                _ if stat.st_size == 0 => rustix::fs::unlinkat(&home, name, AtFlags::empty()),
                _ => Err(Errno::NOTEMPTY),
            };
            removed.map_err(|_| RunError::MountTarget {
                path: shown.display().to_string(),
                why: "what is mounted around it has something there, which could not be covered without a mount".into(),
            })?;
        } else {
            remove::entry(&home, name)
                .map_err(|error| RunError::system(format!("clearing {}", shown.display()), error))?;
            self.replica.forget(&real);
        }
        Ok(Place { shown: shown.to_owned(), folder: home, name: name.to_owned(), real })
    }

    fn folder(&mut self, place: Place, mode: RawMode) -> Result<OwnedFd> {
        mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o700))?;
        chmodat(&place.folder, &place.name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&place.folder, &place.name, flags, Mode::empty())?;
        self.keep(place, Then::Gone)?;
        Ok(opened)
    }

    fn file(&mut self, place: Place, content: &[u8], mode: u32, (uid, gid): (u32, u32)) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&place.folder, &place.name, flags, Mode::from_raw_mode(0o600))?;
        // Whatever fails from here on, it will be taken away.
        self.keep(place, Then::Emptied)?;
        root::write(&file, content)?;
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&file, Mode::from_raw_mode(mode))
    }

    /// Another name of a socket is as good as a mount of it.
    fn socket(&mut self, place: Place, socket: &Path, mode: u32, (uid, gid): (u32, u32)) -> Result<()> {
        if !FileType::from_raw_mode(statat(CWD, socket, AtFlags::SYMLINK_NOFOLLOW)?.st_mode as RawMode).is_socket() {
            return Err(Errno::NOTSOCK);
        }
        linkat(CWD, socket, &place.folder, &place.name, AtFlags::empty())?;
        chownat(
            &place.folder,
            &place.name,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        chmodat(&place.folder, &place.name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        self.keep(place, Then::Gone)
    }

    fn moved(&mut self, place: Place, (folder, name): Entry, then: Then) -> Result<()> {
        renameat(&folder, &name, &place.folder, &place.name)?;
        self.keep(place, then)
    }

    fn copied(&mut self, place: Place, (folder, name): &Entry) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = openat(folder, name, flags, Mode::empty())?;
        replica::copy_folder(from, &self.folder(place, 0o700)?)
    }

    fn keep(&mut self, place: Place, then: Then) -> Result<()> {
        let Place { shown, real, folder, name } = place;
        let placed = openat(&folder, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let folder = real.parent().unwrap_or(Path::new("")).to_owned();
        self.covers.push(Cover { shown, folder, name, placed, then });
        Ok(())
    }
}

impl Cover {
    /// Whether it is gone from the root, wherever the command has put it.
    fn take_off(self, root: &OwnedFd) -> Result<bool> {
        let Self { shown: _, folder, name, placed, then } = self;
        if let Then::Emptied = then {
            let file = format!("/proc/self/fd/{}", placed.as_raw_fd());
            ftruncate(openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?, 0)?;
        }
        let link = readlinkat(CWD, format!("/proc/self/fd/{}", placed.as_raw_fd()), Vec::new())?;
        let removed = link.as_bytes().ends_with(b" (deleted)");
        let in_place = path_in(root, &placed).is_ok_and(|real| real == folder.join(&name));
        if !in_place && !removed {
            return Ok(false);
        }
        let home = match in_upper(root, &folder) {
            Ok(home) => home,
            // It was removed with its folder.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(true),
            Err(error) => return Err(error),
        };
        match &then {
            Then::Home(there, back) if in_place => renameat(&home, &name, there, back)?,
            Then::Home(..) | Then::Gone | Then::Emptied => {
                let failed = |error: std::io::Error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
                remove::entry(&home, &name).map_err(failed)?;
            }
        }
        Ok(match then {
            Then::Emptied => fstat(&placed)?.st_nlink == 0,
            // Other names of what came from elsewhere are there.
            Then::Gone | Then::Home(..) => true,
        })
    }
}

/// What is at `source` in `root`, by its folder and name. Links are followed as a process in that root would follow them.
fn part(root: &OwnedFd, source: &Path) -> std::result::Result<(Entry, Kind), RunError> {
    let found = || {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let name = if source.as_os_str().is_empty() { Path::new(".") } else { source };
        let found = openat2(root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        let kind = match FileType::from_raw_mode(fstat(&found)?.st_mode as RawMode) {
            FileType::Directory => Kind::Folder,
            _ => Kind::File,
        };
        let real = path_of(&found)?;
        let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else { return Err(Errno::BUSY) };
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(((folder, name.to_owned()), kind))
    };
    found().map_err(|error| RunError::MountSource { path: source.display().to_string(), errno: error.raw_os_error() })
}
