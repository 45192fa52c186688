//! One layer as a directory of the host, for an overlay.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::host::{WHERE, make_node, mode};
use super::view::TakenAway;
use super::{InTar, Index, Kind, LayerPath, Node, View, ViewError, beneath};
use crate::image::{Digest, HashingWriter};
use crate::owners::{Owner, Owners, Record};

/// What becomes of whiteouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// The marks of overlayfs: devices 0:0, and the extended attribute `PREFIX.overlay.opaque`.
    Overlay(OverlayXattrs),
    /// The directory already holds the lower layers, and what is whited out is removed from it.
    Remove,
}

/// Whose extended attributes overlayfs reads: `user.` with the mount option `userxattr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayXattrs {
    User,
    Trusted,
}

/// What could not be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Device nodes that we may not make here. Layers are mounted `nodev`, so that nothing could use them anyway.
    pub devices_left_out: Vec<LayerPath>,
    /// Extended attributes that this file system or kernel does not let us set: `trusted.*` and labels such as
    /// `security.selinux` outside the first user namespace, `user.*` on what is neither file nor directory.
    pub xattrs_left_out: Vec<(LayerPath, String)>,
}

/// Why a layer was not unpacked. What was written of it is to be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("cannot read a layer's tar: {0}")]
    Read(#[from] io::Error),
    #[error("the tar of a layer has the digest {got}, not {wanted}")]
    Mismatch { wanted: Digest, got: Digest },
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("cannot {doing} {path} while unpacking a layer: {source}")]
    Io { doing: &'static str, path: LayerPath, source: io::Error },
}

/// Writes one layer into its own directory: `layer` says what is in it, `tar` is its uncompressed tar, which is read to
/// the end and must have the layer's diff_id.
///
/// `lower` is what the layers below show, `lower_dirs` where they are unpacked, the bottom one first; both are asked
/// for the parents and hard links that the layer takes for granted. No symlink is ever followed. With `owners`, files
/// get their owners or records of them, for which the caller is root, perhaps of a user namespace only.
pub fn unpack(
    layer: &Index,
    tar: impl Read,
    lower: &View,
    lower_dirs: &[PathBuf],
    into: &Path,
    whiteouts: Whiteouts,
    owners: Option<Owners>,
) -> Result<Unpacked, UnpackError> {
    let mut view = lower.clone();
    let taken = view.lay(layer)?;
    let root = open_dir(into)?;
    let mut unpacking = Unpacking {
        view: &view,
        lower,
        lower_dirs: lower_dirs.iter().map(|dir| open_dir(dir)).collect::<Result<_, _>>()?,
        dirs: Dirs { root, last: None },
        touched: BTreeSet::from([LayerPath::root()]),
        owners,
        left_out: Unpacked::default(),
    };
    if whiteouts == Whiteouts::Remove {
        unpacking.remove_what_is_gone()?;
    }
    unpacking.directories()?;
    unpacking.files(layer, tar)?;
    unpacking.others(layer)?;
    if let Whiteouts::Overlay(xattrs) = whiteouts {
        unpacking.mark(&taken, xattrs)?;
    }
    unpacking.finish_directories()?;
    Ok(unpacking.left_out)
}

struct Unpacking<'a> {
    /// What is to be seen when the layer is there.
    view: &'a View,
    lower: &'a View,
    lower_dirs: Vec<OwnedFd>,
    dirs: Dirs,
    /// The directories that are here now, and get their owners, modes and times at the end.
    touched: BTreeSet<LayerPath>,
    owners: Option<Owners>,
    left_out: Unpacked,
}

impl Unpacking<'_> {
    fn directories(&mut self) -> Result<(), UnpackError> {
        let view = self.view;
        for (path, _) in view.of_last_layer().filter(|(_, node)| node.is_directory()) {
            self.make_dirs(path)?;
        }
        Ok(())
    }

    /// The layer's own files, in the order of the tar.
    fn files(&mut self, layer: &Index, tar: impl Read) -> Result<(), UnpackError> {
        let mut names: BTreeMap<u64, Vec<(&LayerPath, &Node)>> = BTreeMap::new();
        for (path, node) in self.view.of_last_layer() {
            if let Kind::File { content: InTar { diff_id, offset }, .. } = &node.kind
                && *diff_id == layer.diff_id
            {
                names.entry(*offset).or_default().push((path, node));
            }
        }
        let tar = BufReader::with_capacity(256 << 10, tar);
        let mut tar = Verified { tar, seen: HashingWriter::new(io::sink()), at: 0 };
        for (offset, names) in names {
            let overlap = || io::Error::other("two files of the layer overlap in its tar");
            let gap = offset.checked_sub(tar.at).ok_or_else(overlap)?;
            tar.copy(gap, &mut io::sink())?;
            let (first, node) = names[0];
            let Kind::File { size, .. } = node.kind else { continue };
            self.make_file(first, node, |file| tar.copy(size, file))?;
            for (name, _) in &names[1..] {
                self.hard_link(first, name)?;
            }
        }
        tar.copy_rest()?;
        match tar.seen.finish() {
            (_, got, _) if got == layer.diff_id => Ok(()),
            (_, got, _) => Err(UnpackError::Mismatch { wanted: layer.diff_id, got }),
        }
    }

    /// All that has no bytes in this tar: links, devices, and names of files that are in lower layers.
    fn others(&mut self, layer: &Index) -> Result<(), UnpackError> {
        let view = self.view;
        let mut from_below: BTreeMap<InTar, Vec<&LayerPath>> = BTreeMap::new();
        for (path, node) in view.of_last_layer() {
            match &node.kind {
                Kind::File { content, .. } if content.diff_id != layer.diff_id => {
                    from_below.entry(*content).or_default().push(path);
                }
                // Done, or never in a view.
                Kind::File { .. } | Kind::Directory | Kind::HardLink { .. } => {}
                Kind::Symlink { .. } | Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {
                    self.make_other(path, node)?;
                }
            }
        }
        if from_below.is_empty() {
            return Ok(());
        }
        for (path, node) in view.below_last_layer() {
            let Kind::File { content, .. } = &node.kind else { continue };
            for name in from_below.remove(content).into_iter().flatten() {
                self.copy_up(path, node)?;
                self.hard_link(path, name)?;
            }
        }
        match from_below.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other("a hard link's file is in no lower layer").into()),
        }
    }

    /// Brings a file of a lower layer into this one, under its own name, unless it is here already.
    fn copy_up(&mut self, path: &LayerPath, node: &Node) -> Result<(), UnpackError> {
        if self.dirs.is_there(path) {
            return Ok(());
        }
        // The topmost directory that has anything at the path has what the view shows.
        let source = self.lower_dirs.iter().rev().find_map(|dir| beneath::open(dir, path, OFlags::RDONLY).ok());
        let missing = || io_("find", path)(io::ErrorKind::NotFound.into());
        let mut source = File::from(source.ok_or_else(missing)?);
        self.make_file(path, node, |file| io::copy(&mut source, file).map(drop))
    }

    fn make_file(
        &mut self,
        path: &LayerPath,
        node: &Node,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), UnpackError> {
        let dir = self.parent_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(dir, last(path), flags, Mode::from_raw_mode(0o600)).map_err(io("make", path))?;
        let mut file = File::from(file);
        fill(&mut file).map_err(io_("write", path))?;
        self.dress(path, node, &file)
    }

    fn make_other(&mut self, path: &LayerPath, node: &Node) -> Result<(), UnpackError> {
        let owners = self.owners;
        let dir = self.parent_of(path)?;
        let mode = mode(node.mode);
        let device = |kind, major, minor| make_node(dir, last(path), kind, mode, fs::makedev(major, minor));
        let made = match &node.kind {
            Kind::Symlink { target } => fs::symlinkat(&target[..], dir, last(path)),
            Kind::CharDevice { major, minor } => device(FileType::CharacterDevice, *major, *minor),
            Kind::BlockDevice { major, minor } => device(FileType::BlockDevice, *major, *minor),
            Kind::Fifo => device(FileType::Fifo, 0, 0),
            Kind::File { .. } | Kind::Directory | Kind::HardLink { .. } => return Ok(()),
        };
        let is_device = matches!(node.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. });
        if made == Err(Errno::PERM) && is_device {
            self.left_out.devices_left_out.push(path.clone());
            return Ok(());
        }
        made.map_err(io("make", path))?;
        match owners {
            Some(Owners::Real) => {
                let (uid, gid) = owner_of(node);
                fs::chownat(dir, last(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(io("give an owner to", path))?;
            }
            Some(Owners::Recorded) => record_special(dir, path, node).map_err(io("record the owner of", path))?,
            None => {}
        }
        if !matches!(node.kind, Kind::Symlink { .. }) {
            // Nothing but us writes here, and what we made a moment ago is no symlink. mknod's mode is subject to the
            // umask, and chown takes set-id bits away.
            fs::chmodat(dir, last(path), mode, AtFlags::empty()).map_err(io("set the mode of", path))?;
        }
        fs::utimensat(dir, last(path), &times(node), AtFlags::SYMLINK_NOFOLLOW).map_err(io("set the time of", path))?;
        let names = node.xattrs.keys().map(|name| (path.clone(), name.clone()));
        self.left_out.xattrs_left_out.extend(names);
        Ok(())
    }

    fn hard_link(&mut self, file: &LayerPath, name: &LayerPath) -> Result<(), UnpackError> {
        // Two directories; the second opening would close the first.
        let from = rustix::io::fcntl_dupfd_cloexec(self.parent_of(file)?, 0).map_err(io("link", name))?;
        let to = self.parent_of(name)?;
        fs::linkat(&from, last(file), to, last(name), AtFlags::empty()).map_err(io("link", name))
    }

    /// Leaves overlayfs's marks where something of the layers below is hidden.
    fn mark(&mut self, taken: &TakenAway, xattrs: OverlayXattrs) -> Result<(), UnpackError> {
        let name = match xattrs {
            OverlayXattrs::User => "user.overlay.opaque",
            OverlayXattrs::Trusted => "trusted.overlay.opaque",
        };
        let (view, lower) = (self.view, self.lower);
        for path in &taken.whiteouts {
            match (lower.lookup(path), view.lookup(path)) {
                // There is nothing to hide, or it is hidden by what is there instead.
                (None, _) => {}
                (Some(_), Some(now)) if !now.is_directory() => {}
                (Some(_), Some(_)) => self.make_opaque(path, name)?,
                // A directory above that is whited out itself, or replaced, hides this too.
                (Some(_), None) if !parent_stands(view, path) => {}
                (Some(_), None) => {
                    let dir = self.parent_of(path)?;
                    whiteout(dir, last(path)).map_err(io("make the whiteout of", path))?;
                }
            }
        }
        for path in &taken.opaque {
            if lower.lookup(path).is_some() && view.lookup(path).is_some_and(Node::is_directory) {
                self.make_opaque(path, name)?;
            }
        }
        Ok(())
    }

    fn make_opaque(&mut self, path: &LayerPath, xattr: &str) -> Result<(), UnpackError> {
        self.make_dirs(path)?;
        let dir = self.dirs.open(path)?;
        let marked = match fs::fsetxattr(dir, xattr, b"y", XattrFlags::empty()) {
            // The disk is an overlay that keeps this attribute for itself.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                fs::fsetxattr(dir, "user.locus-push.opaque", b"y", XattrFlags::empty())
            }
            marked => marked,
        };
        marked.map_err(io("mark as opaque", path))
    }

    /// Removes what the view no longer shows, or shows as something else, deepest first.
    fn remove_what_is_gone(&mut self) -> Result<(), UnpackError> {
        let view = self.view;
        let ours: BTreeSet<_> = view.of_last_layer().map(|(path, _)| path).collect();
        let was: Vec<_> = self.lower.all().filter(|(path, _)| !path.is_root()).collect();
        for (path, old) in was.into_iter().rev() {
            let stays = match view.lookup(path) {
                None => false,
                Some(new) => !ours.contains(path) || (new.is_directory() && old.is_directory()),
            };
            if stays {
                continue;
            }
            let flags = if old.is_directory() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let dir = self.parent_of(path)?;
            match fs::unlinkat(dir, last(path), flags) {
                // A device that could not be made.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(io("remove", path)(error)),
            }
            // What takes its place is another directory, or none.
            self.touched.remove(path);
            self.dirs.last = None;
        }
        Ok(())
    }

    /// The directory that a path is in, made if it was not there.
    fn parent_of(&mut self, path: &LayerPath) -> Result<&OwnedFd, UnpackError> {
        let parent = path.parent().unwrap_or_else(LayerPath::root);
        self.make_dirs(&parent)?;
        self.dirs.open(&parent)
    }

    /// Makes a directory and those above it, for us alone until the end.
    fn make_dirs(&mut self, path: &LayerPath) -> Result<(), UnpackError> {
        if self.touched.contains(path) {
            return Ok(());
        }
        let parent = path.parent().unwrap_or_else(LayerPath::root);
        self.make_dirs(&parent)?;
        let dir = self.dirs.open(&parent)?;
        match fs::mkdirat(dir, last(path), Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                fs::fchmod(self.dirs.open(path)?, Mode::from_raw_mode(0o700)).map_err(io("set the mode of", path))?;
            }
            Err(error) => return Err(io("make", path)(error)),
        }
        self.touched.insert(path.clone());
        Ok(())
    }

    /// Owners, modes and times of directories come last: making something in one changes its time, and needs its mode.
    fn finish_directories(&mut self) -> Result<(), UnpackError> {
        let view = self.view;
        for path in std::mem::take(&mut self.touched).into_iter().rev() {
            // A directory that only leads to a whiteout is the lower one's double.
            let Some(node) = view.lookup(&path) else { continue };
            let dir = beneath::open(&self.dirs.root, &path, OFlags::RDONLY | OFlags::DIRECTORY);
            self.dress(&path, node, dir.map_err(io_("open", &path))?)?;
        }
        Ok(())
    }

    /// Owner, mode, attributes and time, in the order in which none undoes another: chown takes set-id bits and
    /// capabilities away.
    fn dress(&mut self, path: &LayerPath, node: &Node, fd: impl AsFd) -> Result<(), UnpackError> {
        match self.owners {
            Some(Owners::Real) => {
                let (uid, gid) = owner_of(node);
                fs::fchown(&fd, uid, gid).map_err(io("give an owner to", path))?;
            }
            Some(Owners::Recorded) => record(&fd, node).map_err(io("record the owner of", path))?,
            None => {}
        }
        fs::fchmod(&fd, mode(node.mode)).map_err(io("set the mode of", path))?;
        for (name, value) in &node.xattrs {
            // What only we may write, a layer cannot bring.
            if self.owners == Some(Owners::Recorded) && name == Record::Plain.name() {
                self.left_out.xattrs_left_out.push((path.clone(), name.clone()));
                continue;
            }
            match fs::fsetxattr(&fd, name.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // Without owners there is no root to have capabilities either.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) if may_be_left_out(name, self.owners) => {
                    self.left_out.xattrs_left_out.push((path.clone(), name.clone()));
                }
                Err(error) => return Err(io("set an extended attribute of", path)(error)),
            }
        }
        fs::futimens(&fd, &times(node)).map_err(io("set the time of", path))
    }
}

/// A device 0:0, or where the disk is an overlay, which lets nobody make one, an empty file with a mark of ours: no
/// overlay will ever be mounted there, and we read both.
fn whiteout(dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match make_node(dir, name, FileType::CharacterDevice, Mode::empty(), fs::makedev(0, 0)) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = fs::openat(dir, name, flags, Mode::empty())?;
            fs::fsetxattr(&file, "user.locus-push.whiteout", b"y", XattrFlags::empty())
        }
        made => made,
    }
}

/// Everything but file capabilities, without which a program would not work.
fn may_be_left_out(xattr: &str, owners: Option<Owners>) -> bool {
    xattr != "security.capability" || owners.is_none()
}

fn parent_stands(view: &View, path: &LayerPath) -> bool {
    path.parent().is_some_and(|parent| view.lookup(&parent).is_some_and(Node::is_directory))
}

fn owner_of(node: &Node) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)))
}

/// Root's need no record. In a directory that was there before, an older one must go.
fn record(fd: impl AsFd, node: &Node) -> Result<(), Errno> {
    let owner = Owner { uid: node.uid, gid: node.gid };
    if owner != Owner::ROOT {
        return fs::fsetxattr(fd, Record::Plain.name(), &Record::Plain.write(owner), XattrFlags::empty());
    }
    match fs::fremovexattr(fd, Record::Plain.name()) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        removed => removed,
    }
}

/// The same for what we have just made, and what cannot be opened: a symlink, a FIFO, a device.
fn record_special(dir: &OwnedFd, path: &LayerPath, node: &Node) -> Result<(), Errno> {
    let owner = Owner { uid: node.uid, gid: node.gid };
    if owner == Owner::ROOT {
        return Ok(());
    }
    let handle = fs::openat(dir, last(path), WHERE | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fs::setxattr(name, Record::Special.name(), &Record::Special.write(owner), XattrFlags::empty())
}

fn times(node: &Node) -> Timestamps {
    let time = Timespec { tv_sec: node.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// The name in its directory; the root has `.`.
fn last(path: &LayerPath) -> &[u8] {
    path.name().unwrap_or(b".")
}

fn io<'a>(doing: &'static str, path: &'a LayerPath) -> impl FnOnce(Errno) -> UnpackError + 'a {
    move |source| io_(doing, path)(source.into())
}

fn io_<'a>(doing: &'static str, path: &'a LayerPath) -> impl FnOnce(io::Error) -> UnpackError + 'a {
    move |source| UnpackError::Io { doing, path: path.clone(), source }
}

fn open_dir(path: &Path) -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty()).map_err(|error| {
        let source = io::Error::new(io::Error::from(error).kind(), format!("cannot open {}: {error}", path.display()));
        UnpackError::Read(source)
    })
}

/// Directories of the layer's own; the one opened last stays open, since the next thing is mostly in it too.
struct Dirs {
    root: OwnedFd,
    last: Option<(LayerPath, OwnedFd)>,
}

impl Dirs {
    fn open(&mut self, path: &LayerPath) -> Result<&OwnedFd, UnpackError> {
        let last = match self.last.take() {
            Some((opened, fd)) if opened == *path => (opened, fd),
            _ => {
                let fd = beneath::open(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY);
                (path.clone(), fd.map_err(io_("open", path))?)
            }
        };
        Ok(&self.last.insert(last).1)
    }

    fn is_there(&self, path: &LayerPath) -> bool {
        beneath::open(&self.root, path, WHERE).is_ok()
    }
}

/// A tar that is read from its beginning to its end, and digested.
struct Verified<R> {
    tar: R,
    seen: HashingWriter<io::Sink>,
    at: u64,
}

impl<R: Read> Verified<R> {
    fn copy(&mut self, bytes: u64, out: &mut impl Write) -> io::Result<()> {
        let copied = self.pass(bytes, out)?;
        if copied < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn copy_rest(&mut self) -> io::Result<()> {
        self.pass(u64::MAX, &mut io::sink()).map(drop)
    }

    fn pass(&mut self, bytes: u64, out: &mut impl Write) -> io::Result<u64> {
        let mut buffer = [0; 64 << 10];
        let mut passed = 0;
        while passed < bytes {
            let wanted = buffer.len().min(usize::try_from(bytes - passed).unwrap_or(usize::MAX));
            let read = match self.tar.read(&mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.seen.write_all(&buffer[..read])?;
            out.write_all(&buffer[..read])?;
            passed += read as u64;
        }
        self.at += passed;
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::layer::testing::{Tar, path, tar, words};
    use crate::layer::{index, read_upper};

    /// Layers, the bottom one first, each unpacked into a folder of its own as this user can.
    struct Stack {
        home: tempfile::TempDir,
        dirs: Vec<PathBuf>,
        view: View,
    }

    impl Stack {
        fn new() -> Self {
            Self { home: tempfile::tempdir().unwrap(), dirs: Vec::new(), view: View::default() }
        }

        fn lay(mut self, layer: Tar) -> Self {
            self.try_lay(layer, Whiteouts::Overlay(OverlayXattrs::User)).unwrap();
            self
        }

        fn try_lay(&mut self, layer: Tar, whiteouts: Whiteouts) -> Result<Unpacked, UnpackError> {
            let bytes = layer.end();
            let index = index(&bytes[..]).unwrap();
            let name = if whiteouts == Whiteouts::Remove { 0 } else { self.dirs.len() };
            let into = self.home.path().join(name.to_string());
            std::fs::create_dir_all(&into).unwrap();
            let unpacked = unpack(
                &index,
                &bytes[..],
                &self.view,
                &self.dirs,
                &into,
                whiteouts,
                is_root().then_some(Owners::Real),
            )?;
            self.view.apply(&index)?;
            self.dirs.push(into);
            Ok(unpacked)
        }

        fn top(&self) -> &Path {
            self.dirs.last().unwrap()
        }

        /// What `find` would say of the topmost layer.
        fn listing(&self) -> String {
            let mut list = Vec::new();
            walk(self.top(), self.top(), &mut list);
            list.sort();
            list.join(" ")
        }
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    fn walk(root: &Path, dir: &Path, list: &mut Vec<String>) {
        for child in std::fs::read_dir(dir).unwrap() {
            let path = child.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display();
            let kind = meta.file_type();
            let opaque = |path: &Path| fs::lgetxattr(path, "user.overlay.opaque", &mut [0; 8][..]).is_ok();
            list.push(match () {
                () if kind.is_dir() && opaque(&path) => format!("{name}/!"),
                () if kind.is_dir() => format!("{name}/"),
                () if kind.is_symlink() => format!("{name}>{}", std::fs::read_link(&path).unwrap().display()),
                () if kind.is_char_device() && meta.rdev() == 0 => format!("-{name}"),
                () if kind.is_file() => format!("{name}:{}", std::fs::read_to_string(&path).unwrap()),
                () => format!("{name}?"),
            });
            if kind.is_dir() {
                walk(root, &path, list);
            }
        }
    }

    #[track_caller]
    fn check(layers: impl IntoIterator<Item = Tar>, top: &str) {
        assert_eq!(layers.into_iter().fold(Stack::new(), Stack::lay).listing(), top);
    }

    #[test]
    fn a_layer_is_unpacked_by_itself() {
        check([tar().dir("d").file("d/f", b"1").symlink("l", "d/f")], "d/ d/f:1 l>d/f");
        check([tar().file("a", b"1"), tar().file("b", b"2")], "b:2");
    }

    #[test]
    fn whiteouts_become_the_marks_of_an_overlay() {
        let lower = || tar().file("a", b"1").file("d/x", b"1").file("d/y", b"1");
        check([lower(), tar().file(".wh.a", b"").file("d/.wh.x", b"")], "-a -d/x d/");
        check([lower(), tar().dir("d").file("d/z", b"2").file("d/.wh..wh..opq", b"")], "d/! d/z:2");
        check([lower(), tar().file(".wh.none", b"").file("no/.wh.x", b"")], "");
    }

    #[test]
    fn what_is_removed_and_made_again_hides_what_was_there() {
        let lower = || tar().file("d/x", b"1");
        check([lower(), tar().file(".wh.d", b"").file("d/y", b"2")], "d/! d/y:2");
        check([lower(), tar().file("d/y", b"2").file(".wh.d", b"")], "d/! d/y:2");
        check([lower(), tar().file(".wh.d", b"").file("d", b"2")], "d:2");
        check([lower(), tar().file(".wh.d", b"").file("d/.wh.x", b"")], "-d");
    }

    #[test]
    fn no_symlink_leads_out_of_the_layer() {
        let outside = tempfile::tempdir().unwrap();
        let host = outside.path().to_str().unwrap();
        let inside = &host[1..];
        std::fs::set_permissions(host, PermissionsExt::from_mode(0o751)).unwrap();
        let stack = Stack::new()
            .lay(tar().symlink("d", host).symlink("e", host))
            // A file behind a lower layer's symlink, and a directory in place of one (RUSTSEC-2026-0067).
            .lay(tar().file("d/x", b"2").dir("e").file("e/y", b"2"));
        assert_eq!(std::fs::read_dir(host).unwrap().count(), 0);
        assert_eq!(std::fs::metadata(host).unwrap().mode() & 0o7777, 0o751);
        assert_eq!(std::fs::read(stack.top().join(inside).join("x")).unwrap(), b"2");
        assert_eq!(std::fs::read(stack.top().join("e/y")).unwrap(), b"2");
        // The same within one layer.
        let stack = Stack::new().lay(tar().symlink("d", host).file("d/x", b"1"));
        assert_eq!(std::fs::read_dir(host).unwrap().count(), 0);
        assert_eq!(std::fs::read(stack.top().join(inside).join("x")).unwrap(), b"1");
    }

    #[test]
    fn parents_that_a_layer_takes_for_granted_are_those_below() {
        let dir = crate::layer::ustar::Header { mode: 0o1750, ..Tar::header(b'5', "a", "", 0) };
        let stack = Stack::new().lay(tar().patched(&dir, 0, b"a", b"")).lay(tar().file("a/b/c", b"1"));
        let mode = |path: &str| std::fs::metadata(stack.top().join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b"), mode("a/b/c")), (0o1750, 0o755, 0o644));
        assert_eq!(std::fs::metadata(stack.top().join("a")).unwrap().mtime(), 7);
    }

    #[test]
    fn names_of_one_file_are_one_file_across_layers_too() {
        let lower = || tar().file("d/a", b"1").hard_link("d/b", "d/a");
        let stack = Stack::new().lay(lower());
        let inode = |stack: &Stack, name: &str| std::fs::metadata(stack.top().join(name)).unwrap().ino();
        assert_eq!(inode(&stack, "d/a"), inode(&stack, "d/b"));
        let stack = stack.lay(tar().file("other", b"")).lay(tar().file("d/a", b"22").hard_link("c", "d/b"));
        assert_eq!(stack.listing(), "c:1 d/ d/a:22 d/b:1");
        assert_eq!(inode(&stack, "c"), inode(&stack, "d/b"));
        assert_eq!(std::fs::metadata(stack.top().join("c")).unwrap().mtime(), 7);
    }

    #[test]
    fn modes_and_times_do_not_depend_on_the_umask() {
        let set_id = crate::layer::ustar::Header { mode: 0o6777, ..Tar::header(b'0', "s", "", 0) };
        let pipe = crate::layer::ustar::Header { mode: 0o666, ..Tar::header(b'6', "p", "", 0) };
        let stack =
            Stack::new().lay(tar().patched(&set_id, 0, b"s", b"").patched(&pipe, 0, b"p", b"").symlink("l", "s"));
        let meta = |name: &str| std::fs::symlink_metadata(stack.top().join(name)).unwrap();
        assert_eq!((meta("s").mode() & 0o7777, meta("p").mode() & 0o7777), (0o6777, 0o666));
        assert_eq!((meta("s").mtime(), meta("p").mtime(), meta("l").mtime()), (7, 7, 7));
    }

    #[test]
    fn owners_and_capabilities_are_set_by_root() {
        if !is_root() {
            return;
        }
        let file = crate::layer::ustar::Header { uid: 123, gid: 456, mode: 0o4755, ..Tar::header(b'0', "f", "", 0) };
        let bytes = "\u{1}\0\0\u{2}\0\u{4}\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let records = [("SCHILY.xattr.security.capability", bytes), ("SCHILY.xattr.user.a", "b")];
        let stack = Stack::new().lay(tar().pax(b'x', &records).patched(&file, 0, b"f", b""));
        let at = stack.top().join("f");
        let meta = std::fs::metadata(&at).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (123, 456, 0o4755));
        let mut value = [0; 64];
        let length = fs::getxattr(&at, "security.capability", &mut value[..]).unwrap();
        assert_eq!(&value[..length], bytes.as_bytes());
    }

    #[test]
    fn a_tar_of_another_digest_is_refused() {
        let layer = index(&tar().file("f", b"1").end()[..]).unwrap();
        for other in [tar().file("f", b"2").end(), tar().file("f", b"1").bytes(&[0; 512]).end()] {
            let into = tempfile::tempdir().unwrap();
            let whiteouts = Whiteouts::Overlay(OverlayXattrs::User);
            let error = unpack(&layer, &other[..], &View::default(), &[], into.path(), whiteouts, None).unwrap_err();
            assert!(matches!(error, UnpackError::Mismatch { .. }), "{error}");
        }
    }

    #[test]
    fn without_an_overlay_what_is_whited_out_is_removed() {
        let mut stack = Stack::new();
        for layer in [
            tar()
                .file("a", b"1")
                .file("d/x", b"1")
                .file("d/y", b"1")
                .file("e/f", b"1")
                .symlink("l", "a")
                .file("h", b"1"),
            tar()
                .file(".wh.a", b"")
                .file("d/.wh.x", b"")
                .file("e", b"2")
                .dir("l")
                .file("l/z", b"2")
                .hard_link("i", "h"),
        ] {
            stack.try_lay(layer, Whiteouts::Remove).unwrap();
        }
        assert_eq!(stack.listing(), "d/ d/y:1 e:2 h:1 i:1 l/ l/z:2");
    }

    /// Only root can ask the kernel itself, and not in every container.
    fn mounted(stack: &Stack, script: &str) -> Option<String> {
        let lower: Vec<_> = stack.dirs.iter().rev().map(|dir| dir.to_str().unwrap()).collect();
        let (at, empty) = (stack.home.path().join("mounted"), stack.home.path().join("empty"));
        std::fs::create_dir_all(&at).unwrap();
        std::fs::create_dir_all(&empty).unwrap();
        // A mount that cannot be written to wants two layers at least.
        let options = format!("userxattr,lowerdir={}:{}", lower.join(":"), empty.display());
        let mount = r#"mount -t overlay -o "$1" none "$2" || exit 99; cd "$2" && eval "$3""#;
        let mut shell = std::process::Command::new("unshare");
        shell.args(["-m", "sh", "-c", mount, "sh", &options]).arg(&at).arg(script);
        let output = shell.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn the_kernel_shows_what_the_view_shows() {
        let layers = [
            tar().dir("d").file("d/x", b"1").file("d/y", b"1").file("gone", b"1").dir("o").file("o/old", b"1"),
            tar().file("d/.wh.x", b"").file(".wh.gone", b"").file("o/.wh..wh..opq", b"").file("o/new", b"2"),
            tar().file(".wh.d", b"").file("d/z", b"3").symlink("l", "o").file("gone", b"3").file("o/deep/f", b"3"),
            tar().file("l/via", b"4").dir("o/deep").hard_link("h", "o/new").dir("gone").file("gone/f", b"4"),
        ];
        let mut stack = Stack::new();
        for layer in layers {
            stack = stack.lay(layer);
            let expected: Vec<_> = stack.view.all().map(|(path, _)| format!(".{path}")).collect();
            let Some(found) = mounted(&stack, "find . | LC_ALL=C sort") else { return };
            let mut found: Vec<_> = found.lines().map(|line| if line == "." { "./" } else { line }).collect();
            found.sort();
            assert_eq!(found, {
                let mut sorted = expected;
                sorted.sort();
                sorted
            });
        }
        assert_eq!(mounted(&stack, "cat h d/z o/via gone/f o/deep/f").unwrap(), "23443");
    }

    #[test]
    fn what_an_overlay_holds_is_read_back_as_the_layer_that_made_it() {
        let lower = tar().dir("d").file("d/x", b"1").file("gone", b"1").dir("o").file("o/old", b"1");
        let upper = tar().file(".wh.gone", b"").dir("d").file("d/new", b"22").hard_link("d/other", "d/new");
        let upper = upper.dir("o").file("o/.wh..wh..opq", b"").symlink("l", "d").any(b'6', "pipe", "", b"");
        let stack = Stack::new().lay(lower);
        let below = stack.view.clone();
        let stack = stack.lay(upper.clone());
        let mut read = read_upper(stack.top(), &below, Owners::Real).unwrap();
        // Where it is not root that unpacks, the root has another owner.
        read.entries.remove(&LayerPath::root());
        let indexed = index(&upper.end()[..]).unwrap().tree;
        assert_eq!(words(&indexed), "/d/ /d/new:2 /d/other=/d/new /l>d /o/ /pipe| -/gone !/o");
        assert_eq!(words(&read), words(&indexed));
    }

    #[test]
    fn recorded_owners_are_read_back_and_no_layer_brings_records_of_its_own() {
        let plain = Record::Plain.name().to_owned();
        let mut made = tar().dir("d").file("d/f", b"1").file("roots", b"");
        if is_root() {
            // File capabilities, which hold its record, are root's to set: here, or in a namespace.
            made = made.symlink("l", "d");
        }
        let bytes = made.end();
        let mut layer = index(&bytes[..]).unwrap();
        for (at, entry) in &mut layer.tree.entries {
            (entry.uid, entry.gid) = if *at == path("roots") { (0, 0) } else { (1000, 33) };
            if *at == path("roots") {
                entry.xattrs.insert(plain.clone(), b"5:6".to_vec());
            }
        }
        let into = tempfile::tempdir().unwrap();
        let (none, whiteouts) = (View::default(), Whiteouts::Overlay(OverlayXattrs::User));
        let unpacked = unpack(&layer, &bytes[..], &none, &[], into.path(), whiteouts, Some(Owners::Recorded)).unwrap();
        assert_eq!(unpacked.xattrs_left_out, [(path("roots"), plain)]);
        let mut read = read_upper(into.path(), &none, Owners::Recorded).unwrap();
        read.entries.remove(&LayerPath::root());
        assert_eq!(read.entries.len(), layer.tree.entries.len());
        for (at, entry) in &read.entries {
            let made = &layer.tree.entries[at];
            assert_eq!((entry.uid, entry.gid), (made.uid, made.gid), "{at}");
            assert!(entry.xattrs.is_empty(), "{at}: the record is no part of the file");
        }
    }

    #[test]
    fn an_unpacked_device_is_there_or_is_said_to_be_left_out() {
        let null = crate::layer::ustar::Header { major: 1, minor: 3, ..Tar::header(b'3', "null", "", 0) };
        let mut stack = Stack::new();
        let layer = tar().patched(&null, 0, b"n", b"");
        let unpacked = stack.try_lay(layer, Whiteouts::Overlay(OverlayXattrs::User)).unwrap();
        assert_eq!(unpacked.devices_left_out.contains(&path("null")), !stack.top().join("null").exists());
    }

    #[test]
    fn a_folder_that_is_a_symlink_inside_is_never_entered() {
        // As if something else had put a symlink where the layer has a directory.
        let outside = tempfile::tempdir().unwrap();
        let into = tempfile::tempdir().unwrap();
        symlink(outside.path(), into.path().join("d")).unwrap();
        let bytes = tar().file("d/x", b"1").end();
        let layer = index(&bytes[..]).unwrap();
        let whiteouts = Whiteouts::Overlay(OverlayXattrs::User);
        assert!(unpack(&layer, &bytes[..], &View::default(), &[], into.path(), whiteouts, None).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
