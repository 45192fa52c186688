//! What the keys of steps were made of, by Dockerfile, and the files that they named: records that only explain.

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Store, StoreError};
use crate::image::Digest;

impl Store {
    /// A record of this name. One that is damaged is none.
    pub fn parts<T: DeserializeOwned>(&self, name: &Digest) -> Option<T> {
        self.read_record(&self.parts_path(name))
    }

    /// Whether there is one; it counts as used.
    pub fn has_parts(&self, name: &Digest) -> bool {
        self.used(&self.parts_path(name))
    }

    pub fn keep_parts<T: Serialize>(&self, name: &Digest, record: &T) -> Result<(), StoreError> {
        self.write_record(&self.parts_path(name), record)
    }

    fn parts_path(&self, name: &Digest) -> PathBuf {
        self.root().join("parts").join(format!("{}.json", name.hex()))
    }
}
