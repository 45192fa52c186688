//! The log of a task that was started before.

use super::error::{DeployError, During};
use super::follow::Follow;
use super::job::{Known, Stay, Whereabouts};
use super::outcome::Outcome;
use super::pace::Pace;
use super::run::Limits;
use super::watch::Watch;
use crate::aws::{Cloud, Task, Wanted};
use crate::event::{Event, Events};

/// Which log, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogWish {
    /// The task's id; the youngest task's, where none is named.
    pub task: Option<String>,
    /// The one before the youngest.
    pub previous: bool,
    /// In milliseconds since 1970: what is older is left out.
    pub since: Option<i64>,
    /// Until the task has stopped.
    pub follow: bool,
}

/// A task that its stream, or ECS, remembers.
struct Remembered {
    id: String,
    /// In milliseconds since 1970.
    born: i64,
    task: Option<Task>,
}

/// Emits a task's log; how the task ended, where it was followed and ECS remembers it.
pub async fn logs(
    cloud: &Cloud,
    known: &Known,
    wish: &LogWish,
    limits: Limits,
    pace: &Pace,
    events: &Events,
) -> Result<Option<Outcome>, DeployError> {
    let mut at = known.whereabouts(known.revision(cloud).await?.as_ref(), &cloud.region);
    let Remembered { id, task, .. } = chosen(cloud, known, &at, wish).await?;
    // An older task's log may be where its own revision said.
    if let Some(task) = &task
        && let Ok(Some(revision)) = cloud.ecs.revision(&task.task_definition).await
    {
        at = Whereabouts::of(&revision, &at.cluster, &cloud.region);
    }
    let Some(place) = &at.log else { return Err(DeployError::NoLog { name: known.name().to_owned() }) };
    if let (true, Some(task)) = (wish.follow, task) {
        let watch = Watch { cloud, at: &at, stay: Stay::UntilInterrupted, alone: true, pace, events };
        let outcome = watch.to_the_end(task, wish.since, None, limits.interrupt).await?;
        outcome.emit(true, events);
        return Ok(Some(outcome));
    }
    let (group, stream) = (&place.group, place.stream(&id));
    let follow = Follow { logs: &cloud.logs, group, stream, task: &id, since: wish.since, alone: true, pace, events };
    if !follow.so_far().await.during(|| format!("reading the log of the task {id}"))? {
        let message = format!("the task {id} has no log: its container has not started");
        events.emit(Event::Note(message));
    }
    Ok(None)
}

async fn chosen(cloud: &Cloud, known: &Known, at: &Whereabouts, wish: &LogWish) -> Result<Remembered, DeployError> {
    if let Some(id) = &wish.task {
        let doing = || format!("looking for the task {id}");
        let task = cloud.ecs.task(&at.cluster, id).await.during(doing)?;
        let known_to_log = match (&at.log, &task) {
            (Some(log), None) => {
                cloud.logs.page(&log.group, &log.stream(id), None, None).await.during(doing)?.is_some()
            }
            _ => false,
        };
        if task.is_none() && !known_to_log {
            return Err(DeployError::NoSuchTask { cluster: at.cluster.clone(), task: id.clone() });
        }
        return Ok(Remembered { id: id.clone(), born: 0, task });
    }
    let (index, which) = if wish.previous { (1, "earlier task") } else { (0, "task") };
    let mut all = remembered(cloud, known, at).await?;
    if index < all.len() {
        return Ok(all.swap_remove(index));
    }
    Err(DeployError::NoTask { name: known.name().to_owned(), which })
}

/// The loader's tasks, the youngest first. ECS forgets a task an hour after its end, its stream stays; and a task has no
/// stream before its container starts.
async fn remembered(cloud: &Cloud, known: &Known, at: &Whereabouts) -> Result<Vec<Remembered>, DeployError> {
    let doing = || format!("looking for the tasks of {}", known.name());
    let mut all = Vec::new();
    for wanted in [Wanted::Running, Wanted::Stopped] {
        let tasks = cloud.ecs.tasks(&at.cluster, known.name(), wanted).await.during(doing)?;
        all.extend(tasks.into_iter().map(|task| Remembered {
            id: task.id().to_owned(),
            born: task.created.unwrap_or(0).saturating_mul(1000),
            task: Some(task),
        }));
    }
    if let Some(log) = &at.log {
        for stream in cloud.logs.streams(&log.group, &log.prefix).await.during(doing)? {
            let id = stream.name.trim_start_matches(&log.prefix);
            if all.iter().all(|known| known.id != id) {
                all.push(Remembered { id: id.to_owned(), born: stream.created, task: None });
            }
        }
    }
    all.sort_by_key(|one| std::cmp::Reverse(one.born));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::super::testing::{Played, Script, recorded};
    use super::*;

    async fn read(script: Script, wish: LogWish) -> (Result<Option<Outcome>, DeployError>, Vec<String>, Played) {
        let played = script.play().await;
        let (events, seen) = recorded();
        let (_user, interrupt) = watch::channel(false);
        let limits = Limits { timeout: None, interrupt };
        let known = Known::new("os_opendata", None, None, None).unwrap();
        let outcome = logs(&played.cloud, &known, &wish, limits, &Pace::hurried(), &events).await;
        let line = |event: &Event| match event {
            Event::TaskLog { line, .. } => Some(String::from_utf8(line.clone()).unwrap()),
            _ => None,
        };
        let lines = seen.lock().unwrap().iter().filter_map(line).collect();
        (outcome, lines, played)
    }

    fn task(id: &str, created: i64, code: i32) -> Value {
        json!({
            "taskArn": format!("arn:aws:ecs:eu-west-1:123456789012:task/os_opendata_cluster/{id}"),
            "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/os_opendata:1",
            "lastStatus": "STOPPED",
            "createdAt": created,
            "stopCode": "EssentialContainerExited",
            "containers": [{ "name": "os_opendata", "exitCode": code }],
        })
    }

    /// Nobody knows the family any more; ECS remembers these tasks, and the log group those.
    fn cloud(tasks: &[Value], streams: &[(&str, i64)]) -> Script {
        let arns: Vec<_> = tasks.iter().map(|task| task["taskArn"].clone()).collect();
        let streams: Vec<_> = streams
            .iter()
            .map(|(id, at)| json!({ "logStreamName": format!("os_opendata/os_opendata/{id}"), "creationTime": at }))
            .collect();
        Script::default()
            .error("DescribeTaskDefinition", 400, "ClientException", "Unable to describe task definition.")
            .answer("ListTasks RUNNING", json!({ "taskArns": [] }))
            .answer("ListTasks STOPPED", json!({ "taskArns": arns }))
            .answer("DescribeTasks", json!({ "tasks": tasks, "failures": [] }))
            .answer("DescribeLogStreams", json!({ "logStreams": streams }))
    }

    fn page(lines: &[&str], next: &str) -> Value {
        let events: Vec<_> = lines.iter().map(|line| json!({ "timestamp": 1, "message": line })).collect();
        json!({ "events": events, "nextForwardToken": next, "nextBackwardToken": "b/0" })
    }

    #[tokio::test]
    async fn the_youngest_task_is_read_whoever_remembers_it() {
        let script = || {
            cloud(&[task("of-ecs", 2, 0)], &[("forgotten", 1000), ("of-ecs", 2100), ("young", 3000)])
                .answer("GetLogEvents young", page(&["of young"], "f/1"))
                .answer("GetLogEvents of-ecs", page(&["of ecs"], "f/1"))
                .answer("GetLogEvents f/1", page(&[], "f/1"))
        };
        let (outcome, lines, played) = read(script(), LogWish { since: Some(7), ..LogWish::default() }).await;
        assert_eq!((outcome.unwrap(), lines), (None, vec!["of young".to_owned()]));
        assert!(played.asked_for("GetLogEvents").iter().all(|asked| asked["startTime"] == 7));
        let previous = LogWish { previous: true, ..LogWish::default() };
        assert_eq!(read(script(), previous).await.1, ["of ecs"]);
    }

    #[tokio::test]
    async fn a_followed_task_gives_its_exit_code() {
        let script = cloud(&[task("one", 1, 7)], &[])
            .answer("GetLogEvents", page(&["a"], "f/1"))
            .answer("GetLogEvents", page(&[], "f/1"));
        let wish = LogWish { task: Some("one".into()), follow: true, ..LogWish::default() };
        let (outcome, lines, _) = read(script, wish).await;
        assert_eq!((outcome.unwrap().map(|outcome| outcome.exit_code), lines), (Some(7), vec!["a".to_owned()]));
    }

    #[tokio::test]
    async fn what_nobody_remembers_is_told() {
        let (outcome, ..) = read(cloud(&[], &[]), LogWish::default()).await;
        assert_eq!(outcome.unwrap_err().to_string(), "os_opendata has no task that ECS or the log remembers");
        let wish = LogWish { previous: true, ..LogWish::default() };
        let (outcome, ..) = read(cloud(&[task("one", 1, 0)], &[]), wish).await;
        assert_eq!(outcome.unwrap_err().to_string(), "os_opendata has no earlier task that ECS or the log remembers");
        let gone = cloud(&[], &[]).error("GetLogEvents", 400, "ResourceNotFoundException", "no stream");
        let (outcome, ..) = read(gone, LogWish { task: Some("x".into()), ..LogWish::default() }).await;
        let words = "the cluster os_opendata_cluster has no task x that ECS or the log remembers";
        assert_eq!(outcome.unwrap_err().to_string(), words);
    }
}
