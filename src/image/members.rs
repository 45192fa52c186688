//! The files of an image on disk: those of a folder, or the members of a tar.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::LayoutError;
use super::layout::failed;

/// The largest document that is read, in bytes: index, manifest or config.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// How many files a tar may have.
const MEMBERS: usize = 100_000;

#[derive(Debug)]
pub(super) struct Members {
    path: PathBuf,
    /// Of a tar: where each member is.
    places: Option<BTreeMap<String, (u64, u64)>>,
}

impl Members {
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let path = path.to_owned();
        let meta = fs::metadata(&path).map_err(failed("open", &path))?;
        let places = if meta.is_dir() { None } else { Some(places(&path)?) };
        Ok(Self { path, places })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_folder(&self) -> bool {
        self.places.is_none()
    }

    pub fn has(&self, name: &str) -> bool {
        match &self.places {
            None => self.path.join(name).exists(),
            Some(places) => places.contains_key(name),
        }
    }

    /// A document, whole.
    pub fn small(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        // One byte more: whoever parses it sees that it is too large.
        self.open_member(name)?.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).map_err(failed("read", &self.path))?;
        Ok(bytes)
    }

    pub fn open_member(&self, name: &str) -> Result<Box<dyn Read + Send>, LayoutError> {
        let missing = || LayoutError::Missing { path: self.path.clone(), what: name.to_owned() };
        match &self.places {
            None => match File::open(self.path.join(name)) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(error) => Err(failed("read", &self.path.join(name))(error)),
            },
            Some(places) => {
                let &(offset, size) = places.get(name).ok_or_else(missing)?;
                let mut file = File::open(&self.path).map_err(failed("open", &self.path))?;
                file.seek(SeekFrom::Start(offset)).map_err(failed("read", &self.path))?;
                Ok(Box::new(file.take(size)))
            }
        }
    }
}

fn places(path: &Path) -> Result<BTreeMap<String, (u64, u64)>, LayoutError> {
    let not_one = |_| LayoutError::Missing { path: path.to_owned(), what: "oci-layout".to_owned() };
    let file = File::open(path).map_err(failed("open", path))?;
    let mut tar = tar::Archive::new(file);
    let mut places = BTreeMap::new();
    for entry in tar.entries_with_seek().map_err(not_one)?.take(MEMBERS) {
        let entry = entry.map_err(not_one)?;
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(places)
}
