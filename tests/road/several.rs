//! Several loaders at once, with nothing but this machine.

use serde_json::{Value, json};

use crate::place::{Place, Ran, eventually, interrupt};

/// Loaders that end as their variable says.
fn loaders(names: &[(&str, &str)]) -> Place {
    let place = Place::new();
    for (name, cmd) in names {
        place.write(&format!("loaders/{name}.Dockerfile"), format!("FROM busybox\nLABEL n={name}\nCMD {cmd}\n"));
    }
    place
}

/// The cells of the summary, row by row, without the time.
pub fn summary(ran: &Ran) -> Vec<Vec<String>> {
    let mut facts = ran.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = facts.rfind(|fact| fact["event"] == "summary").unwrap_or_else(|| panic!("no summary\n{ran}"));
    let rows = found["rows"].as_array().expect("a list");
    let cell = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let columns = ["loader", "image", "pushed", "exit_code", "reason"];
    rows.iter().map(|row| columns.iter().map(|column| cell(row, column)).collect()).collect()
}

#[test]
fn all_loaders_of_the_file_are_told_by_their_names_and_one_that_fails_stops_none() {
    let place = loaders(&[("a", "echo of a"), ("b", "echo of b; exit 7"), ("c", "echo of c")]);
    place.write("loaders/c.Dockerfile", "FROM busybox\nCOPY missing /\nCMD echo of c\n");
    let tables = ["a", "b", "c"].map(|name| format!("[loaders.{name}]\ndockerfile = 'loaders/{name}.Dockerfile'\n"));
    place.write("locus.toml", tables.concat());
    let ran = place.run("--local --all -j 3 --json --progress json");
    assert_eq!(ran.code, Some(1), "{ran}");
    let told: Value = serde_json::from_str(&ran.stdout).expect("one object");
    let names: Vec<_> = told["loaders"].as_array().expect("a list").iter().map(|one| &one["loader"]).collect();
    assert_eq!(names, ["a", "b"], "{ran}");
    assert_eq!(told["error"]["message"], "2 of 3 loaders failed", "{ran}");
    let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
    let rows = summary(&ran);
    let known: Vec<_> = rows.iter().map(|row| row[..4].to_vec()).collect();
    assert_eq!(
        known,
        [row(["a", "cached", "yes", "0"]), row(["b", "cached", "yes", "7"]), row(["c", "-", "-", "-"])],
        "{ran}"
    );
    assert!(rows[2][4].contains("missing"), "{ran}");
    let fetched = ran.stderr.lines().filter(|line| line.contains("\"outcome\":\"fetched\"")).count();
    assert!((1..=2).contains(&fetched), "the base, config and layer, is had once by all\n{ran}");

    let ran = place.run("--local loaders/b.Dockerfile loaders/a.Dockerfile --progress plain");
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 2), "{ran}");
    ran.said("    Taking 2 loaders");
    ran.said("\na |        log | of a\n");
    ran.said("\nb |        log | of b\n");
    ran.said("\nloader  image   pushed         task  exit code  time");
    assert!(ran.stderr.ends_with("error: 1 of 2 loaders failed\nerror: b: the task ended with exit code 7\n"), "{ran}");
}

#[test]
fn ctrl_c_ends_all_of_them() {
    let place = loaders(&[("a", "echo up; exec sleep 300"), ("b", "echo up; exec sleep 300")]);
    let line = "--local -j 2 loaders/a.Dockerfile loaders/b.Dockerfile --progress plain";
    let child = place.start(line);
    let work = place.store().join("work");
    let up = || std::fs::read_dir(&work).is_ok_and(|all| all.flatten().filter(|one| one.path().is_dir()).count() >= 2);
    eventually("both tasks", up);
    std::thread::sleep(std::time::Duration::from_secs(1));
    interrupt(&child);
    let ran = Ran::of(child.wait_with_output().expect("a child of ours"), &[line]);
    assert_eq!(ran.code, Some(130), "{ran}");
    ran.said("a |        log | up");
    ran.said("b |        log | up");
    ran.said("error: interrupted; 2 of 2 loaders did not come to their end");
    assert!(!up(), "what they wrote is gone");
}

#[test]
fn what_is_wrong_with_all_is_told() {
    let place = loaders(&[("a", "true")]);
    let words = "error: --all asks for the loaders of locus.toml, and there is none here nor above\n\
                 hint: `locus-push init` writes one; --config FILE names another\n";
    place.run("--all --local").fails(2, words);
    assert_eq!(place.run("--all a.Dockerfile").code, Some(2));
    let told = place.run("--local --json a.Dockerfile b.Dockerfile").stdout;
    let told: Value = serde_json::from_str(&told).expect("an object");
    assert_eq!(told["error"]["exit_code"], json!(2));
}
