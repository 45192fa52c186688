//! One task, from its start to its end: its states, its log, and why it stopped.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::error::DeployError;
use super::explain::explain;
use super::follow::{Follow, Phase, Told, passes};
use super::job::{Stay, Whereabouts};
use super::outcome::Outcome;
use super::pace::Pace;
use crate::aws::{Cloud, Task};
use crate::event::{Event, Events};

/// Who watches tasks, and where they are.
pub(super) struct Watch<'a> {
    pub cloud: &'a Cloud,
    pub at: &'a Whereabouts,
    pub stay: Stay,
    /// Whether it is the only task that is watched.
    pub alone: bool,
    pub pace: &'a Pace,
    pub events: &'a Events,
}

/// Why we did not wait for the task's own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Interrupted,
    TimedOut,
}

impl Watch<'_> {
    /// Follows the task's log, of what is younger than `since`, until it has stopped or we are to go.
    pub async fn to_the_end(
        &self,
        task: Task,
        since: Option<i64>,
        deadline: Option<Instant>,
        interrupt: watch::Receiver<bool>,
    ) -> Result<Outcome, DeployError> {
        self.to_the_end_telling(task, since, deadline, interrupt, |_, _| {}).await
    }

    /// The same; `stopped` is told as soon as the task has, or we go: the last lines of its log may come later.
    pub async fn to_the_end_telling(
        &self,
        task: Task,
        since: Option<i64>,
        deadline: Option<Instant>,
        interrupt: watch::Receiver<bool>,
        stopped: impl FnOnce(&Task, Option<Cut>),
    ) -> Result<Outcome, DeployError> {
        self.emit(&task);
        let (phase, phases) = watch::channel(Phase::Running);
        let id = task.id().to_owned();
        let watching = async {
            let (task, cut) = self.until_stopped(task, deadline, interrupt, phase).await?;
            stopped(&task, cut);
            Ok::<_, DeployError>((task, cut))
        };
        let following = self.log(&id, since, phases);
        tokio::pin!(watching, following);
        let (ended, told) = tokio::select! {
            ended = &mut watching => (ended?, following.await),
            told = &mut following => (watching.await?, told),
        };
        let (task, cut) = ended;
        Ok(self.outcome(&task, cut, told.wrong_architecture))
    }

    /// How a task ended, or that we left it.
    pub fn outcome(&self, task: &Task, cut: Option<Cut>, wrong_architecture: bool) -> Outcome {
        match cut {
            Some(Cut::Interrupted) if self.stay != Stay::ToTheEnd => left(task, 130),
            cut => {
                let mut outcome = explain(task, &self.at.container, wrong_architecture);
                match cut {
                    Some(Cut::Interrupted) => {
                        outcome.exit_code = 130;
                        outcome.hint = None;
                    }
                    Some(Cut::TimedOut) => {
                        outcome.exit_code = 124;
                        outcome.hint = Some("it was stopped at the time limit (--timeout)".to_owned());
                    }
                    None => {}
                }
                outcome
            }
        }
    }

    async fn log(&self, task: &str, since: Option<i64>, phases: watch::Receiver<Phase>) -> Told {
        let Some(place) = &self.at.log else {
            let message = "the task's log is not in CloudWatch Logs of this region: it is not followed".to_owned();
            self.events.emit(Event::Warning { message, hint: None });
            return Told::default();
        };
        let (logs, alone) = (&self.cloud.logs, self.alone);
        let (group, stream) = (&place.group, place.stream(task));
        Follow { logs, group, stream, task, since, alone, pace: self.pace, events: self.events }
            .to_the_end(phases)
            .await
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
                    Phase::Running | Phase::Left | Phase::Stopped { .. } => Instant::now(),
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
                cut = wait(step, deadline, &mut interrupt).await;
                if cut == Some(Cut::Interrupted) && self.stay != Stay::ToTheEnd {
                    phase.send_replace(Phase::Left);
                    return Ok((task, cut));
                }
                if let Some(cut) = cut {
                    self.stop(&task, cut).await?;
                    give_up = Some(Instant::now() + self.pace.stop);
                    step = self.pace.status.first;
                }
            } else {
                sleep(step).await;
            }
            step = self.pace.status.after(step);
            match self.cloud.ecs.task(&self.at.cluster, &task.arn).await {
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
                // The SDK has asked some times by now, and waited longer each time.
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

    async fn stop(&self, task: &Task, cut: Cut) -> Result<(), DeployError> {
        let reason = match cut {
            Cut::Interrupted => "locus-push was interrupted",
            Cut::TimedOut => "the time limit of locus-push was reached",
        };
        let stopped = self.cloud.ecs.stop(&self.at.cluster, &task.arn, reason).await;
        stopped.map_err(|source| DeployError::Aws {
            doing: format!("stopping the task {}, which still runs", task.arn),
            source,
        })
    }

    pub fn emit(&self, task: &Task) {
        // One that was started before has no state that we know of yet.
        if task.status.is_empty() {
            return;
        }
        self.events.emit(Event::Task { id: task.id().to_owned(), status: task.status.clone() });
    }
}

/// A task that runs on without us.
pub(super) fn left(task: &Task, exit_code: i32) -> Outcome {
    Outcome {
        task_arn: task.arn.clone(),
        task_id: task.id().to_owned(),
        exit_code,
        container_exit_code: None,
        stop_code: None,
        reason: String::new(),
        hint: None,
        runs_on: true,
    }
}

/// Waits for a step, unless the user or the time limit ends the wait.
pub(super) async fn wait(
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
