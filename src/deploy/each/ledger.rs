//! How far each line is, and what is to be done next. No clock, no cloud: what happened is told to it, and it is written
//! to disk between what it says and what is done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::mark::RunId;

const VERSION: u32 = 1;

/// The memory of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    version: u32,
    pub run: RunId,
    lines: BTreeMap<usize, Line>,
    /// Those that this process looks after.
    #[serde(skip)]
    held: BTreeSet<usize>,
}

/// How far the task of one line of the input is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How often a task was asked for. It never goes back: each has a mark of its own.
    pub tries: u32,
    /// How many of these failed since somebody last asked for the line.
    failures: u32,
    #[serde(flatten)]
    pub stage: Stage,
}

/// Where in its life the task of a line is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    Waiting,
    /// ECS may have been asked for its task.
    Starting,
    /// With the ARN of its task.
    Running {
        task: String,
    },
    Succeeded {
        task: String,
    },
    /// For good.
    Failed {
        task: Option<String>,
        exit_code: i32,
        reason: String,
        hint: Option<String>,
    },
}

/// Something to be done for a line: its task is to be started, or to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub line: usize,
    pub tries: u32,
    /// The ARN of the task that is there already.
    pub task: Option<String>,
}

/// How a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub task: Option<String>,
    pub exit_code: i32,
    pub reason: String,
    pub hint: Option<String>,
    /// A further try could do the work twice: nobody knows how this one ended.
    pub in_doubt: bool,
}

/// Why what was kept of a run over many inputs cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLedger {
    #[error("{0}")]
    Json(String),
    #[error("it is of version {0}, and this is {VERSION}")]
    Version(u32),
    #[error("it speaks of other lines")]
    OtherLines,
}

impl Ledger {
    pub fn new(run: RunId, lines: impl Iterator<Item = usize>) -> Self {
        let line = Line { tries: 0, failures: 0, stage: Stage::Waiting };
        Self {
            version: VERSION,
            run,
            lines: lines.map(|number| (number, line.clone())).collect(),
            held: BTreeSet::new(),
        }
    }

    /// What an earlier process knew of these lines. Those that had failed for good are asked for again.
    pub fn read(bytes: &[u8], lines: impl Iterator<Item = usize>) -> Result<Self, BadLedger> {
        let mut ledger: Self = serde_json::from_slice(bytes).map_err(|error| BadLedger::Json(error.to_string()))?;
        if ledger.version != VERSION {
            return Err(BadLedger::Version(ledger.version));
        }
        if !ledger.lines.keys().copied().eq(lines) {
            return Err(BadLedger::OtherLines);
        }
        for line in ledger.lines.values_mut() {
            line.failures = 0;
            if matches!(line.stage, Stage::Failed { .. }) {
                line.stage = Stage::Waiting;
            }
        }
        Ok(ledger)
    }

    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts are JSON")
    }

    pub fn lines(&self) -> &BTreeMap<usize, Line> {
        &self.lines
    }

    pub fn succeeded(&self) -> usize {
        self.lines.values().filter(|line| matches!(line.stage, Stage::Succeeded { .. })).count()
    }

    /// The lines whose task may be there, of which nobody knows the name.
    pub fn in_doubt(&self) -> Vec<(usize, u32)> {
        let starting = self.lines.iter().filter(|(_, line)| line.stage == Stage::Starting);
        starting.map(|(number, line)| (*number, line.tries)).collect()
    }

    /// How many lines this process looks after.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The next thing to do: what an earlier process began comes first.
    pub fn next(&mut self) -> Option<Turn> {
        let free = |number: &usize| !self.held.contains(number);
        let begun = self
            .lines
            .iter()
            .find(|(number, line)| free(number) && matches!(line.stage, Stage::Starting | Stage::Running { .. }));
        let waits = || self.lines.iter().find(|(number, line)| free(number) && line.stage == Stage::Waiting);
        let number = begun.or_else(waits).map(|(number, _)| *number)?;
        let line = self.lines.get_mut(&number)?;
        let task = match &line.stage {
            Stage::Running { task } => Some(task.clone()),
            Stage::Starting => None,
            Stage::Waiting | Stage::Succeeded { .. } | Stage::Failed { .. } => {
                line.tries += 1;
                line.stage = Stage::Starting;
                None
            }
        };
        self.held.insert(number);
        Some(Turn { line: number, tries: line.tries, task })
    }

    pub fn started(&mut self, number: usize, task: String) {
        self.set(number, Stage::Running { task });
    }

    pub fn succeeded_with(&mut self, number: usize, task: String) {
        self.set(number, Stage::Succeeded { task });
        self.held.remove(&number);
    }

    /// Waits for a further try, unless it has had its `retries`; whether it does.
    pub fn failed(&mut self, number: usize, failed: Failed, retries: u32) -> bool {
        self.held.remove(&number);
        let Some(line) = self.lines.get_mut(&number) else { return false };
        line.failures += 1;
        let Failed { task, exit_code, reason, hint, in_doubt } = failed;
        line.stage = match line.failures > retries || in_doubt {
            true => Stage::Failed { task, exit_code, reason, hint },
            false => Stage::Waiting,
        };
        line.stage == Stage::Waiting
    }

    /// Its task was ended by us, or never begun: that is no failure.
    pub fn put_back(&mut self, number: usize) {
        self.set(number, Stage::Waiting);
        self.held.remove(&number);
    }

    /// We go, and it stays as it is.
    pub fn let_go(&mut self, number: usize) {
        self.held.remove(&number);
    }

    fn set(&mut self, number: usize, stage: Stage) {
        if let Some(line) = self.lines.get_mut(&number) {
            line.stage = stage;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: usize) -> Ledger {
        Ledger::new(RunId::of("test"), 1..=lines)
    }

    fn turn(line: usize, tries: u32, task: Option<&str>) -> Option<Turn> {
        Some(Turn { line, tries, task: task.map(str::to_owned) })
    }

    fn failure() -> Failed {
        Failed { task: Some("t".into()), exit_code: 7, reason: "r".into(), hint: None, in_doubt: false }
    }

    fn again(ledger: &Ledger) -> Ledger {
        Ledger::read(&ledger.bytes(), ledger.lines.keys().copied()).unwrap()
    }

    #[test]
    fn a_line_is_given_out_once_and_again_when_it_failed() {
        let mut ledger = ledger(2);
        assert_eq!(ledger.next(), turn(1, 1, None));
        assert_eq!(ledger.next(), turn(2, 1, None));
        assert_eq!((ledger.next(), ledger.held()), (None, 2));
        ledger.started(1, "t".into());
        ledger.failed(1, failure(), 1);
        assert_eq!(ledger.next(), turn(1, 2, None));
        ledger.failed(1, failure(), 1);
        assert_eq!(ledger.next(), None, "it had its retries");
        ledger.succeeded_with(2, "u".into());
        assert_eq!((ledger.next(), ledger.held(), ledger.succeeded()), (None, 0, 1));
    }

    #[test]
    fn who_comes_back_goes_on_with_what_was_begun_and_starts_nothing_twice() {
        let mut first = ledger(4);
        for _ in 0..3 {
            first.next();
        }
        first.started(1, "one".into());
        first.succeeded_with(1, "one".into());
        first.started(2, "two".into());
        let mut second = again(&first);
        assert_eq!(second.in_doubt(), [(3, 1)]);
        second.started(3, "three".into());
        assert_eq!(second.next(), turn(2, 1, Some("two")));
        assert_eq!(second.next(), turn(3, 1, Some("three")));
        assert_eq!(second.next(), turn(4, 1, None));
        assert_eq!(second.next(), None);
        assert_eq!(again(&first).next(), turn(2, 1, Some("two")));
        let mut not_found = again(&first);
        not_found.next();
        assert_eq!(not_found.next(), turn(3, 1, None), "the same try, with the same marks");
    }

    #[test]
    fn what_failed_for_good_is_tried_again_by_the_next_command_under_a_new_mark() {
        let mut first = ledger(1);
        first.next();
        first.failed(1, failure(), 0);
        assert_eq!(first.next(), None);
        let mut second = again(&first);
        assert_eq!(second.next(), turn(1, 2, None));
        second.failed(1, failure(), 1);
        assert_eq!(second.next(), turn(1, 3, None), "its failures are counted anew");
    }

    #[test]
    fn what_was_stopped_by_us_waits_and_what_is_in_doubt_does_not() {
        let mut ledger = ledger(2);
        ledger.next();
        ledger.put_back(1);
        assert_eq!(ledger.next(), turn(1, 2, None), "under another mark: the first one is stopped");
        ledger.failed(1, Failed { in_doubt: true, ..failure() }, 9);
        assert_eq!(ledger.next(), turn(2, 1, None));
        ledger.started(2, "u".into());
        ledger.let_go(2);
        assert_eq!(again(&ledger).next(), turn(2, 1, Some("u")));
    }

    #[test]
    fn a_ledger_of_something_else_is_an_error() {
        let bytes = ledger(2).bytes();
        assert_eq!(Ledger::read(&bytes, 1..=3), Err(BadLedger::OtherLines));
        let other = String::from_utf8(bytes.clone()).unwrap().replace("\"version\":1", "\"version\":2");
        assert_eq!(Ledger::read(other.as_bytes(), 1..=2), Err(BadLedger::Version(2)));
        assert!(matches!(Ledger::read(&bytes[..bytes.len() - 1], 1..=2), Err(BadLedger::Json(_))));
    }
}
