//! The sandbox, attacked from the inside, on each rung of its ladder.
//!
//! Every case runs in a process of its own: as root, as a root that is refused a user namespace, as the ordinary user
//! `LOCUS_TEST_USER` (default `locus-test`, made by `useradd -m locus-test`, which gives it sub-ids), and as `nobody`, who
//! has none. What concerns files runs again as root and as the user on a disk that is itself an overlay, and so holds
//! none, and as a container's root: without CAP_SYS_ADMIN (`pod`), and where a seccomp filter refuses namespaces and mounts
//! too (`chroot`). Not as root, the rung that the user has is tried alone. A small harness of our own: the sandbox starts this very program again, so that `main`
//! must begin with `enter_if_asked`. It speaks the harness's language, for `cargo test` and `cargo nextest`.

#[path = "sandbox/cases.rs"]
mod cases;
#[path = "sandbox/container.rs"]
mod container;
#[path = "sandbox/world.rs"]
mod world;

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use locus_push::sandbox;

use crate::cases::{CASES, COPIED, Case};
use crate::container::Container;

/// In the environment of every case, and to be found nowhere inside.
const CANARY: &str = "canary-7f3a";

fn main() -> ExitCode {
    sandbox::enter_if_asked(&world::JOBS);
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, case] = &arguments[..]
        && flag == "--case"
    {
        return run_here(case);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            names().iter().for_each(|name| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &String| {
        wanted.is_empty() || wanted.iter().any(|want| if exact { name == *want } else { name.contains(*want) })
    };
    let names: Vec<String> = names().into_iter().filter(chosen).collect();
    println!("running {} tests", names.len());
    let failed = names.iter().filter(|name| !run_apart(name)).count();
    println!("test result: {} passed; {failed} failed", names.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

fn names() -> Vec<String> {
    let rungs: &[&str] = if is_root() { &["root", "bare_root", "sub_ids", "one_id"] } else { &["sub_ids"] };
    let copied: &[&str] = if is_root() { &["copied_root", "copied_sub_ids", "pod"] } else { &[] };
    let contained: &[(&str, &[Case])] = match is_root() {
        true => &[("pod", cases::POD), ("chroot", cases::CHROOT), ("chroot", cases::chroot::CASES)],
        false => &[],
    };
    let cases = |rung| CASES.iter().chain(cases::owners::CASES).map(move |(name, _)| format!("{rung}::{name}"));
    let few = |rung| COPIED.iter().map(move |(name, _)| format!("{rung}::{name}"));
    let contained =
        contained.iter().flat_map(|(rung, cases)| cases.iter().map(move |(name, _)| format!("{rung}::{name}")));
    rungs.iter().copied().flat_map(cases).chain(copied.iter().copied().flat_map(few)).chain(contained).collect()
}

/// The case's process: the name of the case without its rung, and nothing else.
fn run_here(case: &str) -> ExitCode {
    let all = [CASES, cases::owners::CASES, cases::POD, cases::CHROOT, cases::chroot::CASES, cases::HELPERS];
    match all.into_iter().flatten().find(|(name, _)| *name == case) {
        Some((_, work)) => {
            work();
            ExitCode::SUCCESS
        }
        None => ExitCode::from(2),
    }
}

fn run_apart(name: &str) -> bool {
    let (rung, case) = name.split_once("::").expect("names are made as rung::case");
    let place = tempfile::tempdir().expect("a folder");
    let ourselves = env::current_exe().expect("our own path");
    // The user may not look into our target folder.
    let program = place.path().join("sandbox-test");
    std::fs::copy(ourselves, &program).expect("a copy of ourselves");
    for path in [place.path(), &program] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("our own folder");
    }
    let mut command = on_rung(rung, &program);
    match rung {
        "pod" => container::confine(&mut command, Container::Pod),
        "chroot" => container::confine(&mut command, Container::Docker),
        _ => {}
    }
    command.args(["--case", case]).env("AWS_SECRET_ACCESS_KEY", CANARY).env("RUNG", rung).env_remove("TMPDIR");
    if rung.starts_with("copied") {
        command.env("TMPDIR", overlay_below(place.path()));
    }
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("setpriv, unshare and timeout are on every machine");
    if rung == "bare_root" {
        map_identity(child.id());
    }
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("a child of ours");
    let passed = output.status.success();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    if !passed {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    passed
}

fn on_rung(rung: &str, program: &Path) -> Command {
    if rung == "bare_root" {
        // Root of a namespace in which no further one may be made. It waits for its ids, and is root after the
        // next exec.
        let barred = "echo 0 > /proc/sys/user/max_user_namespaces && exec timeout --kill-after=5 60 \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "sh", "-c", "read _; exec \"$@\"", "sh", "sh", "-c", barred]).arg(program);
        return command;
    }
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "60"]);
    if rung.starts_with("copied") {
        // In a mount namespace of its own, which takes the mount along when it ends.
        let options = "lowerdir=$TMPDIR/../lower,upperdir=$TMPDIR/../upper,workdir=$TMPDIR/../work";
        let script = format!("mount -t overlay overlay -o \"{options}\" \"$TMPDIR\" && exec \"$@\"");
        command.args(["unshare", "--mount", "sh", "-c", &script, "sh"]);
    }
    if rung.ends_with("sub_ids") && is_root() {
        let user = env::var("LOCUS_TEST_USER").unwrap_or_else(|_| "locus-test".into());
        command.args(["setpriv", "--reuid", &user, "--regid", &user, "--init-groups", "--"]);
    }
    if rung == "one_id" {
        // An account of every system, and nobody's range of sub-ids.
        command.args(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"]);
    }
    command.arg(program);
    command
}

/// The folders of an overlay that everybody may write; gives the one to mount it on.
fn overlay_below(place: &Path) -> std::path::PathBuf {
    for (name, mode) in [("lower", 0o755), ("upper", 0o1777), ("work", 0o755), ("disk", 0o755)] {
        std::fs::create_dir(place.join(name)).expect("our own folder");
        std::fs::set_permissions(place.join(name), PermissionsExt::from_mode(mode)).expect("our own folder");
    }
    place.join("disk")
}

/// Gives a process that makes itself a user namespace the first 65536 ids as they are.
fn map_identity(pid: u32) {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("it runs");
    while namespace(&pid.to_string()) == namespace("self") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), "0 0 65536").expect("we are root");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
