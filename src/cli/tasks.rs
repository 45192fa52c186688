//! Tasks: `run`, `logs`, `status`, and what the road tells of those that it ran.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::order::{EachOrder, LogsOrder, Reattach, RunOrder, StatusOrder};
use super::settings::Session;
use super::words::failure;
use super::{Done, Failure, each, escape};
use crate::aws::{Schedule, Task};
use crate::calendar;
use crate::deploy::{Limits, Outcome, Seen, Status};
use crate::event::{Event, Events};
use crate::road;

pub(super) async fn run(order: RunOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let RunOrder { session, known, network, start, timeout, reattach, each } = order;
    let limits = Limits { timeout, interrupt };
    if let Some(EachOrder { inputs, wish, home }) = each {
        let lines = road::Each { inputs: &inputs, wish, home: &home };
        let ran = road::each(&at(session), (&known, network), &start, &lines, limits, events).await;
        let (task_definition, ended) = ran.map_err(|error| failure(error, "", ""))?;
        return Ok(each::answer(&task_definition, ended, events));
    }
    let ran = road::run(&at(session), &known, network, &start, limits, events).await;
    let (task_definition, outcomes) = ran.map_err(|error| failure(error, "", ""))?;
    say_how_to_come_back(&outcomes, &reattach, events);
    // The log was the answer, where there is one.
    let left = outcomes.iter().filter(|outcome| outcome.runs_on && outcome.exit_code == 0);
    let ids: Vec<&str> = left.map(|outcome| outcome.task_id.as_str()).collect();
    let mut json = told(&outcomes);
    json["task_definition"] = json!(task_definition);
    Ok(Done { exit_code: exit_code(&outcomes), ..Done::new(ids.join("\n"), json) })
}

pub(super) async fn logs(order: LogsOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let LogsOrder { session, known, wish } = order;
    let limits = Limits { timeout: None, interrupt };
    let outcome = road::logs(&at(session), &known, &wish, limits, events).await;
    let outcome = outcome.map_err(|error| failure(error, "", ""))?;
    let exit_code = exit_code(outcome.as_slice());
    Ok(Done { exit_code, ..Done::new("", Value::Null) })
}

pub(super) async fn status(order: StatusOrder) -> Result<Done, Failure> {
    let StatusOrder { session, known } = order;
    let status = road::status(&at(session), &known).await.map_err(|error| failure(error, "", ""))?;
    Ok(Done::new(words(&status), as_json(&status)))
}

pub(super) fn at(session: Session) -> road::Session {
    let Session { cloud, account, repository_uri: _ } = session;
    road::Session { cloud, account }
}

/// The first code that is not 0. What a wait status holds is eight bits anyway.
pub(super) fn exit_code(outcomes: &[Outcome]) -> u8 {
    outcomes.iter().map(|outcome| outcome.exit_code as u8).find(|code| *code != 0).unwrap_or(0)
}

/// The first that did not end well, else the first.
pub(super) fn deciding(outcomes: &[Outcome]) -> Option<&Outcome> {
    outcomes.iter().find(|outcome| outcome.exit_code != 0).or(outcomes.first())
}

/// Of each task that runs on without us.
pub(super) fn say_how_to_come_back(outcomes: &[Outcome], reattach: &Reattach, events: &Events) {
    for outcome in outcomes.iter().filter(|outcome| outcome.runs_on) {
        let command = reattach.command(&outcome.task_id);
        events.emit(Event::Note(format!("the task runs on; its log: {command}")));
    }
}

/// The task that decided the exit code, and all of them.
pub(super) fn told(outcomes: &[Outcome]) -> Value {
    let one = |outcome: &Outcome| {
        json!({
            "task": outcome.task_id,
            "exit_code": (!outcome.runs_on).then_some(outcome.exit_code),
            "stop_code": outcome.stop_code,
            "reason": outcome.reason,
            "hint": outcome.hint,
            "runs_on": outcome.runs_on,
        })
    };
    let Some(deciding) = deciding(outcomes) else { return json!({}) };
    let mut json = one(deciding);
    json["tasks"] = outcomes.iter().map(one).collect();
    json
}

fn words(status: &Status) -> String {
    let Status { name: _, cluster, revision, running, stopped, schedule } = status;
    let mut lines = vec![
        format!("{}  {}", escape::text(short(&revision.arn)), escape::text(&revision.essentials.image)),
        format!("cluster {}", escape::text(cluster)),
    ];
    match schedule {
        Ok(Some(Schedule { expression, timezone, enabled, .. })) => {
            let (when, off) = (format!("{expression} {timezone}"), if *enabled { "" } else { ", switched off" });
            lines.push(format!("schedule {}{off}", escape::text(&when)));
        }
        Ok(None) => {}
        Err(error) => lines.push(format!("schedule unknown: {}", escape::text(&error.to_string()))),
    }
    for task in running {
        lines.push(format!("{}  {}{}", escape::text(task.id()), escape::text(&task.status), facts(task)));
    }
    for Seen { task, outcome } in stopped {
        let code = outcome.container_exit_code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
        lines.push(format!("{}  {}: {code}{}", escape::text(task.id()), escape::text(&task.status), facts(task)));
        let why = outcome.stop_code.as_deref().into_iter().chain(Some(outcome.reason.as_str()));
        let why: Vec<String> = why.filter(|part| !part.is_empty()).map(escape::text).collect();
        lines.push(format!("    {}", why.join(": ")));
        lines.extend(outcome.hint.as_ref().map(|hint| format!("    hint: {}", escape::text(hint))));
    }
    if running.is_empty() && stopped.is_empty() {
        lines.push("no task runs, and none stopped within the last hour".to_owned());
    }
    lines.join("\n")
}

/// Its revision and its times.
fn facts(task: &Task) -> String {
    let at =
        |word: &str, at: Option<i64>| at.map(|at| format!(", {word} {}", calendar::rfc3339(at))).unwrap_or_default();
    let spot = task.capacity_provider.as_deref().map(|on| format!(", {}", escape::text(on))).unwrap_or_default();
    let (started, stopped) = (at("started", task.started), at("stopped", task.stopped));
    format!(", {}{spot}{started}{stopped}", escape::text(short(&task.task_definition)))
}

/// `family:REVISION`, of an ARN.
fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn as_json(status: &Status) -> Value {
    let Status { name, cluster, revision, running, stopped, schedule } = status;
    let image = &revision.essentials.image;
    let task = |task: &Task| {
        json!({
            "task": task.id(),
            "status": task.status,
            "task_definition": task.task_definition,
            "capacity_provider": task.capacity_provider,
            "created": task.created.map(calendar::rfc3339),
            "started": task.started.map(calendar::rfc3339),
            "stopped": task.stopped.map(calendar::rfc3339),
        })
    };
    let seen = |seen: &Seen| {
        let mut json = task(&seen.task);
        let Outcome { container_exit_code, stop_code, reason, hint, .. } = &seen.outcome;
        json["exit_code"] = json!(container_exit_code);
        json["stop_code"] = json!(stop_code);
        json["reason"] = json!(reason);
        json["hint"] = json!(hint);
        json
    };
    json!({
        "name": name,
        "cluster": cluster,
        "task_definition": revision.arn,
        "image": image,
        "digest": image.split_once('@').map(|(_, digest)| digest),
        "schedule": schedule.as_ref().ok().map(|schedule| schedule.as_ref().map(|schedule| json!({
            "expression": schedule.expression,
            "timezone": schedule.timezone,
            "enabled": schedule.enabled,
        }))),
        "schedule_unknown": schedule.as_ref().err().map(ToString::to_string),
        "running": running.iter().map(task).collect::<Vec<_>>(),
        "stopped": stopped.iter().map(seen).collect::<Vec<_>>(),
    })
}
