//! From an order to a command that runs, and the tidying up after it.

use std::mem::ManuallyDrop;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::super::error::RunError;
use super::super::wire::{self, Command, Network, Proc, Reply};
use super::gate::{self, Gate};
use super::ownership::Door;
use super::stand::Root;
use super::stubs::Stubs;
use super::supervise::{Parent, Sees, fork};
use super::{confine, emulation, exec, ownership, probe, release_outputs, root, unshare, volumes};
use crate::owners::Owners;

/// `more` is the environment and the contents of files.
pub(super) fn run(socket: &UnixStream, command: &Command, proc: Proc, more: &[u8]) -> Result<Reply, RunError> {
    let (environment, contents) = parts(command, more)?;
    namespaces(match command.network {
        Network::Host => UnshareFlags::empty(),
        Network::None | Network::Gate(_) => UnshareFlags::NEWNET,
    })?;
    let gate = match command.network {
        Network::Gate(port) => Some(Gate::open(socket, port)?),
        Network::Host | Network::None => None,
    };
    probe::private_mounts()?;
    let registered = command.registration.as_deref().map(emulation::register).transpose()?;
    let stand = Root::make(&command.root)?;
    let mut stubs = Stubs::new(stand.mounted(), stand.changed())?;
    let targets = stubs.of_the_system()?;
    let files = root::furnish(command, contents, &targets)?;
    volumes::attach_all(command, files, &mut stubs)?;
    let made = stubs.finish()?;

    let (mut supervisor, door) = match command.owners {
        Owners::Real => (None, None),
        Owners::Recorded => {
            let (supervisor, door) = ownership::prepare(&command.user)?;
            (Some(supervisor), Some(door))
        }
    };

    // The helper's own copy of the door closes with this closure.
    let forked = fork(Sees::ItsOwn, |parent| {
        // Nothing that is open may be dropped once it is closed: see `close_all_else`.
        let door = ManuallyDrop::new(door);
        match settle(parent, command, door.as_ref(), stand.mounted(), (proc, &targets.proc))
            .and_then(|()| exec::exec(parent, command, environment))
        {
            Ok(never) => match never {},
            Err(error) => Reply::Failed(error),
        }
    })?;
    release_outputs().map_err(|error| RunError::system("letting go of the output", error))?;
    drop(targets);
    let ended = forked.watch(socket, supervisor.as_mut())?;
    // It may stand in the command's root still, where every path below is another.
    drop(supervisor);
    if gate.is_some() && gate::was_gone_around() {
        let lost = |error| RunError::system("telling what the command's network saw", error);
        wire::send(&mut &*socket, &Reply::WentAround).map_err(lost)?;
    }
    drop(gate);
    drop(registered);
    let changes = stand.take_off(&command.root)?;
    made.remove(changes.folder()).map_err(|error| RunError::system("removing the mount stubs", error))?;
    changes.settle(&command.root)?;
    match ended.reply {
        _ if ended.stopped => Err(RunError::Stopped),
        Some(reply) => Ok(reply),
        None => Ok(Reply::Exit(ended.exit)),
    }
}

/// The environment, and the contents of files.
pub(super) fn parts<'a>(command: &Command, more: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), RunError> {
    let cut_short = || RunError::Helper { how: "got an order that was cut short".into() };
    more.split_at_checked(command.environment).ok_or_else(cut_short)
}

/// As pid 1 of the new tree: its root, then its limits. Nothing of ours is open afterwards.
fn settle(
    parent: &Parent,
    command: &Command,
    door: Option<&Door>,
    merged: &std::os::fd::OwnedFd,
    (proc, place): (Proc, &std::os::fd::OwnedFd),
) -> Result<(), RunError> {
    // A session of its own has no terminal, so there is none to push characters into (TIOCSTI).
    rustix::process::setsid().map_err(|error| RunError::system("making a session", error))?;
    root::mount_proc(command, proc, place)?;
    root::enter(merged)?;
    rustix::system::sethostname(&command.hostname).map_err(|error| RunError::system("naming the host", error))?;
    confine::confine(command, door)?;
    parent.die_with_it().map_err(|error| RunError::system("binding to the helper", error))
}

/// A mount, ipc and uts namespace of our own, and what else is asked. That for pids comes with the command.
pub(super) fn namespaces(more: UnshareFlags) -> Result<(), RunError> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | more;
    unshare(flags).map_err(|error| RunError::Namespace {
        which: "the namespaces for mounts".into(),
        errno: error.raw_os_error(),
        hint: Some("a limit (user.max_*_namespaces), a security module or a seccomp filter stands in the way".into()),
    })?;
    if more.contains(UnshareFlags::NEWNET) {
        confine::loopback_up().map_err(|error| RunError::system("starting the loopback", error))?;
    }
    Ok(())
}

pub(super) fn no_proc(error: Errno) -> RunError {
    RunError::Namespace {
        which: "a /proc of its own".into(),
        errno: error.raw_os_error(),
        hint: Some("in a container whose own /proc is masked the kernel refuses one".into()),
    }
}
