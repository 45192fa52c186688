//! Ctrl-C for everything that runs.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends whatever runs under it, whole trees, now and from now on. Cheap to clone; one may serve a whole build.
#[derive(Clone, Default)]
pub struct Stopper(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stopped: bool,
    next: u64,
    running: BTreeMap<u64, UnixStream>,
}

impl Stopper {
    pub fn new() -> Self {
        Self::default()
    }

    /// Kills what runs. May be called from any thread, more than once.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for stream in std::mem::take(&mut state.running).into_values() {
            // The helper sees the end of its socket and kills the tree; one that is gone already needs no word.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets things run again: what was to end has ended, and it is to be tried once more.
    pub fn resume(&self) {
        self.state().stopped = false;
    }

    pub fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// Takes a helper's socket under this stopper until the answer is dropped.
    pub(super) fn watch(&self, stream: UnixStream) -> Watched {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        if state.stopped {
            let _ = stream.shutdown(Shutdown::Both);
        } else {
            state.running.insert(id, stream);
        }
        Watched { stopper: self.clone(), id }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held halfway through a change, so a poisoned state is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Watched {
    stopper: Stopper,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stopper.state().running.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_watched_after_the_stop_is_stopped_too() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
        let stopper = Stopper::new();
        stopper.stop();
        let _watched = stopper.watch(ours.try_clone().expect("a second handle"));
        assert_eq!(theirs.read(&mut [0]).expect("an end of file"), 0);
    }
}
