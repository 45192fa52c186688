//! The folder itself, and the small files in it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Lock;
use crate::image::Digest;
use crate::owners::Owners;

/// Bytes of the disk that the store is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free: u64,
    pub size: u64,
}

/// Our folder on disk.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Why the store does not hold what was asked of it, or could not take what it was given.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("the bytes of a blob have the digest {got}, not {wanted}")]
    Mismatch { wanted: Digest, got: Digest },
    #[error("the disk is full: {} cannot grow (`locus-push cache prune --all` makes room, LOCUS_PUSH_HOME may name another place)", path.display())]
    Full { path: PathBuf },
}

impl StoreError {
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            _ => Self::Io { doing, path, source },
        }
    }
}

/// What backups look for, to pass a folder by (bford.info/cachedir).
const TAG_NAME: &str = "CACHEDIR.TAG";
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n# What locus-push keeps between builds.\n";

/// Whether a folder is a store: one of ours may lie within a build's context, as GitLab caches nothing that lies outside.
pub fn is_store(folder: &Path) -> bool {
    fs::read(folder.join(TAG_NAME)).is_ok_and(|tag| tag == TAG)
}

/// The largest record that is read back, in bytes.
const RECORD_LIMIT: u64 = 512 << 20;

impl Store {
    /// Opens the folder, making it (0700) and its sub-folders where they are missing.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).map_err(StoreError::io("find", root))?;
        let store = Self { root };
        for folder in ["blobs/sha256", "tars", "trees", "layers", "steps", "parts", "hashes", "work", "tmp"] {
            let path = store.root.join(folder);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(StoreError::io("make", &path))?;
        }
        if !is_store(&store.root) {
            let mut temp = store.temp_file()?;
            temp.write_all(TAG).map_err(StoreError::io("mark", &store.root))?;
            store.keep(temp, &store.root.join(TAG_NAME))?;
        }
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the uncompressed tar of a layer is, if it is kept.
    pub fn tar_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("tars").join(diff_id.hex())
    }

    /// Where a layer is unpacked. The name is short, because the names of all layers of an image must fit into the
    /// one page that mount(2) takes.
    pub fn layer_path(&self, chain: &Digest, owners: Owners) -> PathBuf {
        self.layers_path().join(Self::layer_name(chain, owners))
    }

    /// How large the disk is, and what of it we may still fill; `None` where it does not say.
    pub fn space(&self) -> Option<Space> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        Some(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    /// Whether layers were unpacked here, as they are for RUN.
    pub fn has_layers(&self) -> bool {
        // One entry says since when they are believed.
        fs::read_dir(self.layers_path()).is_ok_and(|entries| entries.count() > 1)
    }

    pub fn layers_path(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The layer's folder below [`Store::layers_path`]: another one where owners are recorded: a tree of
    /// either kind shows the wrong owners to the other.
    pub fn layer_name(chain: &Digest, owners: Owners) -> String {
        let chain = &chain.hex()[..24];
        match owners {
            Owners::Real => chain.to_owned(),
            Owners::Recorded => format!("o{chain}"),
        }
    }

    /// Reads the paths of a layer that [`Store::keep_tree`] kept.
    pub fn tree<T: DeserializeOwned>(&self, diff_id: &Digest) -> Option<T> {
        self.read_record(&self.tree_path(diff_id))
    }

    pub fn tree_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("trees").join(format!("{}.json", diff_id.hex()))
    }

    pub fn keep_tree<T: Serialize>(&self, diff_id: &Digest, tree: &T) -> Result<(), StoreError> {
        self.write_record(&self.tree_path(diff_id), tree)
    }

    /// What a step with this key gave, if it ran before.
    pub fn step<T: DeserializeOwned>(&self, key: &Digest) -> Option<T> {
        self.read_record(&self.step_path(key))
    }

    pub fn keep_step<T: Serialize>(&self, key: &Digest, result: &T) -> Result<(), StoreError> {
        self.write_record(&self.step_path(key), result)
    }

    fn step_path(&self, key: &Digest) -> PathBuf {
        self.root.join("steps").join(format!("{}.json", key.hex()))
    }

    /// A fresh folder of our own for one step: see [`WorkFolder`].
    pub fn work_folder(&self) -> Result<WorkFolder, StoreError> {
        let parent = self.root.join("work");
        let failed = || StoreError::io("make a folder in", &parent);
        loop {
            // The lock comes first: a folder without one would be taken for a dead maker's.
            let file = tempfile::Builder::new().prefix("w").suffix(LOCK).rand_bytes(10).tempfile_in(&parent);
            let (_, lock_path) = file.and_then(|file| file.keep().map_err(|e| e.error)).map_err(failed())?;
            let lock = Lock::exclusive(&lock_path).map_err(failed())?;
            // Somebody may have cleared it away between its making and its locking.
            if lock_path.exists() {
                let path = lock_path.with_extension("");
                fs::DirBuilder::new().mode(0o700).create(&path).map_err(failed())?;
                return Ok(WorkFolder { path, lock_path, _lock: lock });
            }
        }
    }

    /// What processes that were killed left below `work/`. Held until they are dropped, so that no other process clears
    /// them away at the same time.
    pub fn abandoned(&self) -> Result<Vec<WorkFolder>, StoreError> {
        let parent = self.root.join("work");
        let mut found = Vec::new();
        for entry in fs::read_dir(&parent).map_err(StoreError::io("read", &parent))? {
            let lock_path = entry.map_err(StoreError::io("read", &parent))?.path();
            if lock_path.extension().is_some_and(|ending| ending == &LOCK[1..])
                && let Some(lock) = Lock::try_exclusive(&lock_path)
            {
                found.push(WorkFolder { path: lock_path.with_extension(""), lock_path, _lock: lock });
            }
        }
        Ok(found)
    }

    /// Only one process at a time holds the lock of this name; a dead process holds none.
    pub fn lock(&self, name: &str) -> Result<Lock, StoreError> {
        let path = self.root.join("tmp").join(format!("{name}.lock"));
        Lock::exclusive(&path).map_err(StoreError::io("lock", path))
    }

    /// A record that cannot be read is as good as none: it is made again.
    pub(super) fn read_record<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let mut text = Vec::new();
        File::open(path).ok()?.take(RECORD_LIMIT).read_to_end(&mut text).ok()?;
        self.used(path);
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write_record<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), StoreError> {
        let text = serde_json::to_vec(record).map_err(|e| StoreError::Io {
            doing: "write",
            path: path.to_owned(),
            source: io::Error::other(e),
        })?;
        let mut temp = self.temp_file()?;
        temp.write_all(&text).map_err(StoreError::io("write", path))?;
        // No fsync, which costs more than writing the record does: what a crash leaves of it is cut short or zeroes,
        // so no JSON, and then it is as if it had never been written.
        temp.persist(path).map_err(|e| StoreError::io("write", path)(e.error))?;
        Ok(())
    }

    pub(super) fn temp_file(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        let parent = self.root.join("tmp");
        tempfile::NamedTempFile::with_prefix_in("t", &parent).map_err(StoreError::io("make a file in", parent))
    }

    /// Temp file, fsync, rename: nothing half-written is ever seen under its name.
    pub(super) fn keep(&self, temp: tempfile::NamedTempFile, path: &Path) -> Result<(), StoreError> {
        temp.as_file().sync_all().map_err(StoreError::io("write", path))?;
        temp.persist(path).map_err(|e| StoreError::io("write", path)(e.error))?;
        Ok(())
    }

    /// A new uncompressed tar, to be kept under its diff_id.
    pub fn tar_writer(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        self.temp_file()
    }

    /// Keeps a tar whose bytes have this diff_id.
    pub fn keep_tar(&self, temp: tempfile::NamedTempFile, diff_id: &Digest) -> Result<(), StoreError> {
        self.keep(temp, &self.tar_path(diff_id))
    }
}

/// The ending of the file whose lock says that a work folder's maker lives.
const LOCK: &str = ".lock";

/// A folder below `work/`. It may hold files of other owners (sub-ids), which only the sandbox can remove; so it is
/// not removed when dropped. Whoever dies before removing it leaves it to [`Store::abandoned`].
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if !self.path.exists() {
            // Without a folder there is nothing that the lock could speak for.
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

impl WorkFolder {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an empty sub-folder with this mode.
    pub fn make(&self, name: &str, mode: u32) -> Result<PathBuf, StoreError> {
        let path = self.path.join(name);
        fs::DirBuilder::new().mode(mode).create(&path).map_err(StoreError::io("make", &path))?;
        Ok(path)
    }

    /// A new file in this folder, 0600.
    pub fn create(&self, name: &str) -> Result<File, StoreError> {
        let path = self.path.join(name);
        File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(StoreError::io("make", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_is_no_record() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let key = Digest::of(b"k");
        store.keep_step(&key, &vec![1, 2]).unwrap();
        assert_eq!(store.step::<Vec<u8>>(&key), Some(vec![1, 2]));
        fs::write(store.step_path(&key), b"[1,").unwrap();
        assert_eq!(store.step::<Vec<u8>>(&key), None);
    }

    #[test]
    fn only_a_dead_makers_folder_is_abandoned() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let alive = store.work_folder().unwrap();
        let path = store.work_folder().unwrap().path().to_owned();
        let found: Vec<_> = store.abandoned().unwrap().iter().map(|folder| folder.path().to_owned()).collect();
        assert_eq!(found, std::slice::from_ref(&path));
        fs::remove_dir(&path).unwrap();
        drop(store.abandoned().unwrap());
        assert!(store.abandoned().unwrap().is_empty());
        fs::remove_dir(alive.path()).unwrap();
        drop(alive);
        assert_eq!(fs::read_dir(store.root().join("work")).unwrap().count(), 0);
    }

    #[test]
    fn the_folder_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(store.root()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
