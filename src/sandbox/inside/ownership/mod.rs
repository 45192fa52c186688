//! Ids that are asked for and cannot be had.
//!
//! With one id in the user namespace chown and setuid fail, and every file is root's. So the calls that have to do with
//! ids and owners are asked of the helper (a seccomp listener), which answers what they would do if there were all ids:
//! owners are recorded on the files ([`crate::owners`]), and who a thread believes itself to be is kept by number in
//! the thread itself ([`tokens`]). The layer is read from the records, and is the one that root makes.
//!
//! ```text
//!   command ── chown("/f", 33, 33) ──▶ kernel ──call──▶ helper: attend() ── records 33:33 on /f
//!      ▲                                  │                    │
//!      └───────────────── 0 ◀─────────────┴────────answer──────┘
//! ```
//!
//! What is not done: nothing is denied to a user other than root, since the kernel knows none. No security rests on
//! any of this: the namespace, its mounts and the other filter keep the command in, and a program that lies to us lies
//! about its own image.

mod attributes;
mod chown;
mod create;
mod credentials;
mod filter;
mod identity;
mod listener;
mod memory;
mod paths;
mod peer;
mod records;
mod start;
mod status;
mod tokens;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc;
use rustix::fs::{Mode, OFlags, open, readlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use self::credentials::Credentials;
use self::listener::{Answer, Call, Caller, Listener};
use self::paths::{Outside, Roots};
use self::tokens::Tokens;
use crate::sandbox::error::RunError;
use crate::sandbox::step::Ids;

/// The command's side: to be taken into the process that becomes the command.
pub(super) struct Door {
    socket: OwnedFd,
    is_root: bool,
}

/// The helper's side.
pub(super) struct Supervisor {
    /// Opened while it was still to be seen.
    outside: Option<Outside>,
    tokens: Tokens,
    state: State,
}

enum State {
    /// The filter is not installed yet.
    Waiting(OwnedFd),
    Listening(Listener, Roots, start::Started),
    /// Nobody is left who could ask.
    Over,
}

/// Both sides. To be made before the root changes.
pub(super) fn prepare(user: &Ids) -> Result<(Supervisor, Door), RunError> {
    let failed = |error: Errno| RunError::system("preparing to answer for owners", error);
    let outside = Outside::open().map_err(failed)?;
    // Callers come with the numbers that they have in our own pid namespace.
    let ourselves = readlinkat(&outside.proc, "self", Vec::new()).map_err(failed)?;
    if ourselves.to_bytes() != std::process::id().to_string().as_bytes() {
        return Err(RunError::Helper { how: "sees the /proc of another pid namespace than its own".into() });
    }
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let first = Credentials::of(user);
    let is_root = first == Credentials::root();
    let supervisor = Supervisor { outside: Some(outside), tokens: Tokens::new(first), state: State::Waiting(ours) };
    Ok((supervisor, Door { socket: theirs, is_root }))
}

impl Door {
    /// Puts this process under the filter. Whatever it asks from now on waits for [`Supervisor::attend`].
    pub fn pass(&self) -> Result<(), RunError> {
        let failed = |error: Errno| RunError::system("handing over the listener", error);
        // Its memory must be read when it starts the command. Nobody is in here yet but itself.
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(failed)?;
        let slack = Tokens::slack_of_first(self.is_root);
        // SAFETY: this option takes a number and touches no memory.
        if unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack) } != 0 {
            return Err(failed(listener::last_error()));
        }
        let listener = filter::install().map_err(refused)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        // And the root, which the helper may not have.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open("/", flags, Mode::empty()).map_err(failed)?;
        let fds = [listener.as_fd(), root.as_fd()];
        message.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.socket, &[IoSlice::new(b"f")], &mut message, SendFlags::empty()).map_err(failed)?;
        Ok(())
    }
}

/// Tries whether a filter with a listener can be had, for a probe: this process is under it afterwards.
pub(super) fn try_filter() -> Result<(), RunError> {
    filter::install().map(drop).map_err(refused)
}

fn refused(error: Errno) -> RunError {
    let hint = match error {
        Errno::BUSY => {
            "whoever runs us listens to system calls already, and the kernel allows one listener: RUN in our own RUN, or a container with a seccomp agent"
        }
        Errno::INVAL => "it needs Linux 5.19",
        _ => "a security module or a seccomp filter stands in the way",
    };
    let which = "a seccomp listener, which answers for owners".into();
    RunError::Namespace { which, errno: error.raw_os_error(), hint: Some(hint.into()) }
}

impl Supervisor {
    /// What to wait for; nothing when all is over.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Waiting(socket) => Some(socket.as_fd()),
            State::Listening(listener, ..) => Some(listener.as_fd()),
            State::Over => None,
        }
    }

    /// Does what is to be done when that is readable (or, with `ended`, hung up). An error ends the step.
    pub fn attend(&mut self, ended: bool) -> Result<(), RunError> {
        let failed = |error: Errno| RunError::system("answering for owners", error);
        match &mut self.state {
            State::Waiting(socket) => {
                self.state = match receive_listener(socket).map_err(failed)? {
                    Some([listener, root]) => {
                        let outside = self.outside.take().ok_or_else(|| failed(Errno::BADF))?;
                        let roots = Roots::new(outside, root).map_err(failed)?;
                        State::Listening(Listener::new(listener), roots, start::Started::default())
                    }
                    // The process failed before; it says itself why.
                    None => State::Over,
                };
                Ok(())
            }
            State::Listening(..) if ended => {
                self.state = State::Over;
                Ok(())
            }
            State::Listening(listener, roots, started) => {
                let Some(call) = listener.receive().map_err(failed)? else { return Ok(()) };
                if call.architecture != filter::AUDIT_ARCH_NATIVE {
                    let program = std::fs::read_link(call.caller.file("exe")).unwrap_or_default();
                    return Err(RunError::ForeignCalls { program: program.display().to_string() });
                }
                let mut desk = Desk { listener, tokens: &mut self.tokens, roots, started };
                let answer = desk.answer(&call);
                listener.answer(&call, answer).map_err(failed)
            }
            State::Over => Ok(()),
        }
    }
}

/// The listener and the step's root.
fn receive_listener(socket: &OwnedFd) -> Result<Option<[OwnedFd; 2]>, Errno> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let fds = message.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(<[OwnedFd; 2]>::try_from(fds.flatten().collect::<Vec<_>>()).ok())
}

/// What the answer to one call is made from.
struct Desk<'a> {
    listener: &'a Listener,
    tokens: &'a mut Tokens,
    roots: &'a mut Roots,
    started: &'a mut start::Started,
}

impl Desk<'_> {
    fn answer(&mut self, call: &Call) -> Result<Answer, Errno> {
        use Owned::{At, Fd};
        self.look_back(call.caller)?;
        let int = |at| call.int(at);
        match call.number {
            libc::SYS_fchownat => self.chown(call, At(int(0), call.arguments[1], int(4)), 2),
            libc::SYS_fchown => self.chown(call, Fd(int(0)), 1),
            libc::SYS_newfstatat => self.stat(call, At(int(0), call.arguments[1], int(3)), 2),
            libc::SYS_fstat => self.stat(call, Fd(int(0)), 1),
            libc::SYS_statx => self.statx(call),
            libc::SYS_openat => self.open(call, int(0), call.arguments[1], call.id_at(2), call.id_at(3)),
            libc::SYS_openat2 => self.openat2(call),
            libc::SYS_mkdirat => self.make_folder(call, int(0), call.arguments[1], call.id_at(2)),
            libc::SYS_mknodat => self.make_node(call, int(0), call.arguments[1], call.id_at(2)),
            libc::SYS_symlinkat => self.make_symlink(call, call.arguments[0], int(1), call.arguments[2]),
            libc::SYS_execve => self.start(call, At(libc::AT_FDCWD, call.arguments[0], 0)),
            libc::SYS_execveat => self.start(call, At(int(0), call.arguments[1], int(4))),
            libc::SYS_chroot => {
                self.roots.others = true;
                Ok(Answer::Continue)
            }
            libc::SYS_getsockopt => Ok(self.peer(call).unwrap_or(Answer::Continue)),
            libc::SYS_setxattr | libc::SYS_removexattr => self.set_attribute(call, Owned::path(call)),
            libc::SYS_lsetxattr | libc::SYS_lremovexattr => self.set_attribute(call, Owned::link(call)),
            libc::SYS_fsetxattr | libc::SYS_fremovexattr => self.set_attribute(call, Fd(int(0))),
            libc::SYS_listxattr => self.list_attributes(call, Owned::path(call)),
            libc::SYS_llistxattr => self.list_attributes(call, Owned::link(call)),
            libc::SYS_flistxattr => self.list_attributes(call, Fd(int(0))),
            _ => match self.older(call) {
                Some(answer) => answer,
                None => self.identity(call),
            },
        }
    }

    /// The forms that only x86-64 has.
    #[cfg(target_arch = "x86_64")]
    fn older(&mut self, call: &Call) -> Option<Result<Answer, Errno>> {
        let (path, here) = (call.arguments[0], libc::AT_FDCWD);
        Some(match call.number {
            libc::SYS_chown => self.chown(call, Owned::path(call), 1),
            libc::SYS_lchown => self.chown(call, Owned::link(call), 1),
            libc::SYS_stat => self.stat(call, Owned::path(call), 1),
            libc::SYS_lstat => self.stat(call, Owned::link(call), 1),
            libc::SYS_open => self.open(call, here, path, call.id_at(1), call.id_at(2)),
            libc::SYS_creat => {
                let flags = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
                self.open(call, here, path, flags, call.id_at(1))
            }
            libc::SYS_mkdir => self.make_folder(call, here, path, call.id_at(1)),
            libc::SYS_mknod => self.make_node(call, here, path, call.id_at(1)),
            libc::SYS_symlink => self.make_symlink(call, path, here, call.arguments[1]),
            _ => return None,
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn older(&mut self, _: &Call) -> Option<Result<Answer, Errno>> {
        None
    }

    /// Who asks.
    fn asking(&self, call: &Call) -> &Credentials {
        self.tokens.of(call.caller)
    }

    /// The name of what a call is about. None where that makes no sense, for which the kernel has the right error.
    fn named(&self, caller: Caller, what: Owned) -> Result<Option<Named>, Errno> {
        match what {
            Owned::Fd(fd) if fd < 0 => Ok(None),
            Owned::Fd(fd) => Ok(Some(Named { name: paths::name(caller, fd, b""), follow: true })),
            Owned::At(folder, path, flags) => {
                // Since Linux 6.11 no path is as good as an empty one.
                let path = if path == 0 { Vec::new() } else { memory::read_path(caller, path)? };
                let by_descriptor = path.is_empty();
                if (by_descriptor && flags & libc::AT_EMPTY_PATH == 0) || (folder < 0 && folder != libc::AT_FDCWD) {
                    return Ok(None);
                }
                let follow = by_descriptor || flags & libc::AT_SYMLINK_NOFOLLOW == 0;
                Ok(Some(Named { name: paths::name(caller, folder, &path), follow }))
            }
        }
    }
}

/// What a call is about: a descriptor; or a folder's descriptor, the address of a path, and flags.
#[derive(Clone, Copy)]
enum Owned {
    Fd(i32),
    At(i32, u64, i32),
}

impl Owned {
    /// The path that is the first argument.
    fn path(call: &Call) -> Self {
        Self::At(libc::AT_FDCWD, call.arguments[0], 0)
    }

    /// The same, and a symlink is itself.
    fn link(call: &Call) -> Self {
        Self::At(libc::AT_FDCWD, call.arguments[0], libc::AT_SYMLINK_NOFOLLOW)
    }
}

/// A file by a name that is good for us.
struct Named {
    name: Vec<u8>,
    follow: bool,
}
