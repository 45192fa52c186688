//! How far the compressing of a layer is, told while it goes on.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::{Event, Events};

/// After how many bytes the next [`Event::Packing`] is due. A layer of less is not spoken of.
const TELL_EVERY: u64 = 4 << 20;

/// A blob on its way to the disk.
pub(super) struct Telling<W> {
    out: W,
    events: Events,
    work: u64,
    done: u64,
    told: u64,
}

impl<W: Write> Telling<W> {
    pub(super) fn new(out: W, events: &Events) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { out, events: events.clone(), work: NEXT.fetch_add(1, Ordering::Relaxed), done: 0, told: 0 }
    }
}

impl<W: Write> Write for Telling<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.done += written as u64;
        if self.done - self.told >= TELL_EVERY {
            self.told = self.done;
            self.events.emit(Event::Packing { work: self.work, done: self.done });
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W> Drop for Telling<W> {
    fn drop(&mut self) {
        if self.told > 0 {
            self.events.emit(Event::PackingEnded { work: self.work });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_large_blob_is_spoken_of_until_it_ends_and_a_small_one_is_not() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let events = Events::new({
            let seen = Arc::clone(&seen);
            move |event| seen.lock().expect("no test panics while it holds this").push(event)
        });
        let write = |bytes: u64| {
            let mut out = Telling::new(io::sink(), &events);
            for _ in 0..bytes >> 20 {
                out.write_all(&[0; 1 << 20]).expect("a sink takes all");
            }
        };
        write(TELL_EVERY - 1);
        write(2 * TELL_EVERY + (1 << 20));
        let seen = seen.lock().expect("no test panics while it holds this");
        let [Event::Packing { work, done }, Event::Packing { .. }, Event::PackingEnded { work: ended }] = seen[..]
        else {
            panic!("{seen:?}");
        };
        assert_eq!((done, ended), (TELL_EVERY, work));
    }
}
