//! Starting the helper: this program again, from a sealed copy that nobody can write.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::error::RunError;
use super::idmap::Map;
use super::wire::{self, Order, Reply};

/// The helper's argv\[0\], by which the program knows itself to be one.
pub(super) const MARKER: &str = "locus-push: sandbox";

#[cfg(target_os = "linux")]
const ITSELF: &str = "/proc/self/exe";
/// No rung holds there, and so nothing is started.
#[cfg(not(target_os = "linux"))]
const ITSELF: &str = "/dev/null";

/// Holds the copy. Make it once: it is as large as the program.
#[derive(Clone)]
pub struct Launcher {
    copy: Arc<OwnedFd>,
}

impl Launcher {
    /// The running program, which must call [`enter_if_asked`](super::enter_if_asked) first thing in `main`.
    pub fn this_program() -> io::Result<Self> {
        Self::of(Path::new(ITSELF))
    }

    /// Another program that calls [`enter_if_asked`](super::enter_if_asked): for tests, whose harness does not.
    pub fn of(program: &Path) -> io::Result<Self> {
        let mut from = File::open(program)?;
        let copy = memfd()?;
        let mut to = File::from(copy);
        io::copy(&mut from, &mut to)?;
        // A command that reaches the helper's /proc/PID/exe, or names it as its interpreter, gets this copy,
        // and nobody can change it any more (CVE-2019-5736; runc's libcontainer/dmz does the same).
        seal(&to)?;
        Ok(Self { copy: Arc::new(to.into()) })
    }

    /// Starts a helper that waits for its order. `output` says where its stdout and stderr go.
    pub(super) fn start(&self, output: Output) -> io::Result<Helper> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(format!("/proc/self/fd/{}", self.copy.as_raw_fd()));
        command.arg0(MARKER).env_clear().current_dir("/").stdin(OwnedFd::from(theirs)).stdout(Stdio::piped());
        command.stderr(match output {
            Output::Both => Stdio::piped(),
            Output::Stdout => Stdio::null(),
        });
        Ok(Helper { child: command.spawn()?, socket: ours })
    }
}

#[derive(Clone, Copy)]
pub(super) enum Output {
    Both,
    Stdout,
}

/// A helper and our end of its socket. Dropping it kills what it runs.
pub(super) struct Helper {
    pub child: Child,
    pub socket: UnixStream,
}

impl Helper {
    /// Gives the helper its order, and sees it into its user namespace where it is to have one. `after` is for the
    /// order's job that comes after the command: its payload, and where its output goes.
    pub fn begin(
        &mut self,
        map: Option<&Map>,
        order: &Order,
        more: &[u8],
        after: Option<(&[u8], PipeWriter)>,
    ) -> Result<(), RunError> {
        wire::send(&mut self.socket, order).map_err(silent)?;
        wire::send_bytes(&mut self.socket, more).map_err(silent)?;
        if let Some((payload, output)) = after {
            wire::send_bytes(&mut self.socket, payload).map_err(silent)?;
            wire::send_fd(&self.socket, &output).map_err(silent)?;
        }
        let Some(map) = map else { return Ok(()) };
        match self.reply()? {
            Reply::MapMe => {}
            Reply::Failed(error) => return Err(error),
            Reply::Opened
            | Reply::WentAround
            | Reply::Exit(_)
            | Reply::Found(_)
            | Reply::Done
            | Reply::JobFailed(_) => {
                return Err(out_of_turn());
            }
        }
        map.write(self.child.id())?;
        wire::send_bytes(&mut self.socket, b"mapped").map_err(silent)
    }

    /// Waits for what the helper has to say next.
    pub fn reply(&mut self) -> Result<Reply, RunError> {
        wire::receive(&mut self.socket).map_err(silent)
    }
}

pub(super) fn out_of_turn() -> RunError {
    RunError::Helper { how: "answered out of turn".into() }
}

fn silent(error: io::Error) -> RunError {
    RunError::Helper { how: format!("ended without a word: {error}") }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It sees the end of its socket, kills its tree, and ends: no zombie stays behind.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

#[cfg(target_os = "linux")]
fn memfd() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, memfd_create};
    use rustix::io::Errno;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("locus-push", flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know MFD_EXEC and give it to everybody.
        Err(Errno::INVAL) => Ok(memfd_create("locus-push", flags)?),
        made => Ok(made?),
    }
}

/// The kernel answers EBUSY while it holds a page itself, be it only on its way to a list (memfd_wait_for_pins, in Linux's
/// mm/memfd.c, waits some 150 ms): on a busy machine that is longer, and passes.
#[cfg(target_os = "linux")]
fn seal(copy: &File) -> io::Result<()> {
    use std::time::Duration;

    use rustix::fs::{SealFlags, fcntl_add_seals};
    use rustix::io::Errno;
    const TRIES: usize = 40;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    for _ in 1..TRIES {
        match fcntl_add_seals(copy, seals) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(50)),
            sealed => return Ok(sealed?),
        }
    }
    Ok(fcntl_add_seals(copy, seals)?)
}

#[cfg(not(target_os = "linux"))]
fn memfd() -> io::Result<OwnedFd> {
    Ok(tempfile::tempfile()?.into())
}

#[cfg(not(target_os = "linux"))]
fn seal(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{SealFlags, fcntl_add_seals};
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_copy_cannot_be_written_shortened_or_unsealed() {
        let launcher = Launcher::of(Path::new("/proc/self/exe")).expect("a copy");
        let path = format!("/proc/self/fd/{}", launcher.copy.as_raw_fd());
        let written = File::options().write(true).open(&path).and_then(|mut file| file.write_all(b"evil"));
        assert!(written.is_err());
        assert!(File::options().write(true).truncate(true).open(&path).is_err());
        assert_eq!(fcntl_add_seals(&launcher.copy, SealFlags::empty()), Err(Errno::PERM));
    }
}
