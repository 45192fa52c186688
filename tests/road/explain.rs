//! `--explain`: of each step that is done, why it was not in the build cache.

use std::fs;

use crate::place::{Place, Ran};

/// What was told, without the column of the verb.
fn because(ran: &Ran) -> Vec<&str> {
    ran.ok();
    ran.stderr.lines().filter_map(|line| line.trim_start().strip_prefix("Because ")).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn what_changed_since_the_last_build_is_named() {
    let place = Place::new();
    let dockerfile = "FROM scratch\nCOPY a /a\nCOPY d /d\nCOPY a /last\n";
    place.write("Dockerfile", dockerfile).write("a", "1").write("d/x", "1").write("d/y", "1");
    let explain = || place.run("build --explain .");
    let unknown = "no earlier build of it is known";
    assert_eq!(because(&explain()), [1, 2, 3].map(|number| format!("[{number}/3] {unknown}")));
    assert_eq!(because(&explain()), NONE);

    place.write("d/x", "2").write("d/z", "1");
    assert_eq!(because(&explain()), ["[2/3] d/x changed, d/z is new", "[3/3] the layer below changed"]);
    fs::remove_file(place.path("d/y")).unwrap();
    for number in 0..5 {
        place.write(&format!("d/{number}"), "");
    }
    let first = "[2/3] d/0 is new, d/1 is new, d/2 is new, 3 more files differ";
    assert_eq!(because(&explain()), [first, "[3/3] the layer below changed"]);

    // A step is known again where another was put before it.
    place.write("Dockerfile", dockerfile.replace("COPY d", "COPY a /new\nCOPY d"));
    assert_eq!(
        because(&explain()),
        ["[2/4] the instruction changed", "[3/4] the layer below changed", "[4/4] the layer below changed"]
    );
    let times = because(&place.run("build --explain --build-arg SOURCE_DATE_EPOCH=7 .")).join("\n");
    assert!(times.starts_with("[1/4] SOURCE_DATE_EPOCH or --preserve-times changed\n[2/4] "), "{times}");
}

#[test]
fn a_step_that_is_done_again_though_nothing_changed_says_why() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY a /a\n").write("a", "1");
    // What is not asked for is not told, and is remembered for when it is.
    assert_eq!(because(&place.run("build .")), NONE);
    assert_eq!(because(&place.run("build --explain --no-cache .")), ["[1/1] --no-cache says so"]);
    let empty = |folder: &str| {
        for entry in fs::read_dir(place.store().join(folder)).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    };
    empty("steps");
    assert_eq!(because(&place.run("build --explain .")), ["[1/1] the cached layer is gone"]);
    let forgotten = ["[1/1] no earlier build of it is known"];
    for entry in fs::read_dir(place.store().join("parts")).unwrap() {
        fs::write(entry.unwrap().path(), "[{").unwrap();
    }
    empty("steps");
    assert_eq!(because(&place.run("build --explain .")), forgotten);
    place.run("cache prune --all").ok();
    assert_eq!(fs::read_dir(place.store().join("parts")).unwrap().count(), 0);
    assert_eq!(because(&place.run("build --explain .")), forgotten);
}

mod sandbox {
    use super::*;

    #[test]
    fn a_variable_a_mount_and_a_flag_are_named() {
        let place = Place::new();
        let dockerfile = "FROM busybox\nARG V\nENV E=1\nRUN --mount=target=/m,source=d wc -c /m/x > /out\n";
        place.write("Dockerfile", dockerfile).write("d/x", "1");
        let explain = |args: &str| place.run(&format!("build --explain {args} ."));
        explain("--build-arg V=1").ok();
        assert_eq!(because(&explain("--build-arg V=1")), NONE);
        assert_eq!(because(&explain("--build-arg V=2")), ["[3/3] the build argument V changed"]);
        place.write("d/x", "2").write("Dockerfile", dockerfile.replace("E=1", "E=2"));
        let ran = explain("--build-arg V=2 --add-host db:10.0.0.1");
        assert_eq!(because(&ran), ["[3/3] the variable E changed, d/x changed, --add-host changed"]);
        place.write("Dockerfile", dockerfile.replace("target=/m,", "target=/m,rw,").replace("busybox", "alpine"));
        let ran = because(&explain("--build-arg V=2")).join("");
        assert!(ran.contains("the mount of /m changed") && ran.contains("the base changed"), "{ran}");
    }
}
