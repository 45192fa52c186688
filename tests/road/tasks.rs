//! Tasks that were deployed before: run again, looked at, their logs read. A task that ran is waited for twelve seconds
//! after its end, for its last lines, so there are few.

use serde_json::{Value, json};

use super::{ECR, ECS, SECRET, answer, changes, container, small};
use crate::cloud::Cloud;
use crate::place::{Place, Ran, eventually, hang_up};

/// The program's answer as JSON.
#[track_caller]
fn told(place: &Place, line: &str, code: i32) -> Value {
    let ran = place.run(line);
    serde_json::from_str(ran.ended(code)).unwrap_or_else(|error| panic!("{error}\n{ran}"))
}

/// The lines of a log on stdout, in an order of their own.
fn sorted(ran: &Ran) -> Vec<&str> {
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_was_deployed_is_run_looked_at_and_its_log_read() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "echo of the image; exit $CODE");
    let listener = cloud.overheard(&mut place);
    let (_, digest) = answer(&place.run("deploy --env CODE=0 loaders/x.Dockerfile"), 0);
    let calls = listener.calls();
    assert!(changes(&calls).contains(&"RegisterTaskDefinition") && !changes(&calls).contains(&"RunTask"), "{calls:?}");
    place.run(&format!("logs {name}")).fails(
        4,
        &format!(
            "error: {name} has no task that ECS or the log remembers\n\
             hint: a stopped task is remembered for an hour, its log for longer; is this the cluster (--cluster), the \
             region and the account?\n"
        ),
    );

    let ran = place.run(&format!("run {name}:1 --count 2 --env CODE=7 --cpu 512 --memory 1024"));
    let lines = sorted(&ran);
    assert_eq!((ran.code, lines.len()), (Some(7), 2), "{ran}");
    let ids: Vec<&str> = lines.iter().filter_map(|line| line.strip_suffix(" | of the image")).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "each line is its task's\n{ran}");
    ran.said(&format!("{} exit code 7: EssentialContainerExited", ids[0]));

    let run = ["run", &name, "--detach", "--", "sh", "-c", "echo \"not $CODE\""];
    let ran = place.run_args(&run);
    let third = ran.ok().to_owned();
    assert!(!ids.contains(&third.as_str()), "{ran}");
    ran.said(&format!("locus-push logs {name} --follow --task {third}"));
    let stopped = || told(&place, &format!("status {name} --json"), 0);
    eventually("the third task's end", || stopped()["stopped"].as_array().is_some_and(|all| all.len() == 3));
    assert_eq!(place.run(&format!("logs {name} --since 1h")).ok(), "not 0");
    let line = told(&place, &format!("logs {name} --json --task {third}"), 0);
    assert_eq!(line, json!({ "task": third, "line": "not 0" }));
    assert_eq!(place.run(&format!("logs {name} --previous")).ok(), "of the image");

    let status = stopped();
    assert_eq!((&status["digest"], &status["running"]), (&json!(digest), &json!([])));
    let of = |id: &str| status["stopped"].as_array().expect("a list").iter().find(|task| task["task"] == id).cloned();
    assert_eq!(of(&third).expect("it is told")["exit_code"], 0);
    let second = of(ids[1]).expect("it is told");
    assert_eq!((&second["exit_code"], &second["stop_code"]), (&json!(7), &json!("EssentialContainerExited")));
    assert!(second["started"].as_str() <= second["stopped"].as_str(), "{second}");
    assert_eq!(changes(&listener.calls()), ["RunTask", "RunTask"], "nothing else is changed");
}

#[test]
fn a_task_whose_terminal_went_away_is_left_where_that_was_asked_for_and_followed_to_its_end_later() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "echo up; sleep 4; echo down; exit 137");
    let listener = cloud.overheard(&mut place);
    let line = "--on-interrupt detach loaders/x.Dockerfile";
    let child = place.start(line);
    let logs = || cloud.ask("Logs_20140328.DescribeLogStreams", json!({ "logGroupName": name })).to_string();
    eventually("the task", || listener.has_heard("RunTask"));
    eventually("its log", || logs().contains("logStreamName"));
    hang_up(&child);
    let ran = Ran::of(child.wait_with_output().expect("a child of ours"), &[line]);
    answer(&ran, 130);
    let way_back = &ran.stderr[ran.said("locus-push logs ") + "locus-push ".len()..];
    assert!(!listener.has_heard("StopTask"), "{ran}");

    let ran = place.run(way_back.lines().next().expect("a command"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(137), "up\ndown\n"), "{ran}");
    ran.said("hint: the container was killed (137)");
}

#[test]
fn a_task_that_cannot_start_is_125_with_why_and_what_to_do() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    let secret = format!("{name}_db");
    place.var("DB", "{\"user\": \"ann\"}");
    cloud.ask("secretsmanager.CreateSecret", json!({ "Name": secret, "SecretString": "{\"user\": \"ann\"}" }));
    let table = |key: &str| {
        place.write("locus.toml", format!("[loaders.{name}]\nsecrets = {{ DB = \"{secret}:{key}\" }}\n"));
    };
    table("pasword");
    let ran = place.run("loaders/x.Dockerfile");
    answer(&ran, 125);
    ran.said("TaskFailedToStart: ResourceInitializationError");
    ran.said("hint: the secret has no such JSON key");
    ran.not_said(SECRET);

    table("user");
    let (repository, digest) = answer(&place.run("deploy loaders/x.Dockerfile"), 0);
    let (image, _) = container(&cloud, &name);
    assert_eq!(image["image"], format!("{repository}@{digest}"));
    cloud.ask(
        &format!("{ECR}.BatchDeleteImage"),
        json!({ "repositoryName": "locus_data_loaders", "imageIds": [{ "imageDigest": digest }] }),
    );
    let ran = place.run(&format!("run {name}"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(125), ""), "{ran}");
    ran.said("hint: the image is not in the repository any more");
    let family = json!({ "familyPrefix": name });
    let revisions = cloud.ask(&format!("{ECS}.ListTaskDefinitions"), family)["taskDefinitionArns"].clone();
    assert_eq!(revisions.as_array().map(Vec::len), Some(2), "{revisions}");
}
