//! `run --each` in the cloud: cut off half way, and taken up again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{changes, small};
use crate::cloud::Cloud;
use crate::place::{Ran, eventually};

#[test]
fn a_run_that_is_killed_half_way_goes_on_and_each_line_succeeds_once() {
    let cloud = Cloud::shared();
    let script = "test $N != 30 || exit 9; test \"$MOOD\" = good || exit 5; sleep 1; echo end $N";
    let (mut place, name) = small(&cloud, script);
    place.run("deploy loaders/x.Dockerfile").ok();
    let lines: Vec<String> = (1..=30).map(|n| format!("{{\"N\": {n}, \"MOOD\": \"good\"}}")).collect();
    place.write("inputs.jsonl", lines.join("\n"));
    let listener = cloud.overheard(&mut place);
    for n in [3, 12, 21] {
        listener.spoil_once(format!("\"name\":\"N\",\"value\":\"{n}\""), "\"good\"", "\"poor\"");
    }
    let line = format!("run {name} --each inputs.jsonl --parallel 10 --retries 1 --json --progress json");

    let mut child = place.start(&line);
    eventually("half of the tasks", || listener.count("RunTask") >= 14);
    child.kill().expect("it is a child of ours");
    let first = Ran::of(child.wait_with_output().expect("a child of ours"), &[&line]);
    assert_eq!(first.code, None, "{first}");

    let second = place.run(&line);
    assert_eq!(second.code, Some(1), "{second}");
    second.said("an earlier run of these lines is taken up");
    let told: Value = serde_json::from_str(&second.stdout).expect("one object");
    assert_eq!((&told["succeeded"], &told["failed"], &told["left"]), (&json!(29), &json!(1), &json!(0)), "{second}");
    let last = &told["lines"][29];
    assert_eq!((&last["line"], &last["exit_code"], &last["tries"]), (&json!(30), &json!(9), &json!(2)), "{second}");
    assert_eq!(told["error"]["message"], "1 of 30 lines failed for good", "{second}");

    // What really ran, as the logs have it.
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let log = cloud.ask("Logs_20140328.FilterLogEvents", json!({ "logGroupName": name, "limit": 10000 }));
    for event in log["events"].as_array().expect("a list") {
        *ends.entry(crate::image::text(&event["message"]).to_owned()).or_default() += 1;
    }
    let ended = |n: usize| ends.get(&format!("end {n}")).copied().unwrap_or_default();
    let counts: Vec<usize> = (1..=30).map(ended).collect();
    assert_eq!(counts, [vec![1; 29], vec![0]].concat(), "{ends:?}\n{second}");
    assert!(changes(&listener.calls()).iter().all(|call| *call == "RunTask"));
}
