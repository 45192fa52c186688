//! The lines of a task's log, where they are the answer.

use serde_json::json;

use super::super::escape;
use super::{LogTo, facts};
use crate::event::Event;

/// What goes to stdout for an event, if it is a line of a task's log and belongs there.
///
/// A terminal gets a line made harmless; a file or a program gets it byte for byte.
pub(super) fn on_stdout(event: &Event, to: LogTo, terminal: bool) -> Option<Vec<u8>> {
    let Event::TaskLog { task, alone, line } = event else { return None };
    let mut out = match to {
        LogTo::Stderr => return None,
        LogTo::StdoutAsJson => {
            facts::one_line(&json!({ "task": task, "line": String::from_utf8_lossy(line) })).into_bytes()
        }
        LogTo::Stdout => {
            let line = if terminal { escape::line(line).into_bytes() } else { line.clone() };
            if *alone { line } else { [escape::text(task).as_bytes(), b" | ", &line].concat() }
        }
    };
    out.push(b'\n');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(alone: bool, to: LogTo, terminal: bool, wanted: Option<&[u8]>) {
        let line = b"caf\xc3\xa9\x1b[2J\xff".to_vec();
        let event = Event::TaskLog { task: "4f2a".into(), alone, line };
        assert_eq!(on_stdout(&event, to, terminal).as_deref(), wanted);
    }

    #[test]
    fn a_log_is_the_answer_byte_for_byte_but_for_a_terminal() {
        check(true, LogTo::Stderr, true, None);
        check(true, LogTo::Stdout, false, Some(b"caf\xc3\xa9\x1b[2J\xff\n"));
        check(true, LogTo::Stdout, true, Some("café\\x1b[2J\\xff\n".as_bytes()));
        check(false, LogTo::Stdout, false, Some(b"4f2a | caf\xc3\xa9\x1b[2J\xff\n"));
        let json = "{\"line\":\"café\\u001b[2J\u{fffd}\",\"task\":\"4f2a\"}\n";
        check(true, LogTo::StdoutAsJson, false, Some(json.as_bytes()));
        assert_eq!(on_stdout(&Event::Note("x".into()), LogTo::Stdout, false), None);
    }
}
