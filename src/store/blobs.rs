//! Blobs by digest. A blob is verified when it is written, and again while it is read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::early::Early;
use super::growing::{Growing, Growth};
use super::{Store, StoreError};
use crate::image::{Digest, Hasher};

impl Store {
    /// Where a blob is or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// The blob's size in bytes, if it is here; who asks uses it.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let path = self.blob_path(digest);
        let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        self.used(&path);
        Some(meta.len())
    }

    /// Opens a blob; the reader fails at the end when the bytes are not those of the digest.
    pub fn open_blob(&self, digest: &Digest) -> Result<VerifiedReader<File>, StoreError> {
        let path = self.blob_path(digest);
        let file = File::open(&path).map_err(StoreError::io("open", path))?;
        Ok(VerifiedReader::new(file, *digest))
    }

    /// A small blob whole: a config or a manifest.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let read = self.open_blob(digest)?.take(limit).read_to_end(&mut bytes);
        read.map_err(StoreError::io("read", self.blob_path(digest)))?;
        match Digest::of(&bytes) {
            got if got == *digest => Ok(bytes),
            got => Err(StoreError::Mismatch { wanted: *digest, got }),
        }
    }

    /// Forgets a blob that turned out to be damaged, so that the next build fetches it again.
    pub fn forget_blob(&self, digest: &Digest) {
        // It may be gone already, which is what is wanted.
        let _ = fs::remove_file(self.blob_path(digest));
    }

    /// Keeps a blob that is an uncompressed tar as one, without a copy; not where the disk has no hard links.
    pub fn keep_blob_as_tar(&self, digest: &Digest) -> bool {
        let linked = fs::hard_link(self.blob_path(digest), self.tar_path(digest));
        linked.is_ok() || linked.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
    }

    /// A new blob of bytes not yet known.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter { file: self.blob_file()?, hasher: Hasher::default() })
    }

    /// A new blob, for whoever hashes its bytes as they are written.
    pub fn blob_file(&self) -> Result<BlobFile, StoreError> {
        let temp = self.temp_file()?;
        let early = Early::of(temp.as_file());
        Ok(BlobFile { store: self.clone(), temp, written: 0, early, growth: None })
    }

    /// Keeps a small blob.
    pub fn keep_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(StoreError::io("write a blob in", self.root()))?;
        Ok(writer.commit(None)?.0)
    }
}

/// Bytes on their way to becoming a blob; dropped before [`BlobWriter::commit`], they leave nothing.
pub struct BlobWriter {
    file: BlobFile,
    hasher: Hasher,
}

/// Bytes on their way to becoming a blob, whose digest their writer knows; dropped before [`BlobFile::keep`], they leave
/// nothing.
pub struct BlobFile {
    store: Store,
    temp: tempfile::NamedTempFile,
    written: usize,
    early: Early,
    growth: Option<Growth>,
}

impl BlobWriter {
    /// Keeps the blob under its digest, which must be the one `expected`. Returns digest and size in bytes.
    pub fn commit(self, expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        let bytes = self.hasher.bytes();
        let digest = self.hasher.finish();
        if let Some(wanted) = expected.filter(|&&wanted| wanted != digest) {
            return Err(StoreError::Mismatch { wanted: *wanted, got: digest });
        }
        self.file.keep(&digest)?;
        Ok((digest, bytes))
    }

    pub fn bytes(&self) -> u64 {
        self.hasher.bytes()
    }
}

impl BlobFile {
    /// Its bytes as they come, for one reader and its clones.
    pub fn growing(&mut self) -> Result<Growing, StoreError> {
        let file = self.temp.reopen().map_err(StoreError::io("open again", self.temp.path()))?;
        let (growth, growing) = Growing::of(file);
        growth.wrote(self.written);
        self.growth = Some(growth);
        Ok(growing)
    }

    /// Keeps the blob under its digest.
    pub fn keep(mut self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.store.blob_path(digest);
        self.early.finish().map_err(StoreError::io("write", &path))?;
        self.store.keep(self.temp, &path)?;
        self.growth.into_iter().for_each(|growth| growth.kept(digest));
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for BlobFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.temp.as_file_mut().write(bytes).map_err(|error| match error.kind() {
            // In words that say which disk: what writes here does not know.
            kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                io::Error::new(kind, StoreError::Full { path: self.store.root().to_owned() })
            }
            _ => error,
        })?;
        self.written += written;
        self.early.wrote(written);
        self.growth.iter().for_each(|growth| growth.wrote(written));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes a blob's bytes and fails at their end when they are not those of the digest: a store that someone
/// edited, or a disk that forgot, is found out by whoever reads to the end.
pub struct VerifiedReader<R> {
    inner: R,
    wanted: Digest,
    hasher: Option<Hasher>,
}

impl<R: Read> VerifiedReader<R> {
    pub fn new(inner: R, wanted: Digest) -> Self {
        Self { inner, wanted, hasher: Some(Hasher::default()) }
    }
}

impl<R: Read> Read for VerifiedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read > 0 {
            self.hasher.iter_mut().for_each(|hasher| hasher.update(&buffer[..read]));
        } else if !buffer.is_empty()
            && let Some(got) = self.hasher.take().map(Hasher::finish)
            && got != self.wanted
        {
            let wanted = self.wanted;
            return Err(io::Error::new(io::ErrorKind::InvalidData, StoreError::Mismatch { wanted, got }));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        (home, store)
    }

    #[test]
    fn a_blob_of_the_wrong_digest_is_not_kept() {
        let (_home, store) = store();
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"bytes").unwrap();
        let wanted = Digest::of(b"other");
        assert!(matches!(writer.commit(Some(&wanted)), Err(StoreError::Mismatch { .. })));
        assert_eq!(store.blob_size(&wanted), None);
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_that_was_edited_is_found_out() {
        let (_home, store) = store();
        let digest = store.keep_blob(b"bytes").unwrap();
        assert_eq!(store.read_blob(&digest, 100).unwrap(), b"bytes");
        fs::write(store.blob_path(&digest), b"bites").unwrap();
        assert!(io::copy(&mut store.open_blob(&digest).unwrap(), &mut io::sink()).is_err());
        assert!(store.read_blob(&digest, 100).is_err());
    }
}
