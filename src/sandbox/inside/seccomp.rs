//! The system calls that a command is refused: those that Docker's default profile refuses to a container with
//! Docker's default capabilities (moby, profiles/seccomp/default.json), as a list of refusals.
//!
//! Calls that are newer than this list answer ENOSYS, as runc makes them do, so that programs fall back to what
//! they used before. So do all calls of x32, whose numbers start beyond. 32-bit x86 programs work, under the same
//! refusals in their own numbers; 32-bit ARM programs do not (ENOSYS).

use std::collections::BTreeMap;

use nix::libc;
use rustix::io::Errno;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// Installs the filter for this process and all that follow. Needs CAP_SYS_ADMIN in the user namespace, since it
/// leaves `no_new_privs` off, which `seccompiler::apply_filter` would set.
pub(super) fn install() -> Result<(), Errno> {
    // The list below is a constant: the test compiles it too.
    let program = program().map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies the program, which lives until then; its instructions have the kernel's layout in
    // seccompiler (repr(C), the fields of linux/filter.h).
    let status = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if status == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(nix::errno::Errno::last_raw())) }
}

/// The last call that was weighed for this list (`file_setattr`, Linux 6.17). Since 424 numbers are the same everywhere.
const NEWEST: u32 = 469;
const CLONE3: u32 = 435;

/// Refused with the same number on every architecture.
const EVERYWHERE: [i64; 14] = [
    425, 426, 427, // io_uring_setup, _enter, _register
    428, 429, // open_tree, move_mount
    430, 431, 432, 433, // fsopen, fsconfig, fsmount, fspick
    442, 443, // mount_setattr, quotactl_fd
    457, 458, // statmount, listmount
    467, // open_tree_attr
];

const NATIVE: [i64; 38] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_move_pages,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    libc::SYS_set_mempolicy_home_node,
];

#[cfg(target_arch = "x86_64")]
const ONLY_X86_64: &[i64] =
    &[libc::SYS_ioperm, libc::SYS_iopl, libc::SYS__sysctl, libc::SYS_sysfs, libc::SYS_uselib, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const ONLY_X86_64: &[i64] = &[];

/// The same refusals in the numbers of 32-bit x86 (arch/x86/entry/syscalls/syscall_32.tbl).
#[cfg(target_arch = "x86_64")]
const I386: [i64; 51] = [
    21, 22, 52, // mount, umount, umount2
    25, 79, 264, // stime, settimeofday, clock_settime
    51, 62, 86, 87, 88, // acct, ustat, uselib, swapon, reboot
    101, 110, 111, 113, 166, // ioperm, iopl, vhangup, vm86old, vm86
    103, 115, 131, // syslog, swapoff, quotactl
    74, 121, // sethostname, setdomainname
    127, 128, 129, 130, 167, 350, // create_module, init_, delete_, get_kernel_syms, query_, finit_module
    135, 149, 169, 217, // sysfs, _sysctl, nfsservctl, pivot_root
    253, 274, 275, 276, 294,
    317, // lookup_dcookie, mbind, get_mempolicy, set_mempolicy, migrate_pages, move_pages
    283, 286, 287, 288, // kexec_load, add_key, request_key, keyctl
    310, 336, 338, 342, 346, 349, // unshare, perf_event_open, fanotify_init, open_by_handle_at, setns, kcmp
    357, 374, 404, 450, // bpf, userfaultfd, clock_settime64, set_mempolicy_home_node
];

/// What clone(2) must not be asked for: every kind of namespace. clone3(2) keeps its flags in memory, where no filter
/// sees them, and is refused whole with ENOSYS, after which libraries use clone.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// PER_LINUX, PER_LINUX32, UNAME26, both, and the question which one is set.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Sockets of the hypervisor, which no namespace holds.
const AF_VSOCK: u64 = 40;

fn program() -> Result<BpfProgram, BackendError> {
    let native: Vec<i64> = EVERYWHERE.iter().chain(&NATIVE).chain(ONLY_X86_64).copied().collect();
    let native = refusals(&native, libc::SYS_clone, libc::SYS_personality, Some(libc::SYS_socket))?;
    let mut program = vec![load(ARCHITECTURE)];
    #[cfg(target_arch = "x86_64")]
    {
        let list: Vec<i64> = EVERYWHERE.iter().chain(&I386).copied().collect();
        program.extend(for_architecture(AUDIT_ARCH_I386, refusals(&list, 120, 136, Some(359))?));
    }
    program.extend(for_architecture(AUDIT_ARCH_NATIVE, native));
    program.push(answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    Ok(program)
}

/// One architecture's calls, after the number was loaded.
fn refusals(plain: &[i64], clone: i64, personality: i64, socket: Option<i64>) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = plain.iter().map(|call| (*call, Vec::new())).collect();
    let first = |op, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value);
    let namespaces = NAMESPACES.iter().map(|flag| {
        let flag = u64::from(*flag as u32);
        SeccompRule::new(vec![first(SeccompCmpOp::MaskedEq(flag), flag)?])
    });
    rules.insert(clone, namespaces.collect::<Result<_, _>>()?);
    let others = PERSONALITIES.iter().map(|known| first(SeccompCmpOp::Ne, *known));
    rules.insert(personality, vec![SeccompRule::new(others.collect::<Result<_, _>>()?)?]);
    if let Some(socket) = socket {
        rules.insert(socket, vec![SeccompRule::new(vec![first(SeccompCmpOp::Eq, AF_VSOCK)?])?]);
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, TARGET)?;
    let compiled: BpfProgram = filter.try_into()?;
    // It begins by killing whatever is of another architecture than ours, in three instructions. We ask ourselves.
    Ok(compiled.into_iter().skip(3).collect())
}

/// Runs `body` for calls of one architecture, whose code is loaded, and skips it for others.
fn for_architecture(audit: u32, body: BpfProgram) -> BpfProgram {
    let unknown = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    let mut inner = vec![
        load(NUMBER),
        // Unsigned, so that the numbers of x32 (from 0x4000_0000 on) are beyond as well.
        sock_filter { code: JUMP_IF_GREATER, jt: 1, jf: 0, k: NEWEST },
        sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: CLONE3 },
        unknown,
    ];
    inner.extend(body);
    let mut program = vec![
        sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: audit },
        // A conditional jump reaches 255 instructions, this one any.
        sock_filter { code: JUMP, jt: 0, jf: 0, k: inner.len() as u32 },
    ];
    program.extend(inner);
    program
}

pub(super) fn load(offset: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

pub(super) fn answer(action: u32) -> sock_filter {
    sock_filter { code: RETURN, jt: 0, jf: 0, k: action }
}

// linux/bpf_common.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP with BPF_JA, BPF_JEQ|BPF_K, BPF_JGT|BPF_K, BPF_RET|BPF_K.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const RETURN: u16 = 0x06;

// struct seccomp_data, linux/seccomp.h.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;

// linux/audit.h
#[cfg(target_arch = "x86_64")]
pub(super) const AUDIT_ARCH_NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
#[cfg(target_arch = "x86_64")]
const TARGET: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
pub(super) const AUDIT_ARCH_NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "aarch64")]
const TARGET: TargetArch = TargetArch::aarch64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn verdict(program: &[sock_filter], arch: u32, number: u32, first: u64) -> u32 {
        run(program, arch, number, &[first])
    }

    /// Runs a program of the few instructions that we make, as the kernel would.
    pub(in super::super) fn run(program: &[sock_filter], arch: u32, number: u32, arguments: &[u64]) -> u32 {
        let mut data = [0_u32; 16];
        (data[0], data[1]) = (number, arch);
        for (at, argument) in arguments.iter().enumerate() {
            (data[4 + 2 * at], data[5 + 2 * at]) = (*argument as u32, (argument >> 32) as u32);
        }
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let jump = |yes: bool| usize::from(if yes { jt } else { jf });
            match code {
                LOAD => accumulator = data[k as usize / 4],
                RETURN => return k,
                JUMP => at += k as usize,
                JUMP_IF_EQUAL => at += jump(accumulator == k),
                JUMP_IF_GREATER => at += jump(accumulator > k),
                0x35 => at += jump(accumulator >= k),
                0x45 => at += jump(accumulator & k != 0),
                0x54 => accumulator &= k,
                other => panic!("an instruction that nobody asked for: {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn calls_are_allowed_refused_or_unknown() {
        let program = program().expect("the list compiles");
        let native = |call: i64, first: u64| verdict(&program, AUDIT_ARCH_NATIVE, call as u32, first);
        assert_eq!(native(libc::SYS_read, 0), ALLOW);
        assert_eq!(native(libc::SYS_ptrace, 0), ALLOW);
        for call in EVERYWHERE.iter().chain(&NATIVE).chain(ONLY_X86_64) {
            assert_eq!(native(*call, 0), EPERM, "call {call}");
        }
        assert_eq!(native(435, 0), ENOSYS, "clone3");
        assert_eq!(native(470, 0), ENOSYS, "newer than the list");
        assert_eq!(native(libc::SYS_clone, libc::SIGCHLD as u64), ALLOW);
        for flag in NAMESPACES {
            assert_eq!(native(libc::SYS_clone, u64::from(flag as u32 | 17)), EPERM, "clone {flag:#x}");
        }
        assert_eq!(native(libc::SYS_personality, 0xffff_ffff), ALLOW);
        assert_eq!(native(libc::SYS_personality, 0x0040_0000), EPERM, "no address randomisation");
        assert_eq!(native(libc::SYS_socket, libc::AF_INET as u64), ALLOW);
        assert_eq!(native(libc::SYS_socket, AF_VSOCK), EPERM);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn other_calling_conventions_are_no_way_round() {
        let program = program().expect("the list compiles");
        let x32 = 0x4000_0000;
        assert_eq!(verdict(&program, AUDIT_ARCH_NATIVE, x32 + libc::SYS_mount as u32, 0), ENOSYS);
        assert_eq!(verdict(&program, AUDIT_ARCH_I386, 3, 0), ALLOW, "read");
        assert_eq!(verdict(&program, AUDIT_ARCH_I386, 21, 0), EPERM, "mount");
        assert_eq!(verdict(&program, AUDIT_ARCH_I386, 120, libc::CLONE_NEWUSER as u64), EPERM, "clone");
        assert_eq!(verdict(&program, AUDIT_ARCH_I386, 425, 0), EPERM, "io_uring_setup");
        assert_eq!(verdict(&program, AUDIT_ARCH_I386, 435, 0), ENOSYS, "clone3");
        assert_eq!(verdict(&program, 0x4000_0028, 3, 0), ENOSYS, "an architecture that we do not know");
    }
}
