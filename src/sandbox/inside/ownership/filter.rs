//! Which system calls are asked of us: those that have to do with ids and owners. All others run as fast as ever.
//!
//! It stands beside the filter that refuses calls (`inside/seccomp.rs`). Of two answers the kernel takes the stricter,
//! and a refusal is stricter than a question: what is refused there is never asked here.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::libc;
use rustix::io::Errno;
use seccompiler::sock_filter;

use super::listener::last_error;
use crate::sandbox::inside::seccomp::{ARCHITECTURE, JUMP_IF_EQUAL, NUMBER, answer, load};

pub(super) use crate::sandbox::inside::seccomp::AUDIT_ARCH_NATIVE;

/// Installs the filter for this process and all that follow, and gives its listener. Needs CAP_SYS_ADMIN in the user
/// namespace.
pub(super) fn install() -> Result<OwnedFd, Errno> {
    let program = program();
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // A call that we have taken up is not interrupted by a signal: it would be made again, and have been done twice
    // (Linux 5.19).
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the kernel copies the program, which lives until then; its instructions have the kernel's layout in
    // seccompiler (repr(C), the fields of linux/filter.h).
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor, for us alone.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(last_error()),
    }
}

const ASKED: [i64; 36] = [
    libc::SYS_chroot,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getuid,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_newfstatat,
    libc::SYS_openat2,
    libc::SYS_removexattr,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setgroups,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_setreuid,
    libc::SYS_setuid,
    libc::SYS_setxattr,
    libc::SYS_statx,
];

/// The last of them, and the older forms that newer machines do not have.
#[cfg(target_arch = "x86_64")]
const MORE: &[i64] = &[
    libc::SYS_symlinkat,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_lchown,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_stat,
    libc::SYS_symlink,
];
#[cfg(not(target_arch = "x86_64"))]
const MORE: &[i64] = &[libc::SYS_symlinkat];

/// Asked only when they make a file, with the number of the argument that tells.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(i64, u32)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(i64, u32)] = &[(libc::SYS_openat, 2)];

/// New ways to do what is asked above, with their arguments in memory. Programs fall back to the old ones.
const UNKNOWN: [i64; 3] = [463, 465, 466]; // setxattrat, listxattrat, removexattrat

/// linux/fcntl.h: O_CREAT, and of O_TMPFILE the bit that is its own.
pub(super) const CREATES: u32 = libc::O_CREAT as u32 | 0o20_000_000;

/// BPF_JMP|BPF_JSET|BPF_K (linux/bpf_common.h).
const JUMP_IF_ANY: u16 = 0x45;

const ASK: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

fn program() -> Vec<sock_filter> {
    let errno = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
    // Another machine's calls are asked too, so that they end the step with a word.
    let mut program = vec![
        load(ARCHITECTURE),
        sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: AUDIT_ARCH_NATIVE },
        answer(ASK),
        load(NUMBER),
    ];
    let is = |number: i64, then: Vec<sock_filter>| when(JUMP_IF_EQUAL, number as u32, then);
    program.extend(ASKED.iter().chain(MORE).flat_map(|call| is(*call, vec![answer(ASK)])));
    program.extend(UNKNOWN.iter().flat_map(|call| is(*call, vec![answer(errno(libc::ENOSYS))])));
    // It would do all of that unasked; refused here too, since a command may be without the other filter.
    program.extend(is(libc::SYS_io_uring_setup, vec![answer(errno(libc::EPERM))]));
    for (call, flags) in OPENING {
        let mut body = vec![load(argument(*flags))];
        body.extend(when(JUMP_IF_ANY, CREATES, vec![answer(ASK)]));
        body.push(answer(ALLOW));
        program.extend(is(*call, body));
    }
    let mut prctl = vec![load(argument(0))];
    // Threads are told apart by it: "done".
    prctl.extend(when(JUMP_IF_EQUAL, libc::PR_SET_TIMERSLACK as u32, vec![answer(errno(0))]));
    for option in [libc::PR_SET_KEEPCAPS, libc::PR_GET_KEEPCAPS] {
        prctl.extend(when(JUMP_IF_EQUAL, option as u32, vec![answer(ASK)]));
    }
    prctl.push(answer(ALLOW));
    program.extend(is(libc::SYS_prctl, prctl));
    let mut getsockopt = vec![load(argument(2))];
    let level = when(JUMP_IF_EQUAL, libc::SOL_SOCKET as u32, vec![answer(ASK)]);
    let peer: Vec<_> = std::iter::once(load(argument(1))).chain(level).collect();
    getsockopt.extend(when(JUMP_IF_EQUAL, libc::SO_PEERCRED as u32, peer));
    getsockopt.push(answer(ALLOW));
    program.extend(is(libc::SYS_getsockopt, getsockopt));
    program.push(answer(ALLOW));
    program
}

/// Runs `then` when what is loaded compares so.
fn when(compare: u16, with: u32, then: Vec<sock_filter>) -> Vec<sock_filter> {
    // The bodies above are a dozen instructions long; a jump reaches 255.
    let jump = sock_filter { code: compare, jt: 0, jf: then.len() as u8, k: with };
    std::iter::once(jump).chain(then).collect()
}

/// The lower half of an argument in struct seccomp_data (linux/seccomp.h), on a little-endian machine, as all are that
/// we are built for.
fn argument(number: u32) -> u32 {
    16 + 8 * number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::inside::seccomp::tests::run;

    fn verdict(call: i64, arguments: [u64; 3]) -> u32 {
        run(&program(), AUDIT_ARCH_NATIVE, call as u32, &arguments)
    }

    #[test]
    fn what_has_to_do_with_owners_is_asked_and_nothing_else() {
        for call in ASKED.iter().chain(MORE) {
            assert_eq!(verdict(*call, [0; 3]), ASK, "call {call}");
        }
        for call in [libc::SYS_read, libc::SYS_fchmod, libc::SYS_renameat2, libc::SYS_sendmsg, libc::SYS_capset] {
            assert_eq!(verdict(call, [0; 3]), ALLOW, "call {call}");
        }
        assert_eq!(verdict(463, [0; 3]), libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn opening_is_asked_only_where_it_makes_a_file() {
        let open = |flags: i32| verdict(libc::SYS_openat, [0, 0, flags as u64]);
        assert_eq!(open(libc::O_RDWR | libc::O_DIRECTORY | libc::O_CLOEXEC), ALLOW);
        assert_eq!(open(libc::O_WRONLY | libc::O_CREAT), ASK);
        assert_eq!(open(libc::O_WRONLY | libc::O_TMPFILE), ASK);
    }

    #[test]
    fn of_calls_with_many_meanings_the_few_are_asked() {
        let prctl = |option: i32| verdict(libc::SYS_prctl, [option as u64, 1, 0]);
        assert_eq!(prctl(libc::PR_SET_NAME), ALLOW);
        assert_eq!(prctl(libc::PR_SET_KEEPCAPS), ASK);
        assert_eq!(prctl(libc::PR_SET_TIMERSLACK), libc::SECCOMP_RET_ERRNO, "done, and not");
        let option = |level: i32, name: i32| verdict(libc::SYS_getsockopt, [3, level as u64, name as u64]);
        assert_eq!(option(libc::SOL_SOCKET, libc::SO_PEERCRED), ASK);
        assert_eq!(option(libc::SOL_SOCKET, libc::SO_ERROR), ALLOW);
        assert_eq!(option(libc::IPPROTO_TCP, libc::SO_PEERCRED), ALLOW);
    }

    #[test]
    fn another_machines_calls_are_asked() {
        assert_eq!(run(&program(), 0x4000_0003, 3, &[]), ASK);
    }
}
