//! What a Dockerfile asks for and cannot get, and where it asks.

use crate::dockerfile::credentials::hidden;
use crate::dockerfile::expand::ExpandError;
use crate::dockerfile::{MountError, Span};
use crate::image::{BadPlatform, BadReference};

use super::BadGit;

/// A problem and the instruction that has it.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct PlanError {
    /// `None` where the problem is not an instruction's, but an option's.
    pub span: Option<Span>,
    #[source]
    pub problem: Problem,
    pub hint: Option<String>,
}

impl PlanError {
    /// The part of the instruction that is at fault, as it is written there, unless a variable stands in its place.
    pub fn word(&self) -> Option<&str> {
        match &self.problem {
            Problem::Expand { word, .. } | Problem::BlankBase(word) | Problem::BlankPlatform(word) => Some(word),
            Problem::Value { value, .. } => Some(value),
            Problem::From(from, _) => Some(from),
            Problem::Reference(bad) => Some(bad.text()),
            Problem::Platform(bad) => Some(bad.text()),
            Problem::Mount(error) => error.word(),
            Problem::NoStages
            | Problem::NoSuchStage { .. }
            | Problem::Git { .. }
            | Problem::Trigger(_)
            | Problem::SourceDate(_)
            | Problem::TooMuch(_)
            | Problem::Device(_) => None,
        }
    }
}

/// Why instructions make no graph; [`PlanError`] says where in the Dockerfile.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("dockerfile contains no stages to build")]
    NoStages,
    #[error("{what} `{name}` could not be found")]
    NoSuchStage { what: &'static str, name: String },
    #[error("cannot expand `{word}`: {why}")]
    Expand { word: String, why: String },
    #[error("{0}")]
    TooMuch(#[source] ExpandError),
    #[error("base name (`{0}`) should not be blank")]
    BlankBase(String),
    #[error("empty platform value from expression {0}")]
    BlankPlatform(String),
    #[error(transparent)]
    Reference(#[from] BadReference),
    #[error(transparent)]
    Platform(#[from] BadPlatform),
    #[error(transparent)]
    /// In a box: it is large, and rare.
    Mount(Box<MountError>),
    #[error(
        "required device \"{0}\" is not registered: a RUN has no devices of this machine, as the task will have none"
    )]
    Device(String),
    #[error("the repository {url}: {why}")]
    /// In a box: it is large, and rare.
    Git { url: String, why: Box<BadGit> },
    #[error("{flag} `{value}` is not valid: {rule}")]
    Value { flag: &'static str, value: String, rule: &'static str },
    #[error("an ONBUILD trigger of the base image cannot be read: {0}")]
    Trigger(String),
    #[error("{0}")]
    SourceDate(String),
    #[error("COPY --from={0}: {1}")]
    From(String, &'static str),
}

impl Problem {
    pub(super) fn git(url: &str, why: BadGit) -> Self {
        Self::Git { url: hidden(url).into_owned(), why: Box::new(why) }
    }

    pub(super) fn at(self, span: Span) -> PlanError {
        PlanError { span: Some(span), problem: self, hint: None }
    }
}
