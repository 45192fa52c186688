//! `verify`: two builds of one Dockerfile, and every byte that moved between them.

use std::path::Path;

use crate::place::Place;

/// What is left of the two builds in our own folder.
fn left_over(place: &Place) -> usize {
    std::fs::read_dir(place.store().join("work")).expect("the folder is ours").count()
}

const COPY_ONLY: &str =
    "FROM busybox\nWORKDIR /app\nCOPY --chown=33:33 . .\nCOPY --from=busybox /etc /etc2\nCOPY --from=lib . /lib\n";

#[test]
fn a_copy_only_image_is_the_same_twice() {
    let place = Place::new();
    place.write("loaders/x.Dockerfile", COPY_ONLY).write("a/b.txt", "b").write_mode("run.sh", "#!/bin/sh\n", 0o755);
    place.link("a/link", "b.txt").write("loaders/x.Dockerfile.dockerignore", "*.log\n").write("x.log", "left out");
    place.write("libs/one.txt", "1").write("libs/.dockerignore", "*.md").write("libs/README.md", "left out");
    let ran = place.run("verify --build-context lib=libs loaders/x.Dockerfile");
    let answer = ran.ok();
    assert!(answer.starts_with("same   sha256:"), "{ran}");
    for varied in ["another path", "umask 0002", "LC_ALL=tr_TR.UTF-8", "TZ=Pacific/Chatham"] {
        assert!(answer.contains(varied), "{varied}: {ran}");
    }
    if nix::unistd::geteuid().is_root() {
        assert!(answer.contains("the user nobody"), "{ran}");
    }
    assert_eq!(left_over(&place), 0);
}

#[test]
fn what_a_run_writes_differently_is_named_and_nothing_else() {
    let place = Place::new();
    place.write(
        "Dockerfile",
        "FROM busybox\nCOPY a.txt /\nRUN echo same > /same && cat /proc/sys/kernel/random/uuid > /differs\n",
    );
    place.write("a.txt", "a");
    let ran = place.run("verify --json Dockerfile");
    let json: serde_json::Value = serde_json::from_str(ran.ended(1)).expect("it is JSON");
    let layers = json["layers"].as_array().expect("a list");
    assert_eq!(layers.len(), 1, "{json:#}");
    let paths = layers[0]["paths"].as_array().expect("a list");
    let named: Vec<_> = paths.iter().map(|path| path["changed"]["name"]["path"].as_str()).collect();
    assert_eq!(named, [Some("differs")], "{json:#}");
    assert_eq!(json["config"], "same", "{json:#}");
    assert_eq!(left_over(&place), 0);
}

#[test]
fn an_ordinary_users_run_is_the_same_twice_and_leaves_nothing() {
    let place = Place::of_user();
    place.write("Dockerfile", "FROM busybox\nRUN mkdir /d && echo x > /d/f && chown 33:33 /d/f\n");
    let ran = place.run("verify Dockerfile");
    assert!(ran.ok().starts_with("same   sha256:"), "{ran}");
    assert_eq!(left_over(&place), 0);
}

#[test]
fn a_build_that_fails_is_told_as_builds_are_and_flags_of_a_result_are_refused() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY missing /\n");
    let ran = place.run("verify Dockerfile");
    assert_eq!(ran.ended(3), "");
    ran.said("  --> Dockerfile:2:");
    let ran = place.run("verify -t a:b Dockerfile");
    assert_eq!(ran.ended(2), "");
    ran.said("error: --tag does not go with verify");
    let ran = place.run("verify --isolation default Dockerfile");
    assert_eq!(ran.ended(2), "");
    ran.said("error: `--isolation` is not supported yet");
}

/// The recipes that need no network; `tests/recipes` measures all of them.
mod sandbox {
    use super::*;

    #[track_caller]
    fn same_twice(recipe: &str) {
        let place = Place::new();
        place.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/recipes").join(recipe), "");
        let ran = place.run("verify Dockerfile");
        assert!(ran.ok().starts_with("same   sha256:"), "{ran}");
    }

    #[test]
    fn accounts_and_their_homes_are_the_same_twice() {
        same_twice("08-adduser");
    }

    #[test]
    fn the_alternatives_of_a_command_are_the_same_twice() {
        same_twice("09-alternatives");
    }

    #[test]
    fn what_an_import_leaves_is_the_same_twice() {
        same_twice("16-import");
    }
}
