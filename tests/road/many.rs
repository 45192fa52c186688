//! Several loaders at once in the cloud: what they share there is made once.

use serde_json::{Value, json};

use super::{ECR, ECS, SECRET, changes};
use crate::cloud::Cloud;
use crate::place::{Ran, eventually, interrupt};
use crate::several::summary;

#[test]
fn ten_loaders_at_once_share_what_they_have_in_common_and_a_broken_one_stops_none() {
    let cloud = Cloud::shared();
    let mut place = cloud.place();
    let own = format!("many_{}", std::process::id());
    let mut file = format!("repository = '{own}'\ncluster = '{own}'\n");
    let names: Vec<String> = (0..10).map(|n| format!("{own}_{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let broken = if n == 4 { "COPY missing /\n" } else { "" };
        let path = format!("loaders/{name}.Dockerfile");
        place.write(
            &path,
            format!(
                "FROM busybox\n{broken}LABEL n={n}\nCMD echo of {n}; test ${{#{own}_db}} = {}; exit $(({n} == 7))\n",
                SECRET.len()
            ),
        );
        file += &format!("[loaders.{name}]\ndockerfile = '{path}'\nsecrets = ['{own}_db']\n");
    }
    place.write("locus.toml", file);
    place.var(&format!("{own}_db"), SECRET);
    let listener = cloud.overheard(&mut place);
    let ran = place.run("--all -j 10 --json --progress json");
    assert_eq!(ran.code, Some(1), "{ran}");
    ran.not_said("hunter2");

    let told: Value = serde_json::from_str(&ran.stdout).expect("one object");
    let shipped: Vec<&str> =
        told["loaders"].as_array().expect("a list").iter().map(|one| crate::image::text(&one["loader"])).collect();
    let wanted: Vec<&String> = names.iter().filter(|name| !name.ends_with("_4")).collect();
    assert_eq!(shipped, wanted, "{ran}");
    assert_eq!(told["error"]["message"], "2 of 10 loaders failed", "{ran}");
    let codes: Vec<String> = summary(&ran).into_iter().map(|row| row[3].clone()).collect();
    assert_eq!(codes, ["0", "0", "0", "0", "-", "0", "0", "1", "0", "0"], "{ran}");

    let calls = listener.calls();
    let changes = changes(&calls);
    let count = |call: &str| changes.iter().filter(|made| **made == call).count();
    assert_eq!((count("RunTask"), count("RegisterTaskDefinition")), (9, 9), "{changes:?}");
    let created = ran.stderr.lines().filter(|line| line.contains("\"outcome\":\"created\""));
    let created = created
        .filter(|line| ["repository", "secret"].iter().any(|kind| line.contains(&format!("\"kind\":\"{kind}\""))))
        .count();
    assert_eq!(created, 2, "the repository and the secret, once each\n{ran}");
    let images = cloud.ask(&format!("{ECR}.DescribeImages"), json!({ "repositoryName": own }));
    assert_eq!(images["imageDetails"].as_array().map(Vec::len), Some(9), "{images}");
    let tasks = cloud.ask(&format!("{ECS}.ListTasks"), json!({ "cluster": own, "desiredStatus": "STOPPED" }));
    assert_eq!(tasks["taskArns"].as_array().map(Vec::len), Some(9), "{tasks}");
}

#[test]
fn ctrl_c_stops_the_tasks_of_all_and_a_table_tells_of_each() {
    let cloud = Cloud::shared();
    let mut place = cloud.place();
    let own = format!("stopped_{}", std::process::id());
    let names = ["a", "b"].map(|which| format!("{own}_{which}"));
    let mut file = format!("repository = '{own}'\ncluster = '{own}'\n");
    for name in &names {
        let path = format!("loaders/{name}.Dockerfile");
        place.write(&path, format!("FROM busybox\nLABEL n={name}\nCMD echo up; sleep 300; echo never\n"));
        file += &format!("[loaders.{name}]\ndockerfile = '{path}'\n");
    }
    place.write("locus.toml", file);
    let listener = cloud.overheard(&mut place);
    let line = "--all -j 2 --json --progress json";
    let child = place.start(line);
    eventually("both tasks", || listener.count("RunTask") == 2);
    for name in &names {
        let logs = || cloud.ask("Logs_20140328.DescribeLogStreams", json!({ "logGroupName": name })).to_string();
        eventually("its log", || logs().contains("logStreamName"));
    }
    interrupt(&child);
    let ran = Ran::of(child.wait_with_output().expect("a child of ours"), &[line]);
    assert_eq!(ran.code, Some(130), "{ran}");
    ran.not_said("never");
    assert_eq!(listener.count("StopTask"), 2, "{ran}");
    let running = cloud.ask(&format!("{ECS}.ListTasks"), json!({ "cluster": own, "desiredStatus": "RUNNING" }));
    assert_eq!(running["taskArns"], json!([]), "{ran}");
    let rows: Vec<String> = summary(&ran).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(rows, names, "{ran}");
    let told: Value = serde_json::from_str(&ran.stdout).expect("one object");
    let words = "interrupted; 2 of 2 loaders did not come to their end";
    assert_eq!((&told["error"]["message"], &told["error"]["exit_code"]), (&json!(words), &json!(130)), "{ran}");
}
