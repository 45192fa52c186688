//! A blob that is read while it comes from the network.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{self, Receiver};

use super::Tap;

/// How many pieces may have come and not been read; a piece is what one read of the network gives, some 16 KiB.
const AHEAD: usize = 64;

/// The reading end. It ends when the tap is dropped, be that the blob's end or not: what was read is to be judged by its
/// digest. To be read on a thread that may block.
pub(super) struct Tapped {
    pieces: Receiver<Bytes>,
    piece: Bytes,
}

impl Tapped {
    pub(super) fn new() -> (Tap, Self) {
        let (tap, pieces) = mpsc::channel(AHEAD);
        (tap, Self { pieces, piece: Bytes::new() })
    }
}

impl Read for Tapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let read = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}
