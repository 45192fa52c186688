//! What a step changed, from the upper directory of an overlay.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::below::{Below, Seen};
use super::host::{WHERE, bits, device};
use super::{Content, Entry, HostFile, Kind, LayerPath, PathError, Tree, beneath};
use crate::owners::{Owner, Owners, Record};

/// Why what a RUN left cannot be read as a layer.
#[derive(Debug, thiserror::Error)]
pub enum UpperError {
    #[error("cannot {doing} {path} in an overlay's upper directory: {source}")]
    Io { doing: &'static str, path: LayerPath, source: io::Error },
    #[error("{path} is only a part of what it shows: overlayfs was mounted with {with}, which must be off")]
    Partial { path: LayerPath, with: &'static str },
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Reads the upper directory of an overlay that lies over `lower`, with owners as this process sees them, or as they
/// are recorded.
///
/// A directory is listed when it or anything in it changed. Sockets are left out. Of extended attributes there are
/// file capabilities and `user.*`; the others (`security.selinux`, `system.posix_acl_*`, …) are of the machine.
pub fn read_upper(upper: &Path, lower: &impl Below, owners: Owners) -> Result<Tree<Content>, UpperError> {
    let root = fs::open(upper, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", &LayerPath::root()))?;
    let mut upper = Upper { root: Arc::new(root), lower, owners, tree: Tree::default(), names: BTreeMap::new() };
    let stat = fs::fstat(&upper.root).map_err(failed("look at", &LayerPath::root()))?;
    upper.directory(LayerPath::root(), &stat, true)?;
    Ok(upper.tree)
}

struct Upper<'a, B> {
    root: Arc<OwnedFd>,
    lower: &'a B,
    owners: Owners,
    tree: Tree<Content>,
    /// The first name of each file that has several, by device and inode.
    names: BTreeMap<(u64, u64), LayerPath>,
}

impl<B: Below> Upper<'_, B> {
    /// `merged`: whether the lower layers show through here. Tells whether anything in it or about it changed.
    fn directory(&mut self, path: LayerPath, stat: &Stat, merged: bool) -> Result<bool, UpperError> {
        let dir = self.open(&path, OFlags::DIRECTORY)?;
        let marks = Marks::read(&dir, &path, self.owners)?;
        let below = match if merged { self.lower.at(&path)? } else { None } {
            Some(Seen::Directory(below)) => Some(below),
            Some(Seen::Other) | None => None,
        };
        let opaque = marks.opaque;
        let merged = below.is_some() && !opaque;
        let entry = entry(Kind::Directory, stat, marks, self.owners);
        // The root is always there, and listed only for its own sake.
        let mut changed = below.as_ref().is_none_or(|below| !below.same_owner_and_mode(&entry));
        let listed_for_itself = changed;
        if opaque && below.is_some() {
            self.tree.opaque.insert(path.clone());
            changed = true;
        }
        for (name, stat) in children(&dir, &path)? {
            changed |= self.child(path.join(&name)?, &stat, merged)?;
        }
        if if path.is_root() { listed_for_itself } else { changed } {
            self.tree.entries.insert(path, entry);
        }
        Ok(changed)
    }

    fn child(&mut self, path: LayerPath, stat: &Stat, merged: bool) -> Result<bool, UpperError> {
        let (major, minor) = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return self.directory(path, stat, merged),
            FileType::CharacterDevice if (major, minor) == (0, 0) => return self.whiteout(path, merged),
            FileType::RegularFile => return self.file(path, stat, merged),
            FileType::Symlink => Kind::Symlink { target: self.target(&path)? },
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            // It is of no use without the process that listens on it.
            FileType::Socket | FileType::Unknown => return Ok(false),
        };
        let kind = self.first_name(&path, stat).map_or(kind, |to| Kind::HardLink { to });
        let marks = match self.owners {
            Owners::Real => Marks::default(),
            Owners::Recorded => Marks { owner: self.special_owner(&path)?, ..Marks::default() },
        };
        self.tree.entries.insert(path, entry(kind, stat, marks, self.owners));
        Ok(true)
    }

    fn file(&mut self, path: LayerPath, stat: &Stat, merged: bool) -> Result<bool, UpperError> {
        let marks = Marks::read(&self.open(&path, OFlags::NONBLOCK | OFlags::NOCTTY)?, &path, self.owners)?;
        if marks.whiteout && stat.st_size == 0 {
            return self.whiteout(path, merged);
        }
        let content = Content::Host(HostFile { root: Arc::clone(&self.root), path: path.clone(), seen: None });
        // A size is never negative.
        let kind = Kind::File { size: stat.st_size.cast_unsigned(), content };
        let kind = self.first_name(&path, stat).map_or(kind, |to| Kind::HardLink { to });
        self.tree.entries.insert(path, entry(kind, stat, marks, self.owners));
        Ok(true)
    }

    /// What the lower layers do not have need not be hidden: a file that was made and removed by the same step.
    fn whiteout(&mut self, path: LayerPath, merged: bool) -> Result<bool, UpperError> {
        let hides = merged && self.lower.at(&path)?.is_some();
        if hides {
            self.tree.whiteouts.insert(path);
        }
        Ok(hides)
    }

    /// The name under which this file was listed before.
    fn first_name(&mut self, path: &LayerPath, stat: &Stat) -> Option<LayerPath> {
        if stat.st_nlink < 2 {
            return None;
        }
        let first = self.names.entry((device(stat), stat.st_ino)).or_insert_with(|| path.clone());
        (first != path).then(|| first.clone())
    }

    fn target(&self, path: &LayerPath) -> Result<Vec<u8>, UpperError> {
        let link = beneath::open(&self.root, path, WHERE).map_err(io_failed("open", path))?;
        // An O_PATH descriptor of a symlink is read with an empty name.
        let target = fs::readlinkat(link, "", Vec::new()).map_err(failed("read the symlink", path))?;
        Ok(target.into_bytes())
    }

    /// The recorded owner of what cannot be opened.
    fn special_owner(&self, path: &LayerPath) -> Result<Option<Owner>, UpperError> {
        let handle = beneath::open(&self.root, path, WHERE).map_err(io_failed("open", path))?;
        let mut value = [0; 64];
        match fs::getxattr(format!("/proc/self/fd/{}", handle.as_raw_fd()), Record::Special.name(), &mut value[..]) {
            Ok(length) => Ok(Record::Special.read(&value[..length])),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(failed("read the recorded owner of", path)(error)),
        }
    }

    fn open(&self, path: &LayerPath, flags: OFlags) -> Result<OwnedFd, UpperError> {
        beneath::open(&self.root, path, OFlags::RDONLY | flags).map_err(io_failed("open", path))
    }
}

/// Whose extended attributes are marks, and no part of a file: overlayfs's, and ours for a disk that is an overlay
/// itself and keeps those for its own.
const MARKS: [&str; 3] = ["user.overlay.", "trusted.overlay.", "user.locus-push."];

/// Extended attributes: those that overlayfs leaves for itself, the record of an owner, and those that are part of the
/// file.
#[derive(Default)]
pub(super) struct Marks {
    pub opaque: bool,
    pub whiteout: bool,
    /// Where owners are recorded.
    pub owner: Option<Owner>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Marks {
    pub fn read(file: impl AsFd, path: &LayerPath, owners: Owners) -> Result<Self, UpperError> {
        let mut marks = Self::default();
        for name in xattr_names(&file).map_err(failed("list the extended attributes of", path))? {
            let overlay = MARKS.iter().find_map(|prefix| name.strip_prefix(prefix));
            let value = || xattr(&file, &name).map_err(failed("read an extended attribute of", path));
            let partial = |with| UpperError::Partial { path: path.clone(), with };
            match (overlay, name.as_str()) {
                (_, ours) if owners == Owners::Recorded && ours == Record::Plain.name() => {
                    marks.owner = Record::Plain.read(&value()?);
                }
                (Some("opaque"), _) => marks.opaque = value()? == b"y",
                (Some("whiteout"), _) => marks.whiteout = true,
                (Some("redirect"), _) => return Err(partial("redirect_dir")),
                (Some("metacopy"), _) => return Err(partial("metacopy")),
                // Where a file was copied up from, how many names it had: for overlayfs only.
                (Some(_), _) => {}
                (None, "security.capability") => _ = marks.xattrs.insert(name.clone(), capability(value()?)),
                (None, user) if user.starts_with("user.") => _ = marks.xattrs.insert(name.clone(), value()?),
                (None, _) => {}
            }
        }
        Ok(marks)
    }
}

/// Capabilities that hold for one user namespace (version 3, with the id of its root at the end) as those that hold
/// where the layer is unpacked (version 2): <https://man7.org/linux/man-pages/man7/capabilities.7.html>.
fn capability(mut value: Vec<u8>) -> Vec<u8> {
    const VERSION_3_LENGTH: usize = 24;
    const VERSION_2_LENGTH: usize = 20;
    if value.len() == VERSION_3_LENGTH && value[3] == 3 {
        value.truncate(VERSION_2_LENGTH);
        value[3] = 2;
    }
    value
}

/// Names that are not text are of nothing that we keep.
fn xattr_names(file: &impl AsFd) -> Result<Vec<String>, Errno> {
    // As large as Linux lets the list be.
    let mut list = vec![0; 65_536];
    let length = match fs::flistxattr(file, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| str::from_utf8(name).ok().map(str::to_owned)).collect())
}

fn xattr(file: &impl AsFd, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 65_536];
    let length = fs::fgetxattr(file, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// What is in a directory, sorted by name.
fn children(dir: &OwnedFd, path: &LayerPath) -> Result<BTreeMap<Vec<u8>, Stat>, UpperError> {
    let mut children = BTreeMap::new();
    for child in Dir::read_from(dir).map_err(failed("list", path))? {
        let name = child.map_err(failed("list", path))?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            let stat = fs::statat(dir, &name[..], AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look into", path))?;
            children.insert(name, stat);
        }
    }
    Ok(children)
}

pub(super) fn entry<C>(kind: Kind<C>, stat: &Stat, marks: Marks, owners: Owners) -> Entry<C> {
    let Owner { uid, gid } = match owners {
        Owners::Real => Owner { uid: stat.st_uid, gid: stat.st_gid },
        Owners::Recorded => marks.owner.unwrap_or(Owner::ROOT),
    };
    Entry { kind, mode: bits(stat) & 0o7777, uid, gid, mtime: stat.st_mtime, xattrs: marks.xattrs }
}

pub(super) fn failed<'a>(doing: &'static str, path: &'a LayerPath) -> impl FnOnce(Errno) -> UpperError + 'a {
    move |source| io_failed(doing, path)(source.into())
}

pub(super) fn io_failed<'a>(doing: &'static str, path: &'a LayerPath) -> impl FnOnce(io::Error) -> UpperError + 'a {
    move |source| UpperError::Io { doing, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use rustix::fs::XattrFlags;

    use super::*;
    use crate::layer::testing::{path, tar, words};
    use crate::layer::{Times, View, index, write_layer};

    struct Dir {
        dir: tempfile::TempDir,
    }

    impl Dir {
        /// An empty upper directory with the mode of the root below.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
            Self { dir }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn make_dir(&self, name: &str, mode: u32) {
            std::fs::create_dir(self.at(name)).unwrap();
            std::fs::set_permissions(self.at(name), PermissionsExt::from_mode(mode)).unwrap();
        }

        fn whiteout(&self, name: &str) {
            let device = FileType::CharacterDevice;
            fs::mknodat(fs::CWD, self.at(name), device, Mode::empty(), fs::makedev(0, 0)).unwrap();
        }

        fn mark(&self, name: &str, xattr: &str, value: &[u8]) {
            fs::setxattr(self.at(name), xattr, value, XattrFlags::empty()).unwrap();
        }

        fn read(&self, lower: &View) -> Result<Tree<Content>, UpperError> {
            read_upper(self.dir.path(), lower, Owners::Real)
        }

        fn words(&self, lower: &View) -> String {
            words(&self.read(lower).unwrap())
        }
    }

    /// `d/`, `d/e/`, `d/f`, `f`, of whoever runs the tests.
    fn lower() -> View {
        let tar = tar().dir("d").dir("d/e").file("d/f", b"1").file("f", b"1").end();
        let mut layer = index(&tar[..]).unwrap();
        for entry in layer.tree.entries.values_mut() {
            (entry.uid, entry.gid) = ids();
        }
        let root = Entry { uid: ids().0, gid: ids().1, ..Entry::directory(0o755) };
        layer.tree.entries.insert(LayerPath::root(), root);
        let mut view = View::default();
        view.apply(&layer).unwrap();
        view
    }

    fn ids() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[test]
    fn a_directory_that_was_only_touched_is_no_change() {
        let upper = Dir::new();
        upper.make_dir("d", 0o755);
        upper.make_dir("d/e", 0o755);
        assert!(upper.read(&lower()).unwrap().is_empty());
        std::fs::write(upper.at("d/e/x"), "").unwrap();
        assert_eq!(upper.words(&lower()), "/d/ /d/e/ /d/e/x:0", "parents of what changed are listed");
    }

    #[test]
    fn a_directory_whose_mode_changed_or_that_is_new_is_a_change() {
        let upper = Dir::new();
        upper.make_dir("d", 0o700);
        upper.make_dir("d/e", 0o755);
        assert_eq!(upper.words(&lower()), "/d/");
        upper.make_dir("new", 0o755);
        assert_eq!(upper.words(&lower()), "/d/ /new/");
        std::fs::set_permissions(upper.dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
        assert_eq!(upper.words(&lower()), "// /d/ /new/", "the root too");
    }

    #[test]
    fn only_what_is_below_is_whited_out() {
        let upper = Dir::new();
        upper.make_dir("d", 0o755);
        for name in ["f", "d/f", "made-and-removed", "d/none"] {
            upper.whiteout(name);
        }
        assert_eq!(upper.words(&lower()), "/d/ -/d/f -/f");
    }

    #[test]
    fn an_opaque_directory_hides_what_is_below() {
        for xattr in ["user.overlay.opaque", "trusted.overlay.opaque"] {
            if xattr.starts_with("trusted") && ids().0 != 0 {
                continue;
            }
            let upper = Dir::new();
            upper.make_dir("d", 0o755);
            upper.make_dir("new", 0o755);
            upper.mark("d", xattr, b"y");
            upper.mark("new", xattr, b"y");
            upper.whiteout("d/f");
            upper.make_dir("d/e", 0o755);
            assert_eq!(upper.words(&lower()), "/d/ /d/e/ /new/ !/d");
        }
    }

    #[test]
    fn a_file_in_place_of_a_directory_and_the_other_way_round() {
        let upper = Dir::new();
        std::fs::write(upper.at("d"), "file").unwrap();
        upper.make_dir("f", 0o755);
        upper.mark("f", "user.overlay.opaque", b"y");
        std::fs::write(upper.at("f/x"), "").unwrap();
        assert_eq!(upper.words(&lower()), "/d:4 /f/ /f/x:0");
    }

    #[test]
    fn what_is_no_part_of_a_file_is_left_out() {
        let upper = Dir::new();
        std::fs::write(upper.at("a"), "x").unwrap();
        upper.mark("a", "user.overlay.origin", b"o");
        upper.mark("a", "user.kept", b"k");
        let _listener = std::os::unix::net::UnixListener::bind(upper.at("socket")).unwrap();
        let tree = upper.read(&lower()).unwrap();
        assert_eq!(tree.entries[&path("a")].xattrs, [("user.kept".to_owned(), b"k".to_vec())].into());
        assert_eq!(words(&tree), "/a:1");
    }

    #[test]
    fn a_part_of_a_file_is_not_taken_for_the_file() {
        for (xattr, with) in [("user.overlay.metacopy", "metacopy"), ("user.overlay.redirect", "redirect_dir")] {
            let upper = Dir::new();
            std::fs::write(upper.at("a"), "").unwrap();
            upper.mark("a", xattr, b"/f");
            assert!(matches!(upper.read(&lower()), Err(UpperError::Partial { with: found, .. }) if found == with));
        }
    }

    #[test]
    fn capabilities_lose_the_namespace_that_they_were_given_in() {
        let version_3 = [1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0x86, 1, 0];
        let version_2 = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(capability(version_3.to_vec()), version_2);
        assert_eq!(capability(version_2.to_vec()), version_2);
    }

    #[test]
    fn what_was_read_can_be_written_and_read_again() {
        let upper = Dir::new();
        std::fs::write(upper.at("b"), "bytes").unwrap();
        std::fs::hard_link(upper.at("b"), upper.at("a")).unwrap();
        symlink("nowhere", upper.at("l")).unwrap();
        upper.whiteout("f");
        let mut tar = Vec::new();
        let none = |_: &crate::image::Digest| Err(io::ErrorKind::NotFound.into());
        write_layer(&upper.read(&lower()).unwrap(), Times::default(), &none, &mut tar).unwrap();
        assert_eq!(words(&index(&tar[..]).unwrap().tree), "/a:5 /b=/a /l>nowhere -/f");
        assert!(tar.windows(5).any(|window| window == b"bytes"));
    }
}
