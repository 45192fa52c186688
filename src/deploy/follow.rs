//! The log of a task, from its first line to its last.

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::pace::Pace;
use crate::aws::{AwsError, Kind, LogPage, Logs};
use crate::event::{Event, Events};

/// How far the task is, for whoever reads its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// It runs on without us.
    Left,
    /// Its container ended, then or earlier.
    Ending(Instant),
    /// It stopped; `ran` is false where its container never did, so that there is no log to wait for.
    Stopped {
        ended: Instant,
        ran: bool,
    },
}

/// What the log told, besides its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub wrong_architecture: bool,
}

/// A stream, and who reads it.
pub(super) struct Follow<'a> {
    pub logs: &'a Logs,
    pub group: &'a str,
    pub stream: String,
    /// Its id.
    pub task: &'a str,
    /// In milliseconds since 1970: what is older is left out.
    pub since: Option<i64>,
    /// Whether no other task's log is read beside it.
    pub alone: bool,
    pub pace: &'a Pace,
    pub events: &'a Events,
}

impl Follow<'_> {
    /// Emits every line of the stream once, in order, until the task has stopped and nothing more comes.
    ///
    /// By token, never by time: lines of the same millisecond would vanish (airflow#40875). An empty page is not the
    /// end, a repeated token is, for now.
    pub async fn to_the_end(&self, mut phase: watch::Receiver<Phase>) -> Told {
        let Self { pace, events, .. } = self;
        let mut told = Told::default();
        let mut token: Option<String> = None;
        let mut quiet = 0;
        let mut step = pace.log.first;
        loop {
            // Taken before the page is asked for, so that "stopped, and then nothing more" is said in this order.
            let at = *phase.borrow_and_update();
            match self.logs.page(self.group, &self.stream, self.since, token.as_deref()).await {
                Ok(Some(page)) => {
                    let more = !page.lines.is_empty();
                    let moved = token.as_ref() != Some(&page.next);
                    token = Some(self.emit(page, &mut told));
                    if more || moved {
                        (quiet, step) = (0, pace.log.first);
                        if more {
                            continue;
                        }
                    } else {
                        quiet += 1;
                    }
                }
                // The stream appears when the container starts.
                Ok(None) => quiet += 1,
                Err(error) if passes(&error) => quiet = 0,
                Err(error) => {
                    let message = format!("the task's log cannot be read: {error}");
                    events.emit(Event::Warning { message, hint: error.hint() });
                    return told;
                }
            }
            match at {
                Phase::Left => return told,
                Phase::Stopped { ended, ran } => {
                    let never = !ran && token.is_none();
                    if never || (quiet >= 2 && ended.elapsed() >= pace.log_grace) {
                        return told;
                    }
                    if ended.elapsed() >= pace.log_grace * 10 {
                        let message = "the end of the task's log could not be read".to_owned();
                        let hint = format!("it is in the log group {}, stream {}", self.group, self.stream);
                        events.emit(Event::Warning { message, hint: Some(hint) });
                        return told;
                    }
                }
                Phase::Running | Phase::Ending(_) => {}
            }
            // The task's next phase may shorten the wait, not the number of looks.
            tokio::select! {
                () = sleep(step) => {}
                Ok(()) = phase.changed() => step = pace.log.first,
            }
            step = pace.log.after(step);
        }
    }

    /// Emits what is there by now; `false` where there is no such stream.
    pub async fn so_far(&self) -> Result<bool, AwsError> {
        let (mut told, mut token) = (Told::default(), None);
        loop {
            let Some(page) = self.logs.page(self.group, &self.stream, self.since, token.as_deref()).await? else {
                return Ok(token.is_some());
            };
            if token.as_ref() == Some(&page.next) {
                return Ok(true);
            }
            token = Some(self.emit(page, &mut told));
        }
    }

    /// Returns where the next page begins.
    fn emit(&self, LogPage { lines, next }: LogPage, told: &mut Told) -> String {
        told.wrong_architecture |= lines.iter().any(|line| line.contains("exec format error"));
        for line in lines {
            let (task, alone) = (self.task.to_owned(), self.alone);
            self.events.emit(Event::TaskLog { task, alone, line: line.into_bytes() });
        }
        next
    }
}

/// What may be over a moment later.
pub(super) fn passes(error: &AwsError) -> bool {
    matches!(error.kind, Kind::Throttled | Kind::Unreachable | Kind::Server)
}
