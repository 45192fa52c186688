//! Our own functions, run inside the user namespace: where files that belong to sub-ids can be made, read, removed.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::cgroup::Group;
use super::error::RunError;
use super::launch::{Helper, Output, out_of_turn};
use super::wire::{Order, Reply, Task};
use super::{Sandbox, Stopper, inside, stop};

/// The built-in job that removes a tree.
pub(super) const REMOVE: &str = "remove";

/// A function that can be run inside, by its name: it gets the payload and writes its output.
pub type JobFn = fn(&[u8], &mut dyn Write) -> Result<(), String>;

/// Why a function of ours did not come to its end in the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The function itself said so.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Sandbox(#[from] RunError),
    #[error("reading what the job wrote: {0}")]
    Read(#[from] io::Error),
}

/// A job under way: reads as what the function writes. Dropping it kills the job.
pub struct JobHandle {
    pub(super) output: PipeReader,
    pub(super) helper: Helper,
    /// Goes after the helper, which is in it.
    pub(super) _group: Option<Group>,
    pub(super) _watched: Option<stop::Watched>,
}

impl Read for JobHandle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl JobHandle {
    /// Reads what is left of the output, drops it, and gives the function's own result. What was read before is
    /// whole only if this is `Ok`.
    pub fn wait(mut self) -> Result<(), JobError> {
        io::copy(&mut self.output, &mut io::sink())?;
        match self.helper.reply()? {
            Reply::Done => Ok(()),
            Reply::JobFailed(why) => Err(JobError::Failed(why)),
            Reply::Failed(error) => Err(error.into()),
            Reply::MapMe | Reply::Opened | Reply::WentAround | Reply::Found(_) | Reply::Exit(_) => {
                Err(out_of_turn().into())
            }
        }
    }
}

impl Sandbox {
    /// Starts a function that was given to [`enter_if_asked`](super::enter_if_asked) by its name, as root of the
    /// step's ids, with the host's file system in view. Its environment is empty.
    pub fn job(&self, name: &str, payload: &[u8]) -> Result<JobHandle, RunError> {
        self.start_job(name, payload, None)
    }

    /// The same, under a stopper.
    pub fn job_until(&self, stopper: &Stopper, name: &str, payload: &[u8]) -> Result<JobHandle, RunError> {
        self.start_job(name, payload, Some(stopper))
    }

    /// Removes a file or a whole folder, whoever of the step's ids owns it. Follows no link, leaves no file
    /// system. That it is not there is no error.
    pub fn remove(&self, path: &Path) -> Result<(), JobError> {
        match inside::remove_tree(path) {
            // It belongs to ids that we have in the namespace only.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.job(REMOVE, path.as_os_str().as_bytes())?.wait()
            }
            removed => removed.map_err(|error| JobError::Failed(format!("removing {}: {error}", path.display()))),
        }
    }

    fn start_job(&self, name: &str, payload: &[u8], stopper: Option<&Stopper>) -> Result<JobHandle, RunError> {
        let failed = |error| RunError::system("starting the sandbox's helper", error);
        let mut helper = self.launcher.start(Output::Stdout).map_err(failed)?;
        let watched = match stopper {
            Some(stopper) => Some(stopper.watch(helper.socket.try_clone().map_err(failed)?)),
            None => None,
        };
        let stdout = helper.child.stdout.take().ok_or(RunError::Helper { how: "has no output".into() })?;
        let map = self.rung.job_map();
        let order = Order { user_namespace: map.is_some(), task: Task::Job { name: name.to_owned() }, after: None };
        helper.begin(map, &order, payload, None)?;
        Ok(JobHandle { output: OwnedFd::from(stdout).into(), helper, _group: None, _watched: watched })
    }
}
