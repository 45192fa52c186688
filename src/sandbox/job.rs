//! Our own functions, run inside the user namespace: where files that belong to sub-ids can be made, read, removed.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ChildStdout;

use super::error::RunError;
use super::launch::{Helper, Output, out_of_turn};
use super::wire::{Order, Reply, Task};
use super::{Sandbox, Stopper, stop};

/// The built-in job that removes a tree.
pub(super) const REMOVE: &str = "remove";

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
    stdout: ChildStdout,
    helper: Helper,
    _watched: Option<stop::Watched>,
}

impl Read for JobHandle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(buffer)
    }
}

impl JobHandle {
    /// Reads what is left of the output, drops it, and gives the function's own result. What was read before is
    /// whole only if this is `Ok`.
    pub fn wait(mut self) -> Result<(), JobError> {
        io::copy(&mut self.stdout, &mut io::sink())?;
        match self.helper.reply()? {
            Reply::Done => Ok(()),
            Reply::JobFailed(why) => Err(JobError::Failed(why)),
            Reply::Failed(error) => Err(error.into()),
            Reply::MapMe | Reply::Exit(_) => Err(out_of_turn().into()),
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
        self.job(REMOVE, path.as_os_str().as_bytes())?.wait()
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
        let order = Order { user_namespace: map.is_some(), task: Task::Job { name: name.to_owned() } };
        helper.begin(map, &order, payload)?;
        Ok(JobHandle { stdout, helper, _watched: watched })
    }
}
