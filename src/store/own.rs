//! Small files of our own, such as a key: read whole, written whole, nobody else's to read.

use std::fs::File;
use std::io::{self, Read, Write};

use super::{Store, StoreError};
use crate::secret::Secret;

/// The largest, in bytes.
const LIMIT: u64 = 64 << 10;

impl Store {
    /// The file of this name, if there is one. A larger one is none of ours.
    pub fn own_file(&self, name: &'static str) -> Result<Option<Secret>, StoreError> {
        let path = self.root().join(name);
        let failed = StoreError::io("read", &path);
        let mut bytes = Vec::with_capacity(LIMIT as usize + 1);
        match File::open(&path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)) {
            Ok(read) if read as u64 <= LIMIT => Ok(Some(Secret::new(bytes))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Keeps the file, 0600.
    pub fn keep_own_file(&self, name: &'static str, content: &Secret) -> Result<(), StoreError> {
        let path = self.root().join(name);
        let mut temp = self.temp_file()?;
        temp.write_all(content.expose()).map_err(StoreError::io("write", &path))?;
        self.keep(temp, &path)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_comes_back_whole() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        assert!(store.own_file("key").unwrap().is_none());
        store.keep_own_file("key", &Secret::new("k")).unwrap();
        assert_eq!(store.own_file("key").unwrap().unwrap().expose(), b"k");
        let mode = std::fs::metadata(home.path().join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(home.path().join("key"), vec![0; LIMIT as usize + 1]).unwrap();
        assert!(store.own_file("key").unwrap().is_none());
    }
}
