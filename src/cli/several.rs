//! Several loaders at once: each told by its name, one failure stopping no other, and a row for each at the end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::order::LoaderOrder;
use super::settings::Session;
use super::{Done, Failure, Kind, Phase, dispatch, plan, screen, tasks};
use crate::event::{Event, Events};
use crate::road::{HouseOptions, Shipped};

const COLUMNS: &[&str] = &["loader", "image", "pushed", "task", "exit code", "time", "reason"];

/// Loaders, and what they share.
pub(super) struct Several<'a> {
    pub loaders: Vec<LoaderOrder>,
    pub at_once: usize,
    pub session: &'a Session,
    pub source_date: Option<&'a str>,
    pub options: &'a HouseOptions,
}

/// What became of one loader.
struct One {
    name: String,
    came: Result<Shipped, Failure>,
    row: Vec<String>,
}

/// The whole road of each. `options` have the turns that they take.
pub(super) async fn road(several: Several<'_>) -> Result<Done, Failure> {
    let Several { loaders, at_once, session, source_date, options } = several;
    let of = loaders.len();
    begin(&loaders, at_once, &options.events);
    let all = loaders.into_iter().map(|order| one(order, session, source_date, options));
    let all = join_all(all).await;

    let rows = all.iter().map(|one| one.row.clone()).collect();
    options.events.emit(Event::Summary { columns: COLUMNS, rows });
    let (mut lines, mut json, mut failed): (Vec<String>, Vec<Value>, Vec<_>) = Default::default();
    for One { name, came, .. } in all {
        match came {
            Ok(shipped) => {
                lines.push(shipped.image.to_string());
                json.push(dispatch::told(&name, &shipped));
                failed.extend(ended_badly(&shipped).map(|failure| (name, failure)));
            }
            Err(failure) => failed.push((name, failure)),
        }
    }
    let mut done = Done::new(lines.join("\n"), json!({ "loaders": json }));
    done.failure = (!failed.is_empty()).then(|| of_several(failed, of, *options.interrupt.borrow()));
    Ok(done)
}

/// What each would do.
pub(super) async fn plan(several: Several<'_>) -> Result<Done, Failure> {
    let Several { loaders, at_once, session, source_date, options } = several;
    let of = loaders.len();
    if of > 1 {
        begin(&loaders, at_once, &options.events);
    }
    let each = loaders.into_iter().map(|order| async move {
        let name = order.task.name().to_owned();
        let events = if of == 1 { options.events.clone() } else { options.events.of(&name) };
        let options = HouseOptions { events, ..options.clone() };
        (name, dispatch::plan_of(order, session, source_date, &options).await)
    });
    let all: Vec<_> = stream::iter(each).buffered(at_once).collect().await;
    let (mut plans, mut failed) = (Vec::new(), Vec::new());
    for (name, came) in all {
        match came {
            Ok(plan) => plans.push((name, plan)),
            Err(failure) if of == 1 => return Err(failure),
            Err(failure) => failed.push((name, failure)),
        }
    }
    let mut done = plan::answer(&plans, of);
    done.failure = (!failed.is_empty()).then(|| of_several(failed, of, *options.interrupt.borrow()));
    Ok(done)
}

fn begin(loaders: &[LoaderOrder], at_once: usize, events: &Events) {
    let names: Vec<String> = loaders.iter().map(|order| order.task.name().to_owned()).collect();
    let at_once = at_once.min(names.len());
    events.emit(Event::Several { loaders: names, at_once });
}

async fn one(order: LoaderOrder, session: &Session, source_date: Option<&str>, options: &HouseOptions) -> One {
    let name = order.task.name().to_owned();
    let (seen, begun) = (Seen::default(), Instant::now());
    let options = HouseOptions { events: seen.beside(options.events.of(&name)), ..options.clone() };
    let came = dispatch::loader(order, session, source_date, &options).await;
    if let Err(failure) = &came
        && failure.kind != Kind::Interrupted
    {
        // All of it is told at the end; that it is over, now.
        options.events.emit(Event::Warning { message: format!("it failed: {}", first(failure)), hint: None });
    }
    let row = row(&name, &came, &seen, screen::time(begun.elapsed()));
    One { name, came, row }
}

fn row(name: &str, came: &Result<Shipped, Failure>, seen: &Seen, time: String) -> Vec<String> {
    let Facts { steps_done, built, pushed } = seen.facts();
    let image = match (built, steps_done) {
        (false, _) => "-",
        (true, 0) => "cached",
        (true, _) => "built",
    };
    let pushed = match pushed {
        None => "-",
        Some(true) => "already there",
        Some(false) => "yes",
    };
    let outcomes = came.as_ref().map_or(&[][..], |shipped| &shipped.outcomes);
    let deciding = tasks::deciding(outcomes);
    let (task, code) = match deciding {
        None => ("-".to_owned(), "-".to_owned()),
        Some(outcome) if outcome.runs_on => (outcome.task_id.clone(), "runs on".to_owned()),
        Some(outcome) => (outcome.task_id.clone(), outcome.exit_code.to_string()),
    };
    let reason = match (came, deciding) {
        (Err(failure), _) => first(failure),
        (Ok(_), Some(outcome)) if outcome.exit_code != 0 => outcome.reason.clone(),
        _ => String::new(),
    };
    vec![name.to_owned(), image.to_owned(), pushed.to_owned(), task, code, time, reason]
}

fn first(failure: &Failure) -> String {
    failure.message.lines().next().unwrap_or_default().to_owned()
}

fn ended_badly(shipped: &Shipped) -> Option<Failure> {
    let code = tasks::exit_code(&shipped.outcomes);
    (code != 0).then(|| Failure::new(Kind::Difference, Phase::Task, format!("the task ended with exit code {code}")))
}

/// An interrupt decides the exit code: what failed by it is no failure of the loader's.
fn of_several(failed: Vec<(String, Failure)>, of: usize, interrupted: bool) -> Failure {
    if !interrupted {
        return Failure::of_several(failed, of);
    }
    let phase = failed.first().map_or(Phase::Task, |(_, failure)| failure.phase);
    let message = format!("interrupted; {} of {of} loaders did not come to their end", failed.len());
    let others = Failure::of_several(failed, of).others;
    let others = others.into_iter().filter(|failure| failure.kind != Kind::Interrupted).collect();
    Failure { message, others, ..Failure::interrupted(phase) }
}

/// What a loader's events told.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Facts>>);

#[derive(Clone, Copy, Default)]
struct Facts {
    steps_done: usize,
    built: bool,
    /// Whether it was there already.
    pushed: Option<bool>,
}

impl Seen {
    /// The same listener, and this beside it.
    fn beside(&self, events: Events) -> Events {
        let seen = self.clone();
        Events::new(move |event| {
            {
                let mut facts = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
                match event.itself() {
                    Event::StepDone { .. } => facts.steps_done += 1,
                    Event::Built { .. } => facts.built = true,
                    Event::Pushed { already_there, .. } => facts.pushed = Some(*already_there),
                    _ => {}
                }
            }
            events.emit(event);
        })
    }

    fn facts(&self) -> Facts {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
