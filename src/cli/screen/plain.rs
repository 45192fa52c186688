//! A line for each event.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use super::names::{self, Names};
use super::summary::Summaries;
use super::{Face, Paint, words};
use crate::event::Event;
use crate::image::Digest;

/// How long a transfer may go on before it is spoken of, and again.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Plain<W> {
    out: W,
    paint: Paint,
    /// When each transfer under way was last spoken of.
    transfers: BTreeMap<(String, Digest), Instant>,
    summaries: Summaries,
    names: Names,
}

impl<W: Write + Send> Plain<W> {
    pub(super) fn new(out: W, paint: Paint) -> Self {
        let (transfers, summaries) = (BTreeMap::new(), Summaries::default());
        Self { out, paint, transfers, summaries, names: Names::default() }
    }

    pub(super) fn show_at(&mut self, event: &Event, now: Instant) {
        self.names.learn(event);
        let rows = self.summaries.take(event, now, &self.names, self.paint, None);
        let words = self.words(event, now);
        rows.iter().chain(&words).for_each(|words| self.write(words));
    }

    fn write(&mut self, words: &str) {
        // One write a line, so that lines of several processes do not mix. Nobody is left to be told when stderr is
        // gone.
        let _ = self.out.write_all(format!("{words}\n").as_bytes());
    }

    fn words(&mut self, event: &Event, now: Instant) -> Option<String> {
        let (whose, event) = names::whose(event);
        let words = match event {
            Event::Transfer { direction, digest, done, total } => {
                let last = self.transfers.entry((whose.to_owned(), *digest)).or_insert(now);
                if now.duration_since(*last) < PATIENCE {
                    return None;
                }
                *last = now;
                Some(words::transfer(*direction, digest, *done, *total, self.paint))
            }
            Event::Blob { digest, .. } => {
                self.transfers.remove(&(whose.to_owned(), *digest));
                words::lines(event, self.paint)
            }
            event => words::lines(event, self.paint),
        };
        words.map(|words| self.names.before(whose, &words))
    }
}

impl<W: Write + Send> Face for Plain<W> {
    fn show(&mut self, event: &Event) {
        self.show_at(event, Instant::now());
    }

    fn finish(&mut self) {
        let rows = self.summaries.rest(&self.names, self.paint, None);
        rows.iter().for_each(|row| self.write(row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BlobOutcome, Direction};

    #[test]
    fn a_long_transfer_is_spoken_of_now_and_then() {
        let digest = Digest::of(b"x");
        let mut plain = Plain::new(Vec::new(), Paint::off());
        let start = Instant::now();
        let mut at = |seconds, done| {
            let event = Event::Transfer { direction: Direction::Push, digest, done, total: 4096 };
            plain.words(&event, start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, 1), None);
        assert_eq!(at(4, 1024), None);
        let short = words::short(&Digest::of(b"x"));
        assert_eq!(at(6, 2048), Some(format!("   Pushing {short}  2.0 KiB of 4.0 KiB")));
        assert_eq!(at(7, 3072), None);
    }

    #[test]
    fn each_line_of_one_of_several_loaders_begins_with_its_name() {
        let mut plain = Plain::new(Vec::new(), Paint::off());
        plain.show(&Event::Several { loaders: vec!["a".into(), "long".into()], at_once: 2 });
        let of = |event| Event::Of { loader: "a".into(), event: Box::new(event) };
        plain.show(&of(Event::Wrote { path: "x".into() }));
        plain.show(&of(Event::Warning { message: "m".into(), hint: Some("h".into()) }));
        let text = String::from_utf8(plain.out).expect("words are UTF-8");
        assert_eq!(
            text,
            "    Taking 2 loaders, 2 at once: a, long\na    |      Wrote x\na    | warning: m\na    | hint: h\n"
        );
    }

    #[test]
    fn each_event_is_one_line() {
        let mut plain = Plain::new(Vec::new(), Paint::off());
        plain.show(&Event::Wrote { path: "x".into() });
        let (direction, outcome) = (Direction::Push, BlobOutcome::Sent);
        plain.show(&Event::Blob { direction, digest: Digest::of(b"x"), bytes: 1, outcome });
        let text = String::from_utf8(plain.out).expect("words are UTF-8");
        assert_eq!(text, format!("     Wrote x\n      Sent {}  1 B\n", words::short(&Digest::of(b"x"))));
    }
}
