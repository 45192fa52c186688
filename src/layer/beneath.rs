//! Opening what is below a directory that is held open, and nothing else.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::host::WHERE;
use super::{FileState, HostFile, InTar, LayerPath};

/// Opens `path` below `root`; a symlink anywhere on the way, the last component included, is an error (ELOOP).
pub(super) fn open(root: impl AsFd, path: &LayerPath, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match at_once(root.as_fd(), path, flags) {
        // No such call (before Linux 5.6), a filter that does not know it, or a rename elsewhere at the same time.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => step_by_step(root.as_fd(), path, flags),
        opened => Ok(opened?),
    }
}

#[cfg(target_os = "linux")]
fn at_once(root: BorrowedFd<'_>, path: &LayerPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let name = if path.is_root() { b"." } else { path.as_bytes() };
    fs::openat2(root, name, flags, Mode::empty(), resolve)
}

#[cfg(not(target_os = "linux"))]
fn at_once(_: BorrowedFd<'_>, _: &LayerPath, _: OFlags) -> rustix::io::Result<OwnedFd> {
    Err(Errno::NOSYS)
}

/// The same without openat2: every step is a name directly in a directory that is open, and not followed.
fn step_by_step(root: BorrowedFd<'_>, path: &LayerPath, flags: OFlags) -> io::Result<OwnedFd> {
    let names: Vec<_> = path.components().collect();
    let Some((last, above)) = names.split_last() else { return Ok(fs::openat(root, ".", flags, Mode::empty())?) };
    let through = WHERE | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = fs::openat(root, ".", through, Mode::empty())?;
    for name in above {
        dir = fs::openat(&dir, *name, through, Mode::empty())?;
    }
    Ok(fs::openat(&dir, *last, flags, Mode::empty())?)
}

impl HostFile {
    /// Opens the file, if it is a regular one. A FIFO does not make this wait.
    pub fn open(&self) -> io::Result<File> {
        self.open_for(OFlags::RDONLY)
    }

    /// Opens the file to change it where it is.
    pub fn edit(&self) -> io::Result<File> {
        self.open_for(OFlags::RDWR)
    }

    fn open_for(&self, access: OFlags) -> io::Result<File> {
        let file = open(&self.root, &self.path, access | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let file = File::from(file);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a regular file"));
        }
        match self.seen {
            Some(seen) if seen != FileState::of(&meta) => Err(io::Error::other("it has changed since the build began")),
            _ => Ok(file),
        }
    }
}

impl FileState {
    pub fn of(meta: &Metadata) -> Self {
        Self { inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl InTar {
    /// The `size` bytes of the file, out of the layer's uncompressed tar.
    pub fn reader<'a>(&self, tar: &'a File, size: u64) -> impl Read + 'a {
        Slice { tar, at: self.offset, left: size }
    }
}

struct Slice<'a> {
    tar: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.tar.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use rustix::fs::FileType;

    use super::*;

    #[test]
    fn no_symlink_leads_out_with_openat2_or_without() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "f").unwrap();
        symlink("/etc", dir.path().join("out")).unwrap();
        symlink("f", dir.path().join("d/l")).unwrap();
        let root: OwnedFd = File::open(dir.path()).unwrap().into();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (path, there) in [("d/f", true), ("/", true), ("d", true), ("out/passwd", false), ("d/l", false)] {
            let path = LayerPath::parse(path.as_bytes()).unwrap();
            assert_eq!(open(&root, &path, OFlags::RDONLY).is_ok(), there, "{path}");
            assert_eq!(step_by_step(root.as_fd(), &path, flags).is_ok(), there, "{path}");
        }
    }

    #[test]
    fn a_fifo_is_no_file_and_does_not_make_us_wait() {
        let dir = tempfile::tempdir().unwrap();
        let root: Arc<OwnedFd> = Arc::new(File::open(dir.path()).unwrap().into());
        fs::mknodat(&*root, "p", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let path = LayerPath::parse(b"p").unwrap();
        assert_eq!(HostFile { root, path, seen: None }.open().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_that_is_another_than_was_seen_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let on_host = dir.path().join("f");
        std::fs::write(&on_host, "then").unwrap();
        let root: Arc<OwnedFd> = Arc::new(File::open(dir.path()).unwrap().into());
        let seen = Some(FileState::of(&on_host.metadata().unwrap()));
        let file = HostFile { root, path: LayerPath::parse(b"f").unwrap(), seen };
        assert!(file.open().is_ok());
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
        std::fs::write(&on_host, "now!").unwrap();
        File::options().append(true).open(&on_host).unwrap().set_modified(later).unwrap();
        assert_eq!(file.open().unwrap_err().to_string(), "it has changed since the build began");
    }
}
