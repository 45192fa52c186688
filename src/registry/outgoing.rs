//! The bytes of a blob on its way out: from the store, from a layout, or from the registry that it is fetched from
//! meanwhile, without touching the disk. The last piece goes only when all of them were what the digest says, so that
//! no registry ever has a whole blob of wrong bytes from us.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::arrival::Arrival;
use super::client::Registry;
use super::error::PushError;
use crate::event::{Direction, Event, Events};
use crate::image::{Descriptor, Hasher, Layout, Reference};
use crate::store::VerifiedReader;

/// The bytes that are read from the disk at a time.
pub(super) const PIECE: usize = 256 << 10;

/// After how many bytes the next [`Event::Transfer`] is due.
const TELL_EVERY: u64 = 1 << 20;

/// Where a blob's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Store,
    Layout(Arc<Layout>),
    Registry(Reference),
}

/// A blob's bytes as they go.
pub(super) struct Outgoing {
    blob: Descriptor,
    events: Events,
    bytes: Incoming,
    /// How many have been read.
    read: u64,
    /// The piece that goes when the next one is there, or the end is, and right.
    held: Option<Bytes>,
    told: u64,
    fate: Arc<Fate>,
}

/// What whoever waits for the answer knows of the bytes meanwhile.
#[derive(Default)]
pub(super) struct Fate {
    sent: AtomicU64,
    failure: Mutex<Option<PushError>>,
}

enum Incoming {
    Disk(Blob),
    Registry(Box<Arrival>, Hasher),
    /// There is no more of it.
    Ended,
}

type Blob = VerifiedReader<Box<dyn Read + Send>>;

impl Fate {
    /// How many bytes have gone.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Why there are no more bytes, where that is why the request failed.
    pub(super) fn failure(&self) -> Option<PushError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Outgoing {
    pub(super) fn open(registry: &Registry, blob: &Descriptor, origin: &Origin) -> Result<Self, PushError> {
        let bytes = match origin {
            Origin::Store => {
                let path = registry.0.options.store.blob_path(&blob.digest);
                let file = File::open(path).map_err(|source| PushError::Unread { digest: blob.digest, source })?;
                Incoming::Disk(VerifiedReader::new(Box::new(file), blob.digest))
            }
            Origin::Layout(layout) => Incoming::Disk(VerifiedReader::new(layout.blob(&blob.digest)?, blob.digest)),
            Origin::Registry(from) => {
                Incoming::Registry(Box::new(Arrival::new(registry, from, blob)), Hasher::default())
            }
        };
        let events = registry.0.options.events.clone();
        Ok(Self { blob: blob.clone(), events, bytes, read: 0, held: None, told: 0, fate: Arc::default() })
    }

    pub(super) fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }

    /// The body of the request.
    pub(super) fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self, |mut outgoing| async move {
            let piece = match outgoing.piece().await {
                Ok(piece) => Ok(piece?),
                Err(error) => {
                    let shown = error.to_string();
                    *outgoing.fate.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Err(io::Error::other(shown))
                }
            };
            Some((piece, outgoing))
        })
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, PushError> {
        loop {
            let piece = self.next().await?;
            self.read += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            let (ended, size) = (piece.is_none(), self.blob.size);
            if self.read > size || (ended && self.read < size) {
                return Err(PushError::WrongSize { digest: self.blob.digest, promised: size, got: self.read });
            }
            let held = std::mem::replace(&mut self.held, piece);
            if held.is_some() || ended {
                held.iter().for_each(|held| self.goes(held.len() as u64));
                return Ok(held);
            }
        }
    }

    fn goes(&mut self, bytes: u64) {
        let (digest, total) = (self.blob.digest, self.blob.size);
        let done = self.fate.sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if done - self.told >= TELL_EVERY || done == total {
            self.told = done;
            self.events.emit(Event::Transfer { direction: Direction::Push, digest, done, total });
        }
    }

    /// The next piece; `None` when all were given and right.
    async fn next(&mut self) -> Result<Option<Bytes>, PushError> {
        let digest = self.blob.digest;
        match std::mem::replace(&mut self.bytes, Incoming::Ended) {
            Incoming::Ended => Ok(None),
            Incoming::Disk(blob) => {
                let read = tokio::task::spawn_blocking(move || read(blob)).await;
                let read = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
                let (piece, blob) = read.map_err(|source| match source.kind() {
                    io::ErrorKind::InvalidData => PushError::Damaged { digest },
                    _ => PushError::Unread { digest, source },
                })?;
                if !piece.is_empty() {
                    self.bytes = Incoming::Disk(blob);
                }
                Ok(Some(piece).filter(|piece| !piece.is_empty()))
            }
            Incoming::Registry(mut arrival, mut hasher) => {
                let piece = arrival.piece().await.map_err(Box::new)?;
                match &piece {
                    Some(piece) => {
                        hasher.update(piece);
                        self.bytes = Incoming::Registry(arrival, hasher);
                    }
                    None => arrival.verify(hasher).map_err(Box::new)?,
                }
                Ok(piece)
            }
        }
    }
}

fn read(mut blob: Blob) -> io::Result<(Bytes, Blob)> {
    let mut piece = Vec::with_capacity(PIECE);
    blob.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
    Ok((piece.into(), blob))
}
