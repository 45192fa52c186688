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
