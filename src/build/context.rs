//! The context: a directory of the host or what was fetched, seen through `.dockerignore`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::dockerfile::ignore::Ignore;
use crate::layer::{Content, Entry, FileState, HostFile, Index, Kind, LayerPath, Tree, View};
use crate::store::is_store;

use super::files::{Files, Found, Identity};
use super::memory::Stamp;
use super::{BuildError, Problem};

/// The largest `.dockerignore` that is read, in bytes.
const IGNORE_LIMIT: u64 = 4 << 20;

/// Where a build's files are, and which of them it may see.
#[derive(Clone, Debug)]
pub enum Context {
    Folder(Folder),
    Fetched(Fetched),
}

/// A directory of the host.
#[derive(Clone, Debug)]
pub struct Folder {
    pub directory: PathBuf,
    /// The Dockerfile, beside which `NAME.dockerignore` is looked for.
    pub dockerfile: Option<PathBuf>,
    /// Modes stay as they are: the layer then depends on the umask of the checkout.
    pub preserve_modes: bool,
}

/// Files that came from elsewhere, before the build; or none at all.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    pub(super) listing: Arc<Listing>,
    pub(super) ignore: Ignore,
    /// When they were made, where somebody said so.
    pub(super) date: Option<i64>,
}

/// The context as it was when it was first needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    entries: BTreeMap<LayerPath, Found>,
    /// Files that nobody but their owner may read, as a checkout under umask 077 makes them.
    pub private: usize,
}

impl Context {
    /// A context of nothing.
    pub fn empty() -> Self {
        Self::Fetched(Fetched::default())
    }

    /// What may be seen.
    pub(super) fn list(&self) -> Result<Arc<Listing>, BuildError> {
        match self {
            Self::Folder(folder) => Ok(Arc::new(folder.list()?)),
            Self::Fetched(fetched) => Ok(Arc::clone(&fetched.listing)),
        }
    }

    /// What may not be seen.
    pub fn ignore(&self) -> Result<Ignore, BuildError> {
        match self {
            Self::Folder(folder) => folder.ignore(),
            Self::Fetched(fetched) => Ok(fetched.ignore.clone()),
        }
    }

    /// Whether a file is there, and `.dockerignore` leaves it out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.leaves_out(path),
            // What is left out was never kept.
            Self::Fetched(_) => false,
        }
    }

    /// A file of the Dockerfile's folder, where that is not the context, as COPY would name it.
    pub(super) fn beside_dockerfile(&self, path: &str) -> Option<String> {
        let beside = self.dockerfile()?.parent()?.join(path.trim_start_matches('/'));
        beside.symlink_metadata().ok()?;
        Some(beside.strip_prefix(self.directory()?).unwrap_or(&beside).display().to_string())
    }

    pub(super) fn date(&self) -> Option<i64> {
        match self {
            // A folder's files have the times of their checkout.
            Self::Folder(_) => None,
            Self::Fetched(fetched) => fetched.date,
        }
    }

    /// Where it is on this machine, if it is.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(&folder.directory),
            Self::Fetched(_) => None,
        }
    }

    /// Where the Dockerfile is on this machine, if it is.
    pub(super) fn dockerfile(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => folder.dockerfile.as_deref(),
            Self::Fetched(_) => None,
        }
    }

    pub(super) fn preserve_modes(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.preserve_modes,
            Self::Fetched(_) => false,
        }
    }
}

impl Folder {
    /// A named context's.
    pub fn named(directory: PathBuf, preserve_modes: bool) -> Self {
        Self { directory, dockerfile: None, preserve_modes }
    }

    /// Walks the directory. What is ignored is not there; a directory is there when something in it is.
    pub(super) fn list(&self) -> Result<Listing, BuildError> {
        let modes = if self.preserve_modes { Modes::Kept } else { Modes::OwnersAlone };
        Walk::through(&self.directory, self.ignore()?, modes)
    }

    /// Whether a file is there, and `.dockerignore` leaves it out.
    pub(super) fn leaves_out(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        let there = self.directory.join(path).symlink_metadata().is_ok();
        there && self.ignore().is_ok_and(|ignore| ignore.ignored(path))
    }

    /// `<Dockerfile>.dockerignore` wins over the context's own.
    pub(super) fn ignore(&self) -> Result<Ignore, BuildError> {
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
            return read_ignore(file, &path);
        }
        Ok(Ignore::default())
    }
}

/// Reads a `.dockerignore`.
pub(super) fn read_ignore(from: impl Read, path: &Path) -> Result<Ignore, BuildError> {
    let problem = |why: String| Problem::Ignore { file: path.display().to_string(), why };
    let mut text = String::new();
    from.take(IGNORE_LIMIT + 1).read_to_string(&mut text).map_err(|e| problem(e.to_string()))?;
    if text.len() as u64 > IGNORE_LIMIT {
        return Err(problem(format!("it is larger than {IGNORE_LIMIT} bytes")).into());
    }
    Ok(Ignore::parse(&text).map_err(|faults| {
        let faults = Box::new(faults);
        Problem::IgnoreLines { file: path.to_owned(), text, faults }
    })?)
}

/// What becomes of the modes of files.
#[derive(Clone, Copy)]
enum Modes {
    Kept,
    /// Nobody but the owner may write, so that umask 002 and 022 give the same layer. Permissions are never widened.
    OwnersAlone,
    /// The owner's rights are everybody's, but that to write: what git keeps of a mode, under umask 022.
    Git,
}

impl Modes {
    fn apply(self, mode: u32) -> u32 {
        match self {
            Self::Kept => mode & 0o7777,
            Self::OwnersAlone => mode & 0o7777 & !0o022,
            Self::Git => {
                let owner = mode >> 6 & 0o7;
                owner << 6 | (owner & 0o5) << 3 | owner & 0o5
            }
        }
    }
}

struct Walk {
    ignore: Ignore,
    root: Arc<OwnedFd>,
    /// The first name of each file that has several.
    names: HashMap<(u64, u64), Identity>,
    modes: Modes,
    began: SystemTime,
    listing: Listing,
}

impl Walk {
    fn through(directory: &Path, ignore: Ignore, modes: Modes) -> Result<Listing, BuildError> {
        let root = File::open(directory).map_err(|source| Problem::Context { path: directory.to_owned(), source })?;
        let root = Arc::new(OwnedFd::from(root));
        let mut walk =
            Self { ignore, root, names: HashMap::new(), modes, began: SystemTime::now(), listing: Listing::default() };
        walk.directory(directory, &LayerPath::root(), false)?;
        Ok(walk.listing)
    }

    /// Lists what is in a directory; returns whether there was anything.
    fn directory(&mut self, on_host: &Path, path: &LayerPath, ignored: bool) -> Result<bool, BuildError> {
        let failed = |source| Problem::Context { path: on_host.to_owned(), source };
        let mut any = false;
        for item in fs::read_dir(on_host).map_err(failed)? {
            let item = item.map_err(failed)?;
            let child = path.join(item.file_name().as_bytes())?;
            let meta = item.metadata().map_err(|source| Problem::Context { path: item.path(), source })?;
            let name = String::from_utf8_lossy(child.as_bytes());
            let ignored = if self.ignore.is_empty() { ignored } else { self.ignore.ignored(&name) };
            if meta.is_dir() {
                if ignored && self.ignore.may_skip_dir(&name) || is_store(&item.path()) {
                    continue;
                }
                let entry = Found::alone(self.base(&item.path(), &meta, Kind::Directory)?);
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
            let seen = Some(FileState::of(meta));
            let content = Content::Host(HostFile { root: Arc::clone(&self.root), path: path.clone(), seen });
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
        let stamp = if meta.is_file() { Stamp::settled(meta, self.began) } else { None };
        Ok(Some(Found { entry: self.base(on_host, meta, kind)?, identity, stamp }))
    }

    /// Owned by root.
    fn base(&self, on_host: &Path, meta: &fs::Metadata, kind: Kind<Content>) -> Result<Entry<Content>, BuildError> {
        let failed = |source: io::Error| Problem::Context { path: on_host.to_owned(), source };
        let (mode, xattrs) = match kind {
            Kind::Symlink { .. } => (0o777, BTreeMap::new()),
            _ => (self.modes.apply(meta.mode()), xattrs(on_host).map_err(failed)?),
        };
        Ok(Entry { mtime: meta.mtime(), xattrs, ..Entry::new(kind, mode) })
    }
}

/// The extended attributes that mean the same on every machine: a user's own, and a program's capabilities. Labels of
/// SELinux and access lists are the host's.
pub(super) fn xattrs(on_host: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    use rustix::fs::{lgetxattr, llistxattr};
    use rustix::io::Errno;
    // Hardly any file has one; what holds all that Linux lets there be is 64 KiB, which take longer to clear than to fill.
    let (mut few, mut many) = ([0; 1024], Vec::new());
    let mut names = &mut few[..];
    let length = match llistxattr(on_host, &mut *names) {
        Ok(length) => length,
        Err(Errno::RANGE) => {
            many.resize(64 << 10, 0);
            names = &mut many;
            llistxattr(on_host, &mut *names)?
        }
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

    /// What git laid into a directory, with `.git` or without.
    pub(super) fn of_checkout(directory: &Path, keep_git_dir: bool) -> Result<Self, BuildError> {
        let mut listing = Walk::through(directory, Ignore::default(), Modes::Git)?;
        if !keep_git_dir {
            // Submodules have a file of that name, which leads to where nothing is.
            listing.entries.retain(|path, _| path.components().all(|name| name != b".git"));
        }
        Ok(listing)
    }

    /// What an archive holds, whose tar the store keeps.
    pub(super) fn of_archive(index: &Index) -> Result<Self, BuildError> {
        let mut view = View::default();
        view.apply(index)?;
        Ok(Self { entries: view.below(&LayerPath::root()).into_iter().collect(), private: 0 })
    }

    /// What is left when some of it may not be seen. A directory is there when something in it is.
    pub(super) fn without(&self, ignore: &Ignore) -> Self {
        if ignore.is_empty() {
            return self.clone();
        }
        let mut left = Self::default();
        for (path, found) in &self.entries {
            if ignore.ignored(&String::from_utf8_lossy(path.as_bytes())) {
                continue;
            }
            for above in path.ancestors() {
                if let Some(directory) = self.entries.get(&above) {
                    left.entries.entry(above).or_insert_with(|| directory.clone());
                }
            }
            left.entries.insert(path.clone(), found.clone());
        }
        left
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
            return Some(Found::alone(Entry::directory(0o755)));
        }
        self.entries.get(path).cloned()
    }

    fn below(&self, directory: &LayerPath) -> Vec<(LayerPath, Found)> {
        let from = self.entries.range(directory..);
        let below = from.take_while(|(path, _)| path.is_within(directory)).filter(|(path, _)| *path != directory);
        below.map(|(path, found)| (path.clone(), found.clone())).collect()
    }
}
