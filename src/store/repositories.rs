//! Git repositories that builds took files from, so that the next one fetches only what is new.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Lock, Store, StoreError};
use crate::image::Digest;

/// A repository, held by one alone until it is dropped.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    _lock: Lock,
}

impl Repository {
    /// Where it is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// The repository of this name; waits until nobody else holds it.
    pub fn repository(&self, name: &Digest) -> Result<Repository, StoreError> {
        let path = self.repositories()?.join(name.hex());
        let lock_path = path.with_extension("lock");
        let lock = Lock::exclusive(&lock_path).map_err(StoreError::io("lock", &lock_path))?;
        self.used(&lock_path);
        Ok(Repository { path, _lock: lock })
    }

    /// The folder of all repositories, and of what belongs to no one of them.
    pub fn repositories(&self) -> Result<PathBuf, StoreError> {
        let path = self.root().join("git");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(StoreError::io("make", &path))?;
        Ok(path)
    }
}
