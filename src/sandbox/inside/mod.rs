//! What happens in the helper: one thread, a cleared environment, an order on its socket.
//!
//! The helper watches from outside the command's pid namespace. It forks, which it may: it has one thread.

mod chroot;
mod confine;
mod covers;
mod descent;
mod devices;
mod emulation;
mod exec;
mod gate;
mod mounts;
mod overlay;
mod ownership;
mod probe;
mod processes;
mod remove;
mod replica;
mod root;
mod run;
mod scoped;
mod seccomp;
mod stand;
mod stubs;
mod supervise;
mod volumes;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{Gid, Uid, UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::error::RunError;
use super::job::{self, JobFn};
use super::launch::MARKER;
use super::wire::{self, Command, Order, Reply, Task, Way};

pub(super) use processes::{allowed as processes_allowed, can_bound as can_bound_processes};
pub(super) use remove::tree as remove_tree;

/// Becomes the sandbox's helper if the program was started as one, and then never returns. Call it first thing
/// in `main`, before any thread is made.
pub fn enter_if_asked(jobs: &[(&'static str, JobFn)]) {
    if std::env::args_os().next().as_deref() != Some(OsStr::new(MARKER)) {
        return;
    }
    // Whoever reads our stderr is promised the command's words only; a panic is answered over the socket.
    std::panic::set_hook(Box::new(|_| {}));
    std::process::exit(match serve(jobs) {
        Ok(()) => 0,
        Err(_) => 70,
    });
}

fn serve(jobs: &[(&'static str, JobFn)]) -> io::Result<()> {
    // Out of the terminal's foreground group: a Ctrl-C is for the program, which then stops us.
    rustix::process::setsid()?;
    close_range(3, RawFd::MAX);
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut socket = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;

    let Order { user_namespace, task, after } = wire::receive(&mut socket)?;
    let more = wire::receive_bytes(&mut socket)?;
    let after = match after {
        Some(name) => {
            let payload = wire::receive_bytes(&mut socket)?;
            Some((name, payload, File::from(wire::receive_fd(&socket)?)))
        }
        None => None,
    };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        if user_namespace {
            enter_user_namespace(&mut socket)?;
        }
        // From here on nobody but root outside may look into this process or read its descriptors.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|error| RunError::system("hiding the helper", error))?;
        match (task, after) {
            (Task::Probe { dir, chroot: true, .. }, _) => chroot::probe(wire::path(&dir)).map(Reply::Found),
            (Task::Probe { dir, copied, owners, chroot: false }, _) => {
                probe::probe(wire::path(&dir), copied, owners).map(Reply::Found)
            }
            (Task::TryProgram { program, registration }, _) => {
                emulation::try_program(&socket, &program, registration.as_deref())
            }
            (Task::Run(command), None) => run_command(&socket, &command, &more),
            (Task::Run(command), Some((name, payload, output))) => match run_command(&socket, &command, &more)? {
                Reply::Exit(exit) if exit.success() => {
                    let lost = |error| RunError::system("telling how the command ended", error);
                    wire::send(&mut socket, &Reply::Exit(exit)).map_err(lost)?;
                    run_job(&socket, &name, &payload, output, jobs)
                }
                reply => Ok(reply),
            },
            (Task::Job { name }, _) => run_job(&socket, &name, &more, own_stdout()?, jobs),
        }
    }));
    let reply = match answer {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => Reply::Failed(error),
        Err(panic) => Reply::Failed(RunError::Helper { how: format!("panicked: {}", panic_words(&*panic)) }),
    };
    wire::send(&mut socket, &reply)
}

/// Makes the namespace, has it mapped by the one who started us, and becomes its root.
fn enter_user_namespace(socket: &mut UnixStream) -> Result<(), RunError> {
    unshare(UnshareFlags::NEWUSER).map_err(|error| RunError::Namespace {
        which: "a user namespace".into(),
        errno: error.raw_os_error(),
        hint: Some("a limit, a security module or a seccomp filter stands in the way".into()),
    })?;
    let lost = |error| RunError::system("waiting for the ids to be mapped", error);
    wire::send(socket, &Reply::MapMe).map_err(lost)?;
    wire::receive_bytes(socket).map_err(lost)?;
    let become_root = || {
        match set_thread_groups(&[]) {
            // One id alone comes without the right to give up groups, which name nothing inside.
            Err(Errno::PERM) if groups_are_kept() => {}
            dropped => dropped?,
        }
        set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
        set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
    };
    become_root().map_err(|error| RunError::system("becoming root of the user namespace", error))
}

/// Whether the namespace was made with "deny" (user_namespaces(7)).
fn groups_are_kept() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|word| word.starts_with(b"deny"))
}

fn run_command(socket: &UnixStream, command: &Command, more: &[u8]) -> Result<Reply, RunError> {
    match command.way {
        Way::Namespaces { proc } => run::run(socket, command, proc, more),
        Way::Chroot { devices } => chroot::run(socket, command, devices, more),
    }
}

fn run_job(
    socket: &UnixStream,
    name: &str,
    payload: &[u8],
    output: File,
    jobs: &[(&'static str, JobFn)],
) -> Result<Reply, RunError> {
    let built_in: [(&str, JobFn); 1] = [(job::REMOVE, remove::job)];
    let Some(&(_, work)) = built_in.iter().chain(jobs).find(|(known, _)| *known == name) else {
        return Err(RunError::Helper { how: format!("has no job `{name}`: main must hand it to enter_if_asked") });
    };
    // Moved into the worker: its output ends when it does.
    supervise::fork_and_watch(socket, move || {
        let mut out = io::BufWriter::with_capacity(64 << 10, output);
        let done = catch_unwind(AssertUnwindSafe(|| work(payload, &mut out)));
        let flushed = out.flush();
        match done {
            Ok(Ok(())) => match flushed {
                Ok(()) => Reply::Done,
                Err(error) => Reply::JobFailed(format!("writing the output: {error}")),
            },
            Ok(Err(why)) => Reply::JobFailed(why),
            Err(panic) => Reply::JobFailed(format!("it panicked: {}", panic_words(&*panic))),
        }
    })
}

/// Stdout without the line buffering of `std::io::stdout`, which would flush a tar at each byte 10.
fn own_stdout() -> Result<File, RunError> {
    let stdout = rustix::stdio::stdout().try_clone_to_owned();
    Ok(File::from(stdout.map_err(|error| RunError::system("opening the output", error))?))
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: rustix asks for care with descriptor tables shared between threads (CLONE_FILES); we never unshare
    // those, and have one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Closes the descriptors from `first` to `last`.
fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: the callers use none of these afterwards; close_range(2) touches no memory of ours.
    unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, 0) };
}

/// Lets go of the outputs, so that they end when the command does. By descriptor: the command may be changing our
/// root at this moment.
fn release_outputs() -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdout(rustix::stdio::stdin())?;
    rustix::stdio::dup2_stderr(rustix::stdio::stdin())
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}
