//! What a build came to, told once at its end: each step with its time or why it took none, what its layer takes, and
//! what travelled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::columns::{fit, width};
use super::names::{self, Names};
use super::{Paint, amount, words};
use crate::event::{BlobOutcome, Direction, Event, LayerSize, Why};

/// The room that a step's text has where no terminal says how wide it is.
const ROOM: usize = 60;
/// What stands behind a step's text: its time, and where there are so many columns what its layer takes.
const TIME: usize = 8;
const LAYER: usize = 32;
const WIDE: usize = 80;

#[derive(Default)]
struct Summary {
    began: Option<Instant>,
    last: Option<Instant>,
    steps: Vec<Step>,
    fetched: Many,
    sent: Many,
    mounted: Many,
    present: Many,
}

struct Step {
    stage: String,
    number: usize,
    text: String,
    why: Option<String>,
    did: Did,
}

enum Did {
    /// It has begun.
    Nothing,
    Ran {
        millis: u64,
        layer: LayerSize,
    },
    Cached(LayerSize),
}

/// Blobs, and their bytes.
#[derive(Clone, Copy, Default)]
struct Many {
    blobs: usize,
    bytes: u64,
}

/// Of each loader, where there are several.
#[derive(Default)]
pub(super) struct Summaries(BTreeMap<String, Summary>);

impl Summaries {
    /// Takes in a fact; gives what is told before it, where it ends a build. `columns` is what a terminal has.
    pub(super) fn take(
        &mut self,
        event: &Event,
        now: Instant,
        names: &Names,
        paint: Paint,
        columns: Option<usize>,
    ) -> Vec<String> {
        let (whose, event) = names::whose(event);
        let summary = self.0.entry(whose.to_owned()).or_default();
        let rows = if Summary::ends_with(event) { named(summary, whose, names, paint, columns) } else { Vec::new() };
        summary.take(event, now);
        rows
    }

    /// What was not told yet.
    pub(super) fn rest(&mut self, names: &Names, paint: Paint, columns: Option<usize>) -> Vec<String> {
        self.0.iter_mut().flat_map(|(whose, summary)| named(summary, whose, names, paint, columns)).collect()
    }
}

fn named(summary: &mut Summary, whose: &str, names: &Names, paint: Paint, columns: Option<usize>) -> Vec<String> {
    let columns = columns.map(|columns| columns.saturating_sub(names.columns(whose)));
    summary.rows(paint, columns).iter().map(|row| names.before(whose, row)).collect()
}

impl Summary {
    /// Whether what went before is summed up before this is told: the build is where it should be, or a task begins.
    fn ends_with(event: &Event) -> bool {
        matches!(event, Event::Pushed { .. } | Event::Task { .. })
    }

    fn take(&mut self, event: &Event, now: Instant) {
        self.began.get_or_insert(now);
        match event {
            Event::Step { stage, number, of, text } => self.begins(stage, *number, *of, text, Did::Nothing),
            Event::Cached { stage, number, of, text, layer } => {
                self.begins(stage, *number, *of, text, Did::Cached(*layer));
            }
            Event::Explained { stage, number, why, .. } => {
                // That it was never built is no news of a first build, and --no-cache was asked for.
                let why = (!matches!(why, Why::NeverBuilt | Why::NoCache)).then(|| words::why(why));
                if let Some(step) = self.step(stage, *number) {
                    step.why = why;
                }
            }
            Event::StepDone { stage, number, millis, layer } => {
                if let Some(step) = self.step(stage, *number) {
                    step.did = Did::Ran { millis: *millis, layer: *layer };
                }
            }
            Event::Blob { direction, bytes, outcome, .. } => match (outcome, direction) {
                (BlobOutcome::Fetched, _) => self.fetched.add(*bytes),
                (BlobOutcome::Sent, _) => self.sent.add(*bytes),
                (BlobOutcome::Mounted, _) => self.mounted.add(*bytes),
                (BlobOutcome::AlreadyThere, Direction::Push) => self.present.add(*bytes),
                // It says nothing of what this build cost or gave.
                (BlobOutcome::AlreadyThere, Direction::Pull) => return,
            },
            Event::Built { .. } | Event::Wrote { .. } => {}
            _ => return,
        }
        self.last = Some(now);
    }

    /// The rows for what was taken in since the last time; those of steps are no wider than `columns`.
    fn rows(&mut self, paint: Paint, columns: Option<usize>) -> Vec<String> {
        let Self { began, last, steps, fetched, sent, mounted, present } = std::mem::take(self);
        let mut rows = Vec::new();
        let wide = columns.is_none_or(|columns| columns + 1 >= WIDE);
        let behind = if wide { TIME + LAYER } else { TIME };
        let room = columns.map_or(ROOM, |columns| columns.saturating_sub(words::COLUMN + 1 + behind).max(8));
        let room = steps.iter().map(|step| width(&step.text)).max().unwrap_or(0).min(room);
        for step in &steps {
            rows.push(step.row(room, wide));
            rows.extend(step.why.as_ref().map(|why| format!("  because {why}")));
        }
        if !steps.is_empty() {
            let cached = steps.iter().filter(|step| matches!(step.did, Did::Cached(_))).count();
            let time = began.zip(last).map_or(Duration::ZERO, |(began, last)| last.duration_since(began));
            rows.push(format!("{}, {cached} CACHED; {} in all", words::count(steps.len(), "step"), amount::time(time)));
        }
        let travelled: Vec<String> = [
            (fetched, "fetched"),
            (sent, "sent"),
            (mounted, "mounted from another repository"),
            (present, "there already"),
        ]
        .into_iter()
        .filter(|(many, _)| many.blobs > 0)
        .map(|(many, what)| format!("{what} {} ({})", words::count(many.blobs, "blob"), amount::bytes(many.bytes)))
        .collect();
        if !travelled.is_empty() {
            rows.push(travelled.join(", "));
        }
        let label = |at| if at == 0 { "Summary" } else { "" };
        rows.iter().enumerate().map(|(at, row)| words::status(paint, label(at), row)).collect()
    }

    fn begins(&mut self, stage: &str, number: usize, of: usize, text: &str, did: Did) {
        let text = words::step(stage, number, of, text);
        let step = Step { stage: stage.to_owned(), number, text, why: None, did };
        // The steps of a stage stand together, whatever ran beside them.
        let of_stage = self.steps.iter().rposition(|other| other.stage == stage);
        self.steps.insert(of_stage.map_or(self.steps.len(), |at| at + 1), step);
    }

    fn step(&mut self, stage: &str, number: usize) -> Option<&mut Step> {
        self.steps.iter_mut().rev().find(|step| step.stage == stage && step.number == number)
    }
}

impl Step {
    fn row(&self, room: usize, wide: bool) -> String {
        let (time, layer) = match &self.did {
            Did::Nothing => (String::new(), None),
            Did::Ran { millis, layer } => (amount::time(Duration::from_millis(*millis)), Some(layer)),
            Did::Cached(layer) => ("CACHED".to_owned(), Some(layer)),
        };
        let size = layer.filter(|_| wide).map_or_else(String::new, |LayerSize { bytes, unpacked, digest: _ }| {
            let tar = unpacked.map(|tar| format!(" ({} unpacked)", amount::bytes(tar))).unwrap_or_default();
            format!("{}{tar}", amount::bytes(*bytes))
        });
        format!("{}  {time:>6}  {size}", fit(&self.text, room)).trim_end().to_owned()
    }
}

impl Many {
    fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
