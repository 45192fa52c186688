//! Running a command where nothing may be unshared and nothing mounted, as in a container without any leave: by chroot(2)
//! into a copy of its layers.
//!
//! Nothing here isolates: the command has our network, sees and may end our processes by their numbers, and is kept in its
//! folder only by what it was not left the capabilities for. What it left behind is ended, and what it changed is found by
//! comparing.
//!
//! ```text
//!   helper ──fork──▶ first process ──fork──▶ the command, in its root
//!     │ adopts and ends       │ takes the ends of orphans
//!     │ what is left          │ meanwhile
//! ```

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::{chdir, chroot, fchdir};

use super::super::error::RunError;
use super::super::wire::{Command, Devices, Network, Reply, Way, path};
use super::covers::Covers;
use super::replica::Replica;
use super::stubs::Stubs;
use super::supervise::{Parent, Sees, fork};
use super::{confine, descent, devices, exec, probe, release_outputs, remove, run};

/// `more` is the environment and the contents of files.
pub(super) fn run(socket: &UnixStream, command: &Command, devices: Devices, more: &[u8]) -> Result<Reply, RunError> {
    let (environment, contents) = run::parts(command, more)?;
    refuse(command)?;
    descent::adopt_orphans()?;
    let mut replica = Replica::lay(&command.root)?;
    let root = replica.root().try_clone().map_err(|error| RunError::system("opening the root", error))?;
    let mut stubs = Stubs::new(&root, &root)?;
    let targets = stubs.of_the_system()?;
    let mut covers = Covers::new(&root, &mut replica);
    covers.furnish(command, &targets, |dev, proc| {
        devices::furnish(dev, devices)?;
        devices::facts(proc)
    })?;
    drop(targets);
    covers.place_all(command, contents, &mut stubs)?;
    let made = stubs.finish()?;

    let forked = fork(Sees::Ours, |_| match first_process(command, &root, environment) {
        Ok(reply) => reply,
        Err(error) => Reply::Failed(error),
    })?;
    release_outputs().map_err(|error| RunError::system("letting go of the output", error))?;
    let ended = forked.watch(socket, None);
    descent::end_all()?;
    let ended = ended?;
    covers.take_off()?;
    made.remove(&root).map_err(|error| RunError::system("removing the mount stubs", error))?;
    replica.collect()?;
    // What cannot be removed here is removed by whoever removes the step's folder.
    let _ = remove::tree(path(&command.root.merged));
    match ended.reply {
        _ if ended.stopped => Err(RunError::Stopped),
        Some(reply) => Ok(reply),
        // The command ended its own parent.
        None => Ok(Reply::Exit(ended.exit)),
    }
}

/// Tries all that a step needs in `dir`.
pub(super) fn probe(dir: &Path) -> Result<Way, RunError> {
    descent::adopt_orphans()?;
    let replica = Replica::lay(&probe::layers(dir, true)?)?;
    let devices = devices::probe(replica.root());
    let forked = fork(Sees::Ours, |_| match enter(replica.root()) {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Failed(error),
    })?;
    match forked.finish()?.reply {
        Some(Reply::Done) => Ok(Way::Chroot { devices }),
        Some(Reply::Failed(error)) => Err(error),
        _ => Err(RunError::Helper { how: "lost the process that tried to chroot".into() }),
    }
}

/// What only a namespace or a mount could give.
fn refuse(command: &Command) -> Result<(), RunError> {
    let what = match (command.network, command.shm_size) {
        (Network::None, _) => "a network of its own (--network=none)",
        (Network::Gate(_), _) => "a network with one way out",
        (Network::Host, Some(_)) => "a /dev/shm of a certain size",
        (Network::Host, None) => return Ok(()),
    };
    Err(RunError::NeedsMounts { what: what.into() })
}

/// The command's parent: it takes the ends of those whose own parents are gone, which would otherwise pile up.
fn first_process(command: &Command, root: &OwnedFd, environment: &[u8]) -> Result<Reply, RunError> {
    descent::adopt_orphans()?;
    let forked = fork(Sees::Ours, |parent| {
        match settle(parent, command, root).and_then(|()| exec::exec(parent, command, environment)) {
            Ok(never) => match never {},
            Err(error) => Reply::Failed(error),
        }
    })?;
    release_outputs().map_err(|error| RunError::system("letting go of the output", error))?;
    let ended = forked.finish_among_orphans()?;
    Ok(ended.reply.unwrap_or(Reply::Exit(ended.exit)))
}

fn settle(parent: &Parent, command: &Command, root: &OwnedFd) -> Result<(), RunError> {
    // A session of its own has no terminal, so there is none to push characters into (TIOCSTI).
    rustix::process::setsid().map_err(|error| RunError::system("making a session", error))?;
    enter(root)?;
    confine::confine(command, None)?;
    parent.die_with_it().map_err(|error| RunError::system("binding to its parent", error))
}

fn enter(root: &OwnedFd) -> Result<(), RunError> {
    let enter = || {
        fchdir(root)?;
        chroot(".")?;
        chdir("/")
    };
    enter().map_err(|error| RunError::system("changing the root", error))
}
