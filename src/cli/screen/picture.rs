//! What moves on a terminal: the steps that run, with the last lines of each, and what is compressed, fetched and sent.
//! Pure: facts and the time in, rows out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::columns::{Size, cut, fit, width};
use super::{Paint, amount, words};
use crate::event::{Direction, Event};
use crate::image::Digest;

/// Of what a RUN writes so many lines are shown below it, where there is room.
const TAIL: usize = 6;
/// Where there are fewer columns a transfer has no bar.
const WIDE: usize = 90;
const BAR: usize = 20;

#[derive(Default)]
pub(super) struct Picture {
    steps: BTreeMap<(String, usize), Doing>,
    /// In the order in which they began.
    flows: Vec<(What, Flow)>,
}

/// A step that runs.
struct Doing {
    text: String,
    began: Instant,
    tail: VecDeque<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Blob(Direction, Digest),
    Layer(u64),
}

/// Bytes on their way.
struct Flow {
    began: Instant,
    /// What had come when it was first heard of.
    first: u64,
    done: u64,
    total: Option<u64>,
}

impl Picture {
    /// Takes in a fact, and says whether anything looks different by it. What the fact leaves behind in words is
    /// `None` where it is told as it is everywhere.
    pub(super) fn take(&mut self, event: &Event, now: Instant) -> bool {
        match event {
            Event::Step { stage, number, of, text } => {
                let text = words::step(stage, *number, *of, text);
                self.steps.insert((stage.clone(), *number), Doing { text, began: now, tail: VecDeque::new() });
            }
            Event::Output { stage, line } => {
                // A stage does one step after the other; the last that began is the one that writes.
                let of_stage = |((name, _), _): &(&(String, usize), &mut Doing)| name == stage;
                let Some((_, doing)) = self.steps.iter_mut().filter(of_stage).last() else { return false };
                if doing.tail.len() == TAIL {
                    doing.tail.pop_front();
                }
                doing.tail.push_back(line.clone());
            }
            Event::StepDone { stage, number, .. } => {
                self.steps.remove(&(stage.clone(), *number));
            }
            Event::Packing { work, done } => self.flow(What::Layer(*work), *done, None, now),
            Event::PackingEnded { work } => self.flows.retain(|(what, _)| *what != What::Layer(*work)),
            Event::Transfer { direction, digest, done, total } => {
                self.flow(What::Blob(*direction, *digest), *done, Some(*total), now);
            }
            Event::Blob { direction, digest, .. } => {
                self.flows.retain(|(what, _)| *what != What::Blob(*direction, *digest));
            }
            _ => return false,
        }
        true
    }

    /// How a step that runs is called, and since when it does.
    pub(super) fn running(&self, stage: &str, number: usize) -> Option<&str> {
        self.steps.get(&(stage.to_owned(), number)).map(|doing| doing.text.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.flows.is_empty()
    }

    /// The rows, none of which reaches the last column, where some terminals begin the next.
    pub(super) fn rows(&self, now: Instant, size: Size, paint: Paint) -> Vec<String> {
        let columns = size.columns.saturating_sub(1);
        let most = size.rows.saturating_sub(2).max(1);
        let each = self.steps.len() + self.flows.len();
        let tail = most.saturating_sub(each).checked_div(self.steps.len()).unwrap_or(0).min(TAIL);
        let mut rows = Vec::new();
        for ((stage, _), doing) in &self.steps {
            rows.push(doing.row(now, columns, paint));
            let from = doing.tail.len().saturating_sub(tail);
            rows.extend(doing.tail.iter().skip(from).map(|line| cut(&words::quoted(stage, line), columns)));
        }
        rows.extend(self.flows.iter().map(|(what, flow)| flow.row(*what, now, columns, paint)));
        if rows.len() > most {
            let more = rows.len() - (most - 1);
            rows.truncate(most - 1);
            rows.push(cut(&format!("{}and {more} more", " ".repeat(words::COLUMN + 1)), columns));
        }
        rows
    }

    fn flow(&mut self, what: What, done: u64, total: Option<u64>, now: Instant) {
        match self.flows.iter_mut().find(|(other, _)| *other == what) {
            Some((_, flow)) => (flow.done, flow.total) = (done, total),
            None => self.flows.push((what, Flow { began: now, first: done, done, total })),
        }
    }
}

impl Doing {
    fn row(&self, now: Instant, columns: usize, paint: Paint) -> String {
        let time = amount::whole(now.saturating_duration_since(self.began));
        let room = columns.saturating_sub(words::COLUMN + 1);
        match room.checked_sub(width(&time) + 1).filter(|&room| room >= 16) {
            Some(room) => words::status(paint, "Building", &format!("{} {time}", fit(&self.text, room))),
            None => words::status(paint, "Building", &cut(&self.text, room)),
        }
    }
}

impl Flow {
    fn row(&self, what: What, now: Instant, columns: usize, paint: Paint) -> String {
        let (verb, whose) = match what {
            What::Blob(Direction::Pull, digest) => ("Pulling", words::short(&digest)),
            What::Blob(Direction::Push, digest) => ("Pushing", words::short(&digest)),
            What::Layer(_) => ("Packing", "a layer".to_owned()),
        };
        let mut parts = Vec::new();
        if let Some(total) = self.total.filter(|_| columns >= WIDE) {
            parts.push(bar(self.done, total));
        }
        parts.push(match self.total {
            Some(total) => format!("{} of {}", amount::bytes(self.done), amount::bytes(total)),
            None => amount::bytes(self.done),
        });
        let mut text = parts.join("  ");
        if let Some(rate) = self.rate(now) {
            text += &format!(", {}/s", amount::bytes(rate));
            if let Some(left) = self.total.map(|total| total.saturating_sub(self.done)).filter(|&left| left > 0) {
                text += &format!(", {} left", amount::whole(Duration::from_secs(left.div_ceil(rate))));
            }
        }
        // Where there is no room for both, how far it is says more than which it is.
        let room = columns.saturating_sub(words::COLUMN + 1);
        let all = format!("{whose}  {text}");
        words::status(paint, verb, &cut(if width(&all) <= room { &all } else { &text }, room))
    }

    /// Bytes a second since it was first heard of; `None` while that is too short to tell.
    fn rate(&self, now: Instant) -> Option<u64> {
        let millis = now.saturating_duration_since(self.began).as_millis();
        if millis < 1000 {
            return None;
        }
        let rate = u128::from(self.done.saturating_sub(self.first)) * 1000 / millis;
        u64::try_from(rate).ok().filter(|&rate| rate > 0)
    }
}

fn bar(done: u64, total: u64) -> String {
    let full = (u128::from(done.min(total)) * BAR as u128).checked_div(u128::from(total)).unwrap_or(0);
    let full = usize::try_from(full).unwrap_or(BAR);
    let head = if full < BAR { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat((BAR - full).saturating_sub(1)))
}
