//! One task, from RunTask to its end.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::apply::lacks_service_role;
use super::error::DeployError;
use super::explain::explain;
use super::follow::{Phase, follow, passes};
use super::ground::Ground;
use super::loader::Loader;
use super::outcome::Outcome;
use super::pace::Pace;
use crate::aws::{AwsError, Cloud, Kind, RunRequest, Task};
use crate::event::{Event, Events};
use crate::image::Digest;

/// What may end a task before its own end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// Becomes true when the user wants it to end.
    pub interrupt: watch::Receiver<bool>,
}

/// Runs a revision on Fargate, emits its log and its states, and returns how it ended.
pub async fn run(
    cloud: &Cloud,
    loader: &Loader,
    ground: &Ground,
    revision: &str,
    limits: Limits,
    pace: &Pace,
    events: &Events,
) -> Result<Outcome, DeployError> {
    let run = Run { cloud, loader, ground, revision, pace, events };
    let begun = Instant::now();
    let deadline = limits.timeout.map(|timeout| begun + timeout);
    loop {
        let outcome = run.once(deadline, limits.interrupt.clone()).await?;
        // A role of seconds is taken at the start of the task only, and not for long: pulumi-awsx#927
        let lag = ground.new_role && outcome.exit_code == 125 && outcome.reason.contains("unable to assume the role");
        if lag && begun.elapsed() < pace.role_lag.total {
            events.emit(Event::Note("the new role is not known everywhere yet; starting the task again".to_owned()));
            sleep(pace.role_lag.longest).await;
            continue;
        }
        events.emit(Event::TaskStopped {
            reason: outcome.reason.clone(),
            exit_code: outcome.container_exit_code,
            hint: outcome.hint.clone(),
        });
        return Ok(outcome);
    }
}

struct Run<'a> {
    cloud: &'a Cloud,
    loader: &'a Loader,
    ground: &'a Ground,
    revision: &'a str,
    pace: &'a Pace,
    events: &'a Events,
}

/// Why we ended a task ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Interrupted,
    TimedOut,
}

impl Run<'_> {
    async fn once(&self, deadline: Option<Instant>, interrupt: watch::Receiver<bool>) -> Result<Outcome, DeployError> {
        let task = self.start().await?;
        self.emit(&task);
        let (phase, phases) = watch::channel(Phase::Running);
        let name = &self.loader.name;
        let stream = format!("{name}/{name}/{}", task.id());
        let watching = self.until_stopped(task, deadline, interrupt, phase);
        let following = follow(&self.cloud.logs, &self.ground.log_group, &stream, phases, self.pace, self.events);
        tokio::pin!(watching, following);
        let (ended, told) = tokio::select! {
            ended = &mut watching => (ended?, following.await),
            told = &mut following => (watching.await?, told),
        };
        let (task, cut) = ended;
        let mut outcome = explain(&task, name, told.wrong_architecture);
        match cut {
            Some(Cut::Interrupted) => outcome.exit_code = 130,
            Some(Cut::TimedOut) => {
                outcome.exit_code = 124;
                outcome.hint = Some("it was stopped at the time limit (--timeout)".to_owned());
            }
            None => {}
        }
        Ok(outcome)
    }

    /// RunTask until something is started: 200 may as well mean that nothing was.
    async fn start(&self) -> Result<Task, DeployError> {
        let no_room = |error: &DeployError| {
            let capacity = "Capacity is unavailable";
            let none = match error {
                DeployError::NotStarted(failures) => failures.iter().any(|failure| failure.reason.contains(capacity)),
                DeployError::Refused(error) => error.message.contains(capacity),
                _ => false,
            };
            if none {
                self.events.emit(Event::Note("Fargate has no capacity here at this moment; asking again".to_owned()));
            }
            none
        };
        self.pace.capacity.retry(no_room, || self.ask()).await
    }

    async fn ask(&self) -> Result<Task, DeployError> {
        // A new token each time that the answer was "nothing": the same one would be the same answer. Where no answer
        // came at all, the SDK asks again with the same token, so that two tasks are never started for one.
        let token = client_token(self.revision);
        let network = &self.loader.network;
        let request = RunRequest {
            cluster: &self.ground.cluster,
            task_definition: self.revision,
            subnets: &network.subnets,
            security_groups: &network.security_groups,
            assign_public_ip: network.assign_public_ip,
            client_token: &token,
            started_by: "locus-push",
        };
        let young = |error: &AwsError| {
            lacks_service_role(error)
                || self.ground.new_role
                    && (error.message.contains("unable to assume the role")
                        || (error.kind == Kind::Denied && error.message.contains("iam:PassRole")))
        };
        let answer = self.pace.role_lag.retry(young, || self.cloud.ecs.run(&request)).await;
        let started = answer.map_err(|source| match source.kind {
            Kind::Refused | Kind::NotFound => DeployError::Refused(source),
            _ => DeployError::Aws { doing: format!("starting the task {}", self.loader.name), source },
        })?;
        started.tasks.into_iter().next().ok_or(DeployError::NotStarted(started.failures))
    }

    /// Looks at the task until it has stopped, and stops it when the user or the time limit says so.
    async fn until_stopped(
        &self,
        mut task: Task,
        deadline: Option<Instant>,
        mut interrupt: watch::Receiver<bool>,
        phase: watch::Sender<Phase>,
    ) -> Result<(Task, Option<Cut>), DeployError> {
        let begun = Instant::now();
        let (mut cut, mut give_up) = (None, None);
        let mut step = self.pace.status.first;
        let mut trouble = 0;
        loop {
            if task.status == "STOPPED" || give_up.is_some_and(|at| Instant::now() >= at) {
                let ran = task.containers.iter().any(|container| container.exit_code.is_some());
                let ended = match *phase.borrow() {
                    Phase::Ending(ended) => ended,
                    Phase::Running | Phase::Stopped { .. } => Instant::now(),
                };
                phase.send_replace(Phase::Stopped { ended, ran });
                return Ok((task, cut));
            }
            if matches!(task.status.as_str(), "DEACTIVATING" | "STOPPING" | "DEPROVISIONING")
                && *phase.borrow() == Phase::Running
            {
                phase.send_replace(Phase::Ending(Instant::now()));
            }
            if cut.is_none() {
                cut = self.wait(step, deadline, &mut interrupt).await;
                if let Some(cut) = cut {
                    self.stop(&task, cut).await?;
                    give_up = Some(Instant::now() + self.pace.stop);
                    step = self.pace.status.first;
                }
            } else {
                sleep(step).await;
            }
            step = self.pace.status.after(step);
            match self.cloud.ecs.task(&self.ground.cluster, &task.arn).await {
                Ok(Some(now)) => {
                    trouble = 0;
                    if now.status != task.status {
                        self.emit(&now);
                    }
                    task = now;
                }
                // Right after RunTask the task may be MISSING: it is "not yet" then.
                Ok(None) if begun.elapsed() < self.pace.missing => {}
                Ok(None) => return Err(DeployError::Lost { task: task.arn }),
                // The SDK has asked three times by now.
                Err(error) if passes(&error) && trouble < 10 => trouble += 1,
                Err(source) => {
                    return Err(DeployError::Aws {
                        doing: format!("watching the task {}, which still runs", task.arn),
                        source,
                    });
                }
            }
        }
    }

    async fn wait(
        &self,
        step: Duration,
        deadline: Option<Instant>,
        interrupt: &mut watch::Receiver<bool>,
    ) -> Option<Cut> {
        let limit = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Whoever held the other end is gone: nobody will interrupt.
            Ok(_) = interrupt.wait_for(|stop| *stop) => Some(Cut::Interrupted),
            () = limit => Some(Cut::TimedOut),
            () = sleep(step) => None,
        }
    }

    async fn stop(&self, task: &Task, cut: Cut) -> Result<(), DeployError> {
        let reason = match cut {
            Cut::Interrupted => "locus-push was interrupted",
            Cut::TimedOut => "the time limit of locus-push was reached",
        };
        let stopped = self.cloud.ecs.stop(&self.ground.cluster, &task.arn, reason).await;
        stopped.map_err(|source| DeployError::Aws {
            doing: format!("stopping the task {}, which still runs", task.arn),
            source,
        })
    }

    fn emit(&self, task: &Task) {
        self.events.emit(Event::Task { id: task.id().to_owned(), status: task.status.clone() });
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
