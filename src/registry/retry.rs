//! How often, and after which pause, a question is asked again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{AsHeaderName, DATE, HeaderMap, RETRY_AFTER};

use super::date::http_date;

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

/// The pause that the answer asks for, in seconds or until a date (RFC 9110, section 10.2.3). A date is taken by the
/// server's own clock, which its `Date` tells, so that no clock has to be right; a server that tells none asks for none.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = text(headers, RETRY_AFTER)?;
    let seconds = match http_date(asked) {
        // What is past by now may be asked for at once.
        Some(then) => u64::try_from(then - text(headers, DATE).and_then(http_date)?).unwrap_or(0),
        None => asked.parse().ok()?,
    };
    Some(Duration::from_secs(seconds))
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
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
    fn a_pause_is_seconds_or_a_date_or_our_own() {
        const NOW: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
        for (asked, now, wanted) in [
            ("7", None, Some(7)),
            (" 7 ", Some(NOW), Some(7)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(NOW), Some(30)),
            ("Wed, 21 Oct 2015 07:27:30 GMT", Some(NOW), Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(NOW), Some(251_956_888_319)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", None, None),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some("now"), None),
            ("18446744073709551615", None, Some(u64::MAX)),
            ("18446744073709551616", None, None),
            ("-1", None, None),
            ("1.5", None, None),
            ("soon", Some(NOW), None),
        ] {
            let headers = [(RETRY_AFTER, Some(asked)), (DATE, now)];
            let headers = headers.into_iter().filter_map(|(name, text)| Some((name, text?.parse().unwrap())));
            assert_eq!(retry_after(&headers.collect()), wanted.map(Duration::from_secs), "{asked} {now:?}");
        }
    }
}
