//! A context as another checkout of it would be: elsewhere, at another time, under another umask, its files made in
//! another order.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Timespec, Timestamps};

use crate::dockerfile::ignore::Ignore;
use crate::store::is_store;

use super::context::{Folder, xattrs};
use super::{BuildError, Problem};

impl Folder {
    /// Makes the other checkout at `to`, which must not exist. What is ignored is left out; `.dockerignore` is there.
    pub fn check_out_again(&self, to: &Path, preserve_times: bool) -> Result<(), BuildError> {
        let (ignore, preserve_modes) = (self.ignore()?, self.preserve_modes);
        let mut copy = Copy { ignore, preserve_modes, preserve_times, names: HashMap::new() };
        copy.directory(&self.directory, to, "", false)?;
        let own = Path::new(".dockerignore");
        match fs::copy(self.directory.join(own), to.join(own)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Problem::Context { path: self.directory.join(own), source }.into())
            }
            _ => Ok(()),
        }
    }
}

struct Copy {
    ignore: Ignore,
    /// What a build does not make the same by itself has to stay.
    preserve_modes: bool,
    preserve_times: bool,
    /// The first copy of each file that has several names.
    names: HashMap<(u64, u64), PathBuf>,
}

impl Copy {
    fn directory(&mut self, from: &Path, to: &Path, path: &str, ignored: bool) -> Result<(), BuildError> {
        let unread = |path: &Path| {
            let path = path.to_owned();
            move |source| Problem::Context { path, source }
        };
        fs::DirBuilder::new().mode(0o700).create(to).map_err(unwritten)?;
        let mut names = Vec::new();
        for item in fs::read_dir(from).map_err(unread(from))? {
            names.push(item.map_err(unread(from))?.file_name());
        }
        // Some file systems list a folder in the order in which its files were made.
        names.sort_unstable_by(|a, b| b.cmp(a));
        for name in names {
            let (from, to) = (from.join(&name), to.join(&name));
            let path = match path {
                "" => name.to_string_lossy().into_owned(),
                path => format!("{path}/{}", name.to_string_lossy()),
            };
            let meta = fs::symlink_metadata(&from).map_err(unread(&from))?;
            let ignored = if self.ignore.is_empty() { ignored } else { self.ignore.ignored(&path) };
            if meta.is_dir() {
                if !(ignored && self.ignore.may_skip_dir(&path) || is_store(&from)) {
                    self.directory(&from, &to, &path, ignored)?;
                }
            } else if !ignored {
                self.file(&from, &to, &meta).map_err(unread(&from))?;
            }
        }
        let meta = fs::metadata(from).map_err(unread(from))?;
        Ok(self.like(from, to, &meta).map_err(unwritten)?)
    }

    fn file(&mut self, from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
        let kind = meta.file_type();
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
            return self.timed(to, meta);
        }
        if kind.is_fifo() {
            nix::unistd::mkfifo(to, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR)?;
            return self.like(from, to, meta);
        }
        if !kind.is_file() {
            // A build passes over them too.
            return Ok(());
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.names.get(&(meta.dev(), meta.ino())) {
                return fs::hard_link(first, to);
            }
            self.names.insert((meta.dev(), meta.ino()), to.to_owned());
        }
        fs::copy(from, to)?;
        self.like(from, to, meta)
    }

    /// The mode that the other umask gives, 002 for 022 and the other way round; the attributes that a build reads.
    fn like(&self, from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
        for (name, value) in xattrs(from)? {
            rustix::fs::lsetxattr(to, name.as_str(), &value, rustix::fs::XattrFlags::empty())?;
        }
        let mode = meta.mode() & 0o7777;
        let mode = match (self.preserve_modes, mode & 0o020) {
            (true, _) => mode,
            (false, 0) => mode | (mode & 0o200) >> 3,
            (false, _) => mode & !0o022,
        };
        fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
        self.timed(to, meta)
    }

    fn timed(&self, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
        if !self.preserve_times {
            return Ok(());
        }
        let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(rustix::fs::CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn unwritten(error: io::Error) -> Problem {
    Problem::Inside { doing: "copying the context", why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Content;

    fn context(directory: &Path) -> Folder {
        Folder::named(directory.to_owned(), false)
    }

    /// What a build sees of a context.
    fn seen(directory: &Path) -> Vec<String> {
        let tree = context(directory).list().unwrap().tree();
        let content = |content: Content| match content {
            Content::Host(file) => fs::read_to_string(directory.join(str::from_utf8(file.path.as_bytes()).unwrap())),
            Content::Bytes(_) | Content::InTar(_) => panic!("a context is on the host"),
        };
        let entries = tree.entries.into_iter().map(|(path, entry)| {
            let entry = entry.map(|of| content(of).unwrap());
            format!("{path} {:o} {:?} {:?}", entry.mode, entry.kind, entry.xattrs)
        });
        entries.collect()
    }

    #[test]
    fn another_checkout_is_the_same_to_a_build_and_was_made_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::create_dir_all(one.join("d/deep")).unwrap();
        for (name, text, mode) in
            [("d/f", "x", 0o644), ("d/deep/run", "#!", 0o755), ("left.log", "", 0o644), ("w", "", 0o664)]
        {
            fs::write(one.join(name), text).unwrap();
            fs::set_permissions(one.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::hard_link(one.join("d/f"), one.join("d/again")).unwrap();
        std::os::unix::fs::symlink("d/f", one.join("l")).unwrap();
        fs::write(one.join(".dockerignore"), "*.log\n.dockerignore\n").unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::open(one.join("w")).unwrap().set_modified(then).unwrap();
        context(&one).check_out_again(&two, false).unwrap();
        assert_eq!(seen(&one), seen(&two));
        let mode = |path: &str| fs::metadata(two.join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("d/f"), mode("d/deep/run"), mode("w")), (0o664, 0o775, 0o644));
        assert!(!two.join("left.log").exists());
        let linked = |path: &str| fs::metadata(two.join(path)).unwrap().nlink();
        assert_eq!((linked("d/f"), linked("d/again")), (2, 2));

        let three = folder.path().join("three");
        let kept = Folder { preserve_modes: true, ..context(&one) };
        kept.check_out_again(&three, true).unwrap();
        let meta = |path: &Path| fs::metadata(path.join("w")).map(|meta| (meta.mode() & 0o7777, meta.mtime()));
        assert_eq!(meta(&three).unwrap(), (0o664, 1_000_000_000));
        assert_ne!(meta(&two).unwrap().1, 1_000_000_000);
    }
}
