//! What is remembered of the context's files, so that one that has not changed is not read again.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::image::Digest;
use crate::layer::HostFile;
use crate::store::{Hashes, Store, StoreError};

use super::pick::digest_of;

/// A file that was changed twice within the clock's grain looks the same both times; FAT counts in two seconds. What is
/// younger is always read ("racy git", git's Documentation/technical/racy-git.txt).
const GRAIN: Duration = Duration::from_secs(2);

/// A state of a file of the host: it has not changed where none of this has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// The state of a file at this time, unless it may change and yet look the same.
    pub(super) fn settled(meta: &Metadata, now: SystemTime) -> Option<Self> {
        let Self { modified, changed, .. } = Self::of(meta);
        let until = now.checked_sub(GRAIN)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let until = (i64::try_from(until.as_secs()).ok()?, i64::from(until.subsec_nanos()));
        (modified.max(changed) < until).then(|| Self::of(meta))
    }

    /// Taken apart, so that a new field is remembered too.
    fn state(self) -> [u8; 56] {
        let Self { device, inode, size, modified: (modified, modified_nanos), changed: (changed, changed_nanos) } =
            self;
        let mut state = [0; 56];
        let fields = [
            device.to_le_bytes(),
            inode.to_le_bytes(),
            size.to_le_bytes(),
            modified.to_le_bytes(),
            modified_nanos.to_le_bytes(),
            changed.to_le_bytes(),
            changed_nanos.to_le_bytes(),
        ];
        for (place, field) in state.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field);
        }
        state
    }
}

/// The memory of one context.
#[derive(Debug)]
pub(super) struct Memory {
    store: Store,
    hashes: Mutex<Hashes>,
}

impl Memory {
    /// Of the context in a directory, or of all that are in none.
    pub(super) fn of(store: &Store, directory: Option<&Path>) -> Self {
        let name = directory.map(|path| path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        Self { store: store.clone(), hashes: Mutex::new(store.hashes(&Digest::of(name))) }
    }

    /// The digest of a file that was in this state when it was listed.
    pub(super) fn digest(&self, file: &HostFile, listed: Option<Stamp>) -> io::Result<Digest> {
        let hashes = || self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = listed.and_then(|stamp| hashes().get(&stamp.state())) {
            return Ok(digest);
        }
        let file = file.open()?;
        let digest = digest_of(&file)?;
        // Only what it still is after it was read is what was read.
        if let Some(stamp) = listed
            && Stamp::of(&file.metadata()?) == stamp
        {
            hashes().learn(stamp.state(), digest);
        }
        Ok(digest)
    }

    /// Remembers; after a build that asked for `all` there is, nothing else.
    pub(super) fn keep(&self, all: bool) -> Result<(), StoreError> {
        self.store.keep_hashes(&self.hashes.lock().unwrap_or_else(PoisonError::into_inner), all)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::*;
    use crate::layer::LayerPath;

    #[test]
    fn a_file_is_read_again_only_when_it_may_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "one").unwrap();
        let root = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let file = HostFile { root, path: LayerPath::parse(b"f").unwrap() };
        let later = SystemTime::now() + Duration::from_secs(60);
        let stamp = || Stamp::settled(&fs::metadata(&path).unwrap(), later);
        assert_eq!(Stamp::settled(&fs::metadata(&path).unwrap(), SystemTime::now()), None, "it is too young");

        let memory = Memory::of(&store, None);
        let (listed, one) = (stamp(), Digest::of(b"one"));
        assert_eq!(memory.digest(&file, listed).unwrap(), one);
        memory.keep(true).unwrap();
        // It is believed to be what it looked like, so that it was not read.
        fs::write(&path, "two").unwrap();
        let memory = Memory::of(&store, None);
        assert_eq!(memory.digest(&file, listed).unwrap(), one);
        assert_eq!(memory.digest(&file, stamp()).unwrap(), Digest::of(b"two"));

        // A change between listing and reading is not remembered under the old state.
        let before = stamp();
        fs::write(&path, "other").unwrap();
        let memory = Memory::of(&store, Some(folder.path()));
        assert_eq!(memory.digest(&file, before).unwrap(), Digest::of(b"other"));
        fs::write(&path, "third").unwrap();
        assert_eq!(memory.digest(&file, before).unwrap(), Digest::of(b"third"));
    }
}
