//! What is remembered of the context's files, so that one that has not changed is not read again.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::image::Digest;
use crate::layer::HostFile;
use crate::store::{Hashes, Store, StoreError};

use super::pick::{BUFFER, digest_of};

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
    /// How many threads read.
    threads: usize,
}

/// A file, and the state that it was in when it was listed.
pub(super) type Listed<'a> = (&'a HostFile, Option<Stamp>);

impl Memory {
    /// Of the context in a directory, or of all that are in none.
    pub(super) fn of(store: &Store, directory: Option<&Path>, threads: usize) -> Self {
        let name = directory.map(|path| path.as_os_str().as_encoded_bytes()).unwrap_or_default();
        Self { store: store.clone(), hashes: Mutex::new(store.hashes(&Digest::of(name))), threads }
    }

    /// The digests of files, in their order. Those that may have changed are read, several at a time.
    pub(super) fn digests(&self, files: &[Listed<'_>]) -> Vec<io::Result<Digest>> {
        let known: Vec<Option<Digest>> = {
            let mut hashes = self.hashes();
            files.iter().map(|(_, listed)| hashes.get(&(*listed)?.state())).collect()
        };
        let unknown: Vec<&Listed<'_>> =
            files.iter().zip(&known).filter_map(|(file, known)| known.is_none().then_some(file)).collect();
        let mut read = self.read_all(&unknown).into_iter();
        // As many were read as are not known.
        known
            .into_iter()
            .map(|known| known.map_or_else(|| read.next().unwrap_or(Err(io::ErrorKind::Other.into())), Ok))
            .collect()
    }

    fn read_all(&self, files: &[&Listed<'_>]) -> Vec<io::Result<Digest>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut buffer, mut digests) = (vec![0; BUFFER], Vec::new());
            while let number = next.fetch_add(1, Ordering::Relaxed)
                && let Some(file) = files.get(number)
            {
                digests.push((number, self.read(file, &mut buffer)));
            }
            digests
        };
        // A thread is begun in the time that a few files take.
        let threads = self.threads.min(files.len() / 8);
        let mut digests = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut digests = work();
            digests
                .extend(others.into_iter().flat_map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic))));
            digests
        });
        digests.sort_unstable_by_key(|(number, _)| *number);
        digests.into_iter().map(|(_, digest)| digest).collect()
    }

    fn read(&self, (file, listed): &Listed<'_>, buffer: &mut [u8]) -> io::Result<Digest> {
        let file = file.open()?;
        let digest = digest_of(&file, buffer)?;
        // Only what it still is after it was read is what was read.
        if let Some(stamp) = *listed
            && Stamp::of(&file.metadata()?) == stamp
        {
            self.hashes().learn(stamp.state(), digest);
        }
        Ok(digest)
    }

    fn hashes(&self) -> MutexGuard<'_, Hashes> {
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers; after a build that asked for `all` there is, nothing else.
    pub(super) fn keep(&self, all: bool) -> Result<(), StoreError> {
        self.store.keep_hashes(&self.hashes(), all)
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
        let file = HostFile { root, path: LayerPath::parse(b"f").unwrap(), seen: None };
        let later = SystemTime::now() + Duration::from_secs(60);
        let stamp = || Stamp::settled(&fs::metadata(&path).unwrap(), later);
        assert_eq!(Stamp::settled(&fs::metadata(&path).unwrap(), SystemTime::now()), None, "it is too young");

        let memory = Memory::of(&store, None, 2);
        let digest = |memory: &Memory, listed| memory.digests(&[(&file, listed)]).pop().unwrap().unwrap();
        let (listed, one) = (stamp(), Digest::of(b"one"));
        assert_eq!(digest(&memory, listed), one);
        memory.keep(true).unwrap();
        // It is believed to be what it looked like, so that it was not read.
        fs::write(&path, "two").unwrap();
        let memory = Memory::of(&store, None, 2);
        assert_eq!(digest(&memory, listed), one);
        assert_eq!(digest(&memory, stamp()), Digest::of(b"two"));

        // A change between listing and reading is not remembered under the old state.
        let before = stamp();
        fs::write(&path, "other").unwrap();
        let memory = Memory::of(&store, Some(folder.path()), 2);
        assert_eq!(digest(&memory, before), Digest::of(b"other"));
        fs::write(&path, "third").unwrap();
        assert_eq!(digest(&memory, before), Digest::of(b"third"));
    }

    #[test]
    fn many_files_are_told_apart_whoever_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let root = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
        let file = |name: &String| HostFile {
            root: Arc::clone(&root),
            path: LayerPath::parse(name.as_bytes()).unwrap(),
            seen: None,
        };
        let files: Vec<HostFile> = names.iter().map(file).collect();
        names.iter().filter(|name| *name != "f77").for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        let listed: Vec<Listed<'_>> = files.iter().map(|file| (file, None)).collect();
        for threads in [1, 5] {
            let found = Memory::of(&store, None, threads).digests(&listed);
            assert_eq!(found.len(), names.len());
            for (name, found) in names.iter().zip(found) {
                assert_eq!(found.ok(), (name != "f77").then(|| Digest::of(name.as_bytes())), "{name}");
            }
        }
    }
}
