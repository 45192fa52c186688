//! Blocks compressed side by side and written out in order, in bounded memory.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Compresses a block by itself, one after the other; what comes out depends on the block alone. Put together in order,
/// what comes out is one stream to whoever reads it.
pub(in crate::layer) trait Compressor: Sized + 'static {
    type Level: Copy + Send + 'static;
    /// How much input is compressed at a time, in bytes.
    const BLOCK: usize;

    fn new(level: Self::Level) -> io::Result<Self>;
    fn compress(&mut self, block: &[u8]) -> io::Result<Vec<u8>>;
}

struct Job {
    block: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

/// Holds a block a thread, one that waits, and the one that is being filled.
pub(in crate::layer) struct Parallel<W> {
    out: W,
    block: Vec<u8>,
    size: usize,
    jobs: Sender<Job>,
    /// The blocks that are being compressed, in order.
    coming: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most: usize,
    begun: bool,
}

impl<W: Write> Parallel<W> {
    pub fn new<C: Compressor>(level: C::Level, threads: usize, out: W) -> io::Result<Self> {
        let threads = threads.clamp(1, 64);
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            // It ends when there is nobody left to send it a job.
            thread::Builder::new().name("compress".into()).spawn(move || work::<C>(&queue, level))?;
        }
        let (block, coming) = (Vec::with_capacity(C::BLOCK), VecDeque::new());
        Ok(Self { out, block, size: C::BLOCK, jobs, coming, most: threads + 1, begun: false })
    }

    pub fn finish(mut self) -> io::Result<W> {
        // Nothing at all is an empty stream too, and that is some bytes.
        if !self.block.is_empty() || !self.begun {
            self.send()?;
        }
        while !self.coming.is_empty() {
            self.receive()?;
        }
        Ok(self.out)
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.size - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == self.size {
            self.send()?;
        }
        Ok(taken)
    }

    fn send(&mut self) -> io::Result<()> {
        if self.coming.len() == self.most {
            self.receive()?;
        }
        self.begun = true;
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.size));
        let (done, coming) = sync_channel(1);
        self.jobs.send(Job { block, done }).map_err(|_| died())?;
        self.coming.push_back(coming);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let Some(next) = self.coming.pop_front() else { return Ok(()) };
        let bytes = next.recv().map_err(|_| died())??;
        self.out.write_all(&bytes)
    }
}

fn died() -> io::Error {
    io::Error::other("a thread that compresses has died")
}

fn work<C: Compressor>(queue: &Mutex<Receiver<Job>>, level: C::Level) {
    let mut compressor = C::new(level);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, done }) = job else { return };
        let compressed = match &mut compressor {
            Ok(compressor) => compressor.compress(&block),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // Nobody waits for it after an error elsewhere.
        let _ = done.send(compressed);
    }
}
