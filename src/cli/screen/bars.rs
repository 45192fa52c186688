//! Bars on a terminal: a spinner for each running step, a bar for each transfer; what is done scrolls up.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::names::{self, Names};
use super::{Face, Paint, words};
use crate::event::{Direction, Event};
use crate::image::Digest;

pub(super) struct Bars {
    paint: Paint,
    all: MultiProgress,
    /// Each with its loader's name, where several are at work.
    steps: BTreeMap<(String, String, usize), ProgressBar>,
    transfers: BTreeMap<(String, Digest), ProgressBar>,
    names: Names,
}

impl Bars {
    pub(super) fn new(paint: Paint) -> Self {
        Self {
            paint,
            all: MultiProgress::new(),
            steps: BTreeMap::new(),
            transfers: BTreeMap::new(),
            names: Names::default(),
        }
    }

    fn spin(&mut self, whose: &str, stage: &str, number: usize, text: String) {
        let bar = self.all.add(ProgressBar::new_spinner().with_style(style(STEP)).with_message(text));
        bar.enable_steady_tick(Duration::from_millis(120));
        if let Some(old) = self.steps.insert((whose.to_owned(), stage.to_owned(), number), bar) {
            old.finish_and_clear();
        }
    }

    fn transfer(&mut self, whose: &str, direction: Direction, digest: &Digest, done: u64, total: u64) {
        let (all, names) = (&self.all, &self.names);
        let bar = self.transfers.entry((whose.to_owned(), *digest)).or_insert_with(|| {
            let verb = match direction {
                Direction::Pull => "Pulling",
                Direction::Push => "Pushing",
            };
            all.add(
                ProgressBar::new(total)
                    .with_style(style(TRANSFER).progress_chars("=> "))
                    .with_prefix(verb)
                    .with_message(names.before(whose, &words::short(digest))),
            )
        });
        bar.set_length(total);
        bar.set_position(done);
    }
}

const STEP: &str = "  {spinner} {wide_msg} {elapsed}";
const TRANSFER: &str = "{prefix:>10} {msg} [{bar:24}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants, and a test builds each")
}

impl Face for Bars {
    fn show(&mut self, event: &Event) {
        self.names.learn(event);
        let (whose, event) = names::whose(event);
        let owner = whose.to_owned();
        match event {
            Event::Step { stage, number, of, text } => {
                let text = self.names.before(whose, &words::step(stage, *number, *of, text));
                self.spin(whose, stage, *number, text);
            }
            Event::StepDone { stage, number, .. } => {
                if let Some(bar) = self.steps.remove(&(owner, stage.clone(), *number)) {
                    bar.finish_and_clear();
                }
            }
            Event::Transfer { direction, digest, done, total } => {
                self.transfer(whose, *direction, digest, *done, *total)
            }
            Event::Blob { digest, .. } => {
                if let Some(bar) = self.transfers.remove(&(owner, *digest)) {
                    bar.finish_and_clear();
                }
            }
            Event::Several { .. }
            | Event::Of { .. }
            | Event::Summary { .. }
            | Event::Read { .. }
            | Event::Base { .. }
            | Event::Rung { .. }
            | Event::Emulated { .. }
            | Event::Cached { .. }
            | Event::Explained { .. }
            | Event::Output { .. }
            | Event::Stilled { .. }
            | Event::Recorded { .. }
            | Event::StilledFile { .. }
            | Event::Built { .. }
            | Event::Pushed { .. }
            | Event::Wrote { .. }
            | Event::Cloud { .. }
            | Event::Task { .. }
            | Event::TaskLog { .. }
            | Event::TaskStopped { .. }
            | Event::Note(_)
            | Event::Warning { .. } => {}
        }
        if let Some(words) = words::lines(event, self.paint) {
            // Nobody is left to be told when stderr is gone.
            let _ = self.all.println(self.names.before(whose, &words));
        }
    }

    fn close(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        let transfers = std::mem::take(&mut self.transfers);
        steps.into_values().chain(transfers.into_values()).for_each(|bar| bar.finish_and_clear());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;
    use crate::event::BlobOutcome;

    /// Remembers what was written to it since the last look.
    #[derive(Clone, Debug, Default)]
    struct Terminal(Arc<Mutex<String>>);

    impl Terminal {
        fn seen(&self) -> String {
            std::mem::take(&mut self.0.lock().expect("no test panics while it holds this"))
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            100
        }
        fn height(&self) -> u16 {
            20
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)?;
            self.write_str("\n")
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no test panics while it holds this").push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_done_scrolls_up_and_what_runs_stays_below() {
        let terminal = Terminal::default();
        let mut bars = Bars::new(Paint::off());
        bars.all.set_draw_target(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
        let text = "RUN npm install".to_owned();
        bars.show(&Event::Step { stage: String::new(), number: 2, of: 5, text });
        bars.show(&Event::Output { stage: String::new(), line: b"added 3 packages\x1b[0m".to_vec() });
        let digest = Digest::of(b"x");
        bars.show(&Event::Transfer { direction: Direction::Push, digest, done: 512, total: 1024 });
        bars.transfers.values().for_each(ProgressBar::tick);
        let seen = terminal.seen();
        assert!(seen.contains("           | added 3 packages\\x1b[0m"), "{seen}");
        assert!(seen.contains("   Pushing ") && seen.contains("512 B of 1.00 KiB"), "{seen}");
        bars.show(&Event::StepDone { stage: String::new(), number: 2, millis: 1500 });
        let (direction, outcome) = (Direction::Push, BlobOutcome::Sent);
        bars.show(&Event::Blob { direction, digest, bytes: 1024, outcome });
        assert!(bars.steps.is_empty() && bars.transfers.is_empty());
        let seen = terminal.seen();
        assert!(seen.contains("      Done [2] in 1.5s"), "{seen}");
        assert!(seen.contains(&format!("      Sent {}  1.0 KiB", words::short(&digest))), "{seen}");
    }
}
