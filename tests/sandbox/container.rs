//! What a container leaves its root, put on a child before it starts: real, and inherited by all that it starts.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::thread::{CapabilitySet, UnshareFlags, capability_is_in_bounding_set, remove_capability_from_bounding_set};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// Docker's default capabilities and what it covers in /proc; no seccomp filter. A plain Kubernetes pod.
    Pod,
    /// The same capabilities, and a seccomp filter that refuses namespaces and mounts. `docker run` without flags.
    Docker,
}

/// moby, oci/caps/defaults.go.
const CAPABILITIES: [CapabilitySet; 14] = [
    CapabilitySet::CHOWN,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::FSETID,
    CapabilitySet::FOWNER,
    CapabilitySet::MKNOD,
    CapabilitySet::NET_RAW,
    CapabilitySet::SETGID,
    CapabilitySet::SETUID,
    CapabilitySet::SETFCAP,
    CapabilitySet::SETPCAP,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::SYS_CHROOT,
    CapabilitySet::KILL,
    CapabilitySet::AUDIT_WRITE,
];

/// Starts `command` in such a container. Asks for root.
pub fn confine(command: &mut Command, container: Container) {
    let filter = refusals();
    let put = move || {
        match container {
            Container::Pod => cover_proc()?,
            Container::Docker => install(&filter)?,
        }
        // Root has what is in the bounding set once it executes something (capabilities(7)).
        for number in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            match capability_is_in_bounding_set(one) {
                Ok(true) if !CAPABILITIES.contains(&one) => remove_capability_from_bounding_set(one)?,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls and allocates nothing; the filter was made before the fork.
    unsafe { command.pre_exec(put) };
}

/// moby, oci/defaults.go: some of it covered, some read-only.
fn cover_proc() -> io::Result<()> {
    // SAFETY: no descriptor table is unshared, and the child has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    for file in [c"/proc/timer_list", c"/proc/interrupts"] {
        mount_bind(c"/dev/null", file)?;
    }
    mount_bind(c"/proc/sys", c"/proc/sys")?;
    mount_remount(c"/proc/sys", MountFlags::BIND | MountFlags::RDONLY, c"")?;
    Ok(())
}

/// Without `no_new_privs`, as container runtimes do it: setuid programs go on working.
fn install(program: &[libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which outlives the call.
    match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// EPERM for all that unshares or mounts; ENOSYS for clone3, whose flags no filter sees.
fn refusals() -> Vec<libc::sock_filter> {
    const NEW: u32 = (libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET) as u32;
    let refused = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
    ];
    let statement = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let unless = |code, k, skipped| libc::sock_filter { code, jt: 0, jf: skipped, k };
    // linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JSET|BPF_K, BPF_RET|BPF_K.
    let (load, equal, any_of, answer) = (0x20, 0x15, 0x45, 0x06);
    let error = |errno: i32| statement(answer, libc::SECCOMP_RET_ERRNO | errno as u32);
    let mut program = vec![statement(load, 0)];
    for call in refused {
        program.extend([unless(equal, call as u32, 1), error(libc::EPERM)]);
    }
    program.extend([unless(equal, libc::SYS_clone3 as u32, 1), error(libc::ENOSYS)]);
    // The lower half of its first argument.
    let clone =
        [unless(equal, libc::SYS_clone as u32, 3), statement(load, 16), unless(any_of, NEW, 1), error(libc::EPERM)];
    program.extend(clone);
    program.push(statement(answer, libc::SECCOMP_RET_ALLOW));
    program
}
