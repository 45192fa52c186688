//! Gzip, block by block.
//!
//! Each block is a member by itself (RFC 1952, section 2.2: members one after the other are one file), as pigz -i and
//! eStargz make them and every client reads them. Noise within a block is stored as it is: deflate would store it too,
//! after many times the work.

use std::io;

use libdeflater::{CompressionLvl, Compressor as Deflate};

use super::NoSuchPacking;
use super::noise::{PIECE, is_noise};
use super::parallel::Compressor;

/// A level of libdeflate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(i32);

impl Level {
    pub(super) fn new(level: u32) -> Result<Self, NoSuchPacking> {
        match i32::try_from(level) {
            Ok(level @ 1..=12) => Ok(Self(level)),
            _ => Err(NoSuchPacking::Gzip(level)),
        }
    }
}

impl Default for Level {
    /// Smaller than what other builders write by default, in half of their time.
    fn default() -> Self {
        Self(1)
    }
}

/// RFC 1952: deflate, no flags, no time, no hint, made on an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// How much a stored block holds, in bytes (RFC 1951, section 3.2.4).
const STORED: usize = u16::MAX as usize;

pub(in crate::layer) struct Gzip(Deflate);

impl Compressor for Gzip {
    type Level = Level;
    /// What fits into a CPU's cache; that a member sees nothing of the one before costs two thousandths of the size.
    const BLOCK: usize = 256 << 10;

    fn new(Level(level): Level) -> io::Result<Self> {
        let level = CompressionLvl::new(level).map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok(Self(Deflate::new(level)))
    }

    fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(block.len() + 1024);
        for (run, noise) in runs(block) {
            out.extend(HEADER);
            match noise {
                true => store(run, &mut out),
                false => self.deflate(run, &mut out)?,
            }
            out.extend(libdeflater::crc32(run).to_le_bytes());
            // A block is far smaller than what these four bytes can say.
            out.extend((run.len() as u32).to_le_bytes());
        }
        Ok(out)
    }
}

impl Gzip {
    fn deflate(&mut self, run: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        out.resize(start + self.0.deflate_compress_bound(run.len()), 0);
        let written = self.0.deflate_compress(run, &mut out[start..]);
        let written = written.map_err(|_| io::Error::other("deflate took more room than it can"))?;
        out.truncate(start + written);
        Ok(())
    }
}

/// The block as runs of noise, and of what lies between. An empty one is one run.
fn runs(block: &[u8]) -> Vec<(&[u8], bool)> {
    let mut runs: Vec<(usize, bool)> = Vec::new();
    for piece in block.chunks(PIECE) {
        let noise = is_noise(piece);
        match runs.last_mut() {
            Some((length, kind)) if *kind == noise => *length += piece.len(),
            _ => runs.push((piece.len(), noise)),
        }
    }
    if runs.is_empty() {
        return vec![(block, false)];
    }
    let mut left = block;
    let run = |(length, noise)| {
        let (run, rest) = left.split_at(length);
        left = rest;
        (run, noise)
    };
    runs.into_iter().map(run).collect()
}

/// RFC 1951, section 3.2.4: a block's three bits, and the rest of their byte left free.
fn store(run: &[u8], out: &mut Vec<u8>) {
    let mut blocks = run.chunks(STORED).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
}
