//! Bytes that go to the disk while further ones are made, so that the fsync at the end has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// How many bytes are worth a turn.
const PIECE: usize = 16 << 20;

/// Has the system write out what was written to a file.
pub(super) struct Early {
    file: Option<File>,
    waiting: usize,
    writer: Option<Writer>,
}

struct Writer {
    ask: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Early {
    pub fn of(file: &File) -> Self {
        Self { file: file.try_clone().ok(), waiting: 0, writer: None }
    }

    /// So many bytes more are in the file.
    pub fn wrote(&mut self, bytes: usize) {
        self.waiting += bytes;
        if self.waiting < PIECE {
            return;
        }
        self.waiting = 0;
        if let Some(file) = self.file.take() {
            self.writer = Writer::begin(file);
        }
        if let Some(writer) = &self.writer {
            // A turn that is waiting already takes these bytes along; one that failed is told of at the end.
            let _ = writer.ask.try_send(());
        }
    }

    /// What went wrong on the way. It has to be asked: the kernel tells an error of writing once, and an fsync after that
    /// succeeds (fsync(2), "EIO").
    pub fn finish(&mut self) -> io::Result<()> {
        let Some(Writer { ask, thread }) = self.writer.take() else { return Ok(()) };
        drop(ask);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes to the disk has died")))
    }
}

impl Writer {
    /// It ends when nobody can ask it any more. Where there can be no thread all is written at the end.
    fn begin(file: File) -> Option<Self> {
        let (ask, asked) = sync_channel(1);
        let work = move || {
            while asked.recv().is_ok() {
                file.sync_data()?;
            }
            Ok(())
        };
        thread::Builder::new().name("write out".into()).spawn(work).ok().map(|thread| Self { ask, thread })
    }
}
