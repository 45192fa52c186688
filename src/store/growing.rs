//! A blob that is read while it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::image::Digest;

/// How far a blob is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// How many bytes can be read.
    pub bytes: u64,
    /// What those bytes are, when there will be no more.
    pub whole: Option<Digest>,
}

/// The bytes of a blob that is not whole yet, unverified. Where its writer is dropped before the blob is kept, there is
/// nobody to wait for, and no blob.
#[derive(Clone, Debug)]
pub struct Growing {
    file: Arc<File>,
    grown: watch::Receiver<Grown>,
}

/// Nobody writes the blob any more, and it was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the blob was given up before it was whole")]
pub struct Abandoned;

/// What the writer tells its readers by.
#[derive(Debug)]
pub(super) struct Growth(watch::Sender<Grown>);

impl Growing {
    pub(super) fn of(file: File) -> (Growth, Self) {
        let (tell, grown) = watch::channel(Grown::default());
        (Growth(tell), Self { file: Arc::new(file), grown })
    }

    /// How far it is now.
    pub fn grown(&self) -> Grown {
        *self.grown.borrow()
    }

    /// Waits until there are so many bytes, or all of them.
    pub async fn reaches(&mut self, bytes: u64) -> Result<Grown, Abandoned> {
        let there = self.grown.wait_for(|grown| grown.bytes >= bytes || grown.whole.is_some()).await;
        there.map(|grown| *grown).map_err(|_| Abandoned)
    }

    /// Reads what is there from `offset` on, at most `limit` bytes.
    pub fn read(&self, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
        let there = self.grown().bytes.saturating_sub(offset);
        let mut piece = vec![0; usize::try_from(there).map_or(limit, |there| there.min(limit))];
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }
}

impl Growth {
    pub(super) fn wrote(&self, bytes: usize) {
        self.0.send_modify(|grown| grown.bytes += bytes as u64);
    }

    pub(super) fn kept(self, digest: &Digest) {
        self.0.send_modify(|grown| grown.whole = Some(*digest));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_blob_is_read_while_it_is_written_and_named_when_it_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let mut blob = Store::open(home.path()).unwrap().blob_file().unwrap();
        blob.write_all(b"before ").unwrap();
        let mut growing = blob.growing().unwrap();
        assert_eq!(growing.grown(), Grown { bytes: 7, whole: None });
        blob.write_all(b"and after").unwrap();
        assert_eq!(growing.reaches(10).await, Ok(Grown { bytes: 16, whole: None }));
        assert_eq!(growing.read(5, 100).unwrap(), b"e and after");
        let digest = Digest::of(b"before and after");
        let waiting = tokio::spawn(async move { growing.reaches(u64::MAX).await });
        tokio::task::yield_now().await;
        blob.keep(&digest).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(Grown { bytes: 16, whole: Some(digest) }));
    }

    #[tokio::test]
    async fn a_blob_that_is_given_up_is_waited_for_no_longer() {
        let home = tempfile::tempdir().unwrap();
        let mut blob = Store::open(home.path()).unwrap().blob_file().unwrap();
        let mut growing = blob.growing().unwrap();
        blob.write_all(b"some").unwrap();
        drop(blob);
        assert_eq!(growing.reaches(100).await, Err(Abandoned));
        assert_eq!(growing.read(1, 2).unwrap(), b"om");
    }
}
