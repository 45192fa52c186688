//! How a layer is compressed: on several threads, the same bytes for any number of them.

mod gzip;
mod noise;
mod parallel;
mod zstd;

use std::io::{self, Write};

use parallel::Parallel;

use crate::image::{Compression, Digest, HashingWriter};

/// How a layer is compressed when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip(gzip::Level),
    Zstd(zstd::Level),
}

/// A compression level that is not offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchPacking {
    #[error("gzip level {0} is not offered; the levels are 1 to 12")]
    Gzip(u32),
    #[error("zstd level {0} is not offered; the levels are 1 to 19")]
    Zstd(u32),
    #[error("an uncompressed layer has no compression level")]
    LevelOfNothing,
}

impl Packing {
    /// From what was asked for: a kind, and perhaps a level.
    pub fn new(compression: Compression, level: Option<u32>) -> Result<Self, NoSuchPacking> {
        match (compression, level) {
            (Compression::Gzip, level) => Ok(Self::Gzip(level.map_or(Ok(Default::default()), gzip::Level::new)?)),
            (Compression::Zstd, level) => Ok(Self::Zstd(level.map_or(Ok(Default::default()), zstd::Level::new)?)),
            (Compression::None, None) => Ok(Self::None),
            (Compression::None, Some(_)) => Err(NoSuchPacking::LevelOfNothing),
        }
    }

    /// What the media type of the layer says.
    pub fn compression(&self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }
}

impl Default for Packing {
    fn default() -> Self {
        Self::Gzip(Default::default())
    }
}

/// Compresses what is written into it, or passes it on.
pub(super) enum Packer<W> {
    None(W),
    Blocks(Box<Parallel<HashingWriter<W>>>),
}

impl<W: Write> Packer<W> {
    pub fn new(packing: Packing, threads: usize, out: W) -> io::Result<Self> {
        let hashing = HashingWriter::new;
        match packing {
            Packing::None => Ok(Self::None(out)),
            Packing::Gzip(level) => {
                Ok(Self::Blocks(Box::new(Parallel::new::<gzip::Gzip>(level, threads, hashing(out))?)))
            }
            Packing::Zstd(level) => {
                Ok(Self::Blocks(Box::new(Parallel::new::<zstd::Zstd>(level, threads, hashing(out))?)))
            }
        }
    }

    /// The writer below, once everything has been written to it; and the digest of that and its size in bytes, unless it is
    /// what was written here.
    pub fn finish(self) -> io::Result<(W, Option<(Digest, u64)>)> {
        match self {
            Self::None(out) => Ok((out, None)),
            Self::Blocks(blocks) => {
                let (out, digest, size) = blocks.finish()?.finish();
                Ok((out, Some((digest, size))))
            }
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Blocks(blocks) => blocks.write(bytes),
        }
    }

    /// Only the end can be flushed, by [`Packer::finish`]: a flush in between would show in the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
