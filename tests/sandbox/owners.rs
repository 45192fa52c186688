//! Whose files are, and who processes are: the same on every rung, also where one id is all there is.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;

use locus_push::sandbox::{Exit, Ids, RunError};

use super::{Case, nap, sleeping, within_five_seconds};
use crate::world::{Ran, World};

pub const CASES: &[Case] = cases![
    ids_are_those_that_were_asked_for,
    a_user_owns_what_it_makes,
    links_pipes_and_links_to_them_have_owners,
    owners_survive_renames_links_and_copies_up,
    owners_survive_into_the_next_step,
    a_file_made_anew_is_its_makers,
    chown_drops_set_id_bits_and_brings_a_lower_file_up,
    a_user_gives_nothing_away,
    a_directory_hands_down_its_group,
    a_copy_has_the_owner_that_copying_gives_it,
    many_at_once_make_no_file_of_roots,
    owners_are_right_in_a_root_of_its_own,
    a_setuid_program_runs_as_its_owner,
    a_program_that_cannot_start_changes_nobody,
    outputs_can_be_opened_by_name,
    a_program_of_another_machine_type_is_told,
    when_the_helper_is_killed_the_step_fails_and_the_command_dies,
];

fn as_me(world: &World, script: &str) -> Ran {
    let mut step = world.step(&["/bin/sh", "-c", script]);
    step.user = Ids { uid: 1000, gid: 1000, groups: vec![33] };
    world.run(&step)
}

#[track_caller]
fn changed(world: &World, wanted: &[&str]) {
    let changes = world.changes();
    for line in wanted {
        assert!(changes.iter().any(|change| change == line), "{line} in {changes:#?}");
    }
}

fn ids_are_those_that_were_asked_for() {
    let world = World::new();
    let script = "id -u; su me -c 'id; (id -u; sh -c \"id -g\") & wait'; id -u";
    let me = "uid=1000(me) gid=1000(me) groups=1000(me)\n1000\n1000\n";
    assert_eq!(world.sh(script).said(), format!("0\n{me}0\n"));
    assert_eq!(as_me(&world, "id").said(), "uid=1000(me) gid=1000(me) groups=33\n");
    // A process of the user's that outlives the one that began it.
    let script =
        "su me -c '(sleep 0.1; id -u > /tmp/who) &'; while ! [ -s /tmp/who ]; do sleep 0.02; done; cat /tmp/who";
    assert_eq!(world.sh(script).said(), "1000\n");
}

fn a_user_owns_what_it_makes() {
    let world = World::new();
    let script = "cd /tmp; umask 027; echo x > f; mkdir -p d/e; ln -s f l; mkfifo p; echo y >> f; : > f; mkdir d/ 2>/dev/null; \
                  ln -s new dangling; echo z > dangling; (set -C; echo x > f) 2>/dev/null || echo exists; stat -c '%n %a %u:%g' *";
    let said = "exists\nd 750 1000:1000\ndangling 777 1000:1000\nf 640 1000:1000\nl 777 1000:1000\nnew 640 1000:1000\np 640 1000:1000\n";
    assert_eq!(as_me(&world, script).said(), said);
    changed(
        &world,
        &[
            "tmp/f file 640 1000:1000",
            "tmp/d/e folder 750 1000:1000",
            "tmp/l other 777 1000:1000",
            "tmp/p other 640 1000:1000",
        ],
    );
}

fn links_pipes_and_links_to_them_have_owners() {
    let world = World::new();
    let script = "cd /tmp; ln -s nowhere l; mkfifo p; chown -h 5:6 l; chown 7:8 p; ln p q; mv l m; touch -h m; \
                  stat -c '%n %u:%g' m p q; chown -h 0:0 m; stat -c %u m";
    assert_eq!(world.sh(script).said(), "m 5:6\np 7:8\nq 7:8\n0\n");
    changed(&world, &["tmp/m other 777 0:0", "tmp/q other 644 7:8"]);
}

fn owners_survive_renames_links_and_copies_up() {
    let mut world = World::new();
    world.sh("echo x > /f; chown 5:6 /f; ln -s f /l; chown -h 7:8 /l; mkdir /d; chown 9:10 /d; mkfifo /p; chown 11:12 /p").said();
    world.lower_the_upper();
    let script = "ln /f /g; mv /g /h; echo y >> /f; chmod 600 /f; mv /l /m; touch /p; touch /d/new; stat -c '%n %u:%g' /f /h /m /d /p /d/new";
    assert_eq!(world.sh(script).said(), "/f 5:6\n/h 5:6\n/m 7:8\n/d 9:10\n/p 11:12\n/d/new 0:0\n");
    changed(&world, &["f file 600 5:6", "h file 600 5:6", "m other 777 7:8", "d folder 755 9:10", "p other 644 11:12"]);
}

fn owners_survive_into_the_next_step() {
    let mut world = World::new();
    world.sh("mkdir -p /home/me/x; echo x > /home/me/x/y; ln -s y /home/me/x/l; chown -hR 1000:1000 /home/me").said();
    for _ in 0..2 {
        world.lower_the_upper();
        assert_eq!(world.sh("find /home -user me | sort").said(), "/home/me\n/home/me/x\n/home/me/x/l\n/home/me/x/y\n");
    }
}

fn a_file_made_anew_is_its_makers() {
    let world = World::new();
    let script =
        "echo x > /f; chown 5:6 /f; rm /f; echo x > /f; stat -c %u:%g /f; chown 5:6 /f; chown 0 /f; stat -c %u:%g /f";
    assert_eq!(world.sh(script).said(), "0:0\n0:6\n");
}

fn chown_drops_set_id_bits_and_brings_a_lower_file_up() {
    let world = World::new();
    world.base_file("bin/tool", b"x", 0o6755);
    world.base_file("bin/other", b"x", 0o644);
    world.sh("chown 5 /bin/tool; chown 0:0 /bin/other").said();
    changed(&world, &["bin/tool file 755 5:0", "bin/other file 644 0:0"]);
}

fn a_user_gives_nothing_away() {
    let world = World::new();
    let script = "cd /tmp; echo x > f; chown 0 f 2>/dev/null || echo no; chown 1000:5 f 2>/dev/null || echo no; \
                  chown :33 f && stat -c %u:%g f; chown 1000 /etc/passwd 2>/dev/null || echo no";
    assert_eq!(as_me(&world, script).said(), "no\nno\n1000:33\nno\n");
}

fn a_directory_hands_down_its_group() {
    let world = World::new();
    let script = "mkdir /g; chown 0:50 /g; chmod 2775 /g; echo x > /g/f; mkdir /g/d; ln -s f /g/l; stat -c '%n %a %u:%g' /g/*; \
                  chmod 2777 /g; su me -c 'echo x > /g/mine; stat -c %u:%g /g/mine'";
    assert_eq!(world.sh(script).said(), "/g/d 2755 0:50\n/g/f 644 0:50\n/g/l 777 0:50\n1000:50\n");
}

fn a_copy_has_the_owner_that_copying_gives_it() {
    let world = World::new();
    let script = "cd /tmp; echo x > f; ln -s f l; chown -h 5:6 f l; cp -a f g; cp -a l m; cp f h; stat -c '%n %u:%g' g h m; \
                  tar -cf t f; mkdir out; tar -xf t -C out; stat -c '%n %u:%g' out/*; \
                  mkdir own; chown 1000 own; su me -c 'cp -a f own/f; stat -c %u:%g own/f'";
    let said = "g 5:6\nh 0:0\nm 5:6\nout/f 5:6\n1000:1000\n";
    assert_eq!(world.sh(script).said(), said);
}

fn many_at_once_make_no_file_of_roots() {
    let world = World::new();
    let script = "cd /tmp; for i in 1 2 3 4; do (for j in 1 2 3 4 5 6 7 8 9 10; do mkdir -p a$j/b/c; echo x > a$j/b/f; rm -f a$j/b/f; done) & done; \
                  wait; find /tmp -mindepth 1 ! -user 1000";
    assert_eq!(as_me(&world, script).said(), "");
}

fn owners_are_right_in_a_root_of_its_own() {
    let world = World::new();
    for (path, content) in [("passwd", "root::0:0::/:/bin/sh\nme::1000:1000::/:/bin/sh\n"), ("f", "x")] {
        world.base_file(&format!("jail/etc/{path}"), content.as_bytes(), 0o644);
    }
    world.base_file("etc/f", b"x", 0o644);
    world.base_file("jail/bin/sh", &std::fs::read("/bin/busybox").expect("package busybox-static"), 0o755);
    symlink("sh", world.path("base/jail/bin/busybox")).expect("a link");
    symlink("/etc", world.path("base/jail/conf")).expect("a link");
    let script = "chmod 777 /jail/etc; j() { chroot /jail /bin/busybox \"$@\"; }; \
                  j chown 5:6 /conf/f; j stat -c %u:%g /conf/f /etc/f; stat -c %u:%g /etc/f /jail/etc/f; \
                  j su me -c '/bin/busybox mkdir /conf/d'; stat -c %u:%g /jail/etc/d";
    assert_eq!(world.sh(script).said(), "5:6\n5:6\n0:0\n5:6\n1000:1000\n");
}

fn a_setuid_program_runs_as_its_owner() {
    let world = World::new();
    world.base_file("suid/busybox", &std::fs::read("/bin/busybox").expect("package busybox-static"), 0o4755);
    world.base_file("suid/script", b"#!/bin/sh\nid -u\n", 0o755);
    // Its `su` works as root alone, and whatever else it is, it gives up being another first.
    let script = "su me -c '/suid/busybox su root -c id\\ -u'; chown 7 /suid/busybox; chmod 4755 /suid/busybox; \
                  su me -c '/suid/busybox su root -c id 2>&1'; \
                  chown 7 /suid/script; chmod 4755 /suid/script; su me -c /suid/script";
    assert_eq!(world.sh(script).said(), "0\nsu: must be suid to work properly\n1000\n");
}

fn a_program_that_cannot_start_changes_nobody() {
    let world = World::new();
    world.base_file("bin/broken", b"\x7fELF and nothing behind it", 0o4755);
    let script = "chown 7 /bin/broken; chmod 4755 /bin/broken; su me -c '/bin/broken 2>/dev/null; id -u'";
    assert_eq!(world.sh(script).said(), "1000\n");
}

fn outputs_can_be_opened_by_name() {
    let world = World::new();
    let script = "echo out > /dev/stdout; echo err > /dev/stderr; echo self > /proc/self/fd/1; echo x > /dev/null; \
                  exec 5> /tmp/f; echo by number > /dev/fd/5; cat /tmp/f";
    let ran = as_me(&world, script);
    assert_eq!(ran.stderr, "err\n");
    assert_eq!(ran.said(), "out\nself\nby number\n");
}

/// A 32-bit program that exits with 0.
fn small() -> Vec<u8> {
    let mut program = vec![0_u8; 0x60];
    program[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    let words: [(usize, u32); 11] = [
        (16, 2 | 3 << 16), // an executable, of x86
        (20, 1),
        (24, 0x0804_8054), // where it begins
        (28, 52),          // its one program header
        (40, 52 | 32 << 16),
        (44, 1),
        (52, 1), // PT_LOAD
        (60, 0x0804_8000),
        (68, 0x60),
        (72, 0x60),
        (76, 5), // to be read and executed
    ];
    for (at, word) in words {
        program[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    // mov eax, 1; xor ebx, ebx; int 0x80
    program[0x54..0x5d].copy_from_slice(b"\xb8\x01\0\0\0\x31\xdb\xcd\x80");
    program
}

fn a_program_of_another_machine_type_is_told() {
    let world = World::new();
    world.base_file("bin/small", &small(), 0o755);
    match (world.sandbox.rung().name(), world.sh("/bin/small; echo $?").result) {
        // A kernel without 32-bit programs lets none begin.
        ("one id", Err(error)) => assert_eq!(error, RunError::ForeignCalls { program: "/bin/small".into() }),
        (_, result) => assert_eq!(result, Ok(Exit::Code(0))),
    }
}

fn when_the_helper_is_killed_the_step_fails_and_the_command_dies() {
    let world = World::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            within_five_seconds("it starts", || sleeping(6));
            let ours = std::process::id().to_string();
            let status = Command::new("pkill").args(["-9", "-P", &ours, "-f", "^locus-push: sandbox"]).status();
            assert!(status.expect("pkill runs").success());
        });
        let ran = world.sh(&format!("sleep {} & wait; id", nap(6)));
        assert!(matches!(ran.result, Err(RunError::Helper { .. })), "{:?}", ran.result);
        assert_eq!(ran.stdout, "");
    });
    within_five_seconds("it ends", || !sleeping(6));
}
