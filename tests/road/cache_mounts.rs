//! What RUNs keep in cache mounts, given from machine to machine with a build cache.

use std::fs;
use std::path::Path;

use crate::caches::Registry;
use crate::place::{Place, Ran};

/// A machine on which a command with two cache mounts is to run.
fn machine(mut place: Place, command: &str) -> Place {
    let mounts = "--mount=type=cache,target=/c --mount=type=cache,target=/own,uid=33,mode=0750";
    place.var("TZ", "UTC").write("Dockerfile", format!("FROM busybox\nRUN {mounts} {command}\n"));
    place
}

const FILL: &str = "[ -e /c/d ] || { mkdir -m 2750 /c/d && echo one > /c/d/one && chown -R 7:8 /c/d && chmod 0640 /c/d/one \
                    && touch -d @1000000000 /c/d/one && ln /c/d/one /c/two && touch -d @1 /c/d /own/x; }";

/// What another command finds in the mounts.
fn found(place: Place, args: &str) -> Ran {
    let look = "stat -c '%n %u:%g %a %h %Y' /c/d/one /c/two; stat -c '%n %u:%g %a' /c/d /own; ls /c /own";
    let ran = machine(place, &format!("({look}) 2>&1")).run(&format!("build {args} ."));
    ran.ok();
    ran
}

mod sandbox {
    use super::*;

    #[test]
    fn another_machine_finds_what_the_first_left_whoever_runs_there() {
        let registry = Registry::start();
        let cache = format!("{}/cache:c", registry.address);
        machine(Place::new(), FILL).run(&format!("build --cache-to type=registry,ref={cache},mounts=true .")).ok();
        for place in [Place::new(), Place::of_user(), Place::of_nobody()] {
            let ran = found(place, &format!("--cache-from {cache}"));
            for line in
                ["/c/d/one 7:8 640 2 1000000000", "/c/two 7:8 640 2 1000000000", "/c/d 7:8 2750", "/own 33:0 750"]
            {
                ran.said(line);
            }
            ran.said("RUN --mount=type=cache,id=/c: it is new here, and filled from --cache-from");
        }
        found(Place::new(), &format!("--cache-from type=registry,ref={cache},mounts=false"))
            .said("can't stat '/c/d/one'");
    }

    #[test]
    fn what_did_not_change_is_the_same_cache_and_what_was_only_passed_on_is_not_lost() {
        let [first, second, third] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let index = |folder: &tempfile::TempDir| fs::read_to_string(folder.path().join("index.json")).unwrap();
        let to = |folder: &Path| format!("--cache-to type=local,dest={},mounts=true", folder.display());
        let place = machine(Place::new(), FILL);
        place.run(&format!("build {} .", to(first.path()))).ok();
        place.run(&format!("build --no-cache {} .", to(second.path()))).ok();
        assert_eq!(index(&second), index(&first));
        // No command runs there, and so no mount is filled.
        let from = format!("--cache-from type=local,src={}", first.path().display());
        let other = machine(Place::new(), FILL);
        other.run(&format!("build {from} {} .", to(third.path()))).ok();
        assert_eq!(index(&third), index(&first));
        assert!(!other.store().join("caches").exists());
    }

    #[test]
    fn a_mount_that_cannot_be_given_or_read_is_told_and_what_is_here_stays() {
        let registry = Registry::start();
        let cache = format!("{}/cache:c", registry.address);
        let to = format!("build --cache-to type=registry,ref={cache},mounts=true .");
        let place =
            machine(Place::new(), "--mount=type=cache,target=/f,from=busybox,source=/etc : && echo here > /c/here");
        place.write(
            "Dockerfile",
            fs::read_to_string(place.path("Dockerfile"))
                .unwrap()
                .replace("RUN ", "RUN --mount=type=cache,id=large,target=/l truncate -s 4097M /l/large\nRUN "),
        );
        let ran = place.run(&to);
        ran.ok();
        ran.said("id=/f: it is left out of --cache-to: it began as a copy of other files (from=)");
        ran.said("id=large: it is left out of --cache-to: reading it: it holds more than 4 GiB");

        let look = format!("build --cache-from {cache} .");
        let other = machine(Place::new(), "echo own > /c/own && ls /c");
        other.run("build .").ok();
        other.write(
            "Dockerfile",
            fs::read_to_string(other.path("Dockerfile")).unwrap().replace("&&", "&& echo again; "),
        );
        other.run(&look).not_said("filled from");
        for layer in registry.layers() {
            fs::remove_file(layer).unwrap();
        }
        let empty = machine(Place::new(), "ls /c | wc -l").run(&look);
        empty.ok();
        empty.said("it is empty, as what --cache-from holds of it cannot be used");
    }
}
