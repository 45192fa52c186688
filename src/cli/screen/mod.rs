//! The only place that speaks: events become words, bars or JSON on stderr; the answer alone goes to stdout.

mod amount;
mod bars;
mod columns;
mod facts;
mod log;
mod names;
mod paint;
mod picture;
mod plain;
#[cfg(test)]
mod postcard;
#[cfg(test)]
mod snapshots;
mod summary;
mod table;
mod words;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

pub use amount::{bytes, time};
pub use facts::EVENTS;
pub use paint::Paint;

use self::columns::Size;
use super::{Done, Environment, Failure};
use crate::event::{Event, Events};

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, plain lines elsewhere and in CI.
    #[default]
    Auto,
    /// Bars; needs a terminal.
    Tty,
    /// A line for each event.
    Plain,
    /// A JSON object for each event, one a line.
    Json,
    /// Nothing but errors.
    Quiet,
}

/// A way to show events. There are four.
trait Face: Send {
    fn show(&mut self, event: &Event);
    /// Time has passed.
    fn tick(&mut self) {}
    /// All went well; what it came to is told.
    fn finish(&mut self) {}
    /// Nothing more comes; what moves is taken away.
    fn close(&mut self) {}
}

/// Where everything that a person or a program reads comes from.
#[derive(Clone)]
pub struct Screen {
    face: Arc<Mutex<Box<dyn Face>>>,
    paint: Paint,
    json: bool,
    /// Each file that was made still is told of.
    detailed: bool,
    log: LogTo,
}

/// Where the lines go that a task writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogTo {
    /// They are told as all else is.
    #[default]
    Stderr,
    /// They are the answer.
    Stdout,
    StdoutAsJson,
}

/// How a command wants to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    pub progress: Progress,
    /// The form of the answer and of a failure.
    pub json: bool,
    pub verbose: bool,
    pub log: LogTo,
}

impl Screen {
    /// The screen that was asked for.
    pub fn open(Manner { progress, json, verbose, log }: Manner, env: &Environment) -> Result<Self, Failure> {
        let terminal = io::stderr().is_terminal();
        let paint = Paint::wanted(env, terminal);
        let settled = settled(progress, terminal, env)?;
        // A program chooses for itself.
        let detailed = verbose || settled == Settled::Json;
        let face: Box<dyn Face> = match settled {
            Settled::Bars => Box::new(bars::Bars::new(io::stderr(), Size::of_stderr, paint, verbose)),
            Settled::Plain => Box::new(plain::Plain::new(io::stderr(), paint)),
            Settled::Json => Box::new(facts::Facts::new(io::stderr())),
            Settled::Quiet => Box::new(Quiet),
        };
        let face = Arc::new(Mutex::new(face));
        if settled == Settled::Bars {
            keep_moving(&face);
        }
        Ok(Self { face, paint, json, detailed, log })
    }

    /// The listener that rooms emit to.
    pub fn events(&self) -> Events {
        let (face, detailed, to) = (self.face.clone(), self.detailed, self.log);
        let terminal = io::stdout().is_terminal();
        // A panic while a line was written leaves a face that can still write the next.
        Events::new(move |event| {
            if let Some(line) = log::on_stdout(&event, to, terminal) {
                // Whoever reads it may have gone; the task goes on.
                let _ = to_stdout(&line);
            } else if detailed || !matches!(event.itself(), Event::StilledFile { .. }) {
                face.lock().unwrap_or_else(PoisonError::into_inner).show(&event);
            }
        })
    }

    /// Ends the moving picture.
    pub fn close(&self) {
        self.face.lock().unwrap_or_else(PoisonError::into_inner).close();
    }

    /// The answer, on stdout.
    pub fn answer(&self, done: &Done) -> Result<(), Failure> {
        self.face.lock().unwrap_or_else(PoisonError::into_inner).finish();
        self.close();
        if let Some(failure) = &done.failure {
            tell_failure(failure, false, self.paint);
        }
        // Its lines were the answer.
        if self.log == LogTo::StdoutAsJson {
            return Ok(());
        }
        let mut text = if self.json { facts::one_line(&as_json(done)) } else { done.text.trim_end().to_owned() };
        if text.is_empty() {
            return Ok(());
        }
        text.push('\n');
        to_stdout(text.as_bytes())
    }

    /// A failure, on stderr; with `--json` as the answer too.
    pub fn fail(&self, failure: &Failure) {
        self.close();
        tell_failure(failure, self.json, self.paint);
    }
}

/// How often a picture that moves is looked at.
const GLANCE: Duration = Duration::from_millis(100);

/// Lets a face know that time passes, as long as there is one.
fn keep_moving(face: &Arc<Mutex<Box<dyn Face>>>) {
    let face = Arc::downgrade(face);
    std::thread::spawn(move || {
        while let Some(face) = face.upgrade() {
            face.lock().unwrap_or_else(PoisonError::into_inner).tick();
            drop(face);
            std::thread::sleep(GLANCE);
        }
    });
}

/// The answer, and under `error` what failed beside it.
fn as_json(done: &Done) -> Value {
    let mut json = done.json.clone();
    if let (Some(failure), Value::Object(object)) = (&done.failure, &mut json) {
        object.insert("error".to_owned(), failure.json());
    }
    json
}

/// Tells a failure where there is no screen yet.
pub fn tell_failure(failure: &Failure, json: bool, paint: Paint) {
    // Nobody is left to be told when stderr is gone.
    let _ = io::stderr().write_all(failure.words(paint).as_bytes());
    tell_json(failure, json);
}

/// The failure as the answer, where JSON is wanted.
pub fn tell_json(failure: &Failure, wanted: bool) {
    if wanted {
        // The failure itself decides the exit code; that stdout is gone adds nothing to it.
        let _ = to_stdout(format!("{}\n", facts::one_line(&json!({ "error": failure.json() }))).as_bytes());
    }
}

/// Writes to stdout. A reader that went away (`| head`) has all it wanted.
pub fn to_stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("the answer could not be written to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

struct Quiet;

impl Face for Quiet {
    fn show(&mut self, _: &Event) {}
}

#[derive(Debug, PartialEq, Eq)]
enum Settled {
    Bars,
    Plain,
    Json,
    Quiet,
}

fn settled(progress: Progress, terminal: bool, env: &Environment) -> Result<Settled, Failure> {
    let moves = terminal && env.set("CI").is_none() && env.get("TERM") != Some("dumb");
    match progress {
        Progress::Auto if moves => Ok(Settled::Bars),
        Progress::Auto | Progress::Plain => Ok(Settled::Plain),
        Progress::Tty if terminal => Ok(Settled::Bars),
        Progress::Tty => {
            Err(Failure::usage("--progress tty needs a terminal, and stderr is none").hint("--progress plain does not"))
        }
        Progress::Json => Ok(Settled::Json),
        Progress::Quiet => Ok(Settled::Quiet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_move_only_on_a_terminal_that_is_not_a_ci_log() {
        let auto = |terminal, vars: &[(&str, &str)]| settled(Progress::Auto, terminal, &Environment::of(vars));
        assert_eq!(auto(true, &[]), Ok(Settled::Bars));
        assert_eq!(auto(false, &[]), Ok(Settled::Plain));
        assert_eq!(auto(true, &[("CI", "true")]), Ok(Settled::Plain));
        assert_eq!(auto(true, &[("TERM", "dumb")]), Ok(Settled::Plain));
    }

    #[test]
    fn what_failed_beside_the_answer_is_in_it() {
        let mut done = Done::new("r/a@sha256:1", json!({ "loaders": [] }));
        assert_eq!((as_json(&done), done.exit_code()), (json!({ "loaders": [] }), 0));
        done.failure = Some(Failure::of_several(vec![("b".into(), Failure::build("failed"))], 2));
        assert_eq!(as_json(&done)["error"]["others"][0]["phase"], "build");
        assert_eq!(done.exit_code(), 1);
    }

    #[test]
    fn bars_that_were_asked_for_and_cannot_be_are_refused() {
        let failure = settled(Progress::Tty, false, &Environment::of(&[])).unwrap_err();
        assert_eq!(failure.message, "--progress tty needs a terminal, and stderr is none");
        assert_eq!(failure.exit_code(), 2);
    }
}
