//! The store's folders, measured and removed: some hold files of ids that are ours in the sandbox alone.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::{Folders, on_disk};

use super::{Source, Workshop};

/// The job that measures a folder.
pub(super) const MEASURE: &str = "measure";

impl<S: Source> Folders for Workshop<S> {
    fn measure(&self, folder: &Path) -> io::Result<u64> {
        match tree(folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let sandbox = self.sandbox().map_err(io::Error::other)?;
                let mut job = sandbox.job(MEASURE, folder.as_os_str().as_bytes()).map_err(io::Error::other)?;
                let mut told = String::new();
                job.by_ref().take(32).read_to_string(&mut told)?;
                job.wait().map_err(io::Error::other)?;
                told.parse().map_err(io::Error::other)
            }
            measured => measured,
        }
    }

    fn remove(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let sandbox = self.sandbox().map_err(io::Error::other)?;
                sandbox.remove(folder).map_err(io::Error::other)
            }
            removed => removed,
        }
    }
}

pub(super) fn measure(payload: &[u8], output: &mut dyn Write) -> Result<(), String> {
    let folder = Path::new(OsStr::from_bytes(payload));
    let bytes = tree(folder).map_err(|error| format!("measuring {}: {error}", folder.display()))?;
    write!(output, "{bytes}").map_err(|error| error.to_string())
}

/// What a file or a folder takes of the disk; a file with several names counts once.
fn tree(top: &Path) -> io::Result<u64> {
    let (mut bytes, mut seen) = (0, HashSet::new());
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = match fs::symlink_metadata(&path) {
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) {
            continue;
        }
        bytes += on_disk(&meta);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("below")).unwrap();
        let empty = tree(&top).unwrap();
        fs::write(top.join("a"), vec![1; 100_000]).unwrap();
        let one = tree(&top).unwrap();
        assert!(one >= empty + 100_000, "{empty} {one}");
        fs::hard_link(top.join("a"), top.join("below/b")).unwrap();
        assert_eq!(tree(&top).unwrap(), one);
        let mut told = Vec::new();
        measure(top.as_os_str().as_bytes(), &mut told).unwrap();
        assert_eq!(told, one.to_string().into_bytes());
    }
}
