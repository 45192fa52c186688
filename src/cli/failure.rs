//! Why a command did not do what it was asked: one kind (which decides the exit code), where, and what to do.

use std::fmt;

use serde_json::{Value, json};

use super::screen::Paint;
use super::{Place, escape};
use crate::dockerfile::{ParseError, ParseErrors};

/// What sort of failure it is. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two things differ, or one of several loaders failed.
    Difference,
    /// The arguments, the environment, locus.toml, or a file that they name.
    Usage,
    Build,
    /// A registry or the cloud.
    Cloud,
    /// A bug in locus-push.
    Bug,
    /// Our own `--timeout`.
    Timeout,
    /// The task never started, as `docker run` says it.
    NeverStarted,
    Interrupted,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Difference,
        Self::Usage,
        Self::Build,
        Self::Cloud,
        Self::Bug,
        Self::Timeout,
        Self::NeverStarted,
        Self::Interrupted,
    ];

    /// What it means, for those who write scripts.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Difference => {
                "one of several loaders failed; --check, diff, verify, doctor or cache du --verify found something"
            }
            Self::Usage => "the arguments, the environment, locus.toml or a file that they name",
            Self::Build => "the build failed",
            Self::Cloud => "a registry or the cloud said no",
            Self::Bug => "a bug in locus-push",
            Self::Timeout => "our own --timeout",
            Self::NeverStarted => "the task never started",
            Self::Interrupted => "interrupted, or the terminal went away, or somebody stopped the task",
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Self::Difference => 1,
            Self::Usage => 2,
            Self::Build => 3,
            Self::Cloud => 4,
            Self::Bug => 70,
            Self::Timeout => 124,
            Self::NeverStarted => 125,
            Self::Interrupted => 130,
        }
    }
}

/// The stretch of the road on which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Arguments,
    Configuration,
    Dockerfile,
    Build,
    Pull,
    Push,
    Compare,
    Cloud,
    Task,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::Configuration => "configuration",
            Self::Dockerfile => "dockerfile",
            Self::Build => "build",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Compare => "compare",
            Self::Cloud => "cloud",
            Self::Task => "task",
        }
    }
}

/// A failure in the words that a user sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    pub phase: Phase,
    pub message: String,
    pub place: Option<Box<Place>>,
    /// The last lines that the failed step or task wrote.
    pub last_lines: Vec<String>,
    pub hints: Vec<String>,
    /// Further faults of the same file, or failures of other loaders.
    pub others: Vec<Failure>,
}

impl Failure {
    pub fn new(kind: Kind, phase: Phase, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, phase, message, place: None, last_lines: Vec::new(), hints: Vec::new(), others: Vec::new() }
    }

    /// Something is wrong with a flag or an argument.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, Phase::Arguments, message)
    }

    /// Something is wrong with the environment, locus.toml, or a file that an argument names.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, Phase::Configuration, message)
    }

    pub fn build(message: impl Into<String>) -> Self {
        Self::new(Kind::Build, Phase::Build, message)
    }

    pub fn push(message: impl Into<String>) -> Self {
        Self::new(Kind::Cloud, Phase::Push, message)
    }

    pub fn cloud(message: impl Into<String>) -> Self {
        Self::new(Kind::Cloud, Phase::Cloud, message)
    }

    pub fn interrupted(phase: Phase) -> Self {
        Self::new(Kind::Interrupted, phase, "interrupted")
    }

    /// Something that cannot happen did.
    pub fn bug(phase: Phase, what: impl fmt::Display) -> Self {
        Self::new(Kind::Bug, phase, format!("a bug in locus-push: {what}")).hint(REPORT)
    }

    /// All faults of a Dockerfile, each at its line.
    pub fn dockerfile(file: &str, text: &str, faults: &ParseErrors) -> Self {
        let fault = |fault: &ParseError| {
            Self::new(Kind::Build, Phase::Dockerfile, fault.message.clone())
                .at(Place::of_word(file, text, fault.span, fault.word.as_deref()))
                .hints(fault.hint.clone())
        };
        let mut failure = fault(faults.first());
        failure.others = faults.iter().skip(1).map(fault).collect();
        failure
    }

    /// Some of `of` loaders failed; each is told, by its name.
    pub fn of_several(failed: Vec<(String, Failure)>, of: usize) -> Self {
        let mut failure = Self::new(Kind::Difference, Phase::Task, format!("{} of {of} loaders failed", failed.len()));
        failure.others = failed
            .into_iter()
            .map(|(name, mut failure)| {
                failure.message = format!("{name}: {}", failure.message);
                failure
            })
            .collect();
        failure
    }

    /// Several failures as one, told in their order; none is none.
    pub fn all(failures: Vec<Self>) -> Result<(), Self> {
        let mut failures = failures.into_iter();
        let Some(mut first) = failures.next() else { return Ok(()) };
        for mut other in failures {
            let further = std::mem::take(&mut other.others);
            first.others.push(other);
            first.others.extend(further);
        }
        Err(first)
    }

    /// What several places say, or all that is wrong with them.
    pub fn of_each<T, const N: usize>(said: [Result<T, Self>; N]) -> Result<[T; N], Self> {
        let mut failures = Vec::new();
        let said = said.map(|said| said.map_err(|failure| failures.push(failure)).ok());
        Self::all(failures)?;
        Ok(said.map(|said| said.expect("none of them has failed")))
    }

    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.hints(Some(hint.into()))
    }

    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    pub fn last_lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.last_lines.extend(lines);
        self
    }

    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// The form that a person reads, with a line feed at its end.
    pub fn words(&self, paint: Paint) -> String {
        let mut out = labelled(&paint.error("error"), "error", &self.message);
        if let Some(place) = &self.place {
            out += &place.words(paint, |mark| paint.error(mark));
        }
        let gutter = self.place.as_ref().map_or(2, |place| place.gutter());
        for (index, line) in self.last_lines.iter().enumerate() {
            let label = if index == 0 { "= last lines:" } else { "             " };
            out += &format!("{:gutter$} {} {}\n", "", paint.frame(label), escape::text(line));
        }
        for hint in &self.hints {
            out += &labelled(&paint.hint("hint"), "hint", hint);
        }
        self.others.iter().fold(out, |out, other| out + &other.words(paint))
    }

    /// The form that a program reads.
    pub fn json(&self) -> Value {
        let place = self.place.as_ref().map(|place| place.json());
        json!({
            "phase": self.phase.name(),
            "exit_code": self.exit_code(),
            "message": self.message,
            "place": place,
            "last_lines": self.last_lines,
            "hints": self.hints,
            "others": self.others.iter().map(Self::json).collect::<Vec<_>>(),
        })
    }
}

pub(super) const REPORT: &str = "please report it with the command and these lines";

/// `label: message`, with the further lines of the message under its first.
fn labelled(painted: &str, label: &str, message: &str) -> String {
    let indent = " ".repeat(label.len() + 2);
    let lines: Vec<String> = message.trim_end().lines().map(escape::text).collect();
    format!("{painted}: {}\n", lines.join(&format!("\n{indent}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Span;

    #[test]
    fn a_failed_run_reads_as_a_compiler_error_does() {
        let text = "FROM debian\nRUN apt-get install -y gdal-bni\n";
        let failure = Failure::build("RUN failed with exit code 100")
            .at(Place::in_text(
                "loaders/os_opendata.Dockerfile",
                text,
                Span { start: 12, end: 43, line: 2, last_line: 2 },
            ))
            .last_lines(["Reading package lists...".to_owned(), "E: Unable to locate package gdal-bni".to_owned()])
            .hint("nothing was pushed; the layers above this line are cached");
        assert_eq!(
            failure.words(Paint::off()),
            "error: RUN failed with exit code 100\n\
             \x20 --> loaders/os_opendata.Dockerfile:2\n\
             \x20  |\n\
             \x202 | RUN apt-get install -y gdal-bni\n\
             \x20  | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n\
             \x20  = last lines: Reading package lists...\n\
             \x20                E: Unable to locate package gdal-bni\n\
             hint: nothing was pushed; the layers above this line are cached\n"
        );
        assert_eq!(failure.exit_code(), 3);
    }

    #[test]
    fn json_names_the_phase_that_failed() {
        let json = Failure::cloud("ecr:CreateRepository was refused").hint("ask for the permission").json();
        assert_eq!(json["phase"], "cloud");
        assert_eq!(json["exit_code"], 4);
        assert_eq!(json["hints"][0], "ask for the permission");
    }

    #[test]
    fn of_several_loaders_each_that_failed_is_told() {
        let failed = vec![("a".to_owned(), Failure::build("RUN failed")), ("b".to_owned(), Failure::push("denied"))];
        let failure = Failure::of_several(failed, 3);
        assert_eq!(
            failure.words(Paint::off()),
            "error: 2 of 3 loaders failed\nerror: a: RUN failed\nerror: b: denied\n"
        );
        assert_eq!(failure.exit_code(), 1);
    }

    #[test]
    fn each_kind_has_the_exit_code_of_the_contract() {
        let codes = [
            (Kind::Difference, 1),
            (Kind::Usage, 2),
            (Kind::Build, 3),
            (Kind::Cloud, 4),
            (Kind::Bug, 70),
            (Kind::Timeout, 124),
            (Kind::NeverStarted, 125),
            (Kind::Interrupted, 130),
        ];
        for (kind, code) in codes {
            assert_eq!(kind.exit_code(), code);
        }
    }

    #[test]
    fn a_message_from_outside_cannot_steer_the_terminal_nor_forge_a_line() {
        let words = Failure::push("denied: \x1b[2J\nerror: forged").words(Paint::off());
        assert_eq!(words, "error: denied: \\x1b[2J\n       error: forged\n");
    }
}
