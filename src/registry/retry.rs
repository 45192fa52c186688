//! How often, and after which pause, a question is asked again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// Exponential back-off with full jitter, so that many clients that failed together do not come back together
/// (AWS Architecture Blog, "Exponential Backoff And Jitter").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often a question is asked in all.
    pub attempts: u32,
    /// The longest pause before the second attempt; it doubles from there.
    pub first: Duration,
    /// No pause of our own is longer.
    pub longest: Duration,
    /// A registry that asks for a longer pause than this is not waited for.
    pub patience: Duration,
    /// The longest wait for an answer, and for each piece of it.
    pub silence: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(15),
            patience: Duration::from_secs(120),
            silence: Duration::from_secs(60),
        }
    }
}

impl Retries {
    /// The pause after attempt number `attempt` (the first is 1); `None` when there was enough of it.
    pub(super) fn pause(&self, attempt: u32) -> Option<Duration> {
        let most = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.longest);
        (attempt < self.attempts).then(|| most.mul_f64(fraction()))
    }
}

/// Fewer bytes than this within the time that a server may be silent are as good as none: a drop now and then keeps a
/// connection open for ever, and is not a transfer.
const CRAWL: u64 = 16 << 10;

/// When, and at which byte, a transfer was last seen to be quick enough.
pub(super) struct Pace(Instant, u64);

impl Pace {
    pub(super) fn from(bytes: u64) -> Self {
        Self(Instant::now(), bytes)
    }

    /// Whether it is not worth waiting for any more, now that it is at so many bytes.
    pub(super) fn crawls(&mut self, bytes: u64, silence: Duration) -> bool {
        if bytes - self.1 >= CRAWL {
            *self = Self::from(bytes);
        }
        self.0.elapsed() > silence
    }
}

/// Whether the same question may be answered better a little later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause in seconds that the answer asks for. A date is not read: it would need both clocks to be right.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// A number in [0, 1), from the randomness that the standard library seeds its maps with.
fn fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end() {
        let retries = Retries { attempts: 4, first: Duration::from_secs(1), ..Retries::default() };
        for (attempt, most) in [(1, 1), (2, 2), (3, 4)] {
            for _ in 0..100 {
                assert!(retries.pause(attempt).unwrap() <= Duration::from_secs(most));
            }
        }
        assert_eq!(retries.pause(4), None);
        let many = Retries { attempts: u32::MAX, ..retries };
        assert!(many.pause(4_000_000).unwrap() <= many.longest);
    }

    #[test]
    fn a_pause_is_seconds_or_our_own() {
        let asks = |text: &'static str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(asks("7"), Some(Duration::from_secs(7)));
        assert_eq!(asks("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(asks("-1"), None);
    }
}
