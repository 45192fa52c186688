//! RunTask, until something is started: 200 may as well mean that nothing was.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use super::apply::lacks_service_role;
use super::error::DeployError;
use super::job::{Job, Start};
use super::pace::Pace;
use super::run::NOT_YET;
use super::watch::{Cut, wait};
use crate::aws::{self, AwsError, Cloud, Kind, RunRequest, Started};
use crate::event::{Event, Events};
use crate::image::Digest;

/// A job that is to be started.
pub(super) struct Starter<'a> {
    pub cloud: &'a Cloud,
    pub job: &'a Job,
    pub start: &'a Start,
    pub overrides: &'a aws::Overrides,
    /// Of each call, counted from 0.
    pub mark: &'a (dyn Fn(u32) -> Mark + Sync),
    pub pace: &'a Pace,
    pub events: &'a Events,
}

/// What a call of RunTask, and the task that it starts, is known by.
pub(super) struct Mark {
    pub client_token: String,
    pub started_by: String,
}

impl Mark {
    /// Of a call that nobody comes back to.
    pub fn new(revision: &str) -> Self {
        Self { client_token: client_token(revision), started_by: "locus-push".to_owned() }
    }
}

impl Starter<'_> {
    /// At least one task.
    pub async fn start(
        &self,
        deadline: Option<Instant>,
        interrupt: &mut watch::Receiver<bool>,
    ) -> Result<Started, DeployError> {
        let (begun, mut step) = (Instant::now(), self.pace.capacity.first);
        for asked in 0.. {
            let message = match self.ask(asked).await {
                Err(error) if begun.elapsed() >= self.pace.capacity.total => return Err(error),
                Err(error) if has_no_room(&error) => "Fargate has no capacity here at this moment; asking again",
                Err(error) if is_at_its_limit(&error) => "ECS takes no more tasks at this moment; asking again",
                done => return done,
            };
            self.events.emit(Event::Note(message.to_owned()));
            match wait(step, deadline, interrupt).await {
                Some(Cut::Interrupted) => return Err(DeployError::Interrupted),
                Some(Cut::TimedOut) => return Err(DeployError::TimedOut),
                None => step = self.pace.capacity.after(step),
            }
        }
        Err(DeployError::NotStarted(Vec::new()))
    }

    async fn ask(&self, asked: u32) -> Result<Started, DeployError> {
        let Job { name, revision, at, network, new_role } = self.job;
        // A new token each time that the answer was "nothing": the same one would be the same answer. Where no answer
        // came at all, the SDK asks again with the same token, so that two tasks are never started for one.
        let mark = (self.mark)(asked);
        let request = RunRequest {
            cluster: &at.cluster,
            task_definition: &revision.arn,
            count: self.start.count,
            capacity: self.start.capacity,
            subnets: &network.subnets,
            security_groups: &network.security_groups,
            assign_public_ip: network.assign_public_ip,
            container: &at.container,
            overrides: self.overrides,
            client_token: &mark.client_token,
            started_by: &mark.started_by,
        };
        let young = |error: &AwsError| {
            let lag = *new_role
                && (error.message.contains("unable to assume the role")
                    || (error.kind == Kind::Denied && error.message.contains("iam:PassRole")));
            let young = lag || lacks_service_role(error);
            if young {
                self.events.emit(Event::Note(NOT_YET.to_owned()));
            }
            young
        };
        let answer = self.pace.role_lag.retry(young, || self.cloud.ecs.run(&request)).await;
        let started = answer.map_err(|source| match source.kind {
            Kind::Refused | Kind::NotFound => DeployError::Refused(source),
            _ => DeployError::Aws { doing: format!("starting the task {name}"), source },
        })?;
        if started.tasks.is_empty() {
            return Err(DeployError::NotStarted(started.failures));
        }
        Ok(started)
    }
}

fn has_no_room(error: &DeployError) -> bool {
    let capacity = "Capacity is unavailable";
    match error {
        DeployError::NotStarted(failures) => failures.iter().any(|failure| failure.reason.contains(capacity)),
        DeployError::Refused(error) => error.message.contains(capacity),
        _ => false,
    }
}

/// Too many calls in a row, or as many tasks as the account may have at once.
fn is_at_its_limit(error: &DeployError) -> bool {
    let quota = |text: &str| text.contains("reached the limit on the number of");
    match error {
        DeployError::NotStarted(failures) => failures.iter().any(|failure| quota(&failure.reason)),
        DeployError::Refused(error) | DeployError::Aws { source: error, .. } => {
            error.kind == Kind::Throttled || quota(&error.message)
        }
        _ => false,
    }
}

/// 32 hex digits that no other call has.
fn client_token(revision: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // The keys of a `RandomState` come from the system's random numbers.
    let chance = RandomState::new().hash_one(revision);
    let digest = Digest::of(format!("{revision} {now} {} {chance}", std::process::id()).as_bytes()).to_string();
    digest.trim_start_matches("sha256:").chars().take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_given_twice() {
        assert_ne!(client_token("x"), client_token("x"));
    }
}
