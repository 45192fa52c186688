//! Zstandard, each block a frame (RFC 8878, section 3.1): readers take one after the other as one stream.

use std::io;

use zstd::bulk;

use super::NoSuchPacking;
use super::parallel::Compressor;

/// A zstd level; each gives the same bytes for the same input, whatever the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(i32);

impl Level {
    /// Beyond 19 are those whose memory grows with what they look back at.
    pub(super) fn new(level: u32) -> Result<Self, NoSuchPacking> {
        match i32::try_from(level) {
            Ok(level @ 1..=19) => Ok(Self(level)),
            _ => Err(NoSuchPacking::Zstd(level)),
        }
    }
}

impl Default for Level {
    /// zstd's own, and BuildKit's.
    fn default() -> Self {
        Self(3)
    }
}

pub(in crate::layer) struct Zstd(bulk::Compressor<'static>);

impl Compressor for Zstd {
    type Level = Level;
    /// What a frame does not see is lost to it: of 4 MiB that is a hundredth of the size.
    const BLOCK: usize = 4 << 20;

    fn new(Level(level): Level) -> io::Result<Self> {
        let mut compressor = bulk::Compressor::new(level)?;
        // A reader notices a damaged layer before its digest is compared.
        compressor.include_checksum(true)?;
        Ok(Self(compressor))
    }

    fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(block)
    }
}
