//! Events for programs: one JSON object a line.

use std::io::Write;

use serde_json::{Value, json};

use super::Face;
use crate::cli::escape;
use crate::event::{BlobOutcome, CloudOutcome, Direction, Event, LayerSize, Why};

pub(super) struct Facts<W>(W);

impl<W: Write> Facts<W> {
    pub(super) fn new(out: W) -> Self {
        Self(out)
    }
}

impl<W: Write + Send> Face for Facts<W> {
    fn show(&mut self, event: &Event) {
        // Nobody is left to be told when stderr is gone.
        let _ = self.0.write_all(format!("{}\n", one_line(&fact(event))).as_bytes());
    }
}

/// The events and their fields, for those who write programs that read them.
pub const EVENTS: &[(&str, &str)] = &[
    ("read", "dockerfile, instructions, stages"),
    ("base", "reference, digest"),
    ("sandbox", "name, why"),
    ("emulated", "platform, by, lines"),
    ("step", "stage, number, of, text"),
    ("cached", "stage, number, of, text, layer"),
    ("explained", "stage, number, of, why (never_built, no_cache, gone, changed), changed"),
    ("output", "stage, line"),
    ("stilled", "stage, left_out, emptied, rewritten"),
    ("stilled_file", "stage, path, how, why"),
    ("recorded", "stage, downloads, bytes"),
    ("packing", "work, done"),
    ("packing_ended", "work"),
    ("step_done", "stage, number, millis, layer"),
    ("transfer", "direction, digest, done, total"),
    ("blob", "direction, digest, bytes, outcome (sent, fetched, already_there, mounted)"),
    ("built", "digest, layers, bytes"),
    ("pushed", "reference, already_there"),
    ("wrote", "path"),
    ("cloud", "kind, name, outcome (exists, created, changed, registered, unchanged, removed)"),
    ("task", "id, status"),
    ("task_log", "task, line"),
    ("task_stopped", "task, stop_code, reason, exit_code, hint"),
    ("note", "message"),
    ("warning", "message, hint"),
];

/// The version of the events' form: a field that goes or changes its meaning makes it the next; one that is added does not.
const VERSION: u64 = 1;

fn fact(event: &Event) -> Value {
    let mut fact = told(event);
    fact["v"] = json!(VERSION);
    fact
}

/// A JSON value on one line that steers no terminal. JSON itself escapes only what is below 0x20.
pub(super) fn one_line(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if escape::is_unsafe(c) {
            out += &format!("\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

fn told(event: &Event) -> Value {
    match event {
        Event::Several { loaders, at_once } => {
            json!({"event": "several", "loaders": loaders, "at_once": at_once})
        }
        Event::Of { loader, event } => {
            let mut fact = fact(event);
            fact["loader"] = json!(loader);
            fact
        }
        Event::Read { dockerfile, instructions, stages } => {
            json!({"event": "read", "dockerfile": dockerfile, "instructions": instructions, "stages": stages})
        }
        Event::Base { reference, digest } => {
            json!({"event": "base", "reference": reference, "digest": digest.to_string()})
        }
        Event::Rung { name, why } => json!({"event": "sandbox", "name": name, "why": why}),
        Event::Emulated { platform, by, lines } => {
            json!({"event": "emulated", "platform": platform, "by": by, "lines": lines})
        }
        Event::Step { stage, number, of, text } => {
            json!({"event": "step", "stage": stage, "number": number, "of": of, "text": text})
        }
        Event::Cached { stage, number, of, text, layer } => json!({
            "event": "cached", "stage": stage, "number": number, "of": of, "text": text, "layer": size(layer),
        }),
        Event::Explained { stage, number, of, why, asked: _ } => {
            let changed: &[String] = if let Why::Changed(parts) = why { parts } else { &[] };
            let why = match why {
                Why::NeverBuilt => "never_built",
                Why::NoCache => "no_cache",
                Why::Gone => "gone",
                Why::Changed(_) => "changed",
            };
            json!({"event": "explained", "stage": stage, "number": number, "of": of, "why": why, "changed": changed})
        }
        Event::Output { stage, line } => json!({"event": "output", "stage": stage, "line": lossy(line)}),
        Event::Stilled { stage, left_out, emptied, rewritten } => json!({
            "event": "stilled", "stage": stage, "left_out": left_out, "emptied": emptied, "rewritten": rewritten,
        }),
        Event::StilledFile { stage, path, how, why } => {
            json!({"event": "stilled_file", "stage": stage, "path": path, "how": how, "why": why})
        }
        Event::Recorded { stage, downloads, bytes } => {
            json!({"event": "recorded", "stage": stage, "downloads": downloads, "bytes": bytes})
        }
        Event::Packing { work, done } => json!({"event": "packing", "work": work, "done": done}),
        Event::PackingEnded { work } => json!({"event": "packing_ended", "work": work}),
        Event::StepDone { stage, number, millis, layer } => json!({
            "event": "step_done", "stage": stage, "number": number, "millis": millis, "layer": size(layer),
        }),
        Event::Transfer { direction, digest, done, total } => json!({
            "event": "transfer", "direction": way(*direction), "digest": digest.to_string(),
            "done": done, "total": total,
        }),
        Event::Blob { direction, digest, bytes, outcome } => json!({
            "event": "blob", "direction": way(*direction), "digest": digest.to_string(), "bytes": bytes,
            "outcome": match outcome {
                BlobOutcome::Sent => "sent",
                BlobOutcome::Fetched => "fetched",
                BlobOutcome::AlreadyThere => "already_there",
                BlobOutcome::Mounted => "mounted",
            },
        }),
        Event::Built { digest, layers, bytes } => {
            json!({"event": "built", "digest": digest.to_string(), "layers": layers, "bytes": bytes})
        }
        Event::Pushed { reference, already_there } => {
            json!({"event": "pushed", "reference": reference, "already_there": already_there})
        }
        Event::Wrote { path } => json!({"event": "wrote", "path": path}),
        Event::Cloud { outcome, kind, name } => json!({
            "event": "cloud", "kind": kind, "name": name,
            "outcome": match outcome {
                CloudOutcome::Exists => "exists",
                CloudOutcome::Created => "created",
                CloudOutcome::Changed => "changed",
                CloudOutcome::Registered => "registered",
                CloudOutcome::Unchanged => "unchanged",
                CloudOutcome::Removed => "removed",
            },
        }),
        Event::Task { id, status } => json!({"event": "task", "id": id, "status": status}),
        Event::TaskLog { task, alone: _, line } => json!({"event": "task_log", "task": task, "line": lossy(line)}),
        Event::TaskStopped { task, alone: _, stop_code, reason, exit_code, hint } => json!({
            "event": "task_stopped", "task": task, "stop_code": stop_code, "reason": reason, "exit_code": exit_code,
            "hint": hint,
        }),
        Event::Summary { columns, rows } => {
            let row = |row: &Vec<String>| -> Value {
                columns.iter().zip(row).map(|(column, cell)| (column.replace(' ', "_"), json!(cell))).collect()
            };
            json!({"event": "summary", "rows": rows.iter().map(row).collect::<Vec<_>>()})
        }
        Event::Note(note) => json!({"event": "note", "message": note}),
        Event::Warning { message, hint } => json!({"event": "warning", "message": message, "hint": hint}),
    }
}

fn size(layer: &LayerSize) -> Value {
    let LayerSize { digest, bytes, unpacked } = layer;
    json!({"digest": digest.to_string(), "bytes": bytes, "unpacked": unpacked})
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Pull => "pull",
        Direction::Push => "push",
    }
}

fn lossy(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_event_is_stands_in_it_and_a_summary_has_its_rows() {
        let event = Event::Of { loader: "a".into(), event: Box::new(Event::Note("x".into())) };
        assert_eq!(fact(&event), json!({ "v": 1, "event": "note", "message": "x", "loader": "a" }));
        let event = Event::Summary { columns: &["loader", "exit code"], rows: vec![vec!["a".into(), "7".into()]] };
        assert_eq!(fact(&event), json!({ "v": 1, "event": "summary", "rows": [{ "loader": "a", "exit_code": "7" }] }));
    }

    #[test]
    fn an_event_is_one_object_on_one_line_that_steers_no_terminal() {
        let raw = "a\n\x1b[2J\u{9b}2J\u{202e}\u{7f} é";
        let mut facts = Facts::new(Vec::new());
        facts.show(&Event::TaskLog { task: "t".into(), alone: true, line: raw.as_bytes().to_vec() });
        let text = String::from_utf8(facts.0).expect("JSON is UTF-8");
        assert_eq!(
            text,
            "{\"event\":\"task_log\",\"line\":\"a\\n\\u001b[2J\\u009b2J\\u202e\\u007f é\",\"task\":\"t\",\"v\":1}\n"
        );
        let back: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(back["line"], raw);
    }

    #[test]
    fn each_event_of_a_build_has_the_fields_that_are_written_down() {
        for (_, event) in super::super::snapshots::story() {
            let fact = fact(&event);
            let name = fact["event"].as_str().expect("each has a name");
            let (_, fields) =
                EVENTS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is missing"));
            // What stands in brackets are values.
            let fields: String =
                fields.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
            let mut fields: Vec<&str> = fields.split(", ").map(str::trim).chain(["event", "v"]).collect();
            fields.sort_unstable();
            let told: Vec<&String> = fact.as_object().expect("it is an object").keys().collect();
            assert_eq!(told, fields, "{name}");
        }
    }
}
