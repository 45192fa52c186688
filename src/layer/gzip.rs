//! Gzip on several threads, the same bytes for any number of them.
//!
//! The input is cut into blocks at fixed places. Each is compressed by itself, with the end of the one before it as a
//! dictionary, and ends at a whole byte; so one after the other they are one deflate stream, as pigz makes it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression as Deflate, Crc, FlushCompress};

use crate::image::Compression;

/// How a layer is compressed when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Gzip(Level),
}

/// A gzip level whose output depends on the input alone.
///
/// 1, 5 and 6 are not among them: there zlib-rs 0.6.8 gives other bytes when the same input comes in other pieces or
/// the output buffer has another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u32);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchPacking {
    #[error(
        "gzip level {0} is not offered: its bytes would not be the same each time; the levels are 2, 3, 4, 7, 8 and 9"
    )]
    Level(u32),
    #[error("an uncompressed layer has no compression level")]
    LevelOfNothing,
    #[error("layers are not written with zstd yet; use gzip or none")]
    Zstd,
}

impl Packing {
    /// From what was asked for: a kind, and perhaps a level.
    pub fn new(compression: Compression, level: Option<u32>) -> Result<Self, NoSuchPacking> {
        match (compression, level) {
            (Compression::Gzip, level) => Ok(Self::Gzip(level.map_or(Ok(Level::default()), Level::new)?)),
            (Compression::None, None) => Ok(Self::None),
            (Compression::None, Some(_)) => Err(NoSuchPacking::LevelOfNothing),
            (Compression::Zstd, _) => Err(NoSuchPacking::Zstd),
        }
    }

    /// What the media type of the layer says.
    pub fn compression(&self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
        }
    }
}

impl Default for Packing {
    fn default() -> Self {
        Self::Gzip(Level::default())
    }
}

impl Level {
    pub fn new(level: u32) -> Result<Self, NoSuchPacking> {
        match level {
            2 | 3 | 4 | 7 | 8 | 9 => Ok(Self(level)),
            _ => Err(NoSuchPacking::Level(level)),
        }
    }
}

impl Default for Level {
    /// As small as Go's default and a little faster.
    fn default() -> Self {
        Self(4)
    }
}

/// How much input is compressed at a time.
const BLOCK: usize = 1 << 20;
/// How far deflate looks back.
const WINDOW: usize = 32 << 10;
/// RFC 1952: deflate, no flags, no time, no hint, made on an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses what is written into it, or passes it on.
pub(super) enum Packer<W> {
    None(W),
    Gzip(Gzip<W>),
}

impl<W: Write> Packer<W> {
    pub fn new(packing: Packing, threads: usize, out: W) -> io::Result<Self> {
        match packing {
            Packing::None => Ok(Self::None(out)),
            Packing::Gzip(level) => Ok(Self::Gzip(Gzip::new(level, threads, out)?)),
        }
    }

    /// The writer below, once everything has been written to it.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
        }
    }

    /// Only the end can be flushed, by [`Packer::finish`]: a flush in between would show in the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Holds at most two blocks a thread, and the one that is being filled.
pub(super) struct Gzip<W> {
    out: W,
    block: Vec<u8>,
    dictionary: Vec<u8>,
    crc: Crc,
    jobs: Sender<Job>,
    /// The blocks that are being compressed, in order.
    coming: VecDeque<Receiver<io::Result<Compressed>>>,
    most: usize,
}

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    last: bool,
    done: SyncSender<io::Result<Compressed>>,
}

struct Compressed {
    bytes: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    fn new(level: Level, threads: usize, mut out: W) -> io::Result<Self> {
        let threads = threads.clamp(1, 64);
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            // It ends when there is nobody left to send it a job.
            thread::Builder::new().name("gzip".into()).spawn(move || work(&queue, level))?;
        }
        out.write_all(&HEADER)?;
        let block = Vec::with_capacity(BLOCK);
        let (dictionary, coming) = (Vec::new(), VecDeque::new());
        Ok(Self { out, block, dictionary, crc: Crc::new(), jobs, coming, most: 2 * threads })
    }

    fn finish(mut self) -> io::Result<W> {
        self.send(true)?;
        while !self.coming.is_empty() {
            self.receive()?;
        }
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        // The number of bytes, which RFC 1952 wants modulo 2^32.
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.send(false)?;
        }
        Ok(taken)
    }

    fn send(&mut self, last: bool) -> io::Result<()> {
        if self.coming.len() == self.most {
            self.receive()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let tail = block[block.len().saturating_sub(WINDOW)..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, tail);
        let (done, coming) = sync_channel(1);
        self.jobs.send(Job { block, dictionary, last, done }).map_err(|_| died())?;
        self.coming.push_back(coming);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let Some(next) = self.coming.pop_front() else { return Ok(()) };
        let Compressed { bytes, crc } = next.recv().map_err(|_| died())??;
        self.crc.combine(&crc);
        self.out.write_all(&bytes)
    }
}

fn died() -> io::Error {
    io::Error::other("a thread that compresses has died")
}

fn work(queue: &Mutex<Receiver<Job>>, level: Level) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, dictionary, last, done }) = job else { return };
        // Nobody waits for it after an error elsewhere.
        let _ = done.send(compress(&block, &dictionary, last, level));
    }
}

/// A fresh compressor, the whole block in one call, and an output buffer whose size depends on the block's alone: what
/// comes out depends on nothing else.
fn compress(block: &[u8], dictionary: &[u8], last: bool, Level(level): Level) -> io::Result<Compressed> {
    let mut deflate = Compress::new(Deflate::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary)?;
    }
    // What does not compress is stored, with five bytes for at most 64 KiB; so this is plenty.
    let mut bytes = Vec::with_capacity(block.len() + block.len() / 64 + 1024);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    deflate.compress_vec(block, &mut bytes, flush)?;
    if deflate.total_in() != block.len() as u64 || bytes.len() == bytes.capacity() {
        return Err(io::Error::other("deflate took more room than it can"));
    }
    let mut crc = Crc::new();
    crc.update(block);
    Ok(Compressed { bytes, crc })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::image::Digest;

    /// Bytes that compress as a layer's do, from a fixed seed, over three blocks and a bit.
    fn input() -> Vec<u8> {
        let mut state = 7u64;
        let mut bytes = Vec::new();
        while bytes.len() < 3 * BLOCK + 12_345 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let word = state >> 33;
            match word % 4 {
                0 => bytes.extend(word.to_le_bytes()),
                1 => bytes.extend(format!("key_{}: value\n", word % 1000).bytes()),
                _ => bytes.extend_from_within(bytes.len().saturating_sub(word as usize % 500)..),
            }
        }
        bytes
    }

    fn gzip(input: &[u8], level: u32, threads: usize, write: usize) -> Vec<u8> {
        let packing = Packing::Gzip(Level::new(level).unwrap());
        let mut packer = Packer::new(packing, threads, Vec::new()).unwrap();
        input.chunks(write.max(1)).for_each(|chunk| packer.write_all(chunk).unwrap());
        packer.finish().unwrap()
    }

    fn gunzip(blob: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        // One member: what `gunzip` and every registry's clients read.
        let mut decoder = flate2::read::GzDecoder::new(blob);
        decoder.read_to_end(&mut bytes).unwrap();
        assert_eq!(decoder.into_inner(), b"");
        bytes
    }

    #[test]
    fn threads_and_the_size_of_writes_do_not_show() {
        let input = input();
        let one = gzip(&input, 4, 1, input.len());
        assert_eq!(gunzip(&one), input);
        for threads in [1, 2, 8] {
            for write in [511, 65_536, BLOCK + 1, input.len()] {
                assert!(gzip(&input, 4, threads, write) == one, "{threads} threads, writes of {write}");
            }
        }
        let short = &input[..BLOCK + 1000];
        assert!(gzip(short, 4, 2, 1) == gzip(short, 4, 1, short.len()), "writes of 1");
    }

    #[test]
    fn any_length_is_one_gzip_member() {
        let input = input();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
            assert!(gunzip(&gzip(&input[..length], 4, 2, BLOCK)) == input[..length], "{length}");
        }
    }

    #[test]
    fn what_does_not_compress_has_room() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(BLOCK)
        .collect();
        for level in [2, 4, 9] {
            assert!(gunzip(&gzip(&noise, level, 1, BLOCK)) == noise);
        }
    }

    // When these move, a new compressor has come into the house, and every layer that is built from now on has another
    // digest than the same layer before: a person has to want that.
    #[test]
    fn the_bytes_of_each_level_do_not_move() {
        let input = input();
        let digests = [2, 3, 4, 7, 8, 9].map(|level| (level, Digest::of(&gzip(&input, level, 2, BLOCK)).short()));
        let golden = [
            (2, "aaf2f7924cb4"),
            (3, "b4463b636058"),
            (4, "c48a6fe26cc0"),
            (7, "52c20c03772b"),
            (8, "d4e8aba1a035"),
            (9, "b5def9ebc069"),
        ];
        assert_eq!(digests, golden.map(|(level, digest)| (level, digest.to_owned())));
    }

    // The same for blobs of other sizes, at the level that layers have.
    #[test]
    fn the_bytes_of_any_size_do_not_move() {
        let input = input();
        let sizes = [0, 1, 511, 32_768, 65_536, 1_000_000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 77];
        let digests = sizes.map(|size| Digest::of(&gzip(&input[..size], 4, 2, 65_536)).short());
        let golden = [
            "ac73670af3ab",
            "07572be5f0c3",
            "69f71230d591",
            "75c1d38c939d",
            "01543a14fb21",
            "0119e3568a62",
            "760d6c08a38b",
            "4a20a00549ad",
            "359b09c3e111",
            "f05f79669802",
        ];
        assert_eq!(digests, golden.map(str::to_owned));
    }

    #[test]
    fn levels_whose_bytes_would_vary_are_refused() {
        for level in [0, 1, 5, 6, 10] {
            assert_eq!(Packing::new(Compression::Gzip, Some(level)), Err(NoSuchPacking::Level(level)));
        }
        assert_eq!(Packing::new(Compression::Gzip, None), Ok(Packing::default()));
        assert_eq!(Packing::new(Compression::None, None), Ok(Packing::None));
        assert_eq!(Packing::new(Compression::None, Some(1)), Err(NoSuchPacking::LevelOfNothing));
        assert_eq!(Packing::new(Compression::Zstd, None), Err(NoSuchPacking::Zstd));
    }

    #[test]
    fn an_error_below_is_passed_up() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if bytes.len() == HEADER.len() { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut packer = Packer::new(Packing::default(), 2, Full).unwrap();
        let written = packer.write_all(&vec![1; 8 * BLOCK]);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
