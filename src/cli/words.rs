//! Words for the road's errors: the kind decides the exit code, the span becomes a place in the Dockerfile.

use super::escape;
use super::failure::{Failure, Kind, Phase, Place};
use crate::aws::ConnectError;
use crate::build::{self, BuildError};
use crate::graph::PlanError;
use crate::road::RoadError;

/// `shown` and `text` are the Dockerfile that the error is about.
pub(super) fn failure(error: RoadError, shown: &str, text: &str) -> Failure {
    match error {
        RoadError::Parse(faults) => Failure::dockerfile(shown, text, &faults),
        RoadError::Checks(error) => {
            Failure::new(Kind::Build, Phase::Dockerfile, error.to_string()).hint(super::check::OPTIONS)
        }
        RoadError::Violations(verdict) => Failure::new(Kind::Difference, Phase::Dockerfile, verdict),
        RoadError::Plan(error) => plan(&error, shown, text),
        RoadError::Build(error) => build_failed(error, shown, text),
        RoadError::Push(error) => Failure::push(error.to_string()).hints(error.hint()),
        RoadError::Registry(error) => Failure::configuration(error.to_string()),
        RoadError::Layout(error) => Failure::new(Kind::Usage, Phase::Build, error.to_string()),
        RoadError::Output(error) => Failure::build(error.to_string()),
        RoadError::Store(error) => Failure::build(error.to_string()),
        RoadError::Connect(error) => connect(&error),
        RoadError::Deploy(error) => {
            let kind = match error.exit_code() {
                2 => Kind::Usage,
                124 => Kind::Timeout,
                125 => Kind::NeverStarted,
                130 => Kind::Interrupted,
                _ => Kind::Cloud,
            };
            Failure::new(kind, Phase::Cloud, error.to_string()).hints(error.hint())
        }
        RoadError::Reference(error) => Failure::cloud(error.to_string()),
        error @ (RoadError::OtherAccount { .. } | RoadError::OtherRepository { .. }) => {
            Failure::configuration(error.to_string())
                .hint("nothing was changed; use the profile of that account (--profile), or take the variable back")
        }
        RoadError::Serve(_) => Failure::build(error.to_string()),
        RoadError::Interrupted => Failure::interrupted(Phase::Build)
            .hint("nothing was pushed that the tags name; the steps that were done are cached"),
    }
}

fn plan(error: &PlanError, shown: &str, text: &str) -> Failure {
    let failure = Failure::new(Kind::Build, Phase::Dockerfile, error.to_string()).hints(error.hint.clone());
    match error.span {
        Some(span) => failure.at(Place::in_text(shown, text, span)),
        None => failure,
    }
}

fn build_failed(error: BuildError, shown: &str, text: &str) -> Failure {
    let BuildError { span, problem, last_lines, hint } = error;
    let failure = match &*problem {
        build::Problem::Plan(error) => return plan(error, shown, text),
        build::Problem::Interrupted => Failure::interrupted(Phase::Build),
        build::Problem::Base(_) | build::Problem::BaseLayer(_) => {
            Failure::new(Kind::Cloud, Phase::Build, problem.to_string())
        }
        build::Problem::NoRung(none) => Failure::build(problem.to_string()).hint(none.hint()),
        _ => Failure::build(problem.to_string()),
    };
    let ran = matches!(*problem, build::Problem::Exit(_));
    let failure = match span {
        Some(span) => failure.at(Place::in_text(shown, text, span)),
        None => failure,
    };
    let lines = last_lines.iter().map(|line| escape::line(line));
    let cached = ran.then(|| "no image was pushed; the layers above this line are cached".to_owned());
    failure.last_lines(lines).hints(hint).hints(cached)
}

fn connect(error: &ConnectError) -> Failure {
    Failure::cloud(error.to_string()).hints(error.hint())
}
