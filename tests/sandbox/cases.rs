//! What must hold, each as a sentence.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use locus_push::sandbox::{
    Exit, Gate, Ids, Inside, Job, JobError, Keeper, Layers, Limit, Mount, Mounted, Network, Ran as Afterwards,
    Resource, RunError, Stopper,
};
use locus_push::secret::Secret;

use crate::CANARY;
use crate::world::{Ran, World};

pub type Case = (&'static str, fn());

macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

#[path = "chroot.rs"]
pub mod chroot;
#[path = "owners.rs"]
pub mod owners;

pub const CASES: &[Case] = cases![
    the_environment_is_exactly_the_steps,
    standard_descriptors_are_all_that_is_open,
    no_other_process_is_seen,
    killing_everything_kills_nobody_outside,
    a_daemon_left_behind_is_dead_afterwards,
    when_we_are_killed_the_command_dies,
    the_stopper_ends_the_tree,
    exit_codes_and_signals_come_back,
    both_outputs_come_back_whole,
    removed_files_and_replaced_folders_are_in_the_upper_directory,
    mount_stubs_vanish,
    a_stub_behind_a_link_is_made_inside_the_root_and_vanishes,
    a_link_in_place_of_proc_is_refused,
    what_the_command_did_beside_a_stub_stays,
    kernel_settings_cannot_be_written,
    masked_files_are_empty,
    device_nodes_are_useless,
    the_everyday_devices_work,
    mounts_and_namespaces_are_refused,
    capabilities_are_dockers,
    an_ordinary_user_has_no_capabilities,
    setuid_programs_work,
    the_host_and_its_name_servers_are_named,
    without_a_network_there_is_a_loopback_alone,
    with_the_hosts_network_its_loopback_is_reached,
    a_gate_is_the_only_way_out_and_in,
    a_missing_program_is_named,
    a_working_directory_must_be_one,
    a_user_beyond_the_map_is_refused,
    owners_are_seen_right_by_a_job,
    files_of_other_ids_are_removed,
    jobs_answer_for_themselves,
    a_dropped_job_is_killed,
    a_hundred_and_twenty_layers_mount,
    too_many_layers_are_told_before_the_kernel_is_asked,
    a_missing_layer_is_told,
    the_same_step_leaves_nothing_mounted,
    what_is_mounted_is_not_in_the_upper_directory,
    writes_to_mounted_layers_are_thrown_away,
    a_later_mount_lies_inside_an_earlier_one,
    no_link_leads_a_mount_out_of_its_root,
    a_source_that_is_swapped_meanwhile_leads_nowhere,
    a_target_behind_a_link_is_inside_the_root,
    targets_that_would_hide_the_system_are_refused,
    devices_and_setuid_secrets_in_mounts_are_useless,
    a_socket_has_the_owner_that_was_asked_for,
    an_insecure_command_has_what_the_namespace_has,
    mounts_cannot_be_made_writable_or_taken_off,
    a_stub_that_the_command_replaced_is_its_own,
    the_size_of_shared_memory_and_limits_are_as_asked,
    other_ways_into_the_kernel_are_refused_too,
    a_hostile_shell_or_preload_stays_inside,
    a_working_directory_behind_a_descriptor_is_refused,
    names_of_one_file_are_told_apart,
    layers_over_one_another_show_what_an_overlay_shows,
    what_a_job_reads_after_a_command_is_what_it_left,
    a_bomb_of_processes_ends_with_an_error,
    no_newer_or_older_door_into_the_kernel_is_open,
    programs_see_buildkits_flags_on_memory,
];

/// Those that concern files: tried on copies of the layers too.
pub const COPIED: &[Case] = cases![
    a_daemon_left_behind_is_dead_afterwards,
    removed_files_and_replaced_folders_are_in_the_upper_directory,
    names_of_one_file_are_told_apart,
    mount_stubs_vanish,
    a_stub_behind_a_link_is_made_inside_the_root_and_vanishes,
    what_the_command_did_beside_a_stub_stays,
    device_nodes_are_useless,
    setuid_programs_work,
    owners_are_seen_right_by_a_job,
    files_of_other_ids_are_removed,
    a_hundred_and_twenty_layers_mount,
    layers_over_one_another_show_what_an_overlay_shows,
    the_same_step_leaves_nothing_mounted,
    what_is_mounted_is_not_in_the_upper_directory,
    writes_to_mounted_layers_are_thrown_away,
    a_later_mount_lies_inside_an_earlier_one,
    no_link_leads_a_mount_out_of_its_root,
    a_stub_that_the_command_replaced_is_its_own,
    what_a_job_reads_after_a_command_is_what_it_left,
];

/// What a container's root without CAP_SYS_ADMIN is tried with as well: it may have another's /proc.
pub const POD: &[Case] = cases![
    a_gate_is_the_only_way_out_and_in,
    the_environment_is_exactly_the_steps,
    killing_everything_kills_nobody_outside,
    exit_codes_and_signals_come_back,
    kernel_settings_cannot_be_written,
    masked_files_are_empty,
    mounts_and_namespaces_are_refused,
    capabilities_are_dockers,
    without_a_network_there_is_a_loopback_alone,
    no_more_than_the_names_of_processes_outside_is_seen,
];

/// Those that concern files and hold without any mount.
pub const CHROOT: &[Case] = cases![
    a_daemon_left_behind_is_dead_afterwards,
    when_we_are_killed_the_command_dies,
    the_stopper_ends_the_tree,
    exit_codes_and_signals_come_back,
    both_outputs_come_back_whole,
    an_ordinary_user_has_no_more_than_its_own,
    removed_files_and_replaced_folders_are_in_the_upper_directory,
    names_of_one_file_are_told_apart,
    mount_stubs_vanish,
    a_stub_behind_a_link_is_made_inside_the_root_and_vanishes,
    a_link_in_place_of_proc_is_refused,
    what_the_command_did_beside_a_stub_stays,
    device_nodes_are_useless,
    owners_are_seen_right_by_a_job,
    files_of_other_ids_are_removed,
    a_missing_program_is_named,
    a_hundred_and_twenty_layers_mount,
    layers_over_one_another_show_what_an_overlay_shows,
    the_same_step_leaves_nothing_mounted,
    writes_to_mounted_layers_are_thrown_away,
    no_link_leads_a_mount_out_of_its_root,
    targets_that_would_hide_the_system_are_refused,
    what_a_job_reads_after_a_command_is_what_it_left,
];

/// Not cases: programs that cases start.
pub const HELPERS: &[Case] = cases![sleep_until_killed, knock];

fn the_environment_is_exactly_the_steps() {
    let world = World::new();
    let mut step = world.step(&["/bin/env"]);
    step.secret_env.push(("TOKEN".into(), Secret::new("s3cr3t")));
    assert_eq!(world.run(&step).said(), "PATH=/bin\nWHO=the step\nTOKEN=s3cr3t\n");
    assert_eq!(std::env::var("AWS_SECRET_ACCESS_KEY").as_deref(), Ok(CANARY));
    let seen = world.sh("cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'").said();
    assert!(seen.contains("WHO=the step") && !seen.contains(CANARY), "{seen}");
}

fn standard_descriptors_are_all_that_is_open() {
    let world = World::new();
    // The shell has closed the folder that it listed when it looks at the names.
    let open = world.sh("for f in /proc/1/fd/*; do [ -e $f ] && echo ${f##*/}; done; readlink /proc/1/fd/0").said();
    assert_eq!(open, "0\n1\n2\n/dev/null\n");
}

fn no_other_process_is_seen() {
    let world = World::new();
    assert_eq!(world.sh("echo $$; cd /proc; for p in [0-9]*; do echo $p; done").said(), "1\n1\n");
}

fn killing_everything_kills_nobody_outside() {
    let world = World::new();
    let mut bystander = Command::new("sleep").arg("60").spawn().expect("sleep runs");
    assert_eq!(world.sh("sleep 60 & kill -9 -1; echo alive").said(), "alive\n");
    assert!(bystander.try_wait().expect("a child of ours").is_none(), "the bystander lives");
    bystander.kill().expect("a child of ours");
    bystander.wait().expect("a child of ours");
}

fn a_daemon_left_behind_is_dead_afterwards() {
    let world = World::new();
    let script = "setsid sh -c 'while :; do echo x >> /tmp/grows; done' & while ! [ -s /tmp/grows ]; do :; done";
    world.sh(script).said();
    let size = || fs::metadata(world.upper().join("tmp/grows")).expect("the daemon wrote").len();
    let before = size();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before);
}

fn sleep_until_killed() {
    let world = World::new();
    world.sh(&format!("trap '' TERM; exec sleep {}", nap(7)));
}

fn when_we_are_killed_the_command_dies() {
    let ourselves = std::env::current_exe().expect("our own path");
    let mut victim = Command::new(ourselves).args(["--case", "sleep_until_killed"]).spawn().expect("ourselves");
    within_five_seconds("it starts", || sleeping(7));
    victim.kill().expect("a child of ours");
    victim.wait().expect("a child of ours");
    within_five_seconds("it ends", || !sleeping(7));
}

fn the_stopper_ends_the_tree() {
    let world = World::new();
    let stopper = Stopper::new();
    let other = stopper.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            within_five_seconds("it starts", || sleeping(8));
            other.stop();
        });
        let ran = world.run_until(&world.step(&["/bin/sh", "-c", &format!("sleep {} & wait", nap(8))]), &stopper);
        assert_eq!(ran.result, Err(RunError::Stopped));
    });
    assert!(!sleeping(8));
    assert_eq!(world.run_until(&world.step(&["/bin/true"]), &stopper).result, Err(RunError::Stopped));
}

fn exit_codes_and_signals_come_back() {
    let world = World::new();
    assert_eq!(world.sh("exit 7").result, Ok(Exit::Code(7)));
    assert_eq!(world.sh("sh -c 'kill -9 $$'; exit $?").result, Ok(Exit::Code(137)));
    thread::scope(|scope| {
        scope.spawn(|| {
            within_five_seconds("it starts", || sleeping(9));
            let status = Command::new("pkill").args(["-9", "-f", &format!("^/bin/sleep {}$", nap(9))]).status();
            assert!(status.expect("pkill runs").success());
        });
        assert_eq!(world.run(&world.step(&["/bin/sleep", &nap(9)])).result, Ok(Exit::Signal(9)));
    });
}

fn both_outputs_come_back_whole() {
    let world = World::new();
    let ran =
        world.sh("dd if=/dev/zero bs=1024 count=3000 2>/dev/null; dd if=/dev/zero bs=1024 count=2000 >&2 2>/dev/null");
    assert_eq!((ran.stdout.len(), ran.stderr.len()), (3000 << 10, 2000 << 10));
}

fn removed_files_and_replaced_folders_are_in_the_upper_directory() {
    let world = World::new();
    world.base_file("old", b"", 0o644);
    world.base_file("dir/inner", b"", 0o644);
    world.sh("rm /old; rm -r /dir; mkdir /dir; echo new > /dir/x; mkdir /fresh; mv /tmp /gone || true").said();
    let changes = world.changes();
    for line in ["old whiteout 0 0:0", "dir opaque 755 0:0", "dir/x file 644 0:0", "tmp whiteout 0 0:0"] {
        assert!(changes.iter().any(|change| change == line), "{line} in {changes:?}");
    }
    assert!(!changes.iter().any(|change| change.starts_with("etc") || change.starts_with("proc")), "{changes:?}");
}

fn mount_stubs_vanish() {
    let world = World::new();
    let before = fs::metadata(world.path("base/etc")).and_then(|stat| stat.modified()).expect("it is there");
    world.sh("ls /etc; stat -c %Y /etc /").said();
    assert_eq!(world.changes(), [""; 0]);
    assert_eq!(fs::metadata(world.path("base/etc")).and_then(|stat| stat.modified()).expect("it is there"), before);
    // An image without /etc at all.
    let world = World::new();
    world.sandbox.remove(&world.path("base/etc")).expect("it goes");
    world.sh("cat /etc/resolv.conf").said();
    assert_eq!(world.changes(), [""; 0]);
}

fn a_stub_behind_a_link_is_made_inside_the_root_and_vanishes() {
    let world = World::new();
    symlink("../run/systemd/stub.conf", world.path("base/etc/resolv.conf")).expect("a link");
    symlink("/../../../../../../../../tmp/locus-push-escaped", world.path("base/etc/hosts")).expect("a link");
    let said = world.sh("cat /etc/resolv.conf /run/systemd/stub.conf; cat /tmp/locus-push-escaped | head -n 1").said();
    assert_eq!(said, "nameserver 192.0.2.1\nnameserver 192.0.2.1\n127.0.0.1\tlocalhost\n");
    assert_eq!(world.changes(), [""; 0]);
    assert!(!fs::exists("/tmp/locus-push-escaped").expect("we may look"));
}

fn a_link_in_place_of_proc_is_refused() {
    let world = World::new();
    symlink("/etc", world.path("base/proc")).expect("a link");
    let error = world.sh("true").result.expect_err("it is refused");
    assert_eq!(error.to_string(), "the image's `/proc` cannot be mounted over: it is not a directory");
}

fn what_the_command_did_beside_a_stub_stays() {
    let world = World::new();
    world.sh("echo x > /etc/new; echo y > /etc/hosts; rm /etc/resolv.conf 2>/dev/null; chmod 700 /etc").said();
    assert_eq!(world.changes(), ["etc folder 700 0:0", "etc/new file 644 0:0"]);
}

fn kernel_settings_cannot_be_written() {
    let world = World::new();
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger /proc/irq/x \
                  /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run; do (echo 1 > $f) 2>/dev/null && echo wrote $f; done; \
                  mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; umount /proc/sys 2>/dev/null && echo unmounted; true";
    let before = fs::read("/proc/sys/kernel/core_pattern").expect("we may look");
    assert_eq!(world.sh(script).said(), "");
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").expect("we may look"), before);
}

fn masked_files_are_empty() {
    let world = World::new();
    assert_eq!(
        world
            .sh("for f in kcore keys timer_list interrupts; do [ -e /proc/$f ] && head -c 100 /proc/$f; done; true")
            .said(),
        ""
    );
    assert_eq!(world.sh("ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v :").stdout.trim(), "");
}

fn device_nodes_are_useless() {
    let world = World::new();
    let disk = fs::read_to_string("/proc/partitions").expect("we may look");
    let disk: Vec<_> = disk.lines().nth(2).expect("a disk").split_whitespace().take(2).collect();
    let script = format!(
        "for d in / /dev /dev/shm /tmp; do mknod $d/disk b {0} {1} 2>/dev/null; \
         head -c 1 $d/disk 2>/dev/null | grep -q . && echo read $d; \
         mknod $d/mem c 1 1 2>/dev/null; head -c 1 $d/mem 2>/dev/null | grep -q . && echo read mem; done; true",
        disk[0], disk[1]
    );
    assert_eq!(world.sh(&script).said(), "");
}

fn the_everyday_devices_work() {
    let world = World::new();
    let script = "head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo x > /dev/null; echo err > /dev/stderr; \
                  echo out > /dev/stdout; echo shm > /dev/shm/x; cat /dev/shm/x; ls -d /dev/pts/ptmx /dev/mqueue; \
                  echo x 2>/dev/null > /dev/full || echo full; (exec < /dev/tty) 2>/dev/null || echo no terminal";
    let ran = world.sh(script);
    assert_eq!(ran.stderr, "err\n");
    assert_eq!(ran.said(), "4\n4\nout\nshm\n/dev/mqueue\n/dev/pts/ptmx\nfull\nno terminal\n");
}

fn mounts_and_namespaces_are_refused() {
    let world = World::new();
    let script = "mount -t tmpfs x /tmp; mount --bind /etc /tmp; umount /proc; unshare -U true; unshare -m true; \
                  hostname other; swapoff -a; mount -o remount,rw /sys";
    for attempt in script.split("; ") {
        assert_ne!(world.sh(attempt).result, Ok(Exit::Code(0)), "{attempt}");
    }
    assert_eq!(world.sh("chroot / true && echo chroot; chown 5 /tmp && echo chown").said(), "chroot\nchown\n");
}

fn capabilities_are_dockers() {
    let world = World::new();
    let said = world.sh("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; umask; ulimit -c; ulimit -n").said();
    assert_eq!(
        said,
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n\
         CapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n0022\n0\n1024\n"
    );
}

fn an_ordinary_user_has_no_capabilities() {
    let world = World::new();
    let mut step = world.step(&["/bin/sh", "-c", "id; grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status; echo e > /dev/stderr; cat /etc/resolv.conf; umask; cat /etc/shadow 2>&1"]);
    world.base_file("etc/shadow", b"secret", 0o600);
    step.user = Ids { uid: 1000, gid: 1000, groups: vec![33] };
    // Ours must not decide what it can read.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let ran = world.run(&step);
    if world.sandbox.rung().name() == "one id" {
        // The kernel knows it as root: said by the rung, and in the README.
        assert!(ran.stdout.ends_with("\nsecret"), "{}", ran.stdout);
        return;
    }
    let zero = "0000000000000000";
    let caps = format!("CapPrm:\t{zero}\nCapEff:\t{zero}\nCapAmb:\t{zero}\n");
    let who = "uid=1000(me) gid=1000(me) groups=33";
    assert_eq!(
        ran.stdout,
        format!("{who}\n{caps}nameserver 192.0.2.1\n0022\ncat: can't open '/etc/shadow': Permission denied\n")
    );
    assert_eq!(ran.stderr, "e\n");
}

fn an_ordinary_user_has_no_more_than_its_own() {
    let world = World::new();
    world.base_file("etc/shadow", b"secret", 0o600);
    let mut step = world.step(&["/bin/sh", "-c", "id -u; cat /etc/shadow 2>/dev/null || echo denied"]);
    step.user = Ids { uid: 1000, gid: 1000, groups: vec![33] };
    assert_eq!(world.run(&step).said(), "1000\ndenied\n");
}

fn no_more_than_the_names_of_processes_outside_is_seen() {
    let world = World::new();
    let script = "cat /proc/1/comm > /dev/null && echo comm; for f in environ mem maps; do cat /proc/1/$f > /dev/null 2>&1 && \
                  echo $f; done; for l in root cwd exe fd/0; do readlink /proc/1/$l; done; \
                  readlink /proc/self/exe; kill -0 1 && echo self";
    assert_eq!(world.sh(script).said(), "comm\n/bin/busybox\nself\n");
}

fn setuid_programs_work() {
    let world = World::new();
    world.base_file("suid/busybox", &fs::read("/bin/busybox").expect("package busybox-static"), 0o4755);
    let mut step = world.step(&["/suid/busybox", "su", "root", "-c", "id -u; grep CapEff /proc/self/status"]);
    step.user = Ids { uid: 1000, gid: 1000, groups: Vec::new() };
    assert_eq!(world.run(&step).said(), "0\nCapEff:\t00000000a80425fb\n");
}

fn the_host_and_its_name_servers_are_named() {
    let world = World::new();
    let said =
        world.sh("hostname; cat /etc/resolv.conf; grep buildkit /etc/hosts; echo gone > /etc/resolv.conf").said();
    assert_eq!(said, "buildkitsandbox\nnameserver 192.0.2.1\n127.0.0.1\tbuildkitsandbox\n");
    assert_eq!(world.sh("cat /etc/resolv.conf").said(), "nameserver 192.0.2.1\n");
}

fn without_a_network_there_is_a_loopback_alone() {
    let world = World::new();
    let mut step = world.step(&[
        "/bin/sh",
        "-c",
        "ls /sys/class/net; ip addr | grep -o 'inet 127.0.0.1/8'; grep -c : /proc/net/dev",
    ]);
    step.network = Network::None;
    assert_eq!(world.run(&step).said(), "lo\ninet 127.0.0.1/8\n1\n");
}

fn with_the_hosts_network_its_loopback_is_reached() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::scope(|scope| {
        scope.spawn(|| listener.accept().expect("a guest").0.write_all(b"hello\n"));
        assert_eq!(world.sh(&format!("nc 127.0.0.1 {port} < /dev/null")).said(), "hello\n");
    });
}

/// Answers one guest at the gate with what the command itself serves at port 8000.
struct Porter {
    guests: Mutex<Vec<thread::JoinHandle<()>>>,
    went_around: AtomicBool,
}

impl Keeper for Porter {
    fn open(&self, Inside { listener, way_in }: Inside) -> std::io::Result<()> {
        let greet = move || {
            let (mut guest, _) = listener.accept().expect("a guest");
            assert!(way_in.connect(8001).is_err(), "nobody serves there");
            let mut word = String::new();
            way_in.connect(8000).expect("it serves").read_to_string(&mut word).expect("it answers");
            guest.write_all(format!("gate: {word}").as_bytes()).expect("it listens");
        };
        self.guests.lock().expect("nobody panicked").push(thread::spawn(greet));
        Ok(())
    }

    fn went_around(&self) {
        self.went_around.store(true, Ordering::SeqCst);
    }
}

fn a_gate_is_the_only_way_out_and_in() {
    let world = World::new();
    let outside = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = outside.local_addr().expect("it is bound").port();
    for (tries, around) in [("true", false), ("nc -w 1 192.0.2.1 80", true)] {
        let porter = Arc::new(Porter { guests: Mutex::default(), went_around: AtomicBool::new(false) });
        let mut step = world.step(&[
            "/bin/sh",
            "-c",
            &format!(
                "echo own | nc -l -p 8000 & while ! grep -q ':1F40 .* 0A ' /proc/net/tcp*; do :; done
                 ls /sys/class/net; nc -w 1 127.0.0.1 {port} < /dev/null || echo no; {tries} < /dev/null
                 nc 127.0.0.1 4999 < /dev/null"
            ),
        ]);
        step.network = Network::Gate(Gate { port: 4999, keeper: porter.clone() });
        assert_eq!(world.run(&step).said(), "lo\nno\ngate: own\n");
        let guests: Vec<_> = porter.guests.lock().expect("nobody panicked").drain(..).collect();
        guests.into_iter().for_each(|guest| guest.join().expect("it was greeted"));
        assert_eq!(porter.went_around.load(Ordering::SeqCst), around, "{tries}");
    }
}

fn a_missing_program_is_named() {
    let world = World::new();
    world.base_file("bin/script", b"#!/no/such/sh\n", 0o755);
    world.base_file("bin/windows", b"#!/bin/sh\r\n", 0o755);
    world.base_file("bin/plain", b"", 0o644);
    let mut arm = fs::read("/bin/busybox").expect("package busybox-static");
    arm[18] = 183;
    world.base_file("bin/arm", &arm, 0o755);
    let words = |argv: &[&str]| match world.run(&world.step(argv)).result {
        Err(error) => error.to_string(),
        Ok(exit) => format!("{exit:?}"),
    };
    assert_eq!(words(&["/bin/nosh"]), "`/bin/nosh` was not found in the image");
    assert_eq!(words(&["nosh"]), "`nosh` was not found in the image's PATH (/bin)");
    assert_eq!(words(&["script"]), "`/bin/script` is in the image, but `/no/such/sh`, which it needs to start, is not");
    assert_eq!(
        words(&["windows"]),
        "`/bin/windows` is in the image, but `/bin/sh\\r`, which it needs to start, is not"
    );
    assert_eq!(
        words(&["/bin/plain"]),
        "`/bin/plain` may not be executed by uid 0: it is a directory, or its mode or its folder's forbids it"
    );
    assert_eq!(
        words(&["/bin/arm"]),
        "`/bin/arm` cannot be executed here: it is an aarch64 program, and this machine is x86_64"
    );
    assert_eq!(words(&[]), "nothing to run: the command is empty");
    assert_eq!(words(&["true"]), "Code(0)");
}

fn a_working_directory_must_be_one() {
    let world = World::new();
    let words = |cwd: &str| {
        let mut step = world.step(&["/bin/pwd"]);
        step.cwd = cwd.into();
        match world.run(&step) {
            ran if ran.result.is_ok() => ran.said(),
            ran => ran.result.expect_err("it failed").to_string(),
        }
    };
    assert_eq!(words("/tmp"), "/tmp\n");
    assert_eq!(words("/etc/passwd"), "the working directory `/etc/passwd` is not a directory");
    assert_eq!(words("/none"), "the working directory `/none` does not exist in the image");
    // CVE-2024-21626
    for fd in 0..32 {
        let words = words(&format!("/proc/self/fd/{fd}"));
        assert!(words.contains("the working directory"), "{fd}: {words}");
    }
    for fd in 3..32 {
        let argv = format!("/proc/self/fd/{fd}/bin/sh");
        assert_eq!(
            world.run(&world.step(&[&argv, "-c", "true"])).result,
            Err(RunError::NotFound { program: argv.clone() })
        );
    }
}

fn a_user_beyond_the_map_is_refused() {
    let world = World::new();
    let mut step = world.step(&["/bin/true"]);
    step.user.uid = u32::MAX;
    assert_eq!(world.run(&step).result, Err(RunError::IdNotMapped { id: u32::MAX }));
    step.user.uid = 3_000_000_000;
    match world.sandbox.rung().name() {
        // The bare root of our tests has a map of 65536 ids.
        // With one id none is real.
        "root" | "one id" => assert_eq!(world.run(&step).result, Ok(Exit::Code(0))),
        _ => assert_eq!(world.run(&step).result, Err(RunError::IdNotMapped { id: 3_000_000_000 })),
    }
}

fn owners_are_seen_right_by_a_job() {
    let world = World::new();
    world.sh("echo x > /f; chown 33:33 /f; mkdir /d; chown 1000:50 /d; chmod 2770 /d; chown 7:7 /bin/busybox").said();
    let changes = world.changes();
    for line in ["f file 644 33:33", "d folder 2770 1000:50", "bin/busybox file 755 7:7"] {
        assert!(changes.iter().any(|change| change == line), "{line} in {changes:?}");
    }
}

fn files_of_other_ids_are_removed() {
    let world = World::new();
    world
        .sh("mkdir -p /a/b/c; echo x > /a/b/c/f; chown -R 33:33 /a; chmod 000 /a/b/c; chmod 500 /a/b; ln -s / /a/out")
        .said();
    world.sandbox.remove(&world.upper()).expect("it goes");
    world.sandbox.remove(&world.work()).expect("it goes");
    assert!(!world.upper().exists() && !world.work().exists());
    world.sandbox.remove(&world.upper()).expect("it is gone already");
    let error = world.sandbox.remove("/proc/version".as_ref()).expect_err("nobody can");
    assert!(error.to_string().starts_with("removing /proc/version: "), "{error}");
}

fn jobs_answer_for_themselves() {
    let world = World::new();
    let words = |name: &str| match world.sandbox.job(name, b"way").expect("it starts").wait() {
        Err(error) => error.to_string(),
        Ok(()) => String::new(),
    };
    assert_eq!(words("fail"), "no way");
    assert_eq!(words("panic"), "it panicked: on purpose");
    assert_eq!(words("nobody"), "the sandbox's helper has no job `nobody`: main must hand it to enter_if_asked");
}

fn a_dropped_job_is_killed() {
    let world = World::new();
    let mut job = world.sandbox.job("flood", b"").expect("it starts");
    let mut some = [0; 10_000];
    job.read_exact(&mut some).expect("it floods");
    let started = Instant::now();
    drop(job);
    assert!(started.elapsed() < Duration::from_secs(5));
    let stopper = Stopper::new();
    let job = world.sandbox.job_until(&stopper, "flood", b"").expect("it starts");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            stopper.stop();
        });
        assert!(matches!(job.wait(), Err(JobError::Sandbox(_))));
    });
}

fn a_hundred_and_twenty_layers_mount() {
    let mut world = World::new();
    for number in 0..120 {
        let name = format!("l{number}");
        world.base_file(&format!("../{name}/many/{number}"), b"", 0o644);
        world.lower.insert(0, name);
    }
    assert_eq!(world.sh("ls /many | wc -l").said(), "120\n");
}

fn too_many_layers_are_told_before_the_kernel_is_asked() {
    let mut world = World::new();
    world.lower = vec!["x".repeat(100); 50];
    let error = world.sh("true").result.expect_err("it cannot be");
    assert!(error.to_string().starts_with("the names of 50 layers need 5049 bytes"), "{error}");
}

fn a_missing_layer_is_told() {
    let mut world = World::new();
    world.lower.push("missing".into());
    let error = world.sh("true").result.expect_err("it cannot be");
    assert!(error.to_string().contains("one of its layers is missing"), "{error}");
    world.lower = vec!["a:b".into()];
    assert_eq!(world.sh("true").result, Err(RunError::LayerName { name: "a:b".into() }));
}

fn the_same_step_leaves_nothing_mounted() {
    let world = World::new();
    world.sh("true").said();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("we may look");
    assert!(!mounts.contains(world.path("merged").to_str().expect("text")), "{mounts}");
    // A copy of the layers goes with its folder.
    assert!(fs::read_dir(world.path("merged")).map_or(true, |mut folder| folder.next().is_none()));
    let children = Command::new("pgrep").args(["-P", &std::process::id().to_string()]).stdout(Stdio::piped()).output();
    let children = String::from_utf8_lossy(&children.expect("pgrep runs").stdout).lines().count();
    // pgrep itself is a child while it looks, and leaves itself out.
    assert_eq!(children, 0);
}

#[track_caller]
fn within_five_seconds(what: &str, true_at_last: impl Fn() -> bool) {
    let started = Instant::now();
    while !true_at_last() {
        assert!(started.elapsed() < Duration::from_secs(5), "{what} within five seconds");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A number of seconds that tells this case's process from all others, and from those of the other rung.
fn nap(case: u32) -> String {
    format!("54{case}{}", rustix::process::geteuid().as_raw())
}

/// Whether that process runs.
fn sleeping(case: u32) -> bool {
    let wanted = format!("sleep\0{}\0", nap(case));
    let processes = fs::read_dir("/proc").expect("we may look").flatten();
    processes
        .into_iter()
        .any(|process| fs::read(process.path().join("cmdline")).is_ok_and(|bytes| bytes.ends_with(wanted.as_bytes())))
}

fn place(world: &World, name: &str) -> std::path::PathBuf {
    world.make_folder(name);
    world.path(name)
}

fn folder(world: &World, target: &str, name: &str, source: &str, writable: bool) -> Mount {
    let what = Mounted::Folder { path: place(world, name), source: source.into(), writable };
    Mount { target: target.into(), what }
}

/// The base layer once more, elsewhere.
fn layers(world: &World, target: &str, source: &str, writable: bool) -> Mount {
    let (upper, work, merged) = (place(world, "m-upper"), place(world, "m-work"), place(world, "m-merged"));
    let layers = Layers { lower_parent: world.path(""), lower: vec!["base".into()], upper, work, merged };
    Mount { target: target.into(), what: Mounted::Layers { layers, source: source.into(), writable } }
}

fn file(target: &str, content: &str, executable: bool) -> Mount {
    let content = Secret::new(content);
    Mount { target: target.into(), what: Mounted::File { content, mode: 0o741, uid: 100, gid: 102, executable } }
}

fn with(world: &World, mounts: Vec<Mount>, script: &str) -> Ran {
    let mut step = world.step(&["/bin/sh", "-c", script]);
    step.mounts = mounts;
    world.run(&step)
}

fn what_is_mounted_is_not_in_the_upper_directory() {
    let world = World::new();
    fs::write(place(&world, "cache").join("old"), "kept").expect("our own folder");
    let mounts = vec![
        folder(&world, "/a/b/cache", "cache", "", true),
        file("/run/secrets/token", "s3cr3t", false),
        layers(&world, "/stage", "/etc", false),
        Mount { target: "/scratch".into(), what: Mounted::Tmpfs { size: Some(1 << 20) } },
    ];
    let script = "cat /a/b/cache/old /run/secrets/token; echo new > /a/b/cache/new; grep -c root /stage/passwd; \
                  stat -c '%u %g %a' /run/secrets/token; echo x > /scratch/x; (echo x > /stage/x) 2>/dev/null || echo ro; \
                  (echo x > /run/secrets/token) 2>/dev/null || echo ro; dd if=/dev/zero of=/scratch/x bs=1M count=3 2>/dev/null || echo full";
    assert_eq!(with(&world, mounts, script).said(), "kepts3cr3t1\n100 102 741\nro\nro\nfull\n");
    assert_eq!(world.changes(), [""; 0]);
    assert_eq!(fs::read_to_string(world.path("cache/new")).expect("it stays"), "new\n");
}

fn writes_to_mounted_layers_are_thrown_away() {
    let world = World::new();
    let script = "echo x > /stage/etc/passwd; rm -r /stage/bin; cat /stage/etc/passwd";
    assert_eq!(with(&world, vec![layers(&world, "/stage", "/", true)], script).said(), "x\n");
    assert_eq!(world.changes(), [""; 0]);
    assert!(fs::read_to_string(world.path("base/etc/passwd")).expect("it is there").starts_with("root"));
    assert!(world.path("base/bin/busybox").exists());
}

fn a_later_mount_lies_inside_an_earlier_one() {
    let world = World::new();
    let mounts = vec![
        folder(&world, "/c", "cache", "", true),
        Mount { target: "/c/in".into(), what: Mounted::Tmpfs { size: None } },
        file("/dev/pipes/E", "#!/bin/sh\necho script\n", true),
        Mount { target: "/dev/shm".into(), what: Mounted::Tmpfs { size: Some(2 << 20) } },
    ];
    let script = "echo x > /c/in/x; /dev/pipes/E; df -k /dev/shm | grep -c 2048";
    assert_eq!(with(&world, mounts, script).said(), "script\n1\n");
    assert_eq!(world.changes(), [""; 0]);
    assert_eq!(fs::read_dir(world.path("cache/in")).expect("it was made").count(), 0);
}

fn no_link_leads_a_mount_out_of_its_root() {
    let world = World::new();
    let cache = place(&world, "cache");
    symlink("/etc", cache.join("evil")).expect("a link");
    symlink("../../../../../../etc/hostname", cache.join("up")).expect("a link");
    for source in ["evil", "up", "../../../../etc", "/proc/self/root/etc"] {
        let ran = with(&world, vec![folder(&world, "/v", "cache", source, true)], "cat /v /v/passwd /v/hostname");
        let error = ran.result.expect_err("there is no such thing in the cache").to_string();
        assert!(error.starts_with(&format!("`{source}`, which is to be mounted: No such file")), "{error}");
    }
    // A stage's link leads inside the stage.
    symlink("/etc/passwd", world.path("base/link")).expect("a link");
    let said = with(&world, vec![layers(&world, "/v", "link", false)], "head -n 1 /v").said();
    assert_eq!(said, "root::0:0:root:/:/bin/sh\n");
}

fn a_source_that_is_swapped_meanwhile_leads_nowhere() {
    let world = World::new();
    // CVE-2024-23651 and CVE-2024-11218: another step changes what is being mounted.
    let cache = place(&world, "cache");
    fs::create_dir(cache.join("s")).and_then(|()| fs::write(cache.join("s/inside"), "")).expect("our own folder");
    symlink("/etc", cache.join("link")).expect("a link");
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (cache.join("s"), cache.join("link"));
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags)
                    .expect("both are there");
            }
        });
        for _ in 0..20 {
            let ran = with(&world, vec![folder(&world, "/v", "cache", "s", true)], "ls -A /v");
            match ran.result {
                Ok(_) => assert_eq!(ran.said(), "inside\n"),
                Err(error) => assert!(error.to_string().starts_with("`s`, which is to be mounted:"), "{error}"),
            }
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

fn a_target_behind_a_link_is_inside_the_root() {
    let world = World::new();
    let (target, escape) = ("/tmp/locus-push-escaped", "/../../../../../../../../tmp/locus-push-escaped");
    symlink(escape, world.path("base/run")).expect("a link");
    assert_eq!(with(&world, vec![file("/run", "s3cr3t", false)], &format!("cat {target}")).said(), "s3cr3t");
    assert!(!fs::exists(target).expect("we may look"));
    assert_eq!(world.changes(), [""; 0]);
}

fn targets_that_would_hide_the_system_are_refused() {
    let world = World::new();
    symlink("/", world.path("base/top")).expect("a link");
    for (target, why) in
        [("/top", "it is the root"), ("/proc/sys", "it is inside /proc"), ("/proc", "it is inside /proc")]
    {
        let mount = Mount { target: target.into(), what: Mounted::Tmpfs { size: None } };
        let error = with(&world, vec![mount], "true").result.expect_err(target);
        assert_eq!(error, RunError::MountTarget { path: target.into(), why: why.into() });
    }
    let error = with(&world, vec![file("/etc", "x", false)], "true").result.expect_err("a directory");
    assert!(error.to_string().contains("a file is mounted, and it is a directory"), "{error}");
}

fn devices_and_setuid_secrets_in_mounts_are_useless() {
    let world = World::new();
    let script = "mknod /c/mem c 1 1 2>/dev/null; mknod /t/mem c 1 1 2>/dev/null; for m in /c/mem /t/mem; do \
                  head -c 1 $m 2>/dev/null | grep -q . && echo read; done; true";
    let tmpfs = Mount { target: "/t".into(), what: Mounted::Tmpfs { size: None } };
    assert_eq!(with(&world, vec![folder(&world, "/c", "cache", "", true), tmpfs], script).said(), "");
}

fn a_socket_has_the_owner_that_was_asked_for() {
    let world = World::new();
    let path = place(&world, "agent").join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&path).expect("our own folder");
    let socket =
        |path, uid| Mount { target: "/run/agent".into(), what: Mounted::Socket { path, mode: 0o620, uid, gid: 6 } };
    let script = "stat -c '%F %u %g %a' /run/agent; chmod 777 /run/agent 2>/dev/null || echo ro; \
                  rm -f /run/agent 2>/dev/null || echo stays";
    let said = with(&world, vec![socket(path.clone(), 5)], script).said();
    assert_eq!(said, "socket 5 6 620\nro\nstays\n");
    assert_eq!(world.changes(), [""; 0]);
    // What stands in its place is not handed over.
    fs::remove_file(&path).and_then(|()| fs::write(&path, "")).expect("our own folder");
    assert!(with(&world, vec![socket(path.clone(), 5)], "true").result.is_err());
    assert_eq!(with(&world, vec![socket(path, u32::MAX)], "true").result, Err(RunError::IdNotMapped { id: u32::MAX }));
}

fn an_insecure_command_has_what_the_namespace_has() {
    let world = World::new();
    let insecure = |script: &str| {
        let mut step = world.step(&["/bin/sh", "-c", script]);
        step.insecure = true;
        world.run(&step)
    };
    let set = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("hex digits")
    };
    let ours = set(&fs::read_to_string("/proc/self/status").expect("we may look"), "CapBnd");
    let status = insecure("cat /proc/self/status").said();
    let held = set(&status, "CapEff");
    assert_eq!((held, held & ours), (set(&status, "CapBnd"), ours), "{status}");
    let one_id = world.sandbox.rung().name() == "one id";
    // The filter that asks for owners refuses nothing.
    assert!(status.contains(if one_id { "Seccomp_filters:\t1" } else { "Seccomp:\t0" }), "{status}");
    assert_eq!(
        insecure(
            "mount -t tmpfs none /tmp && echo x > /tmp/x && grep -c ' /proc/' /proc/mounts; unshare -n true && echo ok"
        )
        .said(),
        "0\nok\n"
    );
    assert_eq!(world.changes(), [""; 0]);
    // It is still a root and a tree of its own.
    // The shell alone looks: what it starts would be counted, or not, as the two of them run.
    assert_eq!(insecure("set -- /proc/[0-9]*; echo $#").said(), "1\n");
    if one_id {
        // The kernel knows every user as root.
        return;
    }
    let mut step = world.step(&["/bin/sh", "-c", "grep CapEff /proc/self/status"]);
    (step.insecure, step.user) = (true, Ids { uid: 7, gid: 7, groups: vec![] });
    assert_eq!(world.run(&step).said(), "CapEff:\t0000000000000000\n");
}

fn mounts_cannot_be_made_writable_or_taken_off() {
    let world = World::new();
    let script = "mount -o remount,rw /stage 2>/dev/null && echo remounted; umount /stage 2>/dev/null && echo off; \
                  umount -l /run/secrets/token 2>/dev/null && echo off; true";
    let mounts = vec![file("/run/secrets/token", "x", false), layers(&world, "/stage", "/", false)];
    assert_eq!(with(&world, mounts, script).said(), "");
}

fn a_stub_that_the_command_replaced_is_its_own() {
    let world = World::new();
    // CVE-2024-23652: what is removed afterwards is what was made, wherever the command put something else.
    let keep = place(&world, "keep").join("file");
    fs::write(&keep, "").expect("our own folder");
    let mount = Mount { target: "/d/stub".into(), what: Mounted::Tmpfs { size: None } };
    let script = format!("mv /d /old; ln -s {} /d", world.path("keep").display());
    with(&world, vec![mount], &script).said();
    assert!(keep.exists());
    assert!(world.changes().iter().any(|change| change.starts_with("d other")), "{:?}", world.changes());
}

fn the_size_of_shared_memory_and_limits_are_as_asked() {
    let world = World::new();
    let mut step = world.step(&["/bin/sh", "-c", "df -k /dev/shm | grep -c 131072; ulimit -n; ulimit -Hn; ulimit -c"]);
    step.shm_size = Some(128 << 20);
    let limit = |resource, soft, hard| Limit { resource, soft: Some(soft), hard: Some(hard) };
    step.limits = vec![limit(Resource::Nofile, 100, 200), limit(Resource::Core, 0, 0)];
    assert_eq!(world.run(&step).said(), "1\n100\n200\n0\n");
    step = world.step(&["/bin/true"]);
    step.limits = vec![limit(Resource::Nofile, 1 << 40, 1 << 40)];
    let error = world.run(&step).result.expect_err("nobody may have as many").to_string();
    assert!(error.starts_with("setting the limit nofile:"), "{error}");
}

fn other_ways_into_the_kernel_are_refused_too() {
    let world = World::new();
    // C12: a second process of ours may be no way to one that is not.
    let status = world.sh("grep -E '^Seccomp(_filters)?:' /proc/self/status").said();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    for attempt in ["unshare -r true", "unshare -n true", "nsenter -t 1 -m true", "mount -t proc p /tmp"] {
        assert_ne!(world.sh(attempt).result, Ok(Exit::Code(0)), "{attempt}");
    }
}

fn a_hostile_shell_or_preload_stays_inside() {
    let world = World::new();
    // C10: a shell that is a link out, and a preload that names a file of ours.
    world.sandbox.remove(&world.path("base/bin/sh")).expect("it goes");
    symlink("/proc/self/exe", world.path("base/bin/sh")).expect("a link");
    let error = world.sh("true").result;
    assert_ne!(error, Ok(Exit::Code(0)));
    let outside = place(&world, "outside").join("program");
    fs::copy("/bin/busybox", &outside).expect("package busybox-static");
    symlink(&outside, world.path("base/bin/out")).expect("a link");
    let ran = world.run(&world.step(&["/bin/out", "true"]));
    assert_eq!(ran.result, Err(RunError::NotFound { program: "/bin/out".into() }));
}

fn a_working_directory_behind_a_descriptor_is_refused() {
    let world = World::new();
    for number in 0..16 {
        let mut step = world.step(&["/bin/sh", "-c", "cat ../../../../../../../etc/hostname"]);
        step.cwd = format!("/proc/self/fd/{number}").into();
        assert!(world.run(&step).result.is_err(), "descriptor {number}");
    }
}

fn names_of_one_file_are_told_apart() {
    let world = World::new();
    world.base_file("many/one", b"content", 0o644);
    for name in ["two", "three", "four"] {
        fs::hard_link(world.path("base/many/one"), world.path("base/many").join(name)).expect("a name");
    }
    world.sh("rm /many/two; ln /etc/passwd /etc/passwd.bak").said();
    let changes = world.changes();
    let of = |folder: &str| changes.iter().filter(|line| line.starts_with(folder)).cloned().collect::<Vec<_>>();
    let (uid, gid) = ("0", "0");
    assert_eq!(of("many/"), [format!("many/two whiteout {} {uid}:{gid}", mode_of_whiteout(&changes))]);
    assert_eq!(of("etc/passwd"), ["etc/passwd file 644 0:0", "etc/passwd.bak file 644 0:0"]);
    let inode = |name: &str| fs::metadata(world.upper().join(name)).expect("it is there").ino();
    assert_eq!(inode("etc/passwd"), inode("etc/passwd.bak"));
}

/// Overlayfs makes a whiteout of mode 0, and so do we.
fn mode_of_whiteout(changes: &[String]) -> &str {
    let line = changes.iter().find(|line| line.contains(" whiteout ")).expect("a whiteout");
    line.split(' ').nth(2).expect("a mode")
}

fn layers_over_one_another_show_what_an_overlay_shows() {
    let mut world = World::new();
    // What one step leaves is what the next stands on.
    let scripts = [
        "mkdir -p /d/e /old; echo 1 > /d/f; echo 1 > /d/e/g; echo 1 > /old/x; ln -s f /d/l; echo 1 > /file; mkdir /folder",
        "rm /d/f; rm -r /old; mkdir /old; echo 2 > /old/y; rm /file; mkdir /file; rmdir /folder; echo 2 > /folder",
        "rm -r /d/e; echo 3 > /d/f; chmod 700 /old; mkdir /folder2; mv /d /moved",
    ];
    for script in scripts {
        world.sh(script).said();
        let upper = world.upper();
        world.lower.insert(0, upper.file_name().expect("a name").to_str().expect("text").to_owned());
    }
    let list = "cd /; find moved old file folder folder2 d 2>/dev/null | sort | tr '\\n' ' '; cat moved/l old/y folder; stat -c %a old";
    assert_eq!(world.sh(list).said(), "file folder folder2 moved moved/f moved/l old old/y 3\n2\n2\n700\n");
}

fn what_a_job_reads_after_a_command_is_what_it_left() {
    let world = World::new();
    let upper = world.upper_of_next();
    let job = Job { name: "list", payload: upper.to_str().expect("text").as_bytes() };
    let mut words = Vec::new();
    let mut run = |script: &str| {
        let step = world.step(&["/bin/sh", "-c", script]);
        world.prepare(&step);
        world.sandbox.run_then(&step, job, &Stopper::new(), &mut |_, bytes| words.extend_from_slice(bytes))
    };
    match run("echo said; (while :; do echo x >> /grows; done) & while ! [ -s /grows ]; do :; done; chown 7:8 /tmp") {
        Ok(Afterwards::Succeeded(mut job)) => {
            let mut text = String::new();
            job.read_to_string(&mut text).expect("its output");
            job.wait().expect("it goes well");
            assert!(text.contains("grows file 644 0:0\n") && text.contains("tmp folder 1777 7:8\n"), "{text}");
        }
        Ok(Afterwards::Failed(exit)) => panic!("{exit:?}"),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(words, b"said\n");
    let step = world.step(&["/bin/sh", "-c", "exit 7"]);
    world.prepare(&step);
    let ran = world.sandbox.run_then(&step, job, &Stopper::new(), &mut |_, _| ());
    assert!(matches!(ran, Ok(Afterwards::Failed(Exit::Code(7)))));
}

fn a_bomb_of_processes_ends_with_an_error() {
    let world = World::new();
    // C7. Not `:(){ :|:& };:`, whose first shell ends at once and takes all with it.
    let ran = world.sh("n=0; while n=$((n + 1)); [ $n -lt 20000 ]; do sleep 60 & done; echo all; wait");
    assert!(!matches!(ran.result, Ok(Exit::Code(0))) && !ran.stdout.contains("all"), "{:?}", ran.result);
    assert!(ran.stderr.contains("can't fork"), "{}", ran.stderr);
    assert_eq!(world.sh("echo alive").said(), "alive\n");
}

/// The test's own program, run as the command in a root that has the libraries of this machine.
fn no_newer_or_older_door_into_the_kernel_is_open() {
    let world = World::new();
    for (name, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        symlink(target, world.path("base").join(name)).expect("a link");
    }
    let ourselves = std::env::current_exe().expect("our own path");
    let host = |path: &Path, source: &str, target: &str| Mount {
        target: target.into(),
        what: Mounted::Folder { path: path.to_owned(), source: source.into(), writable: false },
    };
    let usr = Path::new("/usr");
    let name = ourselves.file_name().expect("a name").to_str().expect("text");
    let mut step = world.step(&["/knock", "--case", "knock"]);
    step.mounts = vec![
        host(usr, "lib", "/usr/lib"),
        host(usr, "lib64", "/usr/lib64"),
        host(ourselves.parent().expect("a folder"), name, "/knock"),
    ];
    let ran = world.run(&step);
    assert_eq!(ran.result, Ok(Exit::Code(0)), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "all doors tried\n");
}

/// C12: newer calls, calls by the numbers of x32, and calls by the old gate with 32-bit numbers.
fn knock() {
    use nix::errno::Errno;
    use nix::libc;
    let call = |number: i64, first: i64| {
        // SAFETY: the arguments are numbers and null pointers, which the kernel refuses or reads nothing of.
        let status = unsafe { libc::syscall(number, first, 0_i64, 0_i64, 0_i64, 0_i64, 0_i64) };
        if status == -1 { Err(Errno::last()) } else { Ok(status) }
    };
    assert_eq!(call(libc::SYS_clone3, 0), Err(Errno::ENOSYS), "so that libc falls back to clone");
    assert_eq!(call(libc::SYS_io_uring_setup, 1), Err(Errno::EPERM));
    assert_eq!(call(libc::SYS_unshare, i64::from(libc::CLONE_NEWUSER)), Err(Errno::EPERM));
    assert_eq!(call(libc::SYS_keyctl, 0), Err(Errno::EPERM));
    assert_eq!(call(libc::SYS_bpf, 0), Err(Errno::EPERM));
    #[cfg(target_arch = "x86_64")]
    {
        const X32: i64 = 0x4000_0000;
        assert_eq!(call(X32 | libc::SYS_unshare, i64::from(libc::CLONE_NEWUSER)), Err(Errno::ENOSYS));
        // linux/arch/x86/entry/syscalls/syscall_32.tbl: unshare, keyctl, bpf, io_uring_setup, mount, clone3
        for (number, first, refusal) in [
            (310, libc::CLONE_NEWUSER, libc::EPERM),
            (288, 0, libc::EPERM),
            (357, 0, libc::EPERM),
            (425, 1, libc::EPERM),
            (21, 0, libc::EPERM),
            (435, 0, libc::ENOSYS),
        ] {
            assert_eq!(old_gate(number, first), -refusal, "call {number} of 32-bit x86");
        }
    }
    // openat2 is open to all; it shows the root that everybody sees.
    let flags = rustix::fs::OFlags::PATH;
    let resolve = rustix::fs::ResolveFlags::empty();
    let up = rustix::fs::openat2(rustix::fs::CWD, "/../../../..", flags, rustix::fs::Mode::empty(), resolve);
    let (up, root) = (up.expect("it is allowed"), fs::metadata("/").expect("it is there"));
    assert_eq!(rustix::fs::fstat(up).expect("it is open").st_ino, root.ino());
    println!("all doors tried");
}

#[cfg(target_arch = "x86_64")]
fn old_gate(number: i32, first: i32) -> i32 {
    let answer: i32;
    // SAFETY: the arguments are numbers and null pointers; rbx, which the compiler keeps, is put back.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {first:e}", "int 0x80", "pop rbx",
            first = in(reg) first,
            inout("eax") number => answer, in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}

fn programs_see_buildkits_flags_on_memory() {
    let world = World::new();
    let tmpfs = Mount { target: "/dev/shm".into(), what: Mounted::Tmpfs { size: Some(128 << 20) } };
    let flags = if std::env::var("RUNG").as_deref() == Ok("bare_root") { "nosuid,nodev" } else { "nosuid" };
    let mut step = world.step(&["/bin/sh", "-c", "mount | grep /dev/shm"]);
    step.shm_size = Some(128 << 20);
    let wanted = format!("tmpfs on /dev/shm type tmpfs (rw,{flags},relatime,size=131072k");
    let shown = world.run(&step).said();
    assert!(shown.starts_with(&wanted) && shown.lines().count() == 1, "{shown}");
    let shown = with(&world, vec![tmpfs], "mount | grep /dev/shm").said();
    assert!(shown.contains("size=131072k") && shown.lines().count() == 1, "one and not two: {shown}");
}
