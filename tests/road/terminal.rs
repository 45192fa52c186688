//! A terminal before the program: what it shows, and what becomes of a build whose terminal or reader goes away.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place::{Place, Ran};

const SLOW: &str = "FROM busybox\nRUN echo begun; sleep 100.43\n";

/// Runs the program on a terminal of so many columns.
fn on_terminal(place: &Place, columns: u16, line: &str) -> Ran {
    let asked = format!("stty cols {columns} rows 20 && exec {} {line}", env!("CARGO_BIN_EXE_locus-push"));
    let output = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &asked, "/dev/null"])
        .current_dir(place.path("."))
        .env_clear()
        .envs(&place.vars)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("script(1) runs");
    Ran::of(output, &[line])
}

#[test]
fn a_terminal_shows_what_a_run_writes_below_its_step_until_it_is_done() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nRUN echo below; sleep 0.5; head -c 9000000 /dev/urandom > /a-file\n");
    let ran = on_terminal(&place, 60, "build .");
    assert_eq!(ran.code, Some(0), "{ran}");
    let shown = ran.stdout.replace("\x1b[1;32m", "").replace("\x1b[0m", "").replace('\r', "");
    let (moving, left) = shown.rsplit_once("\x1b[J").expect("something moved");
    assert!(moving.contains("  Building [1/1] RUN echo below; sleep 0.5;"), "{ran}");
    assert!(moving.contains("           | below\n"), "{ran}");
    assert!(!left.contains("| below") && left.contains("   Summary [1/1] RUN echo below;"), "{ran}");
    assert!(left.contains("\n           1 step, 0 CACHED; "), "{ran}");
    let again = on_terminal(&place, 60, "build .");
    assert!(again.stdout.contains("1 step, 1 CACHED; "), "{again}");
}

#[test]
fn a_terminal_that_goes_away_ends_the_build_tidily() {
    let place = Place::new();
    place.write("Dockerfile", SLOW);
    let mut child = place.start("build .");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("| begun")), "the RUN runs");
    let pid = Pid::from_raw(child.id().try_into().expect("Linux's are small"));
    // A dying terminal may say so more than once.
    kill(pid, Signal::SIGHUP).expect("it is a child of ours");
    kill(pid, Signal::SIGHUP).expect("it is there still, or waits for us");
    let told: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("a child of ours").code(), Some(130));
    assert!(told.iter().any(|line| line == "error: interrupted"), "{told:?}");
    let work = place.store().join("work");
    let left = std::fs::read_dir(&work).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{} is empty", work.display());
}

#[test]
fn a_reader_of_stderr_that_goes_away_ends_nothing() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nRUN echo one; sleep 0.2; echo two\n");
    let mut child = place.start("build .");
    drop(child.stderr.take());
    let output = child.wait_with_output().expect("a child of ours");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.starts_with(b"sha256:"), "{output:?}");
}
