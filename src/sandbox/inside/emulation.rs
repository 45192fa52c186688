//! An emulator that is registered for one step, and a program that is started to see who runs it.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::unistd::execve;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::thread::UnshareFlags;

use super::super::error::RunError;
use super::super::wire::Reply;
use super::supervise::{Parent, Sees, fork};
use super::{exec, mounts, probe, root, run};

/// Programs that are registered so are run so in this user namespace and in those below it, as long as this is open:
/// a `binfmt_misc` of its own, mounted nowhere, so that no command sees it.
pub(super) struct Registered(#[expect(dead_code, reason = "it is held open")] OwnedFd);

/// Takes a line of `binfmt_misc`'s file `register`. For a process in a user namespace of its own.
pub(super) fn register(line: &[u8]) -> Result<Registered, RunError> {
    let failed = |error: Errno| RunError::Registration { errno: error.raw_os_error() };
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mounted = mounts::fresh("binfmt_misc", &[], attributes).map_err(failed)?;
    let file = openat(&mounted, "register", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    // The kernel takes one write only.
    match rustix::io::write(&file, line).map_err(failed)? {
        written if written == line.len() => Ok(Registered(mounted)),
        _ => Err(failed(Errno::INVAL)),
    }
}

/// Starts a program in a root that holds nothing else.
pub(super) fn try_program(socket: &UnixStream, program: &[u8], registration: Option<&[u8]>) -> Result<Reply, RunError> {
    run::namespaces(UnshareFlags::empty())?;
    probe::private_mounts()?;
    let _registered = registration.map(register).transpose()?;
    let failed = |error: Errno| RunError::system("making a root for a trial", error);
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let folder = mounts::fresh("tmpfs", &[("mode", "0755"), ("size", "64k")], attributes).map_err(failed)?;
    let file = root::create(&folder, "program").map_err(failed)?;
    root::write(&file, program).and_then(|()| rustix::fs::fchmod(&file, Mode::from_raw_mode(0o755))).map_err(failed)?;
    // What is open for writing is not executed.
    drop(file);
    let forked = fork(Sees::Ours, |parent| match start(parent, &folder) {
        Ok(never) => match never {},
        Err(error) => Reply::Failed(error),
    })?;
    let ended = forked.watch(socket, None)?;
    match ended.reply {
        _ if ended.stopped => Err(RunError::Stopped),
        Some(reply) => Ok(reply),
        None => Ok(Reply::Exit(ended.exit)),
    }
}

fn start(parent: &Parent, folder: &OwnedFd) -> Result<Infallible, RunError> {
    const PROGRAM: &CStr = c"/program";
    rustix::process::fchdir(folder)
        .and_then(|()| rustix::process::chroot("."))
        .map_err(|error| RunError::system("entering the root for a trial", error))?;
    parent.close_all_else();
    let Err(error) = execve::<&CStr, &CStr>(PROGRAM, &[PROGRAM], &[]);
    Err(exec::explain(PROGRAM, error, 0))
}
