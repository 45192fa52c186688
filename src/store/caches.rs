//! Folders that RUN steps keep from one build to the next: `RUN --mount=type=cache`.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Lock, Store, StoreError};
use crate::image::Digest;
use crate::owners::Owners;

/// One instance of a cache, held until it is dropped.
#[derive(Debug)]
pub struct CacheFolder {
    path: PathBuf,
    _lock: Lock,
}

/// How an instance of a cache is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// By any number at once.
    Shared,
    /// By one alone.
    Exclusive,
}

impl CacheFolder {
    /// What the cache holds. Nothing is there before the cache is first filled.
    pub fn data(&self, owners: Owners) -> PathBuf {
        data(&self.path, owners)
    }
}

impl Store {
    /// An instance of the cache with this name, if nobody holds it in a way that stands against ours. Caches are named
    /// by digests, so that no id that somebody wrote leads out of the folder (CVE-2024-9675).
    pub fn cache(&self, name: &Digest, instance: usize, hold: Hold) -> Result<Option<CacheFolder>, StoreError> {
        let path = self.caches_path().join(name.hex()).join(instance.to_string());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(StoreError::io("make", &path))?;
        let lock_path = path.join("lock");
        let lock = Lock::try_hold(&lock_path, hold == Hold::Exclusive).map_err(StoreError::io("lock", &lock_path))?;
        self.used(&lock_path);
        Ok(lock.map(|lock| CacheFolder { path, _lock: lock }))
    }

    /// Whether the first instance of a cache was ever filled with files that hold their owners like this.
    pub fn has_cache(&self, name: &Digest, owners: Owners) -> bool {
        data(&self.caches_path().join(name.hex()).join("0"), owners).exists()
    }

    fn caches_path(&self) -> PathBuf {
        self.root().join(Path::new("caches"))
    }
}

fn data(instance: &Path, owners: Owners) -> PathBuf {
    instance.join(match owners {
        Owners::Real => "data",
        Owners::Recorded => "recorded",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_held_alone_is_held_by_nobody_else() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let name = Digest::of(b"../../etc");
        let hold = |instance, hold| store.cache(&name, instance, hold).unwrap();
        let alone = hold(0, Hold::Exclusive).expect("nobody holds it");
        assert!(!store.has_cache(&name, Owners::Real));
        fs::create_dir(alone.data(Owners::Real)).unwrap();
        assert!(store.has_cache(&name, Owners::Real) && !store.has_cache(&name, Owners::Recorded));
        assert!(hold(0, Hold::Exclusive).is_none() && hold(0, Hold::Shared).is_none());
        assert!(hold(1, Hold::Exclusive).is_some());
        drop(alone);
        let (one, other) = (hold(0, Hold::Shared), hold(0, Hold::Shared));
        assert!(one.is_some() && other.is_some() && hold(0, Hold::Exclusive).is_none());
        assert!(one.expect("held").data(Owners::Real).starts_with(home.path().join("caches")));
    }
}
