//! Where nothing may be unshared or mounted: what still holds, and what is told to be missing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use locus_push::sandbox::{Exit, Mount, Mounted, Network, RunError};

use super::{Case, file, folder, layers, place, with};
use crate::world::World;

pub const CASES: &[Case] = cases![
    nothing_outside_the_root_is_written,
    no_root_and_no_device_can_be_made,
    a_daemon_of_anybodys_is_dead_afterwards,
    orphans_are_taken_leave_of_while_the_command_runs,
    the_everyday_files_of_the_system_are_there,
    a_secret_that_is_moved_or_linked_ends_the_step_and_is_in_no_layer,
    a_cache_is_kept_and_what_is_for_reading_stays_as_it_was,
    a_socket_is_the_same_socket,
    what_only_a_namespace_gives_is_refused,
];

/// The state of all that is there, but for what changes by itself.
fn state(folder: &Path, into: &mut Vec<(PathBuf, u64, u64, i64, i64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(stat) = fs::symlink_metadata(entry.path()) else { continue };
        into.push((entry.path(), stat.ino(), stat.size(), stat.ctime(), stat.ctime_nsec()));
        if stat.is_dir() {
            state(&entry.path(), into);
        }
    }
}

fn nothing_outside_the_root_is_written() {
    let world = World::new();
    let beside = place(&world, "beside");
    fs::write(beside.join("file"), "mine").expect("our own folder");
    let snapshot = || {
        let mut all = Vec::new();
        for folder in [Path::new("/etc"), Path::new("/usr/bin"), Path::new("/usr/local/bin"), &beside] {
            state(folder, &mut all);
        }
        all.sort();
        all
    };
    let before = snapshot();
    let outside = beside.display();
    let script = format!(
        "for up in /.. ../.. /../../../../../../../..; do echo x > $up/etc/hostile; echo x > $up{outside}/file; done; \
         ln -s /proc/1/root/etc /l; echo x > /l/hostile; ln -s ../../../../../../..{outside} /m; echo x > /m/file; \
         ln -s /proc/self/cwd /n; echo x > /n/hostile; for p in 1 $PPID; do echo x > /proc/$p/root/etc/hostile; \
         echo x > /proc/$p/cwd/hostile; done; mkdir -p /sub; chroot /sub /bin/sh -c 'cd ../../../..'; \
         mount --bind / /sub; rm -rf /../etc/group; mkdir -p {outside}; echo x > {outside}/file; true"
    );
    world.sh(&script).said();
    assert!(before == snapshot(), "something outside was changed");
    assert_eq!(fs::read_to_string(beside.join("file")).expect("ours"), "mine");
    let changes = world.changes();
    assert!(
        changes.iter().any(|change| change == "etc/hostile file 644 0:0"),
        "it went into its own root: {changes:?}"
    );
}

fn no_root_and_no_device_can_be_made() {
    let world = World::new();
    for attempt in ["chroot / true", "mknod /d c 1 3", "mknod /d b 8 0", "unshare -m true", "mount -t tmpfs x /tmp"] {
        assert_ne!(world.sh(attempt).result, Ok(Exit::Code(0)), "{attempt}");
    }
    assert_eq!(world.sh("chown 33:44 /tmp; mkfifo /p; stat -c '%u %g' /tmp").said(), "33 44\n");
}

fn a_daemon_of_anybodys_is_dead_afterwards() {
    let world = World::new();
    let daemon = "while :; do echo x >> /tmp/grows; done";
    // Of another user, in a session of its own, whose parents are all dead.
    let script = format!(
        "su me -c \"(setsid sh -c '(trap : TERM HUP; {daemon}) &' &) &\"; while ! [ -s /tmp/grows ]; do :; done"
    );
    world.sh(&script).said();
    let size = || fs::metadata(world.upper().join("tmp/grows")).expect("the daemon wrote").len();
    let before = size();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
}

fn orphans_are_taken_leave_of_while_the_command_runs() {
    let world = World::new();
    let script = "n=0; while [ $n -lt 50 ]; do (sh -c : &); n=$((n + 1)); done; sleep 0.3; echo $PPID; exec sleep 0.7";
    let mut step = world.step(&["/bin/sh", "-c", script]);
    step.cwd = "/".into();
    world.prepare(&step);
    let mut dead = None;
    let mut said = String::new();
    let result = world.sandbox.run(&step, &Default::default(), &mut |_, bytes| {
        said.push_str(&String::from_utf8_lossy(bytes));
        let parent = said.trim();
        dead = Some(zombies_of(parent));
    });
    assert_eq!(result, Ok(Exit::Code(0)));
    assert_eq!(dead, Some(0), "children of {said}");
}

fn zombies_of(parent: &str) -> usize {
    let stats = fs::read_dir("/proc").expect("we may look").flatten();
    let stats = stats.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
    let fields = stats.filter_map(|stat| stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()));
    fields.filter(|rest| rest.starts_with(&format!("Z {parent} "))).count()
}

fn the_everyday_files_of_the_system_are_there() {
    let world = World::new();
    let script = "head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x > /dev/null; cat /dev/null; \
                  echo shm > /dev/shm/x; cat /dev/shm/x; echo x 2>/dev/null > /dev/full || echo full; \
                  grep -c processor /proc/cpuinfo > /n; [ $(cat /n) -ge 1 ] && rm /n; cat /etc/resolv.conf; \
                  (echo x > /dev/stdout) 2>/dev/null || echo no stdout by name";
    let said = world.sh(script).said();
    assert_eq!(said, "4\n4\nshm\nfull\nnameserver 192.0.2.1\nno stdout by name\n");
    assert_eq!(world.changes(), [""; 0]);
}

fn a_secret_that_is_moved_or_linked_ends_the_step_and_is_in_no_layer() {
    let world = World::new();
    let secret = || vec![file("/run/secrets/token", "s3cr3t", false)];
    let moved = Err(RunError::CoverMoved { path: "/run/secrets/token".into() });
    for script in ["mv /run/secrets/token /kept", "ln /run/secrets/token /kept", "mv /run /kept"] {
        assert_eq!(with(&world, secret(), script).result, moved, "{script}");
        let mut files = Vec::new();
        state(&world.upper(), &mut files);
        state(&world.path("merged"), &mut files);
        // What a link leads to stands there by itself: busybox has hundreds.
        files.retain(|(path, ..)| !path.is_symlink());
        let holds = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes.windows(6).any(|part| part == b"s3cr3t"));
        assert!(!files.iter().any(|(path, ..)| holds(path)), "{script}: {files:?}");
    }
    assert_eq!(with(&world, secret(), "cat /run/secrets/token; rm -r /run; mkdir /run").said(), "s3cr3t");
    assert_eq!(world.changes(), ["run folder 755 0:0"]);
    assert_eq!(with(&world, secret(), "stat -c '%u %g %a' /run/secrets/token").said(), "100 102 741\n");
    assert_eq!(world.changes(), [""; 0]);
}

fn a_cache_is_kept_and_what_is_for_reading_stays_as_it_was() {
    let world = World::new();
    for name in ["cache", "fixed"] {
        fs::write(place(&world, name).join("old"), "kept").expect("our own folder");
    }
    let mounts = vec![
        folder(&world, "/a/cache", "cache", "", true),
        folder(&world, "/fixed", "fixed", "", false),
        layers(&world, "/stage", "/etc", false),
        Mount { target: "/etc".into(), what: Mounted::Tmpfs { size: None } },
    ];
    let script = "cat /a/cache/old /fixed/old; echo new > /a/cache/new; echo x > /fixed/old; rm /stage/passwd; touch /etc/x; ls /etc";
    assert_eq!(with(&world, mounts, script).said(), "keptkeptx\n");
    assert_eq!(world.changes(), [""; 0]);
    assert_eq!(fs::read_to_string(world.path("cache/new")).expect("it stays"), "new\n");
    assert_eq!(fs::read_to_string(world.path("fixed/old")).expect("it stays"), "kept");
    assert!(world.path("base/etc/passwd").exists());
    // A step that fails keeps its cache too.
    let mounts = vec![folder(&world, "/a/cache", "cache", "", true)];
    assert_eq!(with(&world, mounts, "echo more > /a/cache/more; exit 3").result, Ok(Exit::Code(3)));
    assert!(world.path("cache/more").exists());
}

fn a_socket_is_the_same_socket() {
    let world = World::new();
    let path = place(&world, "agent").join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&path).expect("our own folder");
    let what = Mounted::Socket { path: path.clone(), mode: 0o620, uid: 5, gid: 6 };
    let mounts = vec![Mount { target: "/run/agent".into(), what }];
    let inode = fs::metadata(&path).expect("it is there").ino();
    let said = with(&world, mounts, "stat -c '%F %u %g %a %i' /run/agent").said();
    assert_eq!(said, format!("socket 5 6 620 {inode}\n"));
    assert_eq!(world.changes(), [""; 0]);
    assert!(path.exists());
}

fn what_only_a_namespace_gives_is_refused() {
    let world = World::new();
    let refused = |result: Result<Exit, RunError>, words: &str| {
        let error = result.expect_err(words).to_string();
        assert_eq!(error, format!("{words} cannot be had here: RUN has no namespaces and no mounts"));
    };
    let mut step = world.step(&["/bin/true"]);
    step.network = Network::None;
    refused(world.run(&step).result, "a network of its own (--network=none)");
    let mut step = world.step(&["/bin/true"]);
    step.shm_size = Some(1 << 20);
    refused(world.run(&step).result, "a /dev/shm of a certain size");
    let tmpfs = Mount { target: "/t".into(), what: Mounted::Tmpfs { size: Some(1 << 20) } };
    refused(with(&world, vec![tmpfs], "true").result, "a tmpfs of a certain size");
}
