//! Blobs, whole or in part, and away.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use hyper::{Method, Request, StatusCode};

use super::State;
use super::manifests::{self, CONTENT_DIGEST};
use super::reply::{self, Refusal, Reply, with};
use crate::image::Digest;
use crate::range::{self, Span};

/// The bytes that are read from the disk at a time.
const PIECE: u64 = 256 << 10;

pub(super) fn read(state: &State, digest: &Digest, request: &Request<Incoming>) -> Result<Reply, Refusal> {
    let size = state.store.blob_size(digest).ok_or_else(unknown)?;
    let header = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let part = range::asked(header.filter(|_| request.method() == Method::GET), size).map_err(|()| {
        Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", &format!("the blob has {size} bytes"))
    })?;
    let span = part.unwrap_or(Span { from: 0, to: size });
    let mut found = head(digest, span.to - span.from);
    if request.method() == Method::GET {
        let mut file = File::open(state.store.blob_path(digest)).map_err(|_| unknown())?;
        file.seek(SeekFrom::Start(span.from))?;
        *found.body_mut() = BodyExt::boxed_unsync(StreamBody::new(pieces(file, span.to - span.from)));
    }
    if part.is_some() {
        *found.status_mut() = StatusCode::PARTIAL_CONTENT;
        found = with(found, CONTENT_RANGE, &format!("bytes {}-{}/{size}", span.from, span.to - 1));
    }
    Ok(found)
}

/// What is said of a blob before its bytes.
pub(super) fn head(digest: &Digest, size: u64) -> Reply {
    let found = with(reply::empty(StatusCode::OK), CONTENT_LENGTH, &size.to_string());
    let found = with(with(found, CONTENT_TYPE, "application/octet-stream"), ACCEPT_RANGES, "bytes");
    with(found, CONTENT_DIGEST, &digest.to_string())
}

/// Removes a blob that no manifest needs: it may be another repository's too.
pub(super) async fn remove(state: &State, digest: &Digest) -> Result<Reply, Refusal> {
    let _alone = state.changing.lock().await;
    if state.store.blob_size(digest).is_none() {
        return Err(unknown());
    }
    if let Some(repository) = manifests::needing(state, digest)? {
        let why = format!("a manifest of {} needs it", repository.as_str());
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "DENIED", &why));
    }
    state.store.forget_blob(digest);
    Ok(reply::empty(StatusCode::ACCEPTED))
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "there is no such blob")
}

/// So many bytes of the file, read off the async threads.
fn pieces(file: File, left: u64) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static {
    stream::try_unfold((file, left), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::new();
            let read = (&mut file).take(left.min(PIECE)).read_to_end(&mut piece);
            read.map(|_| (piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob was cut while it was read"));
        }
        let left = left - piece.len() as u64;
        Ok(Some((Frame::data(Bytes::from(piece)), (file, left))))
    })
}
