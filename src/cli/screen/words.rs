//! Which words an event is told with. Pure: an event in, lines out.

use std::time::Duration;

use super::super::escape;
use super::columns::fit;
use super::{Paint, amount, table};
use crate::event::{BlobOutcome, CloudOutcome, Direction, Event, Why};
use crate::image::Digest;

/// The lines for an event; `None` for one that only a moving picture can tell.
///
/// A line of our own begins with a verb of ours in a column of its own. A line that a RUN or a task wrote begins
/// with that column and a bar, so that no output can be taken for a line of ours.
pub fn lines(event: &Event, paint: Paint) -> Option<String> {
    let says = |verb: &str, text: String| Some(status(paint, verb, &text));
    match event {
        Event::Several { loaders, at_once } => {
            let names = escape::text(&loaders.join(", "));
            says("Taking", format!("{}, {at_once} at once: {names}", count(loaders.len(), "loader")))
        }
        Event::Of { loader: _, event } => lines(event, paint),
        Event::Read { dockerfile, instructions, stages } => {
            let counts = format!("{}, {}", count(*instructions, "instruction"), count(*stages, "stage"));
            says("Reading", format!("{} ({counts})", escape::text(dockerfile)))
        }
        Event::Base { reference, digest } => says("Base", format!("{} is {digest}", escape::text(reference))),
        Event::Rung { name, why } => says("Sandbox", format!("{name}: {}", escape::text(why))),
        Event::Emulated { platform, by, lines } => {
            let numbers: Vec<_> = lines.iter().map(usize::to_string).collect();
            let plural = if lines.len() == 1 { "line" } else { "lines" };
            let text = format!("{plural} {} for {platform} by {}", numbers.join(", "), escape::text(by));
            says("Emulating", text)
        }
        Event::Step { stage, number, of, text } => says("Building", step(stage, *number, *of, text)),
        Event::Cached { stage, number, of, text, layer: _ } => says("Cached", step(stage, *number, *of, text)),
        Event::Explained { asked: false, .. } => None,
        Event::Explained { stage, number, of, why: reason, asked: true } => {
            says("Because", step(stage, *number, *of, &why(reason)))
        }
        Event::Output { stage, line } => Some(quoted(stage, line)),
        Event::Stilled { stage: _, left_out, emptied, rewritten } => {
            let parts = [(*left_out, "left out"), (*emptied, "emptied"), (*rewritten, "rewritten")];
            let parts: Vec<_> =
                parts.iter().filter(|(many, _)| *many > 0).map(|(n, how)| format!("{n} {how}")).collect();
            let files = count(left_out + emptied + rewritten, "file");
            says("Stilled", format!("{files} that RUN writes otherwise each time: {}", parts.join(", ")))
        }
        Event::StilledFile { stage: _, path, how, why } => {
            says("Stilled", format!("{} {how}: {why}", escape::text(path)))
        }
        Event::Recorded { stage: _, downloads, bytes } => {
            says("Recorded", format!("{}, {}", count(*downloads, "download"), amount::bytes(*bytes)))
        }
        Event::StepDone { stage, number, millis, layer: _ } => {
            let place = if stage.is_empty() { String::new() } else { format!("{} ", escape::text(stage)) };
            says("Done", format!("[{place}{number}] in {}", amount::time(Duration::from_millis(*millis))))
        }
        Event::Packing { .. } | Event::PackingEnded { .. } | Event::Transfer { .. } => None,
        Event::Blob { direction, digest, bytes, outcome } => {
            let what = format!("{}  {}", short(digest), amount::bytes(*bytes));
            match (outcome, direction) {
                (BlobOutcome::Sent, _) => says("Sent", what),
                (BlobOutcome::Fetched, _) => says("Fetched", what),
                (BlobOutcome::Mounted, _) => says("Mounted", what),
                (BlobOutcome::AlreadyThere, Direction::Push) => says("Present", format!("{what}, in the registry")),
                (BlobOutcome::AlreadyThere, Direction::Pull) => says("Present", format!("{what}, on this machine")),
            }
        }
        Event::Built { digest, layers, bytes } => {
            says("Built", format!("{digest} ({}, {})", count(*layers, "layer"), amount::bytes(*bytes)))
        }
        Event::Pushed { reference, already_there } => {
            let there = if *already_there { " (already there)" } else { "" };
            says("Pushed", format!("{}{there}", escape::text(reference)))
        }
        Event::Wrote { path } => says("Wrote", escape::text(path)),
        Event::Cloud { outcome, kind, name } => {
            let verb = match outcome {
                CloudOutcome::Exists => "Exists",
                CloudOutcome::Created => "Created",
                CloudOutcome::Changed => "Changed",
                CloudOutcome::Registered => "Registered",
                CloudOutcome::Unchanged => "Unchanged",
                CloudOutcome::Removed => "Removed",
            };
            says(verb, format!("{kind} {}", escape::text(name)))
        }
        Event::Task { id, status } => says("Task", format!("{} {}", escape::text(id), escape::text(status))),
        Event::TaskLog { task, alone, line } => Some(quoted(if *alone { "log" } else { task }, line)),
        Event::TaskStopped { task, alone, stop_code, reason, exit_code, hint } => {
            let which = if *alone { String::new() } else { format!("{} ", escape::text(task)) };
            let code = exit_code.map_or("no exit code".to_owned(), |code| format!("exit code {code}"));
            // ECS's own words say the same in most cases, and not in all.
            let parts = stop_code.as_deref().into_iter().chain(Some(reason.as_str()).filter(|said| !said.is_empty()));
            let why: String = parts.map(|part| format!(": {}", escape::text(part))).collect();
            Some(with_hint(status(paint, "Stopped", &format!("{which}{code}{why}")), hint.as_deref(), paint))
        }
        Event::Summary { columns, rows } => Some(table::words(columns, rows, paint)),
        Event::Note(note) => says("Note", escape::text(note)),
        Event::Warning { message, hint } => {
            let line = format!("{}: {}", paint.warning("warning"), escape::text(message));
            Some(with_hint(line, hint.as_deref(), paint))
        }
    }
}

/// A transfer that is under way, told now and then.
pub fn transfer(direction: Direction, digest: &Digest, done: u64, total: u64, paint: Paint) -> String {
    let verb = match direction {
        Direction::Pull => "Pulling",
        Direction::Push => "Pushing",
    };
    status(paint, verb, &format!("{}  {} of {}", short(digest), amount::bytes(done), amount::bytes(total)))
}

/// A step that is done, called as it was while it ran.
pub fn done(text: &str, millis: u64, columns: usize, paint: Paint) -> String {
    let time = amount::time(Duration::from_millis(millis));
    let room = columns.saturating_sub(COLUMN + 1 + time.len() + 1);
    status(paint, "Done", &format!("{} {time}", fit(text, room)))
}

/// A base with the beginning of its digest, for where there is no room for all of it.
pub fn base_in_short(event: &Event, paint: Paint) -> Option<String> {
    let Event::Base { reference, digest } = event else { return None };
    Some(status(paint, "Base", &format!("{} is {}", escape::text(reference), short(digest))))
}

/// Why a step is done, behind its number.
pub fn why(why: &Why) -> String {
    match why {
        Why::NeverBuilt => "no earlier build of it is known".to_owned(),
        Why::NoCache => "--no-cache says so".to_owned(),
        Why::Gone => "the cached layer is gone".to_owned(),
        Why::Changed(parts) => escape::text(&parts.join(", ")),
    }
}

/// `[2/5] RUN …`, or with the stage's name `[build 2/5] RUN …`.
pub fn step(stage: &str, number: usize, of: usize, text: &str) -> String {
    let place = if stage.is_empty() { String::new() } else { format!("{} ", escape::text(stage)) };
    format!("[{place}{number}/{of}] {}", escape::first_line(text))
}

/// Enough of a digest for a person to tell one from another.
pub fn short(digest: &Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").chars().take(12).collect()
}

/// A line of ours: the verb stands right in its column, as cargo's do.
pub fn status(paint: Paint, verb: &str, text: &str) -> String {
    format!("{}{} {text}", " ".repeat(COLUMN.saturating_sub(verb.len())), paint.verb(verb))
}

/// A line of somebody else, behind a bar.
pub fn quoted(whose: &str, line: &[u8]) -> String {
    let whose: String = escape::text(whose).chars().take(COLUMN).collect();
    format!("{whose:>COLUMN$} | {}", escape::line(line.strip_suffix(b"\r").unwrap_or(line)))
}

/// Where our own words begin: a column behind that of the verbs.
pub const COLUMN: usize = 10;

/// A row without its colours, which take no column.
pub fn undressed(row: &str) -> String {
    let mut out = String::new();
    let mut rest = row;
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        out += before;
        rest = behind.split_once('m').map_or("", |(_, after)| after);
    }
    out + rest
}

fn with_hint(line: String, hint: Option<&str>, paint: Paint) -> String {
    match hint {
        Some(hint) => format!("{line}\n{}: {}", paint.hint("hint"), escape::text(hint)),
        None => line,
    }
}

pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LayerSize;

    const D: &str = "sha256:9c1e4f0a77d2b13500000000000000000000000000000000000000000000abcd";

    fn digest() -> Digest {
        D.parse().expect("64 hex digits")
    }

    fn layer() -> LayerSize {
        LayerSize { digest: digest(), bytes: 1, unpacked: None }
    }

    #[track_caller]
    fn check(event: Event, words: &str) {
        assert_eq!(lines(&event, Paint::off()).as_deref(), Some(words));
    }

    #[test]
    fn what_was_recorded_is_counted() {
        let event = Event::Recorded { stage: String::new(), downloads: 1, bytes: 2 << 20 };
        check(event, "  Recorded 1 download, 2.0 MiB");
    }

    #[test]
    fn why_a_step_is_done_is_said_behind_its_number() {
        let explained = |why| Event::Explained { stage: "build".into(), number: 2, of: 5, why, asked: true };
        check(explained(Why::NeverBuilt), "   Because [build 2/5] no earlier build of it is known");
        check(explained(Why::NoCache), "   Because [build 2/5] --no-cache says so");
        check(explained(Why::Gone), "   Because [build 2/5] the cached layer is gone");
        let changed = vec!["a\x1b changed".to_owned(), "b is new".to_owned()];
        check(explained(Why::Changed(changed)), "   Because [build 2/5] a\\x1b changed, b is new");
    }

    #[test]
    fn what_was_made_still_is_counted_and_named() {
        let stage = String::new();
        check(
            Event::Stilled { stage: stage.clone(), left_out: 2, emptied: 0, rewritten: 1 },
            "   Stilled 3 files that RUN writes otherwise each time: 2 left out, 1 rewritten",
        );
        let path = "/etc/shadow".to_owned();
        check(
            Event::StilledFile { stage, path, how: "rewritten", why: "it holds days".into() },
            "   Stilled /etc/shadow rewritten: it holds days",
        );
    }

    #[test]
    fn the_build_is_told_as_the_style_page_shows_it() {
        check(
            Event::Read { dockerfile: "loaders/os_opendata.Dockerfile".into(), instructions: 14, stages: 2 },
            "   Reading loaders/os_opendata.Dockerfile (14 instructions, 2 stages)",
        );
        check(
            Event::Base { reference: "docker.io/library/node:12.21.0".into(), digest: digest() },
            &format!("      Base docker.io/library/node:12.21.0 is {D}"),
        );
        check(
            Event::Rung { name: "namespaces", why: "user namespaces are allowed".into() },
            "   Sandbox namespaces: user namespaces are allowed",
        );
        check(
            Event::Emulated { platform: "linux/arm64".into(), by: "/usr/bin/qemu".into(), lines: vec![3, 5] },
            " Emulating lines 3, 5 for linux/arm64 by /usr/bin/qemu",
        );
        let text = "RUN apt-get update && apt-get install -y gdal-bin".to_owned();
        check(
            Event::Step { stage: String::new(), number: 2, of: 5, text: text.clone() },
            "  Building [2/5] RUN apt-get update && apt-get install -y gdal-bin",
        );
        check(
            Event::Cached { stage: "build".into(), number: 2, of: 5, text, layer: layer() },
            "    Cached [build 2/5] RUN apt-get update && apt-get install -y gdal-bin",
        );
        let done = Event::StepDone { stage: "build".into(), number: 2, millis: 3_260, layer: layer() };
        check(done, "      Done [build 2] in 3.2s");
        check(
            Event::Built { digest: digest(), layers: 1, bytes: 43_200_512 },
            &format!("     Built {D} (1 layer, 41.2 MiB)"),
        );
        check(Event::Wrote { path: "out.tar".into() }, "     Wrote out.tar");
    }

    #[test]
    fn each_blob_says_what_became_of_it() {
        for (direction, outcome, words) in [
            (Direction::Push, BlobOutcome::Sent, "      Sent 9c1e4f0a77d2  41.2 MiB"),
            (Direction::Pull, BlobOutcome::Fetched, "   Fetched 9c1e4f0a77d2  41.2 MiB"),
            (Direction::Push, BlobOutcome::Mounted, "   Mounted 9c1e4f0a77d2  41.2 MiB"),
            (Direction::Push, BlobOutcome::AlreadyThere, "   Present 9c1e4f0a77d2  41.2 MiB, in the registry"),
            (Direction::Pull, BlobOutcome::AlreadyThere, "   Present 9c1e4f0a77d2  41.2 MiB, on this machine"),
        ] {
            check(Event::Blob { direction, digest: digest(), bytes: 43_200_512, outcome }, words);
        }
        let transfer = Event::Transfer { direction: Direction::Push, digest: digest(), done: 1, total: 2 };
        assert_eq!(lines(&transfer, Paint::off()), None);
    }

    #[test]
    fn the_cloud_and_the_task_are_told() {
        check(Event::Pushed { reference: "r/x@sha256:1".into(), already_there: false }, "    Pushed r/x@sha256:1");
        check(
            Event::Pushed { reference: "r/x@sha256:1".into(), already_there: true },
            "    Pushed r/x@sha256:1 (already there)",
        );
        for (outcome, words) in [
            (CloudOutcome::Exists, "    Exists cluster a_cluster"),
            (CloudOutcome::Created, "   Created cluster a_cluster"),
            (CloudOutcome::Changed, "   Changed cluster a_cluster"),
            (CloudOutcome::Registered, "Registered cluster a_cluster"),
            (CloudOutcome::Unchanged, " Unchanged cluster a_cluster"),
            (CloudOutcome::Removed, "   Removed cluster a_cluster"),
        ] {
            check(Event::Cloud { outcome, kind: "cluster", name: "a_cluster".into() }, words);
        }
        check(Event::Task { id: "4f2a".into(), status: "RUNNING".into() }, "      Task 4f2a RUNNING");
        check(
            Event::TaskStopped {
                task: "4f2a".into(),
                alone: true,
                stop_code: Some("EssentialContainerExited".into()),
                reason: "Essential container exited".into(),
                exit_code: Some(7),
                hint: None,
            },
            "   Stopped exit code 7: EssentialContainerExited: Essential container exited",
        );
        check(
            Event::TaskStopped {
                task: "4f2a".into(),
                alone: false,
                stop_code: None,
                reason: "CannotPullContainerError".into(),
                exit_code: None,
                hint: Some("look at the subnets' route".into()),
            },
            "   Stopped 4f2a no exit code: CannotPullContainerError\nhint: look at the subnets' route",
        );
        check(Event::Note("as it is".into()), "      Note as it is");
        check(
            Event::Warning { message: "umask 077".into(), hint: Some("umask 022".into()) },
            "warning: umask 077\nhint: umask 022",
        );
    }

    #[test]
    fn what_a_task_or_a_run_writes_cannot_pass_for_ours() {
        let logged = |line: Vec<u8>| Event::TaskLog { task: "4f2a".into(), alone: true, line };
        check(logged(b"    Pushed evil\x1b[2K".to_vec()), "       log |     Pushed evil\\x1b[2K");
        check(logged(b"a\r    Pushed evil".to_vec()), "       log | a\\r    Pushed evil");
        check(logged(b"two\n    Pushed evil".to_vec()), "       log | two\\n    Pushed evil");
        let one_of_two = Event::TaskLog { task: "0123456789abcdef".into(), alone: false, line: b"x".to_vec() };
        check(one_of_two, "0123456789 | x");
        check(
            Event::Output { stage: String::new(), line: "caf\u{e9}\tx\r".as_bytes().to_vec() },
            "           | caf\u{e9}\tx",
        );
        check(Event::Output { stage: "a-very-long-stage".into(), line: b"error: x".to_vec() }, "a-very-lon | error: x");
    }

    #[test]
    fn verbs_are_green_and_still_in_their_column() {
        let env = super::super::super::Environment::of(&[]);
        let words = lines(&Event::Wrote { path: "x".into() }, Paint::wanted(&env, true));
        assert_eq!(words.as_deref(), Some("     \x1b[1;32mWrote\x1b[0m x"));
    }
}
