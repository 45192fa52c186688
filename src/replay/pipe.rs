//! Bodies on their way to a client: from the disk, or from a server while they are kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Response;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::range::Span;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Reply = Response<Body>;

/// The end into which pieces go. An error cuts the connection, so that no client takes a part for the whole.
pub(super) type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// The bytes that are read from the disk at a time, and how many pieces may wait for a slow client.
const PIECE: u64 = 64 << 10;
const WAITING: usize = 8;

pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body, and where its pieces are put.
pub(super) fn pipe() -> (Pieces, Body) {
    let (pieces, received) = mpsc::channel(WAITING);
    let received = stream::unfold(received, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    (pieces, streamed(received))
}

pub(super) fn streamed(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    use futures_util::StreamExt;
    BodyExt::boxed_unsync(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

/// A part of a file, read off the async threads.
pub(super) fn part_of(file: File, span: Span) -> Body {
    let (pieces, body) = pipe();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_part(file, span, &pieces) {
            // A client that went away needs no error.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    body
}

fn send_part(mut file: File, Span { from, to }: Span, pieces: &Pieces) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut left = to - from;
    while left > 0 {
        let mut piece = Vec::with_capacity(PIECE.min(left) as usize);
        (&mut file).take(left.min(PIECE)).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the blob was cut while it was read"));
        }
        left -= piece.len() as u64;
        if pieces.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
