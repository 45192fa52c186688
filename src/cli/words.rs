//! Words for the road's errors: the kind decides the exit code, the span becomes a place in the Dockerfile.

use std::path::{Path, PathBuf};

use super::failure::{Failure, Kind, Phase};
use super::{Place, escape};
use crate::aws::ConnectError;
use crate::build::{self, BuildError};
use crate::dockerfile::ignore::IgnoreError;
use crate::graph::PlanError;
use crate::registry::ServeError;
use crate::road::RoadError;

/// `shown` and `text` are the Dockerfile that the error is about.
pub(super) fn failure(error: RoadError, shown: &str, text: &str) -> Failure {
    let failure = told(error, shown, text);
    // Whoever wrote it, and wherever.
    match failure.message.contains(NO_ROOM) {
        true => failure.hint("the disk is full; `locus-push cache prune --all` makes room where LOCUS_PUSH_HOME is"),
        false => failure,
    }
}

/// The system's own words for a disk that is full.
const NO_ROOM: &str = "(os error 28)";

fn told(error: RoadError, shown: &str, text: &str) -> Failure {
    match error {
        RoadError::Parse(faults) => Failure::dockerfile(shown, text, &faults),
        RoadError::Checks(error) => {
            Failure::new(Kind::Build, Phase::Dockerfile, error.to_string()).hint(super::check::OPTIONS)
        }
        RoadError::Violations(verdict) => Failure::new(Kind::Difference, Phase::Dockerfile, verdict),
        RoadError::Plan(error) => plan(&error, shown, text),
        RoadError::Build(error) => build_failed(error, shown, text),
        RoadError::Unstartable(error) => Failure::new(Kind::Build, Phase::Push, error.to_string()).hint(error.hint()),
        RoadError::Pull(error) => Failure::new(Kind::Cloud, Phase::Pull, error.to_string()).hints(error.hint()),
        RoadError::Push(error) => Failure::push(error.to_string()).hints(error.hint()),
        RoadError::Registry(error) => Failure::configuration(error.to_string()),
        RoadError::Layout(error) => Failure::new(Kind::Usage, Phase::Build, error.to_string()),
        RoadError::Output(error) => Failure::build(error.to_string()),
        RoadError::Diff(error) => Failure::new(Kind::Usage, Phase::Compare, error.to_string()),
        RoadError::Verify(error) => Failure::build(error.to_string()),
        RoadError::Store(error) => Failure::build(error.to_string()),
        RoadError::Replay(_) => Failure::build(error.to_string()),
        RoadError::Connect(error) => connect(&error, !shown.is_empty()),
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
        RoadError::Preflight(ref checks) => Failure::cloud(error.to_string())
            .hints(checks.iter().filter_map(|check| check.mend.clone()))
            .hint("`locus-push preflight` tells all that was looked at; --no-preflight builds in spite of it"),
        RoadError::Reference(error) => Failure::cloud(error.to_string()),
        error @ (RoadError::OtherAccount { .. } | RoadError::OtherRepository { .. }) => {
            Failure::configuration(error.to_string())
                .hint("nothing was changed; use the profile of that account (--profile), or take the variable back")
        }
        RoadError::NoDockerfile { .. } => Failure::configuration(error.to_string()).hint("-f FILE names another"),
        RoadError::TwoDockerfiles { .. } => Failure::usage(error.to_string()),
        RoadError::Cache { place, source } => {
            let failure = failure(*source, shown, text);
            let message = format!("--cache-to {place}: {}", failure.message);
            Failure { message, ..failure }
                .hint("the image itself is where it should be; ignore-error=true makes it a warning")
        }
        RoadError::Serve(ServeError::Open { .. }) => Failure::configuration(error.to_string()).hint(
            "--user with --password-file asks for a login, --tls-cert with --tls-key gives TLS; --insecure does without",
        ),
        RoadError::Serve(_) => Failure::configuration(error.to_string()),
        RoadError::Interrupted => Failure::interrupted(Phase::Build)
            .hint("nothing was pushed that the tags name; the steps that were done are cached"),
    }
}

fn plan(error: &PlanError, shown: &str, text: &str) -> Failure {
    let failure = Failure::new(Kind::Build, Phase::Dockerfile, error.to_string()).hints(error.hint.clone());
    match error.span {
        Some(span) => failure.at(Place::of_word(shown, text, span, error.word())),
        None => failure,
    }
}

fn build_failed(error: BuildError, shown: &str, text: &str) -> Failure {
    let place = build_place(&error, shown, text);
    let BuildError { span: _, problem, last_lines, hint } = error;
    let failure = match &*problem {
        build::Problem::Plan(error) => return plan(error, shown, text),
        build::Problem::Interrupted => Failure::interrupted(Phase::Build),
        build::Problem::Base(_) | build::Problem::BaseLayer(_) => {
            Failure::new(Kind::Cloud, Phase::Build, problem.to_string())
        }
        build::Problem::NotLocked { .. } | build::Problem::NotHeld { .. } | build::Problem::HostNetworkLocked => {
            Failure::configuration(problem.to_string())
        }
        build::Problem::NoRung(none) => Failure::build(problem.to_string()).hint(none.hint()),
        _ => Failure::build(problem.to_string()),
    };
    let failure = Failure { others: further(&problem), ..failure };
    let ran = matches!(*problem, build::Problem::Exit(_));
    let failure = match place {
        Some(place) => failure.at(place),
        None => failure,
    };
    let lines = last_lines.iter().map(|line| escape::line(line));
    let cached = ran.then(|| "no image was pushed; the layers above this line are cached".to_owned());
    failure.last_lines(lines).hints(hint).hints(cached)
}

/// What else is wrong with the same file.
fn further(problem: &build::Problem) -> Vec<Failure> {
    let build::Problem::IgnoreLines { file, text, faults } = problem else { return Vec::new() };
    let other = |fault: &IgnoreError| {
        Failure::build(format!(".dockerignore: {}", fault.problem)).at(Place::of_line(
            &from_here(file),
            text,
            fault.line,
        ))
    };
    faults.iter().skip(1).map(other).collect()
}

/// The line of the Dockerfile, or of another file that the build reads.
fn build_place(error: &BuildError, shown: &str, text: &str) -> Option<Place> {
    match (&*error.problem, error.span) {
        (build::Problem::IgnoreLines { file, text, faults }, _) => {
            Some(Place::of_line(&from_here(file), text, faults.first().line))
        }
        (_, Some(span)) => Some(Place::of_word(shown, text, span, error.word())),
        (_, None) => None,
    }
}

/// A path as people in this folder would write it.
fn from_here(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path: PathBuf = path.components().collect();
    path.strip_prefix(here).unwrap_or(&path).display().to_string()
}

/// What a Dockerfile is the beginning of can be done without a cloud; what a cloud is asked of a task cannot.
fn connect(error: &ConnectError, of_dockerfile: bool) -> Failure {
    let without = match error {
        ConnectError::NoRegion | ConnectError::Identity { .. } if of_dockerfile => {
            Some("--local does all of it without an AWS account")
        }
        _ => None,
    };
    Failure::cloud(error.to_string()).hints(error.hint()).hints(without.map(str::to_owned))
}
