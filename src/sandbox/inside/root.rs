//! What the command finds mounted in its root, as the OCI runtime's defaults have it (runtime-spec,
//! config-linux.md; moby oci/defaults.go).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, ResolveFlags, major, minor, openat, symlinkat};
use rustix::io::{Errno, Result};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::thread::UnshareFlags;

use super::super::error::RunError;
use super::super::wire::{Command, Network, Proc, path};
use super::mounts::{attach, copy, copy_all, fresh, restrict};
use super::scoped::openat2;
use super::stubs::Targets;
use super::{processes, run, unshare, volumes};

/// Told to lie: what they show or do concerns the machine.
const MASKED_PROC: [&str; 12] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "kmsg",
    "kpagecount",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const READ_ONLY_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const MASKED_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// Bound from the host: a namespace may not make its own.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

pub(super) const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// Mounts all but `/proc`. Gives the files of the step's own mounts, attached nowhere yet; `contents` holds what is in
/// them, one behind the other.
pub(super) fn furnish(
    command: &Command,
    contents: &[u8],
    targets: &Targets,
) -> std::result::Result<Vec<OwnedFd>, RunError> {
    let files = files(command, contents, targets)?;
    dev(command, targets).map_err(|error| RunError::system("mounting /dev", error))?;
    sys(command, targets).map_err(|error| RunError::system("mounting /sys", error))?;
    Ok(files)
}

/// Mounts `/proc`. Runs in the pid namespace that it is to show.
pub(super) fn mount_proc(command: &Command, which: Proc, target: &OwnedFd) -> std::result::Result<(), RunError> {
    let proc = match which {
        Proc::Own => {
            let proc = fresh_proc()?;
            processes::bound(&proc, processes::allowed(&command.limits));
            proc
        }
        Proc::Outer => outer_proc()?,
    };
    attach(&proc, target.as_fd())
        .and_then(|()| if command.insecure { Ok(()) } else { guard_proc(&proc) })
        .map_err(|error| RunError::system("mounting /proc", error))
}

pub(super) fn fresh_proc() -> std::result::Result<OwnedFd, RunError> {
    fresh("proc", &[], NOSUID | NODEV | NOEXEC).map_err(run::no_proc)
}

/// The `/proc` that we have, with all that covers parts of it. The processes in it are those outside, by their numbers
/// there; `/proc/self` is still everybody's own, and of nobody in another user namespace is there more to be had than
/// name and arguments (ptrace(2), "Ptrace access mode checking").
pub(super) fn outer_proc() -> std::result::Result<OwnedFd, RunError> {
    let bound = || {
        let proc = copy_all(CWD, "/proc")?;
        restrict(&proc, NOSUID | NODEV | NOEXEC)?;
        Ok(proc)
    };
    bound().map_err(run::no_proc)
}

/// Makes `root` the root, and forgets the old one.
pub(super) fn enter(root: &OwnedFd) -> std::result::Result<(), RunError> {
    let enter = || {
        // First: the current folder goes along into the new namespace, a descriptor does not. In one namespace with the
        // helper, pivot_root would change the helper's root too, which has work to do in the old one.
        rustix::process::fchdir(root)?;
        unshare(UnshareFlags::NEWNS)?;
        // The old root lands on top of the new one, and is taken off (pivot_root(2), "pivot_root(".", ".")").
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)
    };
    enter().map_err(|error| RunError::system("changing the root", error))
}

/// Files of our own making, on a file system that `/dev` covers next: what the command writes there is gone afterwards.
fn files(command: &Command, contents: &[u8], targets: &Targets) -> std::result::Result<Vec<OwnedFd>, RunError> {
    let Command { resolv_conf, hosts, .. } = command;
    let failed = |error| RunError::system("mounting /etc/resolv.conf and /etc/hosts", error);
    // A page each, and what they hold.
    let size = (1 << 20) + contents.len() + resolv_conf.len() + hosts.len() + (command.mounts.len() << 13);
    let options = [("mode", "0755"), ("size", &*size.to_string())];
    let store = fresh("tmpfs", &options, NOSUID | NODEV).map_err(failed)?;
    attach(&store, targets.dev.as_fd()).map_err(failed)?;
    for (name, content, target) in
        [("resolv.conf", resolv_conf, &targets.resolv_conf), ("hosts", hosts, &targets.hosts)]
    {
        let place = || {
            write(&create(&store, name)?, content)?;
            let file = copy(&store, name)?;
            restrict(&file, NOEXEC)?;
            attach(file, target.as_fd())
        };
        place().map_err(failed)?;
    }
    volumes::files(&command.mounts, command.owners, contents, &store)
}

fn dev(command: &Command, targets: &Targets) -> Result<()> {
    // Nodes made in it are dead; the bound ones below are mounts of their own.
    let dev = fresh("tmpfs", &[("mode", "0755"), ("size", "65536k")], NOSUID | NODEV | NOEXEC)?;
    attach(&dev, targets.dev.as_fd())?;
    for (name, want_major, want_minor) in DEVICES {
        let device = copy(CWD, &format!("/dev/{name}"))?;
        let stat = rustix::fs::fstat(&device)?;
        let is_it = FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (want_major, want_minor);
        if !is_it {
            return Err(Errno::NODEV);
        }
        attach(device, create(&dev, name)?.as_fd())?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name)?;
    }
    // The terminals' group, 5 everywhere that matters, must be one of ours.
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let pts =
        fresh("devpts", &options, NOSUID | NOEXEC).or_else(|_| fresh("devpts", &options[..2], NOSUID | NOEXEC))?;
    attach(pts, folder(&dev, "pts")?.as_fd())?;
    let shm = folder(&dev, "shm")?;
    // A mount of the step's own there replaces it, as in BuildKit: programs that read /proc/mounts see one.
    if !command.mounts.iter().any(|mount| path(&mount.target) == Path::new("/dev/shm")) {
        attach(memory(command, Some(command.shm_size.unwrap_or(64 << 20)))?, shm.as_fd())?;
    }
    match fresh("mqueue", &[], NOSUID | NODEV | NOEXEC) {
        Ok(queues) => attach(queues, folder(&dev, "mqueue")?.as_fd()),
        // A kernel without POSIX queues has no such file system.
        Err(Errno::NODEV) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An empty file system in memory, for everybody, with BuildKit's flags: what is made there may be executed. A device
/// node there is dead in a user namespace, flag or no flag, and would be alive outside one.
pub(super) fn memory(command: &Command, size: Option<u64>) -> Result<OwnedFd> {
    let size = size.map(|size| size.to_string());
    let options: Vec<_> = size.iter().map(|size| ("size", size.as_str())).collect();
    fresh("tmpfs", &options, if command.user_namespace { NOSUID } else { NOSUID | NODEV })
}

fn sys(command: &Command, targets: &Targets) -> Result<()> {
    let read_only = if command.insecure { MountAttrFlags::empty() } else { RDONLY };
    let restricted = NOSUID | NODEV | NOEXEC | read_only;
    // A fresh one shows a network namespace, and is only given to the owner of that.
    let own = match command.network {
        Network::None | Network::Gate(_) => fresh("sysfs", &[], restricted).ok(),
        Network::Host => None,
    };
    let sys = match own {
        Some(sys) => sys,
        None => {
            let sys = copy_all(CWD, "/sys")?;
            restrict(&sys, restricted)?;
            sys
        }
    };
    attach(&sys, targets.sys.as_fd())?;
    if command.insecure {
        return Ok(());
    }
    MASKED_SYS.iter().try_for_each(|path| mask(&sys, path))
}

fn guard_proc(proc: &OwnedFd) -> Result<()> {
    for path in READ_ONLY_PROC {
        let Some(target) = below(proc, path)? else { continue };
        // With what an outer container has mounted there, which may not be uncovered.
        let guarded = copy_all(&target, "")?;
        restrict(&guarded, RDONLY | NOSUID | NODEV | NOEXEC)?;
        attach(guarded, target.as_fd())?;
    }
    MASKED_PROC.iter().try_for_each(|path| mask(proc, path))
}

/// Covers a folder with an empty one, and a file with `/dev/null`.
fn mask(at: &OwnedFd, path: &str) -> Result<()> {
    let Some(target) = below(at, path)? else { return Ok(()) };
    let stat = rustix::fs::fstat(&target)?;
    let cover = match FileType::from_raw_mode(stat.st_mode as RawMode) {
        FileType::Directory => fresh("tmpfs", &[("size", "4k"), ("mode", "0755")], NOSUID | NODEV | NOEXEC | RDONLY)?,
        _ => copy(CWD, "/dev/null")?,
    };
    attach(cover, target.as_fd())
}

/// What is there in a file system that we mounted, if it is.
fn below(at: &OwnedFd, path: &str) -> Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(at, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn create(at: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::from_raw_mode(0o644))
}

fn folder(at: &OwnedFd, name: &str) -> Result<OwnedFd> {
    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755))?;
    openat(at, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn write(to: &OwnedFd, mut content: &[u8]) -> Result<()> {
    while !content.is_empty() {
        let written = rustix::io::write(to, content)?;
        content = &content[written..];
    }
    Ok(())
}
