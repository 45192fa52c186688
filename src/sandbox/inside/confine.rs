//! What the command may do: Docker's default capabilities, its user, its limits, its system calls.

use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::io::{Errno, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::super::error::RunError;
use super::super::step::{self, Ids, Limit};
use super::super::wire::{Command, Way};
use super::ownership::Door;
use super::{processes, seccomp};

/// moby, oci/caps/defaults.go.
const DOCKER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Some programs visit every descriptor up to the soft limit, others raise it themselves: systemd's choice.
const OPEN_FILES: Rlimit = Rlimit { current: Some(1024), maximum: Some(1 << 20) };

/// Gives up everything but what a command of Docker's has. `no_new_privs` stays off: setuid programs work.
/// With a door, ids are what the helper says that they are.
pub(super) fn confine(command: &Command, door: Option<&Door>) -> std::result::Result<(), RunError> {
    let failed = |doing: &'static str| move |error: Errno| RunError::system(doing, error);
    reset_signals().map_err(failed("resetting the signals"))?;
    limits(&command.limits)?;
    let ours = capabilities(None).map_err(failed("reading the capabilities"))?.permitted;
    let held = match (command.insecure, command.way) {
        (true, _) => ours,
        (false, Way::Namespaces { .. }) => DOCKER,
        (false, Way::Chroot { .. }) => in_a_chroot(ours),
    };
    if !command.insecure {
        bound(held).map_err(failed("dropping capabilities"))?;
    }
    // Outputs are pipes of ours, closed to anybody but their owner: /dev/stdout must open for the command's user.
    for output in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        match rustix::fs::fchown(output, Some(Uid::from_raw(command.user.uid)), None) {
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(RunError::system("handing over the output", error)),
        }
    }
    // Without no_new_privs the filter needs CAP_SYS_ADMIN, so it comes before the capabilities go. What follows
    // it is allowed to everybody.
    if !command.insecure {
        match seccomp::install() {
            // The container that we are in has one of its own, which is why we are here.
            Err(Errno::ACCESS | Errno::PERM) if matches!(command.way, Way::Chroot { .. }) => {}
            installed => installed.map_err(failed("installing the seccomp filter"))?,
        }
    }
    match door {
        Some(door) => {
            door.pass()?;
            // Whoever the command is, the kernel knows it as root.
            hold(held)
        }
        None => become_user(&command.user, held),
    }
}

/// Whoever may call chroot(2) can leave one, and whoever may make devices can read the disk. Without the first, root may
/// not trace other processes of ours either, which have it (capabilities are compared: ptrace(2)).
fn in_a_chroot(ours: CapabilitySet) -> CapabilitySet {
    DOCKER.difference(CapabilitySet::SYS_CHROOT.union(CapabilitySet::MKNOD)).intersection(ours)
}

/// `most` is what root holds; others hold nothing.
fn become_user(user: &Ids, most: CapabilitySet) -> std::result::Result<(), RunError> {
    let Ids { uid, gid, groups } = user;
    let as_error = |id: u32| {
        move |error: Errno| match error {
            Errno::INVAL => RunError::IdNotMapped { id },
            error => RunError::system(format!("becoming {id}"), error),
        }
    };
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let (raw_uid, raw_gid) = (*uid, *gid);
    let (uid, gid) = (Uid::from_raw(raw_uid), Gid::from_raw(raw_gid));
    let worst = groups.iter().map(|group| group.as_raw()).max().unwrap_or(raw_gid);
    set_thread_groups(&groups).map_err(as_error(worst))?;
    set_thread_res_gid(gid, gid, gid).map_err(as_error(raw_gid))?;
    // For another user than root this empties the effective and the permitted set.
    set_thread_res_uid(uid, uid, uid).map_err(as_error(raw_uid))?;
    hold(if raw_uid == 0 { most } else { CapabilitySet::empty() })
}

fn hold(held: CapabilitySet) -> std::result::Result<(), RunError> {
    // Nothing is inheritable (CVE-2022-27651).
    set_capabilities(None, CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() })
        .map_err(|error| RunError::system("dropping capabilities", error))
}

/// Nobody can have more than these again.
fn bound(most: CapabilitySet) -> Result<()> {
    clear_ambient_capability_set()?;
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !most.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // The first that the kernel does not know.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn limits(given: &[Limit]) -> std::result::Result<(), RunError> {
    let processes = Some(processes::allowed(given));
    let processes = Rlimit { current: processes, maximum: processes };
    let ours = [
        (step::Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }),
        (step::Resource::Nofile, OPEN_FILES),
        (step::Resource::Nproc, processes),
    ];
    for (resource, limit) in ours {
        // What we ourselves may not have cannot be given.
        let most = getrlimit(of(resource)).maximum;
        let least = |limit: Option<u64>| match (limit, most) {
            (Some(limit), Some(most)) => Some(limit.min(most)),
            (limit, most) => limit.or(most),
        };
        set(resource, Rlimit { current: least(limit.current), maximum: least(limit.maximum) })?;
    }
    given
        .iter()
        .try_for_each(|Limit { resource, soft, hard }| set(*resource, Rlimit { current: *soft, maximum: *hard }))
}

fn set(resource: step::Resource, limit: Rlimit) -> std::result::Result<(), RunError> {
    let failed = |error: Errno| RunError::Limit { name: resource.name().into(), errno: error.raw_os_error() };
    setrlimit(of(resource), limit).map_err(failed)
}

fn of(resource: step::Resource) -> Resource {
    match resource {
        step::Resource::Core => Resource::Core,
        step::Resource::Cpu => Resource::Cpu,
        step::Resource::Data => Resource::Data,
        step::Resource::Fsize => Resource::Fsize,
        step::Resource::Locks => Resource::Locks,
        step::Resource::Memlock => Resource::Memlock,
        step::Resource::Msgqueue => Resource::Msgqueue,
        step::Resource::Nice => Resource::Nice,
        step::Resource::Nofile => Resource::Nofile,
        step::Resource::Nproc => Resource::Nproc,
        step::Resource::Rss => Resource::Rss,
        step::Resource::Rtprio => Resource::Rtprio,
        step::Resource::Rttime => Resource::Rttime,
        step::Resource::Sigpending => Resource::Sigpending,
        step::Resource::Stack => Resource::Stack,
    }
}

/// Whoever started us may have had signals ignored (nohup) or blocked; ignoring and blocking outlive exec.
fn reset_signals() -> Result<()> {
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        // SAFETY: the default action runs no code of ours.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map_err(errno)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(errno)
}

/// A new network namespace has a loopback that is down.
pub(super) fn loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    use std::os::fd::AsRawFd;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an ifreq of zeroes is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(errno(nix::errno::Errno::last())),
    }
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}
