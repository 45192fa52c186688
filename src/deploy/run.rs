//! A revision's tasks, from RunTask to their end.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::error::{DeployError, words};
use super::job::{Job, Start, Stay};
use super::outcome::Outcome;
use super::pace::Pace;
use super::start::{Mark, Starter};
use super::watch::{Watch, left};
use crate::aws::{Cloud, Started};
use crate::event::{Event, Events};

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

/// Runs a revision on Fargate, emits the logs and the states of its tasks, and returns how each ended.
pub async fn run(
    cloud: &Cloud,
    job: &Job,
    start: &Start,
    limits: Limits,
    pace: &Pace,
    events: &Events,
) -> Result<Vec<Outcome>, DeployError> {
    let Limits { timeout, mut interrupt } = limits;
    let overrides = job.overrides(&start.overrides)?;
    let mark = |_| Mark::new(job.task_definition());
    let starter = Starter { cloud, job, start, overrides: &overrides, mark: &mark, pace, events };
    let watch = Watch { cloud, at: &job.at, stay: start.stay, alone: start.count == 1, pace, events };
    let begun = Instant::now();
    let deadline = timeout.map(|timeout| begun + timeout);
    loop {
        let Started { tasks, failures } = starter.start(deadline, &mut interrupt).await?;
        if start.stay == Stay::Away {
            tasks.iter().for_each(|task| watch.emit(task));
            return Ok(tasks.iter().map(|task| left(task, 0)).collect());
        }
        let missing = usize::from(start.count).saturating_sub(tasks.len());
        if missing > 0 {
            let message = format!("{missing} of {} tasks were not started: {}", start.count, words(&failures));
            events.emit(Event::Warning { message, hint: DeployError::NotStarted(failures.clone()).hint() });
        }
        let watched = tasks.into_iter().map(|task| async {
            let outcome = watch.to_the_end(task, None, deadline, interrupt.clone()).await?;
            // A role of seconds is taken at the start of the task only, and not for long: pulumi-awsx#927
            let young = job.new_role && outcome.is_role_lag() && begun.elapsed() < pace.role_lag.total;
            if !young {
                outcome.emit(start.count == 1, events);
            }
            Ok((outcome, young))
        });
        // All are watched to their end, also when one is lost from sight.
        let watched = join_all(watched).await.into_iter().collect::<Result<Vec<(Outcome, bool)>, DeployError>>()?;
        if watched.iter().all(|(_, young)| *young) {
            events.emit(Event::Note(NOT_YET.to_owned()));
            sleep(pace.role_lag.longest).await;
            continue;
        }
        let mut outcomes: Vec<Outcome> = watched.into_iter().map(|(outcome, _)| outcome).collect();
        outcomes.extend((0..missing).map(|_| Outcome::never(words(&failures))));
        return Ok(outcomes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::job::Overrides;
    use super::super::testing::{Played, Script, TASK, job, recorded};
    use super::*;
    use crate::aws::Capacity;

    /// What came of a run: its outcome, its log, and the cloud's memory.
    struct Ran {
        outcome: Result<Outcome, DeployError>,
        all: Vec<Outcome>,
        log: Vec<String>,
        played: Played,
    }

    async fn ran(script: Script, new_role: bool, timeout: Option<Duration>, interrupted: bool) -> Ran {
        started_so(script, Start::default(), new_role, timeout, interrupted).await
    }

    async fn started_so(
        script: Script,
        start: Start,
        new_role: bool,
        timeout: Option<Duration>,
        interrupted: bool,
    ) -> Ran {
        let played = script.play().await;
        let (events, seen) = recorded();
        let (_user, interrupt) = watch::channel(interrupted);
        let limits = Limits { timeout, interrupt };
        let outcomes = run(&played.cloud, &job(new_role), &start, limits, &Pace::hurried(), &events).await;
        let lines = |event: &Event| match event {
            Event::TaskLog { line, .. } => Some(String::from_utf8(line.clone()).unwrap()),
            _ => None,
        };
        let log = seen.lock().unwrap().iter().filter_map(lines).collect();
        let all = outcomes.as_ref().map_or(Vec::new(), Clone::clone);
        Ran { outcome: outcomes.map(|all| all[0].clone()), all, log, played }
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
        let Ran { outcome, log, played, .. } = plainly(script).await;
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

    #[tokio::test]
    async fn a_throttled_call_is_made_again() {
        let script = quiet(
            Script::default()
                .error("RunTask", 400, "ThrottlingException", "Rate exceeded")
                .error("RunTask", 429, "TooManyRequestsException", "Rate exceeded")
                .error("RunTask", 400, "ThrottlingException", "Rate exceeded")
                .answer("RunTask", tasks(task("PROVISIONING", None)))
                .error("DescribeTasks", 400, "ThrottlingException", "Rate exceeded")
                .answer("DescribeTasks", tasks(task("STOPPED", Some(0)))),
        );
        let Ran { outcome, played, .. } = plainly(script).await;
        assert_eq!(outcome.unwrap().exit_code, 0);
        assert_eq!(played.asked_for("RunTask").len(), 4);
    }

    #[tokio::test]
    async fn what_is_otherwise_than_in_the_revision_is_asked_for() {
        let overrides = Overrides {
            environment: [("FILTER".to_owned(), "Town".to_owned())].into(),
            command: Some(vec!["python".into(), "load.py".into()]),
            cpu: None,
            memory: Some(1024),
        };
        let script = quiet(started().answer("DescribeTasks", tasks(task("STOPPED", Some(0)))));
        let wish = Start { capacity: Capacity::Spot, overrides, ..Start::default() };
        let Ran { outcome, played, .. } = started_so(script, wish, false, None, false).await;
        assert_eq!(outcome.unwrap().exit_code, 0);
        let asked = &played.asked_for("RunTask")[0];
        assert_eq!(
            asked["overrides"],
            json!({
                "containerOverrides": [{
                    "name": "os_opendata",
                    "environment": [{ "name": "FILTER", "value": "Town" }],
                    "command": ["python", "load.py"],
                    "memoryReservation": 1024,
                }],
                "cpu": "256",
                "memory": "1024",
            })
        );
        assert_eq!(
            asked["capacityProviderStrategy"],
            json!([{ "capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0 }])
        );
        assert!(asked.get("launchType").is_none(), "never both");
        assert_eq!(
            (&asked["propagateTags"], &asked["enableECSManagedTags"]),
            (&json!("TASK_DEFINITION"), &json!(true))
        );
    }

    #[tokio::test]
    async fn a_size_that_fargate_does_not_have_is_refused_before_the_call() {
        let overrides = Overrides { memory: Some(3072), ..Overrides::default() };
        let wish = Start { overrides, ..Start::default() };
        let Ran { outcome, played, .. } = started_so(started(), wish, false, None, false).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("Fargate has no memory = 3072 with cpu = 256"), "{error}");
        assert!(played.asked().is_empty());
    }

    #[tokio::test]
    async fn of_several_tasks_each_is_followed_and_one_that_was_not_started_is_told() {
        let other = TASK.replace("0123", "4567");
        let named = |arn: &str, code: Option<i32>| {
            let mut task = task(if code.is_some() { "STOPPED" } else { "PROVISIONING" }, code);
            task["taskArn"] = arn.into();
            task
        };
        let full = json!([{ "reason": "RESOURCE:ENI" }]);
        let script = Script::default()
            .answer("RunTask", json!({ "tasks": [named(TASK, None), named(&other, None)], "failures": full }))
            .answer("DescribeTasks 0123abcd", tasks(named(TASK, Some(0))))
            .answer("DescribeTasks 4567abcd", tasks(named(&other, Some(7))))
            .answer("GetLogEvents 0123abcd", page(&["of one"], "f/1"))
            .answer("GetLogEvents 0123abcd", page(&[], "f/1"))
            .answer("GetLogEvents 4567abcd", page(&["of two"], "f/1"))
            .answer("GetLogEvents 4567abcd", page(&[], "f/1"));
        let Ran { all, mut log, played, .. } =
            started_so(script, Start { count: 3, ..Start::default() }, false, None, false).await;
        assert_eq!(all.iter().map(|outcome| outcome.exit_code).collect::<Vec<_>>(), [0, 7, 125]);
        assert_eq!(all[2].reason, "RESOURCE:ENI");
        log.sort();
        assert_eq!(log, ["of one", "of two"]);
        assert_eq!(played.asked_for("RunTask")[0]["count"], 3);
    }

    #[tokio::test]
    async fn a_task_that_we_leave_runs_on() {
        let running = || quiet(started().answer("DescribeTasks", tasks(task("RUNNING", None))));
        let away = started_so(running(), Start { stay: Stay::Away, ..Start::default() }, false, None, false).await;
        let outcome = away.outcome.unwrap();
        assert_eq!((outcome.exit_code, outcome.runs_on), (0, true));
        assert!(away.played.asked_for("DescribeTasks").is_empty());
        let wish = Start { stay: Stay::UntilInterrupted, ..Start::default() };
        let interrupted = started_so(running(), wish, false, None, true).await;
        let outcome = interrupted.outcome.unwrap();
        assert_eq!((outcome.exit_code, outcome.runs_on), (130, true));
        assert!(interrupted.played.asked_for("StopTask").is_empty());
    }
}
