//! `run --each`: what became of the lines, in words and for programs.

use serde_json::{Value, json};

use super::words::failure;
use super::{Done, Failure, Kind, Phase};
use crate::deploy::{Ended, Line, Stage};
use crate::event::{Event, Events};
use crate::road::RoadError;

const COLUMNS: &[&str] = &["line", "end", "tries", "task", "exit code", "reason"];

/// Of more lines than these only those are shown that did not succeed.
const SHOWN: usize = 40;

/// More failures than these say no more.
const TOLD: usize = 10;

pub(super) fn answer(task_definition: &str, ended: Ended, events: &Events) -> Done {
    let Ended { lines, interrupted, halted } = ended;
    let of = lines.len();
    let (mut succeeded, mut failed) = (0, Vec::new());
    for (number, line) in &lines {
        match &line.stage {
            Stage::Succeeded { .. } => succeeded += 1,
            Stage::Failed { .. } => failed.push((*number, line)),
            Stage::Waiting | Stage::Starting | Stage::Running { .. } => {}
        }
    }
    let shown = lines.iter().filter(|(_, line)| of <= SHOWN || !matches!(line.stage, Stage::Succeeded { .. }));
    let rows: Vec<_> = shown.map(|(number, line)| row(*number, line)).collect();
    if !rows.is_empty() {
        events.emit(Event::Summary { columns: COLUMNS, rows });
    }
    let left = of - succeeded - failed.len();
    let counts = format!("{succeeded} of {of} lines succeeded, {} failed, {left} are left", failed.len());
    events.emit(Event::Note(counts));
    let json = json!({
        "task_definition": task_definition,
        "succeeded": succeeded,
        "failed": failed.len(),
        "left": left,
        "lines": lines.iter().map(|(number, line)| fact(*number, line)).collect::<Vec<_>>(),
    });
    let go_on = "the same command goes on with the lines that are left; --restart begins anew";
    let failure = match halted {
        Some(error) => Some(failure(RoadError::Deploy(error), "", "").hint(go_on)),
        None if interrupted => {
            let message = format!("interrupted; {succeeded} of {of} lines are done");
            Some(Failure { message, ..Failure::interrupted(Phase::Task) }.hint(go_on))
        }
        None if !failed.is_empty() => Some(for_good(&failed, of)),
        None => None,
    };
    Done { failure, ..Done::new("", json) }
}

fn for_good(failed: &[(usize, &Line)], of: usize) -> Failure {
    let message = format!("{} of {of} lines failed for good", failed.len());
    let mut failure = Failure::new(Kind::Difference, Phase::Task, message)
        .hint("the same command runs them again, and no other; --restart begins anew");
    failure.others = failed.iter().take(TOLD).filter_map(|(number, line)| one(*number, line)).collect();
    failure
}

fn one(number: usize, line: &Line) -> Option<Failure> {
    let Stage::Failed { exit_code, reason, hint, .. } = &line.stage else { return None };
    let message = format!("line {number}: exit code {exit_code}: {reason}");
    Some(Failure::new(Kind::Difference, Phase::Task, message).hints(hint.clone()))
}

/// How it stands, the ARN of its task, and where it failed its exit code and why.
fn parts(line: &Line) -> (&'static str, Option<&str>, Option<i32>, &str) {
    match &line.stage {
        Stage::Waiting => ("waits", None, None, ""),
        Stage::Starting => ("starts", None, None, ""),
        Stage::Running { task } => ("runs on", Some(task), None, ""),
        Stage::Succeeded { task } => ("succeeded", Some(task), Some(0), ""),
        Stage::Failed { task, exit_code, reason, hint: _ } => ("failed", task.as_deref(), Some(*exit_code), reason),
    }
}

fn row(number: usize, line: &Line) -> Vec<String> {
    let (end, task, exit_code, reason) = parts(line);
    let code = exit_code.map_or("-".to_owned(), |code| code.to_string());
    let task = task.map_or("-", id).to_owned();
    vec![number.to_string(), end.to_owned(), line.tries.to_string(), task, code, reason.to_owned()]
}

fn fact(number: usize, line: &Line) -> Value {
    let (end, task, exit_code, reason) = parts(line);
    json!({
        "line": number,
        "end": end,
        "tries": line.tries,
        "task": task.map(id),
        "exit_code": exit_code,
        "reason": reason,
    })
}

/// The last part of an ARN.
fn id(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}
