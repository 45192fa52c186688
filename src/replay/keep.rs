//! Bodies from outside into the store, and at the same time to whoever asked for them.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;

use super::pipe::Pieces;
use crate::image::Digest;
use crate::store::{BlobWriter, Store, StoreError};

/// The largest body that is kept, in bytes: as large as one of ADD.
const LIMIT: u64 = 64 << 30;

/// Why a body was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("it was cut: {0}")]
    Cut(String),
    #[error("nothing came for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("it is larger than {LIMIT} bytes")]
    TooLarge,
    #[error("it is {got}, not {wanted}")]
    Moved { wanted: Digest, got: Digest },
    #[error("{0}")]
    Store(StoreError),
}

/// Keeps a body, which must be the one `wanted`, and passes it on. Its last piece is given back and goes only when
/// whoever asks has noted what it is: whoever has all of it can count on that.
pub(super) async fn keep(
    store: &Store,
    mut answer: Response,
    wanted: Option<Digest>,
    pieces: Option<&Pieces>,
    silence: Duration,
) -> Result<(Digest, u64, Option<Bytes>), KeepError> {
    let mut writer = store.blob_writer().map_err(KeepError::Store)?;
    let mut held: Option<Bytes> = None;
    loop {
        let piece = tokio::time::timeout(silence, answer.chunk()).await.map_err(|_| KeepError::Stalled(silence))?;
        let Some(piece) = piece.map_err(|error| KeepError::Cut(super::upstream::deepest(&error, answer.url())))? else {
            break;
        };
        if writer.bytes() + piece.len() as u64 > LIMIT {
            return Err(KeepError::TooLarge);
        }
        write(store, &mut writer, &piece)?;
        if let (Some(pieces), Some(before)) = (pieces, held.replace(piece)) {
            // A client that went away is no reason to stop: the next build wants all of it.
            let _ = pieces.send(Ok(before)).await;
        }
    }
    // Committing waits for the disk.
    let committed = tokio::task::spawn_blocking(move || writer.commit(wanted.as_ref())).await;
    match committed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        Ok((digest, size)) => Ok((digest, size, held)),
        Err(StoreError::Mismatch { wanted, got }) => Err(KeepError::Moved { wanted, got }),
        Err(error) => Err(KeepError::Store(error)),
    }
}

fn write(store: &Store, writer: &mut BlobWriter, piece: &[u8]) -> Result<(), KeepError> {
    let failed =
        |source: io::Error| StoreError::Io { doing: "write a download in", path: store.root().to_owned(), source };
    writer.write_all(piece).map_err(|error| KeepError::Store(failed(error)))
}
