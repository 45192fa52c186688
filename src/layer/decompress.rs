//! A blob's tar, with limits on what comes out.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use crate::image::Compression;

/// How much a blob may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In bytes, uncompressed.
    pub total: u64,
    /// Uncompressed bytes for each compressed byte, asked for only beyond [`Limits::free`].
    pub ratio: u64,
    /// So many bytes may come out at any ratio.
    pub free: u64,
}

impl Default for Limits {
    /// 64 GiB; and beyond 1 GiB no more than 200 to one: real layers stay below 10, deflate can reach 1032.
    fn default() -> Self {
        Self { total: 64 << 30, ratio: 200, free: 1 << 30 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    #[error("layers that are compressed with zstd cannot be read yet")]
    Zstd,
    #[error("a layer unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("a layer unpacks to more than {ratio} times its size")]
    Bomb { ratio: u64 },
}

/// Reads the uncompressed bytes. An error of [`DecompressError`]'s is inside the `io::Error`.
pub struct Decompressed<R> {
    inner: Inner<R>,
    limits: Limits,
    came_out: u64,
}

enum Inner<R> {
    Plain(Counted<R>),
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
}

/// Reads a blob uncompressed. When nothing more comes out, all of `blob` has been read.
pub fn decompress<R: Read>(
    blob: R,
    compression: Compression,
    limits: Limits,
) -> Result<Decompressed<R>, DecompressError> {
    let blob = Counted { inner: blob, bytes: 0 };
    let inner = match compression {
        Compression::None => Inner::Plain(blob),
        Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(blob))),
        Compression::Zstd => return Err(DecompressError::Zstd),
    };
    Ok(Decompressed { inner, limits, came_out: 0 })
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (read, went_in) = match &mut self.inner {
            Inner::Plain(blob) => (blob.read(buffer)?, blob.bytes),
            Inner::Gzip(decoder) => (decoder.read(buffer)?, decoder.get_ref().bytes),
        };
        self.came_out += read as u64;
        let Limits { total, ratio, free } = self.limits;
        let exceeded = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if self.came_out > total {
            return Err(exceeded(DecompressError::TooLarge { limit: total }));
        }
        if self.came_out > free && self.came_out / ratio > went_in {
            return Err(exceeded(DecompressError::Bomb { ratio }));
        }
        Ok(read)
    }
}

struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(blob: &[u8], compression: Compression, limits: Limits) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(blob, compression, limits).unwrap().read_to_end(&mut out)?;
        Ok(out)
    }

    #[track_caller]
    fn fails(blob: &[u8], compression: Compression, limits: Limits, with: DecompressError) {
        let error = read(blob, compression, limits).unwrap_err();
        assert_eq!(error.get_ref().and_then(|error| error.downcast_ref()), Some(&with), "{error}");
    }

    #[test]
    fn many_members_are_one_stream() {
        let blob = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(read(&blob, Compression::Gzip, Limits::default()).unwrap(), b"one two");
    }

    #[test]
    fn what_comes_out_is_limited_in_total() {
        let limits = Limits { total: 1000, ..Limits::default() };
        assert!(read(&gzip(&[7; 1000]), Compression::Gzip, limits).is_ok());
        fails(&gzip(&[7; 1001]), Compression::Gzip, limits, DecompressError::TooLarge { limit: 1000 });
        fails(&[7; 1001], Compression::None, limits, DecompressError::TooLarge { limit: 1000 });
        // In members that are small each.
        let members = gzip(&[7; 100]).repeat(11);
        fails(&members, Compression::Gzip, limits, DecompressError::TooLarge { limit: 1000 });
    }

    #[test]
    fn what_comes_out_is_limited_by_what_went_in() {
        let limits = Limits { ratio: 200, free: 64 << 10, ..Limits::default() };
        assert!(read(&gzip(&[0; 64 << 10]), Compression::Gzip, limits).is_ok(), "a small one may be empty");
        fails(&gzip(&[0; 1 << 20]), Compression::Gzip, limits, DecompressError::Bomb { ratio: 200 });
    }

    #[test]
    fn a_blob_that_was_cut_short_or_added_to_is_an_error() {
        let blob = gzip(b"some bytes");
        for end in 0..blob.len() {
            assert!(read(&blob[..end], Compression::Gzip, Limits::default()).is_err(), "{end}");
        }
        assert!(read(&[&blob[..], b"more"].concat(), Compression::Gzip, Limits::default()).is_err());
    }

    #[test]
    fn zstd_is_refused_by_name() {
        assert_eq!(decompress(&[][..], Compression::Zstd, Limits::default()).err(), Some(DecompressError::Zstd));
    }
}
