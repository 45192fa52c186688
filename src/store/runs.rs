//! How far work is that goes on elsewhere while nobody of us is there: one file for each, held by one process at a time.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Lock, Store, StoreError};
use crate::image::Digest;

/// The largest, in bytes.
const LIMIT: u64 = 64 << 20;

/// The memory of one piece of work.
#[derive(Debug)]
pub struct RunFile {
    store: Store,
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// The file of this work, `None` while another process holds it.
    pub fn run_file(&self, work: &Digest) -> Result<Option<RunFile>, StoreError> {
        let folder = self.root().join("runs");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(StoreError::io("make", &folder))?;
        let path = folder.join(format!("{}.json", work.hex()));
        // The file itself is replaced each time that it is written.
        let lock_path = path.with_extension("lock");
        let lock = Lock::try_hold(&lock_path, true).map_err(StoreError::io("lock", &lock_path))?;
        Ok(lock.map(|lock| RunFile { store: self.clone(), path, _lock: lock }))
    }
}

impl RunFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept last; one that is too large is an error, as is all that is none of ours.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)) {
            Ok(read) if read as u64 <= LIMIT => Ok(Some(bytes)),
            Ok(_) => Err(StoreError::io("read", &self.path)(io::Error::other("it is larger than any of ours"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &self.path)(error)),
        }
    }

    /// On disk when this returns, whole.
    pub fn keep(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temp = self.store.temp_file()?;
        temp.write_all(bytes).map_err(StoreError::io("write", &self.path))?;
        self.store.keep(temp, &self.path)
    }

    /// The work is done.
    pub fn forget(self) -> Result<(), StoreError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", &self.path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_holds_a_file_and_finds_what_was_kept() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let work = Digest::of(b"work");
        let file = store.run_file(&work).unwrap().unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.keep(b"half").unwrap();
        assert!(store.run_file(&work).unwrap().is_none(), "it is held");
        drop(file);
        let file = store.run_file(&work).unwrap().unwrap();
        assert_eq!(file.read().unwrap().as_deref(), Some(&b"half"[..]));
        file.forget().unwrap();
        assert_eq!(store.run_file(&work).unwrap().unwrap().read().unwrap(), None);
    }
}
