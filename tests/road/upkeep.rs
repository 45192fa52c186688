//! What is kept between builds: told, made smaller, found damaged and mended; and whole after whatever happened to a
//! build: killed, on a full disk, beside seven others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::caches::Registry;
use crate::place::{Place, Ran, eventually};

/// A base whose files are read, a layer of ours that stands on another's command, and a cache.
const DOCKERFILE: &str = "FROM busybox AS made\nCOPY data /data\n\
                          RUN --mount=type=cache,target=/c wc -c /data/* > /sizes && date > /c/last\n\
                          FROM busybox\nCOPY --from=made /sizes /etc/passwd /\nRUN cat /sizes > /twice\n";

fn filled(place: &Place) {
    place.write("Dockerfile", DOCKERFILE).write("data/one", "1".repeat(70_000)).write("data/two", "22");
}

fn kinds(place: &Place) -> Vec<String> {
    let told: serde_json::Value = serde_json::from_str(place.run("cache du --json").ok()).expect("JSON");
    let kinds = told["items"].as_array().expect("a list").iter();
    let mut kinds: Vec<_> = kinds.map(|item| item["kind"].as_str().expect("a word").to_owned()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

mod sandbox {
    use super::*;

    #[test]
    fn an_ordinary_user_sees_what_is_kept_and_gets_rid_of_it() {
        let place = Place::of_user();
        filled(&place);
        let digest = place.run("build .").ok().to_owned();
        assert_eq!(kinds(&place), ["blobs", "caches", "layers", "parts", "steps", "tars", "trees"]);
        let told = place.run("cache du --verify");
        assert!(told.ok().ends_with("\nNothing is damaged"), "{told}");

        let nothing = place.run("cache prune");
        assert!(nothing.ok().starts_with("Total: 0 B"), "{nothing}");
        place.run("cache prune --older-than 1h").ok();
        place.run("cache prune --all --dry-run").ok();
        place.run("build .").not_said("  Step");
        place.run("cache prune --keep-storage 0").ok();
        assert_eq!(kinds(&place), [""; 0]);
        assert_eq!(fs::read_dir(place.store().join("layers")).expect("ours").count(), 1, "when the machine started");
        assert_eq!(place.run("build .").ok(), digest);
    }

    #[test]
    fn who_prunes_waits_for_who_builds() {
        let place = Place::new();
        place.write("Dockerfile", "FROM busybox\nRUN touch /began && sleep 1 && cat /etc/passwd > /p\n");
        let building = place.start("build .");
        let began = || fs::read_dir(place.store().join("work")).is_ok_and(|work| work.count() > 0);
        eventually("the step", began);
        let pruned = place.run("cache prune --all");
        pruned.ok();
        pruned.said("waiting for other processes, which use the store");
        Ran::of(building.wait_with_output().expect("it ends"), &["build"]).ok();
        assert_eq!(kinds(&place), [""; 0]);
    }

    #[test]
    fn what_was_damaged_is_named_and_made_again() {
        let place = Place::new();
        filled(&place);
        place.run("build .").ok();
        for folder in ["blobs/sha256", "tars"] {
            for path in files(&place.store().join(folder)) {
                let mut bytes = fs::read(&path).expect("ours");
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(&path, bytes).expect("ours");
            }
        }
        fs::remove_dir_all(place.store().join("layers")).expect("root may");
        let told = place.run("cache du --verify");
        assert!(told.ended(1).contains("\ndamaged: "), "{told}");
        // Another last step, which stands on all of them.
        place.write("Dockerfile", format!("{DOCKERFILE}RUN cat /passwd > /again\n"));
        let mended = place.run("build .");
        mended.said("the store was damaged");
        let undamaged = Place::new();
        filled(&undamaged);
        undamaged.write("Dockerfile", format!("{DOCKERFILE}RUN cat /passwd > /again\n"));
        assert_eq!(mended.ok(), undamaged.run("build .").ok());
    }

    /// Builds and pushes, killed at so many moments.
    fn killed(times: u32) {
        let (place, registry) = (Place::new(), Registry::start());
        filled(&place);
        let (_, output) = place.layout();
        let line = format!("build -o {output} -t {}/app:1 --push .", registry.address);
        let wanted = place.run(&line).ok().to_owned();
        for round in 0..times {
            if round % 5 == 0 {
                place.run("cache prune --all").ok();
            }
            let began = Instant::now();
            // Every round has something to do: the step reads another file, which the next round's does not.
            place.write("data/round", round.to_string());
            let mut child = place.start(&line);
            // Spread over all of a build's time, in no order.
            let moment = Duration::from_millis(u64::from(round * 7919 % times) * 400 / u64::from(times));
            std::thread::sleep(moment.saturating_sub(began.elapsed()));
            child.kill().expect("it is a child of ours");
            child.wait().expect("it is a child of ours");
        }
        // What nobody has pushed yet goes out as well.
        place.write("data/round", "last").run(&line).ok();
        fs::remove_file(place.path("data/round")).expect("it is ours");
        assert_eq!(place.run(&line).ok(), wanted);
        let told = place.run("cache du --verify");
        assert!(told.ok().ends_with("\nNothing is damaged"), "{told}");
        place.run("cache prune").ok();
        assert!(!kinds(&place).contains(&"leftovers".to_owned()));
    }

    #[test]
    fn what_was_killed_at_any_moment_leaves_a_store_and_a_registry_that_the_next_one_can_use() {
        killed(20);
    }

    mod slow {
        #[test]
        fn what_was_killed_at_a_hundred_moments_leaves_a_store_and_a_registry_that_the_next_one_can_use() {
            super::killed(100);
        }
    }

    #[test]
    fn eight_builds_at_once_on_one_store_come_to_one_image() {
        let place = Place::new();
        filled(&place);
        let all: Vec<_> = (0..8).map(|_| place.start("build .")).collect();
        let ran: Vec<Ran> =
            all.into_iter().map(|child| Ran::of(child.wait_with_output().expect("it ends"), &["build"])).collect();
        for one in &ran {
            assert_eq!(one.ok(), ran[0].ok());
        }
        let told = place.run("cache du --verify");
        assert!(told.ok().ends_with("\nNothing is damaged"), "{told}");
    }
}

#[test]
fn a_full_disk_is_said_and_nothing_is_spoilt() {
    let place = Place::new();
    // Bytes that do not compress, on a disk that holds half of them.
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(16 << 20)
    .collect();
    place.write("big/bytes", bytes).write("big/Dockerfile", "FROM scratch\nCOPY bytes /\n");
    place.write("small/Dockerfile", "FROM busybox\nCOPY Dockerfile /\n");
    fs::create_dir_all(place.store()).expect("it is ours");
    let script = "mount -t tmpfs -o size=8m none \"$LOCUS_PUSH_HOME\" || exit 99\n\
                  \"$0\" build big; echo \"big: $?\"\n\
                  \"$0\" build small; echo \"small: $?\"\n\
                  \"$0\" cache du --verify; echo \"verify: $?\"\n\
                  \"$0\" cache prune; find \"$LOCUS_PUSH_HOME/tmp\" \"$LOCUS_PUSH_HOME/work\" -type f ! -name '*.lock'";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_locus-push")]);
    command.current_dir(place.path(".")).env_clear().envs(&place.vars);
    let ran = Ran::of(command.output().expect("it runs"), &["on a small disk"]);
    let told = ran.ok();
    assert!(told.contains("big: 3\n") && told.contains("small: 0\n") && told.contains("verify: 0\n"), "{ran}");
    ran.said("the disk is full");
    ran.said("LOCUS_PUSH_HOME may name another place");
    assert!(!told.contains("/tmp/t"), "{ran}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it can be read").path()).collect()
}
