//! Forking a child and ending with it, or ending it when the one who asked is gone.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::unistd::ForkResult;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, set_parent_process_death_signal,
    wait, waitpid,
};

use super::super::error::RunError;
use super::super::step::Exit;
use super::super::wire::Reply;
use super::ownership::Supervisor;

/// A forked process, which dies with us.
pub(super) struct Forked {
    pid: Pid,
    /// Its last words, if it has any.
    words: OwnedFd,
    /// Its end tells it that we are gone.
    _alive: OwnedFd,
}

/// How a forked process ended.
pub(super) struct Ended {
    pub exit: Exit,
    /// What it had to say, if it did not become another program.
    pub reply: Option<Reply>,
    pub stopped: bool,
}

/// Which processes a forked one can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sees {
    /// Those that we see.
    Ours,
    /// Itself as pid 1, and its children.
    ItsOwn,
}

/// Forks. The child does `work` and sends what it gives, if it ever comes back from there.
pub(super) fn fork(sees: Sees, work: impl FnOnce(&Parent) -> Reply) -> Result<Forked, RunError> {
    let failed = |error: Errno| RunError::system("starting a process", error);
    let (words, mouth) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (ear, alive) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    // SAFETY: the helper has one thread, so the child's copy of memory is whole and its locks are free.
    let forked = match sees {
        Sees::Ours => unsafe { nix::unistd::fork() },
        Sees::ItsOwn => unsafe { fork_as_first() },
    };
    match forked {
        Err(error) => Err(RunError::system("starting a process (is a limit on processes reached?)", error)),
        Ok(ForkResult::Parent { child }) => {
            // A pid that fork gave is positive.
            let pid = Pid::from_raw(child.as_raw()).ok_or_else(|| failed(Errno::CHILD))?;
            Ok(Forked { pid, words, _alive: alive })
        }
        Ok(ForkResult::Child) => {
            drop((words, alive));
            let parent = Parent { ear, mouth: mouth.as_raw_fd() };
            let reply = match parent.die_with_it() {
                Ok(()) => work(&parent),
                Err(error) => Reply::Failed(RunError::system("binding to the helper", error)),
            };
            // Serde has no trouble with it, and a pipe whose reader is gone needs no words.
            let bytes = serde_json::to_vec(&reply).unwrap_or_default();
            let _ = File::from(mouth).write_all(&bytes);
            // SAFETY: _exit(2) ends the process, without the destructors and exit handlers that are the parent's.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

/// fork(2) into a pid namespace of its own. unshare(2) would put every later child there too, and none can be forked
/// into a namespace whose first process is gone (pid_namespaces(7)).
///
/// # Safety
/// As fork(2): of several threads the child has one.
unsafe fn fork_as_first() -> nix::Result<ForkResult> {
    use nix::libc::{CLONE_NEWPID, SIGCHLD, SYS_clone, c_long, syscall};
    // The kernel takes a missing stack for the same one, copied, as fork's; the other arguments belong to flags that are
    // not set, so that their order, which differs between CPUs, does not matter.
    match unsafe { syscall(SYS_clone, c_long::from(CLONE_NEWPID | SIGCHLD), 0, 0, 0, 0) } {
        -1 => Err(nix::errno::Errno::last()),
        0 => Ok(ForkResult::Child),
        // Pids have 22 bits at most.
        child => Ok(ForkResult::Parent { child: nix::unistd::Pid::from_raw(child as i32) }),
    }
}

/// What a forked process knows of the one that forked it.
pub(super) struct Parent {
    ear: OwnedFd,
    mouth: RawFd,
}

impl Parent {
    /// Has the kernel kill us when the parent dies. To be called again after each change of credentials, which
    /// forgets it (prctl(2)).
    pub fn die_with_it(&self) -> rustix::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that line.
        let mut ear = [PollFd::new(&self.ear, PollFlags::empty())];
        match poll(&mut ear, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
            0 => Ok(()),
            _ => Err(Errno::SRCH),
        }
    }

    /// Closes every descriptor but the standard ones and the pipe for last words: a path such as `/proc/self/fd/7`
    /// must not lead out of the root, and close-on-exec comes only after the program was looked up
    /// (CVE-2024-21626). The process must become another program or end without dropping what it had open.
    pub fn close_all_else(&self) {
        super::close_range(3, self.mouth - 1);
        super::close_range(self.mouth + 1, RawFd::MAX);
    }
}

impl Forked {
    /// Waits for its end; kills it when the socket of the one who asked closes. Attends to what it asks, where it is
    /// under a supervisor.
    pub fn watch(self, socket: &UnixStream, mut supervisor: Option<&mut Supervisor>) -> Result<Ended, RunError> {
        let failed = |error: Errno| RunError::system("waiting for the command", error);
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty()).map_err(failed)?;
        let mut stopped = false;
        loop {
            let mut waiting = vec![PollFd::new(&pidfd, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
            let asked = supervisor.as_deref().and_then(Supervisor::waits_for);
            waiting.extend(asked.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut waiting, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(error)),
            }
            if !waiting[0].revents().is_empty() {
                break;
            }
            if waiting[1].revents().is_empty() {
                let hung_up = waiting.get(2).is_some_and(|asked| !asked.revents().contains(PollFlags::IN));
                drop(waiting);
                if let Some(supervisor) = supervisor.as_deref_mut() {
                    // An error ends this process, and with it the tree.
                    supervisor.attend(hung_up)?;
                }
                continue;
            }
            // Nobody speaks to a helper at work: whatever comes is the end.
            stopped = true;
            pidfd_send_signal(&pidfd, Signal::KILL).map_err(failed)?;
            break;
        }
        Ok(Ended { stopped, ..self.finish()? })
    }

    /// Has it end, and waits for that.
    pub fn end(self) -> Result<Ended, RunError> {
        rustix::process::kill_process(self.pid, Signal::KILL)
            .map_err(|error| RunError::system("ending a process", error))?;
        self.finish()
    }

    /// Waits for its end.
    pub fn finish(self) -> Result<Ended, RunError> {
        let of = Some(self.pid);
        self.ended(|| waitpid(of, WaitOptions::empty()))
    }

    /// The same, and takes the ends of all others meanwhile whose parents did not.
    pub fn finish_among_orphans(self) -> Result<Ended, RunError> {
        self.ended(|| wait(WaitOptions::empty()))
    }

    fn ended(self, wait: impl Fn() -> rustix::io::Result<Option<(Pid, WaitStatus)>>) -> Result<Ended, RunError> {
        let failed = |error: Errno| RunError::system("waiting for a process", error);
        let status = loop {
            match wait() {
                Ok(Some((pid, status))) if pid == self.pid => break status,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
        };
        let mut words = Vec::new();
        File::from(self.words).read_to_end(&mut words).map_err(|error| RunError::system("reading", error))?;
        Ok(Ended { exit: exit(status), reply: serde_json::from_slice(&words).ok(), stopped: false })
    }
}

/// Forks a piece of our own work, and gives its answer.
pub(super) fn fork_and_watch(socket: &UnixStream, work: impl FnOnce() -> Reply) -> Result<Reply, RunError> {
    let forked = fork(Sees::Ours, |_| work())?;
    super::release_outputs().map_err(|error| RunError::system("letting go of the output", error))?;
    let ended = forked.watch(socket, None)?;
    match ended.reply {
        _ if ended.stopped => Err(RunError::Stopped),
        Some(reply) => Ok(reply),
        None => Err(RunError::Helper { how: format!("lost its worker: {:?}", ended.exit) }),
    }
}

fn exit(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        // We wait for ends only, and each end is one or the other.
        (None, None) => Exit::Signal(0),
    }
}
