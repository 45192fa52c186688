//! A tree into a folder of the user's, which may hold things already: `build -o type=local`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::host::{WHERE, make_node, mode};
use super::write::Tars;
use super::{Content, Entry, Kind, LayerPath, OpenTar, Tree, beneath};

/// What is in the image and was not written, because it would have meaning on the machine that is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub devices_left_out: usize,
    /// Files that are set-uid or set-gid in the image and belong to whoever writes them here.
    pub set_ids_dropped: usize,
}

/// Why an image's files were not all written to a folder.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot make the folder {folder}: {source}")]
    Folder { folder: String, source: io::Error },
    #[error("{path} is a directory in the folder that is written to, and none in the image")]
    DirectoryInTheWay { path: LayerPath },
    #[error("cannot {doing} {path} in the folder that is written to: {source}")]
    Io { doing: &'static str, path: LayerPath, source: io::Error },
}

/// Writes all of a tree below `into`, which is made if it is not there. What is there under the same name is replaced,
/// but for a directory that is in the way; what has other names stays. Everything belongs to the caller. No symlink is
/// followed, neither the image's nor one that lay there: what is a directory in the tree becomes one.
pub fn export(tree: &Tree<Content>, open: &OpenTar<'_>, into: &Path) -> Result<Exported, ExportError> {
    let folder = |source| ExportError::Folder { folder: into.display().to_string(), source };
    std::fs::create_dir_all(into).map_err(folder)?;
    let root = fs::open(into, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| folder(error.into()))?;
    let mut exporting = Exporting { root, tars: Tars::new(open), exported: Exported::default() };
    // A directory comes before what is in it, and its mode and time after.
    for (path, entry) in tree.entries.iter().filter(|(path, _)| !path.is_root()) {
        exporting.entry(path, entry).map_err(|error| error.at(path))?;
    }
    for (path, entry) in tree.entries.iter().rev().filter(|(path, entry)| entry.is_directory() && !path.is_root()) {
        let directory = beneath::open(&exporting.root, path, OFlags::RDONLY | OFlags::DIRECTORY);
        let dressed = directory.map_err(Stopped::Io).and_then(|fd| exporting.dress(entry, &fd));
        dressed.map_err(|error| error.at(path))?;
    }
    Ok(exporting.exported)
}

struct Exporting<'a> {
    root: OwnedFd,
    tars: Tars<'a>,
    exported: Exported,
}

/// Why an entry was not written; which one, its caller knows.
enum Stopped {
    Io(io::Error),
    DirectoryInTheWay,
}

impl Exporting<'_> {
    fn entry(&mut self, path: &LayerPath, entry: &Entry<Content>) -> Result<(), Stopped> {
        let parent = path.parent().unwrap_or_else(LayerPath::root);
        let parent = beneath::open(&self.root, &parent, WHERE | OFlags::DIRECTORY)?;
        let name = path.name().unwrap_or(b".");
        match &entry.kind {
            Kind::Directory => make_directory(&parent, name),
            Kind::File { size, content } => {
                let temp = temporary(name);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(&parent, &temp, flags, Mode::from_raw_mode(0o600))?;
                let written = self.fill(file, entry, *size, content);
                put(&parent, &temp, name, written)
            }
            Kind::Symlink { target } => {
                let temp = temporary(name);
                let made = fs::symlinkat(&target[..], &parent, &temp).map_err(Stopped::from);
                let made = made.and_then(|()| {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    Ok(fs::utimensat(&parent, &temp, &times(entry.mtime), flags)?)
                });
                put(&parent, &temp, name, made)
            }
            Kind::HardLink { to } => {
                let temp = temporary(name);
                let from = beneath::open(&self.root, &to.parent().unwrap_or_else(LayerPath::root), WHERE)?;
                let to = to.name().unwrap_or(b".");
                let made = fs::linkat(&from, to, &parent, &temp, AtFlags::empty()).map_err(Stopped::from);
                put(&parent, &temp, name, made)
            }
            Kind::Fifo => {
                let temp = temporary(name);
                let mode = mode(entry.mode & 0o777);
                let made = make_node(&parent, &temp, FileType::Fifo, mode, 0).map_err(Stopped::from);
                put(&parent, &temp, name, made)
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                self.exported.devices_left_out += 1;
                Ok(())
            }
        }
    }

    fn fill(&mut self, file: OwnedFd, entry: &Entry<Content>, size: u64, content: &Content) -> Result<(), Stopped> {
        let mut file = File::from(file);
        let copied = match content {
            Content::Bytes(bytes) => io::copy(&mut &bytes[..], &mut file)?,
            Content::Host(host) => io::copy(&mut host.open()?.take(size), &mut file)?,
            Content::InTar(at) => io::copy(&mut at.reader(self.tars.open(&at.diff_id)?, size), &mut file)?,
        };
        if copied != size {
            return Err(Stopped::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.dress(entry, &OwnedFd::from(file))
    }

    fn dress(&mut self, entry: &Entry<Content>, fd: &OwnedFd) -> Result<(), Stopped> {
        if !entry.is_directory() && entry.mode & 0o6000 != 0 {
            self.exported.set_ids_dropped += 1;
        }
        fs::fchmod(fd, mode(entry.mode & 0o1777))?;
        Ok(fs::futimens(fd, &times(entry.mtime))?)
    }
}

fn make_directory(parent: &OwnedFd, name: &[u8]) -> Result<(), Stopped> {
    let mode = Mode::from_raw_mode(0o700);
    match fs::mkdirat(parent, name, mode) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            if is_directory(parent, name)? {
                // It may be one that we could not write to: its own mode comes at the end.
                return Ok(fs::chmodat(parent, name, mode, AtFlags::empty())?);
            }
            fs::unlinkat(parent, name, AtFlags::empty())?;
            Ok(fs::mkdirat(parent, name, mode)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives a thing that was made its name; one that was not made whole goes.
fn put(parent: &OwnedFd, temp: &[u8], name: &[u8], made: Result<(), Stopped>) -> Result<(), Stopped> {
    let put = made.and_then(|()| match fs::renameat(parent, temp, parent, name) {
        Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => Err(Stopped::DirectoryInTheWay),
        renamed => Ok(renamed?),
    });
    // It is gone where it got its name; of two names of one file, rename leaves both.
    let _ = fs::unlinkat(parent, temp, AtFlags::empty());
    put
}

/// A name beside, never longer than a name may be.
fn temporary(name: &[u8]) -> Vec<u8> {
    let keep = name.len().min(200);
    [b".", &name[..keep], format!(".{}.locus-push", std::process::id()).as_bytes()].concat()
}

fn is_directory(parent: &OwnedFd, name: &[u8]) -> Result<bool, Stopped> {
    let stat = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_dir())
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

impl Stopped {
    fn at(self, path: &LayerPath) -> ExportError {
        let path = path.clone();
        match self {
            Self::Io(source) => ExportError::Io { doing: "write", path, source },
            Self::DirectoryInTheWay => ExportError::DirectoryInTheWay { path },
        }
    }
}

impl From<Errno> for Stopped {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::layer::testing::path;

    fn file(text: &str, mode: u32) -> Entry<Content> {
        let content = Content::Bytes(text.as_bytes().into());
        Entry { mtime: 86_400, ..Entry::new(Kind::File { size: text.len() as u64, content }, mode) }
    }

    fn tree<const N: usize>(entries: [(&str, Entry<Content>); N]) -> Tree<Content> {
        Tree { entries: entries.map(|(name, entry)| (path(name), entry)).into(), ..Tree::default() }
    }

    fn write(tree: &Tree<Content>, into: &Path) -> Result<Exported, ExportError> {
        export(tree, &|_| Err(io::ErrorKind::NotFound.into()), into)
    }

    #[test]
    fn all_kinds_are_written_with_mode_and_time_and_without_set_ids() {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("new/out");
        let tree = tree([
            ("d", Entry { mtime: 86_400, ..Entry::directory(0o555) }),
            ("d/f", file("text", 0o640)),
            ("d/su", file("su", 0o4755)),
            ("d/same", Entry::new(Kind::HardLink { to: path("d/f") }, 0o640)),
            ("l", Entry::new(Kind::Symlink { target: b"/etc/passwd".to_vec() }, 0o777)),
            ("null", Entry::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666)),
            ("pipe", Entry::new(Kind::Fifo, 0o600)),
        ]);
        let exported = Exported { devices_left_out: 1, set_ids_dropped: 1 };
        // A second time over the first, read-only directory included.
        for _ in 0..2 {
            assert_eq!(write(&tree, &into).unwrap(), exported);
        }
        let meta = |name: &str| std::fs::symlink_metadata(into.join(name)).unwrap();
        assert_eq!((meta("d").permissions().mode() & 0o7777, meta("d").mtime()), (0o555, 86_400));
        assert_eq!((meta("d/f").permissions().mode() & 0o7777, meta("d/f").mtime()), (0o640, 86_400));
        assert_eq!(meta("d/su").permissions().mode() & 0o7777, 0o755);
        assert_eq!(meta("d/same").ino(), meta("d/f").ino());
        assert_eq!(std::fs::read_link(into.join("l")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(std::fs::read_dir(into.join("d")).unwrap().count(), 3, "no temporary name is left");
        assert!(!into.join("null").exists() && into.join("pipe").exists());
    }

    #[test]
    fn no_link_leads_out_and_no_directory_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let (into, outside) = (folder.path().join("out"), folder.path().join("outside"));
        std::fs::create_dir_all(into.join("kept")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("f"), "mine").unwrap();
        symlink(&outside, into.join("d")).unwrap();
        symlink(outside.join("f"), into.join("g")).unwrap();
        let entries = [("d", Entry::directory(0o755)), ("d/f", file("theirs", 0o644)), ("g", file("theirs", 0o644))];
        write(&tree(entries), &into).unwrap();
        assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"mine");
        assert_eq!(std::fs::read(into.join("d/f")).unwrap(), b"theirs");
        assert_eq!(std::fs::read(into.join("g")).unwrap(), b"theirs");
        let error = write(&tree([("kept", file("x", 0o644))]), &into).unwrap_err();
        assert!(matches!(&error, ExportError::DirectoryInTheWay { path } if path.to_string() == "/kept"), "{error}");
        // A hard link to what the folder had as a symlink cannot take what it points at.
        let entries = [("a", Entry::new(Kind::HardLink { to: path("nothing") }, 0o644))];
        assert!(write(&tree(entries), &into).is_err());
    }
}
