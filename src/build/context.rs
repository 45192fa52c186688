//! The context: a directory of the host, seen through `.dockerignore`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dockerfile::ignore::Ignore;
use crate::layer::{Content, Entry, HostFile, Kind, LayerPath, Tree};

use super::files::{Files, Found, Identity};
use super::{BuildError, Problem};

/// The largest `.dockerignore` that is read, in bytes.
const IGNORE_LIMIT: u64 = 4 << 20;

/// Where a build's files are, and which of them it may see.
#[derive(Clone, Debug)]
pub struct Context {
    pub directory: PathBuf,
    /// The Dockerfile, beside which `NAME.dockerignore` is looked for.
    pub dockerfile: Option<PathBuf>,
    /// Modes stay as they are: the layer then depends on the umask of the checkout.
    pub preserve_modes: bool,
}

/// The context as it was when it was first needed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    entries: BTreeMap<LayerPath, Found>,
    /// Files that nobody but their owner may read, as a checkout under umask 077 makes them.
    pub private: usize,
}

impl Context {
    /// Walks the directory. What is ignored is not there; a directory is there when something in it is.
    pub(super) fn list(&self) -> Result<Listing, BuildError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| Problem::Context { path, source }
        };
        let root = File::open(&self.directory).map_err(failed(&self.directory))?;
        let mut walk = Walk {
            ignore: self.ignore()?,
            root: Arc::new(OwnedFd::from(root)),
            names: HashMap::new(),
            preserve_modes: self.preserve_modes,
            listing: Listing { entries: BTreeMap::new(), private: 0 },
        };
        walk.directory(&self.directory, &LayerPath::root(), false)?;
        Ok(walk.listing)
    }

    /// Whether a file is there, and `.dockerignore` leaves it out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        let there = self.directory.join(path).symlink_metadata().is_ok();
        there && self.ignore().is_ok_and(|ignore| ignore.ignored(path))
    }

    /// `<Dockerfile>.dockerignore` wins over the context's own.
    pub fn ignore(&self) -> Result<Ignore, BuildError> {
        let beside = self.dockerfile.as_ref().map(|file| {
            let mut name = file.clone().into_os_string();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        for path in beside.into_iter().chain([self.directory.join(".dockerignore")]) {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Problem::Context { path, source }.into()),
            };
            let problem = |why: String| Problem::Ignore { file: path.display().to_string(), why };
            let mut text = String::new();
            file.take(IGNORE_LIMIT + 1).read_to_string(&mut text).map_err(|e| problem(e.to_string()))?;
            if text.len() as u64 > IGNORE_LIMIT {
                return Err(problem(format!("it is larger than {IGNORE_LIMIT} bytes")).into());
            }
            return Ok(Ignore::parse(&text).map_err(|error| Problem::IgnoreLine {
                file: path,
                text,
                error: Box::new(error),
            })?);
        }
        Ok(Ignore::default())
    }
}

struct Walk {
    ignore: Ignore,
    root: Arc<OwnedFd>,
    /// The first name of each file that has several.
    names: HashMap<(u64, u64), Identity>,
    preserve_modes: bool,
    listing: Listing,
}

impl Walk {
    /// Lists what is in a directory; returns whether there was anything.
    fn directory(&mut self, on_host: &Path, path: &LayerPath, ignored: bool) -> Result<bool, BuildError> {
        let failed = |source| Problem::Context { path: on_host.to_owned(), source };
        let mut any = false;
        for item in fs::read_dir(on_host).map_err(failed)? {
            let item = item.map_err(failed)?;
            let child = path.join(item.file_name().as_bytes())?;
            let meta =
                fs::symlink_metadata(item.path()).map_err(|source| Problem::Context { path: item.path(), source })?;
            let name = String::from_utf8_lossy(child.as_bytes());
            let ignored = if self.ignore.is_empty() { ignored } else { self.ignore.ignored(&name) };
            if meta.is_dir() {
                if ignored && self.ignore.may_skip_dir(&name) {
                    continue;
                }
                let entry = Found { entry: self.base(&item.path(), &meta, Kind::Directory)?, identity: None };
                if self.directory(&item.path(), &child, ignored)? || !ignored {
                    self.listing.entries.insert(child, entry);
                    any = true;
                }
            } else if !ignored && let Some(found) = self.file(&item.path(), &child, &meta)? {
                self.listing.entries.insert(child, found);
                any = true;
            }
        }
        Ok(any)
    }

    /// `None` for a socket, which no archive can hold.
    fn file(&mut self, on_host: &Path, path: &LayerPath, meta: &fs::Metadata) -> Result<Option<Found>, BuildError> {
        let kind = meta.file_type();
        let kind = if kind.is_file() {
            if meta.mode() & 0o044 == 0 {
                self.listing.private += 1;
            }
            let content = Content::Host(HostFile { root: Arc::clone(&self.root), path: path.clone() });
            Kind::File { size: meta.len(), content }
        } else if kind.is_symlink() {
            let target =
                fs::read_link(on_host).map_err(|source| Problem::Context { path: on_host.to_owned(), source })?;
            Kind::Symlink { target: target.into_os_string().as_bytes().to_vec() }
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            // Sockets cannot be archived; a device node of the host has no business in an image.
            return Ok(None);
        };
        let identity = (meta.nlink() > 1 && meta.is_file()).then(|| {
            let next = Identity::Host(self.names.len());
            *self.names.entry((meta.dev(), meta.ino())).or_insert(next)
        });
        Ok(Some(Found { entry: self.base(on_host, meta, kind)?, identity }))
    }

    /// Owned by root, with the write bits of group and others cleared, so that umask 002 and 022 give the same layer.
    /// Permissions are never widened.
    fn base(&self, on_host: &Path, meta: &fs::Metadata, kind: Kind<Content>) -> Result<Entry<Content>, BuildError> {
        let failed = |source: io::Error| Problem::Context { path: on_host.to_owned(), source };
        let (mode, xattrs) = match kind {
            Kind::Symlink { .. } => (0o777, BTreeMap::new()),
            _ if self.preserve_modes => (meta.mode() & 0o7777, xattrs(on_host).map_err(failed)?),
            _ => (meta.mode() & 0o7777 & !0o022, xattrs(on_host).map_err(failed)?),
        };
        Ok(Entry { mtime: meta.mtime(), xattrs, ..Entry::new(kind, mode) })
    }
}

/// The extended attributes that mean the same on every machine: a user's own, and a program's capabilities. Labels of
/// SELinux and access lists are the host's.
pub(super) fn xattrs(on_host: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    use rustix::fs::{lgetxattr, llistxattr};
    use rustix::io::Errno;
    let mut names = vec![0; 64 << 10];
    let length = match llistxattr(on_host, &mut names) {
        Ok(length) => length,
        // A file system without them.
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|&byte| byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if name.starts_with("user.") && !name.starts_with("user.overlay.") || name == "security.capability" {
            // As large as Linux lets one be.
            let mut value = vec![0; 64 << 10];
            let length = lgetxattr(on_host, name, &mut value)?;
            value.truncate(length);
            found.insert(name.to_owned(), value);
        }
    }
    Ok(found)
}

impl Listing {
    /// A context of one file.
    pub(super) fn of_file(name: &[u8], found: Found) -> Result<Self, BuildError> {
        Ok(Self { entries: BTreeMap::from([(LayerPath::root().join(name)?, found)]), private: 0 })
    }

    /// All that is there, as a layer would hold it.
    pub(super) fn tree(&self) -> Tree<Content> {
        let mut names = HashMap::new();
        let mut tree = Tree::default();
        for (path, found) in &self.entries {
            let mut entry = found.entry.clone();
            if let Some(identity) = found.identity {
                match names.get(&identity) {
                    Some(first) => entry.kind = Kind::HardLink { to: LayerPath::clone(first) },
                    None => drop(names.insert(identity, path.clone())),
                }
            }
            tree.entries.insert(path.clone(), entry);
        }
        tree
    }
}

impl Files for Listing {
    fn entry(&self, path: &LayerPath) -> Option<Found> {
        if path.is_root() {
            return Some(Found { entry: Entry::directory(0o755), identity: None });
        }
        self.entries.get(path).cloned()
    }

    fn below(&self, directory: &LayerPath) -> Vec<(LayerPath, Found)> {
        let from = self.entries.range(directory..);
        let below = from.take_while(|(path, _)| path.is_within(directory)).filter(|(path, _)| *path != directory);
        below.map(|(path, found)| (path.clone(), found.clone())).collect()
    }
}
