//! `--local`: the whole road with nothing but this machine.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use crate::place::{Place, Ran, eventually, hang_up, interrupt};

/// A loader that tells what it was given, and ends as it is told.
const LOADER: &str = "\
FROM busybox
WORKDIR /loader
COPY loader.sh ./
RUN id -u > made_by && echo \"the build runs\"
ENV GREETING=hello
CMD [\"sh\", \"loader.sh\"]
";

const SCRIPT: &str = "\
echo \"starting in $(pwd)\"
echo \"$GREETING, built by $(cat made_by), FILTER is $FILTER\"
echo \"the secret has ${#DBCONNECTION} letters\" >&2
sleep 1
echo finished
exit ${LOADER_EXIT:-0}
";

const SECRET: &str = "sqlite:///tmp/hunter2.db";

fn loader(mut place: Place) -> Place {
    place.write("loaders/hello.Dockerfile", LOADER).write("loader.sh", SCRIPT);
    place.var("DBCONNECTION", SECRET).var("AWS_SECRET_ACCESS_KEY", "of-the-host");
    place
}

#[track_caller]
fn ran_whole(ran: &Ran, code: i32) {
    let answer = ran.ended(code);
    let (name, digest) = answer.split_once("@sha256:").unwrap_or_else(|| panic!("by digest\n{ran}"));
    assert!(name.starts_with("127.0.0.1:") && name.ends_with("/locus_data_loaders"), "{ran}");
    assert!(digest.len() == 64 && !digest.contains('\n'), "one line: {ran}");
    let log =
        ["starting in /loader", "hello, built by 0, FILTER is Test Loader", "the secret has 24 letters", "finished"];
    let mut said = ran.log();
    // stdout and stderr are two pipes, so that what was written at once may come in either order.
    said[1..3].sort_unstable();
    assert_eq!(said, log, "{ran}");
    ran.not_said("hunter2");
    let last = ran.said("finished");
    assert!(ran.said(&format!("Stopped exit code {code}")) > last, "why it stopped comes after its log\n{ran}");
}

fn whole_road(place: Place) {
    let place = loader(place);
    let first = place.run_args(&["--local", "--env", "FILTER=Test Loader", "loaders/hello.Dockerfile"]);
    ran_whole(&first, 0);
    first.said("| the build runs");
    let again = ["--local", "--env", "FILTER=Test Loader", "--env", "LOADER_EXIT=7", "loaders/hello.Dockerfile"];
    let again = place.run_args(&again);
    ran_whole(&again, 7);
    again.said("Cached");
    again.not_said("| the build runs").not_said("Fetched");
    let digest = |ran: &Ran| ran.stdout.trim().rsplit_once('@').expect("by digest").1.to_owned();
    assert_eq!(digest(&first), digest(&again));
    assert_eq!(found_below(&place.store(), SECRET), Vec::<String>::new(), "the secret is nowhere on disk");
}

#[test]
fn the_road_ends_with_the_tasks_log_and_exit_code_as_root() {
    whole_road(Place::new());
}

#[test]
fn the_road_ends_with_the_tasks_log_and_exit_code_as_an_ordinary_user() {
    whole_road(Place::of_user());
}

#[test]
fn a_secret_may_come_from_a_file_and_one_without_a_value_is_told_before_the_build() {
    let mut place = loader(Place::new());
    place.write("connection", SECRET);
    place.vars.remove("DBCONNECTION");
    let line = "--local --env FILTER --secret DBCONNECTION=file:connection loaders/hello.Dockerfile";
    ran_whole(&place.var("FILTER", "Test Loader").run(line), 0);
    let ran = place.run("--local --secret DBCONNECTION loaders/hello.Dockerfile");
    ran.fails(
        2,
        "error: the secret DBCONNECTION has no value here\n\
         hint: export DBCONNECTION, which --local reads in place of Secrets Manager\n",
    );
    ran.not_said("Building").not_said("Cached");
}

#[test]
fn an_image_without_a_command_never_starts() {
    let place = Place::new();
    place.write("x.Dockerfile", "FROM scratch\nCOPY x.Dockerfile /\n");
    place.run("--local x.Dockerfile").fails(
        125,
        "error: the image has neither ENTRYPOINT nor CMD: there is nothing to run\nhint: end the Dockerfile with a CMD\n",
    );
}

#[test]
fn of_several_loaders_each_runs_and_one_failure_is_told() {
    let place = Place::new();
    for (name, code) in [("good", 0), ("bad", 9)] {
        place.write(&format!("{name}.Dockerfile"), format!("FROM busybox\nCMD echo {name} runs; exit {code}\n"));
    }
    let ran = place.run("--local bad.Dockerfile good.Dockerfile");
    let answer = ran.ended(1);
    assert_eq!(answer.lines().count(), 2, "{ran}");
    let mut log = ran.log();
    log.sort_unstable();
    assert_eq!(log, ["bad runs", "good runs"]);
    ran.said("error: 1 of 2 loaders failed\nerror: bad: the task ended with exit code 9\n");
}

#[test]
fn a_task_that_takes_too_long_ends_with_124() {
    let place = Place::new();
    place.write("x.Dockerfile", "FROM busybox\nCMD echo waiting; sleep 100\n");
    let began = Instant::now();
    let ran = place.run("--local --timeout 3s x.Dockerfile");
    ran.ended(124);
    assert_eq!(ran.log(), ["waiting"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{ran}");
}

/// Starts a road that will not end by itself, and presses Ctrl-C when it sleeps.
fn interrupted(place: &Place, line: &str, sleep: &str) -> Ran {
    told_to_end(place, line, sleep, interrupt)
}

fn told_to_end(place: &Place, line: &str, sleep: &str, tell: fn(&Child)) -> Ran {
    let child = place.start(line);
    eventually("the sleep", || !processes(sleep).is_empty());
    let pressed = Instant::now();
    tell(&child);
    let output: Output = child.wait_with_output().expect("a child of ours");
    assert_eq!(output.status.signal(), None, "it ends by itself");
    let ran = Ran::of(output, &[line]);
    assert!(pressed.elapsed() < Duration::from_secs(10), "{ran}");
    eventually("the end of what it started", || processes(sleep).is_empty());
    ran
}

fn ctrl_c_in_a_build(place: Place, sleep: &str) {
    place.write("x.Dockerfile", format!("FROM busybox\nRUN echo one > /one\nRUN sleep {sleep}\nCMD cat /one\n"));
    let ran = interrupted(&place, "--local x.Dockerfile", sleep);
    ran.fails(
        130,
        "error: interrupted\nhint: nothing was pushed that the tags name; the steps that were done are cached\n",
    );
    place.write("x.Dockerfile", "FROM busybox\nRUN echo one > /one\nCMD cat /one\n");
    let next = place.run("--local x.Dockerfile");
    next.ok();
    next.said("Cached");
    assert_eq!(next.log(), ["one"]);
}

#[test]
fn ctrl_c_in_a_run_ends_it_and_the_next_build_works_as_root() {
    ctrl_c_in_a_build(Place::new(), "100.31");
}

#[test]
fn ctrl_c_in_a_run_ends_it_and_the_next_build_works_as_an_ordinary_user() {
    ctrl_c_in_a_build(Place::of_user(), "100.32");
}

#[test]
fn ctrl_c_in_a_task_ends_it() {
    let place = Place::new();
    place.write("x.Dockerfile", "FROM busybox\nCMD echo up; exec sleep 100.33\n");
    let ran = interrupted(&place, "--local x.Dockerfile", "100.33");
    assert_eq!(ran.code, Some(130), "{ran}");
    assert_eq!(ran.log(), ["up"]);
}

#[test]
fn a_terminal_that_goes_away_ends_a_task_too() {
    let place = Place::new();
    place.write("x.Dockerfile", "FROM busybox\nCMD echo up; exec sleep 100.34\n");
    let ran = told_to_end(&place, "--local x.Dockerfile", "100.34", hang_up);
    assert_eq!(ran.code, Some(130), "{ran}");
    assert_eq!(ran.log(), ["up"]);
}

/// The processes whose arguments have this word.
fn processes(word: &str) -> Vec<String> {
    let lines = fs::read_dir("/proc").expect("Linux").flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes()).then_some(line)
    });
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

/// The files below `folder` that have `text` in them, or in their name.
pub fn found_below(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("its entries too").path();
        let kind = fs::symlink_metadata(&path).expect("it is there").file_type();
        let named = path.file_name().expect("a name").to_string_lossy().contains(text);
        let holds = |bytes: Vec<u8>| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if named || (kind.is_file() && fs::read(&path).is_ok_and(holds)) {
            found.push(path.display().to_string());
        }
        if kind.is_dir() {
            found.extend(found_below(&path, text));
        }
    }
    found
}

#[test]
fn a_loader_whose_name_has_capitals_runs_too() {
    // A repository's name may have none; the loader's is a tag.
    let place = Place::new();
    place.write("Greet.Dockerfile", "FROM busybox\nCMD [\"echo\", \"hi\"]\n");
    let ran = place.run("--local Greet.Dockerfile");
    ran.ended(0);
    assert_eq!(ran.log(), ["hi"], "{ran}");
}
