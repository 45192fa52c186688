//! The seam between what was asked and who does it: one call for each order.

use serde_json::Value;

use super::failure::{Kind, Phase};
use super::order::{BuildOrder, Command, PushOrder, RoadOrder, ServeOrder};
use super::{Failure, itself};
use crate::event::Events;

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The answer, for stdout: the pushed reference by digest, one line a loader.
    pub text: String,
    /// The same for `--json`.
    pub json: Value,
    /// The task's own exit code, else 0.
    pub exit_code: u8,
    /// What failed beside what was done: one of several loaders. It decides the exit code.
    pub failure: Option<Failure>,
}

impl Done {
    pub fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, exit_code: 0, failure: None }
    }

    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(self.exit_code, Failure::exit_code)
    }
}

pub fn dispatch(command: Command, events: &Events) -> Result<Done, Failure> {
    match command {
        Command::Road(order) => road(*order, events),
        Command::Build(order) => build(*order, events),
        Command::Push(order) => push(order, events),
        Command::Serve(order) => serve(order, events),
        Command::Completions(shell) => itself::completions(shell),
        Command::Version => Ok(itself::version()),
    }
}

fn road(order: RoadOrder, _events: &Events) -> Result<Done, Failure> {
    let names: Vec<&str> = order.loaders.iter().map(|loader| loader.task.name()).collect();
    Err(not_wired(&format!("the road for {}", names.join(", "))))
}

fn build(order: BuildOrder, _events: &Events) -> Result<Done, Failure> {
    Err(not_wired(&format!("the build of {}", order.image.dockerfile.shown)))
}

fn push(order: PushOrder, _events: &Events) -> Result<Done, Failure> {
    Err(not_wired(&format!("the push to {}", order.reference)))
}

fn serve(order: ServeOrder, _events: &Events) -> Result<Done, Failure> {
    Err(not_wired(&format!("the registry at {}", order.listen)))
}

fn not_wired(what: &str) -> Failure {
    Failure::new(Kind::Bug, Phase::Arguments, format!("{what} is not wired to the rooms yet"))
}
