//! A blob's tar, with limits on what comes out.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::ArchiveKind;
use crate::image::Compression;

/// The largest dictionary of an xz stream, in KiB: what `xz -9` asks for is 64 MiB.
const XZ_MEMORY: u32 = 256 << 10;

/// The most that a frame may look back, as a power of two: 128 MiB, the limit of `zstd -d` too.
const ZSTD_WINDOW: u32 = 27;

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

/// Why a blob does not unpack to the layer that it should be. Limits are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    #[error("a layer unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("a layer unpacks to more than {ratio} times its size")]
    Bomb { ratio: u64 },
}

/// Reads the uncompressed bytes. An error of [`DecompressError`]'s is inside the `io::Error`.
pub struct Decompressed<R: Read> {
    inner: Inner<R>,
    limits: Limits,
    came_out: u64,
    went_in: Arc<AtomicU64>,
}

enum Inner<R: Read> {
    Plain(Counted<R>),
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
    Bzip2(Box<MultiBzDecoder<Counted<R>>>),
    Xz(Box<XzReader<Counted<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Counted<R>>>>),
}

/// Reads a blob uncompressed. When nothing more comes out, all of `blob` has been read.
pub fn decompress<R: Read>(blob: R, compression: Compression, limits: Limits) -> Decompressed<R> {
    let kind = match compression {
        Compression::None => ArchiveKind::Tar,
        Compression::Gzip => ArchiveKind::Gzip,
        Compression::Zstd => ArchiveKind::Zstd,
    };
    Decompressed::of(blob, kind, limits)
}

impl<R: Read> Decompressed<R> {
    /// The bytes behind an archive's compression.
    pub fn of(archive: R, kind: ArchiveKind, limits: Limits) -> Self {
        let went_in = Arc::new(AtomicU64::new(0));
        let archive = Counted { inner: archive, bytes: Arc::clone(&went_in) };
        let inner = match kind {
            ArchiveKind::Tar => Inner::Plain(archive),
            ArchiveKind::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(archive))),
            ArchiveKind::Bzip2 => Inner::Bzip2(Box::new(MultiBzDecoder::new(archive))),
            ArchiveKind::Xz => Inner::Xz(Box::new(XzReader::new_mem_limit(archive, true, XZ_MEMORY))),
            ArchiveKind::Zstd => Inner::Zstd(Box::new(frames(archive))),
        };
        Self { inner, limits, came_out: 0, went_in }
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Plain(archive) => archive.read(buffer)?,
            Inner::Gzip(decoder) => decoder.read(buffer)?,
            Inner::Bzip2(decoder) => decoder.read(buffer)?,
            Inner::Xz(decoder) => decoder.read(buffer)?,
            Inner::Zstd(decoder) => decoder.read(buffer)?,
        };
        let went_in = self.went_in.load(Ordering::Relaxed);
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

/// Frames one behind the other, some to be skipped (RFC 8878, section 3.1).
fn frames<R: Read>(archive: R) -> zstd::Decoder<'static, BufReader<R>> {
    let decoder = zstd::Decoder::new(archive).and_then(|mut decoder| {
        decoder.window_log_max(ZSTD_WINDOW)?;
        Ok(decoder)
    });
    decoder.expect("it fails only where there is no memory")
}

/// Counts what is read, where the decoder in front of it can not be asked.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
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
        decompress(blob, compression, limits).read_to_end(&mut out)?;
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

    /// `some bytes`, by bzip2 1.0.8, xz 5.4.1 and zstd 1.5.4.
    const SAMPLES: [(ArchiveKind, &str); 3] = [
        (
            ArchiveKind::Bzip2,
            "425a68393141592653595accb8cf0000031180400012028c2020002190c210c08dce8e076f8bb9229c28482d665c6780",
        ),
        (
            ArchiveKind::Xz,
            "fd377a585a000004e6d6b4460200210116000000742fe5a3010009736f6d65206279746573000000abf98a36ee82a37d0001220a151ae1671fb6f37d010000000004595a",
        ),
        (ArchiveKind::Zstd, "28b52ffd0458510000736f6d652062797465732abbcaad"),
    ];

    #[test]
    fn frames_of_zstd_that_are_to_be_skipped_are_skipped() {
        let skipped = [0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'.', b'.', b'.'];
        let [one, two] = ["one ", "two"].map(|text| zstd::encode_all(text.as_bytes(), 0).unwrap());
        let blob = [&one, &skipped[..], &zstd::encode_all(&b""[..], 0).unwrap(), &two].concat();
        assert_eq!(read(&blob, Compression::Zstd, Limits::default()).unwrap(), b"one two");
        assert!(read(&[&one[..], b"more"].concat(), Compression::Zstd, Limits::default()).is_err());
        // What would look back further than a reader has memory for.
        let mut far = zstd::Encoder::new(Vec::new(), 0).unwrap();
        far.window_log(28).unwrap();
        far.write_all(b"far").unwrap();
        assert!(read(&far.finish().unwrap(), Compression::Zstd, Limits::default()).is_err());
    }

    #[test]
    fn every_compression_is_read_and_a_cut_is_noticed() {
        for (kind, hex) in SAMPLES {
            let blob: Vec<u8> =
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
            let read = |blob: &[u8]| {
                let mut out = Vec::new();
                Decompressed::of(blob, kind, Limits::default()).read_to_end(&mut out).map(|_| out)
            };
            assert_eq!(read(&blob).unwrap(), b"some bytes", "{kind:?}");
            assert_eq!(read(&blob.repeat(2)).unwrap(), b"some bytessome bytes", "{kind:?}");
            for end in 1..blob.len() {
                assert!(read(&blob[..end]).is_err(), "{kind:?} {end}");
            }
        }
    }
}
