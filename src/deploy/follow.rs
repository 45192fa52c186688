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

/// Emits every line of the stream once, in order, until the task has stopped and nothing more comes.
///
/// By token, never by time: lines of the same millisecond would vanish (airflow#40875). An empty page is not the end, a
/// repeated token is, for now.
pub(super) async fn follow(
    logs: &Logs,
    group: &str,
    stream: &str,
    mut phase: watch::Receiver<Phase>,
    pace: &Pace,
    events: &Events,
) -> Told {
    let mut told = Told::default();
    let mut token: Option<String> = None;
    let mut quiet = 0;
    let mut step = pace.log.first;
    loop {
        // Taken before the page is asked for, so that "stopped, and then nothing more" is said in this order.
        let at = *phase.borrow_and_update();
        match logs.page(group, stream, token.as_deref()).await {
            Ok(Some(LogPage { lines, next })) => {
                told.wrong_architecture |= lines.iter().any(|line| line.contains("exec format error"));
                let more = !lines.is_empty();
                for line in lines {
                    events.emit(Event::TaskLog { line: line.into_bytes() });
                }
                let moved = token.as_ref() != Some(&next);
                token = Some(next);
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
        if let Phase::Stopped { ended, ran } = at {
            let never = !ran && token.is_none();
            if never || (quiet >= 2 && ended.elapsed() >= pace.log_grace) {
                return told;
            }
            if ended.elapsed() >= pace.log_grace * 10 {
                let message = "the end of the task's log could not be read".to_owned();
                events.emit(Event::Warning {
                    message,
                    hint: Some(format!("it is in the log group {group}, stream {stream}")),
                });
                return told;
            }
        }
        // The task's next phase may shorten the wait, not the number of looks.
        tokio::select! {
            () = sleep(step) => {}
            Ok(()) = phase.changed() => step = pace.log.first,
        }
        step = pace.log.after(step);
    }
}

/// What may be over a moment later.
pub(super) fn passes(error: &AwsError) -> bool {
    matches!(error.kind, Kind::Throttled | Kind::Unreachable | Kind::Server)
}
