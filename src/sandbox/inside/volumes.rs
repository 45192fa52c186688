//! What a step mounts on top of its root: parts of layers, folders that outlive it, memory, single files.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Uid, XattrFlags, chmodat, chownat, fchmod, fstat,
    setxattr,
};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::super::error::RunError;
use super::super::wire::{Command, Mount, Mounted, path};
use super::mounts::{attach, copy, restrict};
use super::scoped::openat2;
use super::stand::Root;
use super::stubs::{Kind, Stubs};
use super::{overlay, root};
use crate::owners::{Owner, Owners, Record};

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Writes the files into `store`, which must be attached somewhere, and gives a mount of each, attached nowhere yet.
pub(super) fn files(
    mounts: &[Mount],
    owners: Owners,
    mut contents: &[u8],
    store: &OwnedFd,
) -> Result<Vec<OwnedFd>, RunError> {
    let mut files = Vec::new();
    for (number, mount) in mounts.iter().enumerate() {
        let Mounted::File { length, mode, uid, gid, executable } = &mount.what else { continue };
        let cut_short = || RunError::Helper { how: "got a file that was cut short".into() };
        let (content, rest) = contents.split_at_checked(*length).ok_or_else(cut_short)?;
        contents = rest;
        let make = || {
            let name = format!("file-{number}");
            let file = root::create(store, &name)?;
            root::write(&file, content)?;
            own(&file, Record::Plain, owners, (*uid, *gid))?;
            fchmod(&file, Mode::from_raw_mode(*mode))?;
            let mount = copy(store, &name)?;
            let no_exec = if *executable { MountAttrFlags::empty() } else { NOEXEC };
            restrict(&mount, RDONLY | NOSUID | NODEV | no_exec)?;
            Ok(mount)
        };
        files.push(make().map_err(|error| match error {
            Errno::INVAL => RunError::IdNotMapped { id: *uid.max(gid) },
            error => RunError::system(format!("making the file for {}", path(&mount.target).display()), error),
        })?);
    }
    Ok(files)
}

/// Attaches all mounts in their order: a later one may lie inside an earlier one. `files` are those of [`files`].
pub(super) fn attach_all(command: &Command, files: Vec<OwnedFd>, stubs: &mut Stubs<'_>) -> Result<(), RunError> {
    let mut files = files.into_iter();
    for mount in &command.mounts {
        let target = path(&mount.target);
        let failed = |error| RunError::system(format!("mounting {}", target.display()), error);
        let what = match &mount.what {
            Mounted::Layers { overlay, source, writable } => {
                // What is written there is thrown away with the folder.
                let stand = Root::make(overlay)?;
                part(stand.mounted(), path(source), *writable)?
            }
            Mounted::Folder { path: folder, source, writable } => {
                part(&overlay::folder(path(folder))?, path(source), *writable)?
            }
            Mounted::Socket { path: socket, mode, uid, gid } => {
                self::socket(path(socket), *mode, command.owners, (*uid, *gid)).map_err(|error| match error {
                    Errno::INVAL => RunError::IdNotMapped { id: *uid.max(gid) },
                    error => failed(error),
                })?
            }
            Mounted::Tmpfs { size } => root::memory(command, *size).map_err(failed)?,
            Mounted::File { .. } => {
                files.next().ok_or_else(|| RunError::Helper { how: "has a file too few".into() })?
            }
        };
        let stat = fstat(&what).map_err(failed)?;
        let kind = match FileType::from_raw_mode(stat.st_mode as RawMode) {
            FileType::Directory => Kind::Folder,
            _ => Kind::File,
        };
        attach(&what, stubs.target(target, kind)?.as_fd()).map_err(failed)?;
    }
    Ok(())
}

/// A mount of a socket of ours, handed to the one who may connect. In a namespace this is its root's to do: the ids
/// need not be ours.
fn socket(path: &Path, mode: u32, owners: Owners, ids: (u32, u32)) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(path, flags, Mode::empty())?;
    if !FileType::from_raw_mode(fstat(&socket)?.st_mode as RawMode).is_socket() {
        return Err(Errno::NOTSOCK);
    }
    own(&socket, Record::Special, owners, ids)?;
    // There is no fchmod of a descriptor that is a path alone (open(2), O_PATH).
    chmodat(CWD, format!("/proc/self/fd/{}", socket.as_raw_fd()), Mode::from_raw_mode(mode), AtFlags::empty())?;
    let mount = copy(&socket, "")?;
    // Connecting is no write to the file system.
    restrict(&mount, RDONLY | NOSUID | NODEV | NOEXEC)?;
    Ok(mount)
}

/// Makes something of ours another's. A tmpfs before Linux 6.6 holds no record: it is shown as root's, and read all the
/// same.
fn own(file: &OwnedFd, record: Record, owners: Owners, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    match owners {
        Owners::Real => chownat(file, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH),
        Owners::Recorded => {
            // Through its name: it may be open as a path only.
            let (name, value) = (format!("/proc/self/fd/{}", file.as_raw_fd()), record.write(Owner { uid, gid }));
            match setxattr(name, record.name(), &value, XattrFlags::empty()) {
                Err(Errno::OPNOTSUPP) => Ok(()),
                set => set,
            }
        }
    }
}

/// A mount of what is at `source` in `root`. Links are followed as a process in that root would follow them, so that
/// none leads out (CVE-2024-1753), and what was found is mounted by its handle: nobody can swap it meanwhile
/// (CVE-2024-23651).
fn part(root: &OwnedFd, source: &Path, writable: bool) -> Result<OwnedFd, RunError> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let name = if source.as_os_str().is_empty() { Path::new(".") } else { source };
    let refused =
        |error: Errno| RunError::MountSource { path: source.display().to_string(), errno: error.raw_os_error() };
    let found = openat2(root, name, flags, Mode::empty(), resolve).map_err(refused)?;
    let mount = copy(&found, "").map_err(refused)?;
    let read_only = if writable { MountAttrFlags::empty() } else { RDONLY };
    restrict(&mount, NODEV | read_only).map_err(refused)?;
    Ok(mount)
}
