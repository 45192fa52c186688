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

/// Said while a role of this run is waited for.
pub(super) const NOT_YET: &str = "the new role is not known everywhere yet; trying again";

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
            events.emit(Event::Note(NOT_YET.to_owned()));
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
    async fn once(
        &self,
        deadline: Option<Instant>,
        mut interrupt: watch::Receiver<bool>,
    ) -> Result<Outcome, DeployError> {
        let task = self.start(deadline, &mut interrupt).await?;
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
    async fn start(
        &self,
        deadline: Option<Instant>,
        interrupt: &mut watch::Receiver<bool>,
    ) -> Result<Task, DeployError> {
        let (begun, mut step) = (Instant::now(), self.pace.capacity.first);
        loop {
            match self.ask().await {
                Err(error) if has_no_room(&error) && begun.elapsed() < self.pace.capacity.total => {
                    let message = "Fargate has no capacity here at this moment; asking again";
                    self.events.emit(Event::Note(message.to_owned()));
                }
                done => return done,
            }
            match self.wait(step, deadline, interrupt).await {
                Some(Cut::Interrupted) => return Err(DeployError::Interrupted),
                Some(Cut::TimedOut) => return Err(DeployError::TimedOut),
                None => step = self.pace.capacity.after(step),
            }
        }
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
            let lag = self.ground.new_role
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

fn has_no_room(error: &DeployError) -> bool {
    let capacity = "Capacity is unavailable";
    match error {
        DeployError::NotStarted(failures) => failures.iter().any(|failure| failure.reason.contains(capacity)),
        DeployError::Refused(error) => error.message.contains(capacity),
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
    use serde_json::{Value, json};

    use super::super::testing::{Played, Script, TASK, ground, os_opendata, recorded};
    use super::*;

    /// What came of a run: its outcome, its log, and the cloud's memory.
    struct Ran {
        outcome: Result<Outcome, DeployError>,
        log: Vec<String>,
        played: Played,
    }

    async fn ran(script: Script, new_role: bool, timeout: Option<Duration>, interrupted: bool) -> Ran {
        let played = script.play().await;
        let (events, seen) = recorded();
        let (_user, interrupt) = watch::channel(interrupted);
        let ground = Ground { new_role, ..ground() };
        let limits = Limits { timeout, interrupt };
        let outcome =
            run(&played.cloud, &os_opendata(), &ground, "os_opendata:1", limits, &Pace::hurried(), &events).await;
        let lines = |event: &Event| match event {
            Event::TaskLog { line } => Some(String::from_utf8(line.clone()).unwrap()),
            _ => None,
        };
        let log = seen.lock().unwrap().iter().filter_map(lines).collect();
        Ran { outcome, log, played }
    }

    async fn plainly(script: Script) -> Ran {
        ran(script, false, None, false).await
    }

    fn task(status: &str, exit_code: Option<i32>) -> Value {
        let mut container = json!({ "name": "os_opendata" });
        if let Some(code) = exit_code {
            container["exitCode"] = code.into();
        }
        let mut task = json!({ "taskArn": TASK, "lastStatus": status, "containers": [container] });
        if status == "STOPPED" {
            task["stopCode"] =
                if exit_code.is_some() { "EssentialContainerExited" } else { "TaskFailedToStart" }.into();
            task["stoppedReason"] = "Essential container in task exited".into();
        }
        task
    }

    fn tasks(task: Value) -> Value {
        json!({ "tasks": [task], "failures": [] })
    }

    fn missing() -> Value {
        json!({ "tasks": [], "failures": [{ "arn": TASK, "reason": "MISSING" }] })
    }

    fn page(lines: &[&str], next: &str) -> Value {
        let events: Vec<_> = lines.iter().map(|line| json!({ "timestamp": 1, "message": line })).collect();
        json!({ "events": events, "nextForwardToken": next, "nextBackwardToken": "b/0" })
    }

    fn started() -> Script {
        Script::default().answer("RunTask", tasks(task("PROVISIONING", None)))
    }

    fn quiet(script: Script) -> Script {
        script.error("GetLogEvents", 400, "ResourceNotFoundException", "The specified log stream does not exist.")
    }

    #[tokio::test]
    async fn the_containers_code_is_ours_and_no_line_is_lost() {
        let script = started()
            .answer("DescribeTasks", missing())
            .answer("DescribeTasks", tasks(task("PENDING", None)))
            .answer("DescribeTasks", tasks(task("RUNNING", None)))
            .answer("DescribeTasks", tasks(task("DEPROVISIONING", Some(7))))
            .answer("DescribeTasks", tasks(task("STOPPED", Some(7))))
            .error("GetLogEvents", 400, "ResourceNotFoundException", "The specified log stream does not exist.")
            // An empty page is not the end, and lines of one millisecond are as many as they are.
            .answer("GetLogEvents", page(&[], "f/1"))
            .answer("GetLogEvents", page(&["a", "b"], "f/2"))
            .answer("GetLogEvents", page(&[], "f/3"))
            .answer("GetLogEvents", page(&["c"], "f/4"))
            .answer("GetLogEvents", page(&[], "f/4"));
        let Ran { outcome, log, played } = plainly(script).await;
        let outcome = outcome.unwrap();
        assert_eq!(
            (outcome.exit_code, outcome.container_exit_code, outcome.task_id.as_str()),
            (7, Some(7), "0123abcd")
        );
        assert_eq!(log, ["a", "b", "c"]);
        let asked = &played.asked_for("RunTask")[0];
        assert_eq!(asked["launchType"], "FARGATE");
        assert_eq!(
            asked["networkConfiguration"]["awsvpcConfiguration"],
            json!({ "subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED" })
        );
        let logs = played.asked_for("GetLogEvents");
        assert_eq!(logs[0]["logStreamName"], "os_opendata/os_opendata/0123abcd");
        assert!(logs.iter().all(|asked| asked["startFromHead"] == true && asked.get("startTime").is_none()));
    }

    #[tokio::test]
    async fn lines_that_come_after_the_task_stopped_are_read() {
        let script = started()
            .answer("DescribeTasks", tasks(task("STOPPED", Some(0))))
            .answer("GetLogEvents", page(&[], "f/1"))
            .answer("GetLogEvents", page(&[], "f/1"))
            .answer("GetLogEvents", page(&["the only line"], "f/2"))
            .answer("GetLogEvents", page(&[], "f/2"));
        let Ran { outcome, log, .. } = plainly(script).await;
        assert_eq!((outcome.unwrap().exit_code, log), (0, vec!["the only line".to_owned()]));
    }

    #[tokio::test]
    async fn a_call_that_is_repeated_carries_the_same_token() {
        let script = quiet(
            Script::default()
                .error("RunTask", 500, "ServerException", "Service Unavailable")
                .answer("RunTask", tasks(task("PROVISIONING", None)))
                .answer("DescribeTasks", tasks(task("STOPPED", Some(0)))),
        );
        let Ran { outcome, played, .. } = plainly(script).await;
        assert_eq!(outcome.unwrap().exit_code, 0);
        let asked = played.asked_for("RunTask");
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0]["clientToken"], asked[1]["clientToken"]);
        assert_eq!(asked[0]["clientToken"].as_str().map(str::len), Some(32));
    }

    #[tokio::test]
    async fn capacity_is_asked_for_again_with_a_new_token() {
        let full = json!({ "tasks": [], "failures": [{ "reason": "Capacity is unavailable at this time. Please try again later or in a different availability zone" }] });
        let script = quiet(
            Script::default()
                .answer("RunTask", full)
                .answer("RunTask", tasks(task("PROVISIONING", None)))
                .answer("DescribeTasks", tasks(task("STOPPED", Some(0)))),
        );
        let Ran { outcome, played, .. } = plainly(script).await;
        assert_eq!(outcome.unwrap().exit_code, 0);
        let asked = played.asked_for("RunTask");
        assert_ne!(asked[0]["clientToken"], asked[1]["clientToken"]);
    }

    #[tokio::test]
    async fn an_interrupt_ends_the_wait_for_capacity() {
        let full = json!({ "tasks": [], "failures": [{ "reason": "Capacity is unavailable at this time." }] });
        let interrupted = ran(Script::default().answer("RunTask", full.clone()), false, None, true).await;
        assert_eq!(interrupted.outcome.unwrap_err().exit_code(), 130);
        assert_eq!(interrupted.played.asked_for("RunTask").len(), 1);
        let limit = Some(Duration::from_millis(1));
        let late = ran(Script::default().answer("RunTask", full), false, limit, false).await;
        assert_eq!(late.outcome.unwrap_err().exit_code(), 124);
    }

    #[tokio::test]
    async fn an_answer_that_started_nothing_is_an_error() {
        let failed = json!({ "tasks": [], "failures": [{ "reason": "ATTRIBUTE", "detail": "no such\u{1b} zone" }] });
        for (answer, words) in [
            (failed, "the task was not started: ATTRIBUTE (no such\\u{1b} zone)"),
            (
                json!({ "tasks": [], "failures": [] }),
                "the task was not started: RunTask named neither a task nor a reason",
            ),
        ] {
            let Ran { outcome, .. } = plainly(Script::default().answer("RunTask", answer)).await;
            let error = outcome.unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (words, 125));
        }
    }

    #[tokio::test]
    async fn a_refused_call_names_itself_and_who_made_it() {
        let script =
            Script::default().error("RunTask", 400, "InvalidParameterException", "No Container Instances were found");
        let error = plainly(script).await.outcome.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the task was not started: ecs:RunTask, called as arn:aws:iam::123456789012:user/ann, failed: \
             InvalidParameterException: No Container Instances were found"
        );
        assert_eq!(error.exit_code(), 125);
    }

    #[tokio::test]
    async fn an_image_that_cannot_be_pulled_is_125_with_its_reason() {
        let mut stopped = task("STOPPED", None);
        stopped["stoppedReason"] = "Task failed to start".into();
        stopped["containers"][0]["reason"] =
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): r@sha256:1: not found".into();
        let script = quiet(started().answer("DescribeTasks", tasks(stopped)));
        let outcome = plainly(script).await.outcome.unwrap();
        assert_eq!((outcome.exit_code, outcome.container_exit_code), (125, None));
        assert_eq!(
            outcome.reason,
            "Task failed to start; CannotPullContainerError: pull image manifest has been retried 1 time(s): \
             r@sha256:1: not found"
        );
        assert_eq!(outcome.hint.as_deref(), Some("the image is not in the repository any more: push it again"));
    }

    #[tokio::test]
    async fn a_role_of_this_run_is_given_time_and_an_old_one_is_not() {
        let script = || {
            quiet(
                Script::default()
                    .error("RunTask", 400, "ClientException", "ECS was unable to assume the role 'r'")
                    .answer("RunTask", tasks(task("PROVISIONING", None)))
                    .answer("DescribeTasks", tasks(task("STOPPED", Some(0)))),
            )
        };
        let young = ran(script(), true, None, false).await;
        assert_eq!(young.outcome.unwrap().exit_code, 0);
        assert_eq!(young.played.asked_for("RunTask").len(), 2);
        let old = ran(script(), false, None, false).await;
        assert_eq!(old.outcome.unwrap_err().exit_code(), 125);
        assert_eq!(old.played.asked_for("RunTask").len(), 1);
    }

    #[tokio::test]
    async fn an_interrupt_stops_the_task_and_is_130() {
        let script = quiet(
            started()
                .answer("DescribeTasks", tasks(task("STOPPED", Some(143))))
                .answer("StopTask", json!({ "task": task("STOPPING", None) })),
        );
        let Ran { outcome, played, .. } = ran(script, false, None, true).await;
        assert_eq!(outcome.unwrap().exit_code, 130);
        assert_eq!(played.asked_for("StopTask")[0]["reason"], "locus-push was interrupted");
    }

    #[tokio::test]
    async fn a_time_limit_stops_the_task_and_is_124() {
        let script = quiet(
            started()
                .answer("DescribeTasks", tasks(task("RUNNING", None)))
                .answer("StopTask", json!({ "task": task("STOPPING", None) })),
        );
        // It does not stop, and is not waited for without end.
        let Ran { outcome, played, .. } = ran(script, false, Some(Duration::from_millis(5)), false).await;
        assert_eq!(outcome.unwrap().exit_code, 124);
        assert_eq!(played.asked_for("StopTask").len(), 1);
    }

    #[tokio::test]
    async fn a_log_that_may_not_be_read_does_not_end_the_run() {
        let script = started()
            .answer("DescribeTasks", tasks(task("RUNNING", None)))
            .answer("DescribeTasks", tasks(task("STOPPED", Some(3))))
            .error("GetLogEvents", 400, "AccessDeniedException", "not authorized to perform: logs:GetLogEvents");
        assert_eq!(plainly(script).await.outcome.unwrap().exit_code, 3);
    }

    #[tokio::test]
    async fn a_wrong_architecture_is_told_by_the_log() {
        let script = started()
            .answer("DescribeTasks", tasks(task("STOPPED", Some(1))))
            .answer("GetLogEvents", page(&["exec /usr/local/bin/node: exec format error"], "f/1"))
            .answer("GetLogEvents", page(&[], "f/1"));
        let outcome = plainly(script).await.outcome.unwrap();
        assert!(outcome.hint.unwrap().contains("--platform linux/amd64"));
    }

    #[test]
    fn a_token_is_never_given_twice() {
        assert_ne!(client_token("x"), client_token("x"));
    }
}
