//! What all expansions of one file may come to, together: `ENV a=$a$a` twenty times is a megabyte, and each further
//! instruction may repeat it.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::ExpandError;

/// Of text.
pub(super) const BYTES: usize = 256 << 20;

/// Of matching and searching, each a comparison.
pub(super) const STEPS: usize = 1 << 26;

/// What has been taken so far.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    bytes: AtomicUsize,
    steps: AtomicUsize,
}

impl Allowance {
    pub fn take_bytes(&self, count: usize) -> Result<(), ExpandError> {
        if take(&self.bytes, count) > BYTES { Err(ExpandError::TooMuch) } else { Ok(()) }
    }

    pub fn take_steps(&self, count: usize) -> Result<(), ExpandError> {
        if take(&self.steps, count) > STEPS { Err(ExpandError::TooSlow) } else { Ok(()) }
    }
}

/// A copy is for another build of the same file.
impl Clone for Allowance {
    fn clone(&self) -> Self {
        Self::default()
    }
}

fn take(counter: &AtomicUsize, count: usize) -> usize {
    counter.fetch_add(count, Ordering::Relaxed).saturating_add(count)
}
