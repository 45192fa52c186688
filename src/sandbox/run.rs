//! Running a step: the order goes out, output comes back as it is written, then how it ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::Emulator;
use super::cgroup::Group;
use super::error::RunError;
use super::job::JobHandle;
use super::launch::{Helper, Output, out_of_turn};
use super::step::{Exit, Layers, Mount, Mounted, Network, Step, Stream};
use super::stop::Watched;
use super::wire::{self, Command, Order, Reply, Task};
use super::{Rung, Sandbox, Stopper, inside};

/// How a step ended after which a job was to come.
pub enum Ran {
    /// It succeeded, and the job is under way.
    Succeeded(JobHandle),
    /// It did not, and there is no job.
    Failed(Exit),
}

/// A function that was given to [`enter_if_asked`](super::enter_if_asked), and its payload.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub name: &'a str,
    pub payload: &'a [u8],
}

/// What becomes of a step's output: pieces, as they come.
type Listener<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

impl Sandbox {
    /// Runs a step to its end, and to the end of all that it left behind. `output` gets what it writes.
    pub fn run(&self, step: &Step, stopper: &Stopper, output: Listener<'_>) -> Result<Exit, RunError> {
        let (exit, _) = self.start(step, stopper, output, None)?;
        Ok(exit)
    }

    /// The same, with a job right after it where it succeeds: in the same helper, which need not be started again, and
    /// as the root of the same ids.
    pub fn run_then(
        &self,
        step: &Step,
        job: Job<'_>,
        stopper: &Stopper,
        output: Listener<'_>,
    ) -> Result<Ran, RunError> {
        let (reader, writer) = io::pipe().map_err(|error| RunError::system("making a pipe", error))?;
        let (exit, running) = self.start(step, stopper, output, Some((job, writer)))?;
        let Running { helper, group, watched } = running;
        match exit.success() {
            true => Ok(Ran::Succeeded(JobHandle { output: reader, helper, _group: group, _watched: Some(watched) })),
            false => Ok(Ran::Failed(exit)),
        }
    }

    /// The control group that the step asks for; else one that bounds its processes, where nothing else does and one
    /// may be made.
    fn group(&self, step: &Step) -> Result<Option<Group>, RunError> {
        // The helper, its watcher and a gate's doorman are in it too.
        let processes = inside::processes_allowed(&step.limits) + 3;
        match &step.cgroup_parent {
            Some(parent) => Group::make(Some(parent), processes).map(Some).map_err(|error| no_group(step, &error)),
            None if self.rung.is_root() && !inside::can_bound_processes() => Ok(Group::make(None, processes).ok()),
            None => Ok(None),
        }
    }

    fn start(
        &self,
        step: &Step,
        stopper: &Stopper,
        output: Listener<'_>,
        after: Option<(Job<'_>, PipeWriter)>,
    ) -> Result<(Exit, Running), RunError> {
        let (more, environment) = contents(step)?;
        let map = self.rung.command_map();
        let task = Task::Run(Box::new(command(step, &self.rung, environment)?));
        let name = after.as_ref().map(|(job, _)| job.name.to_owned());
        let order = Order { user_namespace: map.is_some(), task, after: name };

        // Before the helper, so that it goes after it: a group that holds somebody cannot be removed.
        let group = self.group(step)?;
        let failed = |error| RunError::system("starting the sandbox's helper", error);
        let mut helper = self.launcher.start(Output::Both).map_err(failed)?;
        let watched = stopper.watch(helper.socket.try_clone().map_err(failed)?);
        let pipes = (helper.child.stdout.take(), helper.child.stderr.take());
        let (Some(stdout), Some(stderr)) = pipes else { return Err(out_of_turn()) };

        if let Some(group) = &group {
            group.take(helper.child.id()).map_err(|error| no_group(step, &error))?;
        }
        let after = after.map(|(job, writer)| (job.payload, writer));
        let gate = match &step.network {
            Network::Gate(gate) => Some(gate),
            Network::Host | Network::None => None,
        };
        let ended = helper.begin(map, &order, &more, after).and_then(|()| {
            drop(more);
            gate.map_or(Ok(()), |gate| gate.take(&mut helper))?;
            follow([(Stream::Stdout, stdout.into()), (Stream::Stderr, stderr.into())], output)
                .map_err(|error| RunError::system("reading the command's output", error))?;
            match (helper.reply()?, gate) {
                (Reply::WentAround, Some(gate)) => {
                    gate.keeper.went_around();
                    helper.reply()
                }
                (reply, _) => Ok(reply),
            }
        });
        match ended {
            Ok(Reply::Exit(exit)) => Ok((exit, Running { helper, group, watched })),
            _ if stopper.stopped() => Err(RunError::Stopped),
            Ok(Reply::Failed(error)) | Err(error) => Err(error),
            Ok(
                Reply::MapMe | Reply::Opened | Reply::WentAround | Reply::Found(_) | Reply::Done | Reply::JobFailed(_),
            ) => Err(out_of_turn()),
        }
    }
}

/// A helper whose command has ended.
struct Running {
    helper: Helper,
    group: Option<Group>,
    watched: Watched,
}

fn no_group(step: &Step, error: &io::Error) -> RunError {
    let parent = step.cgroup_parent.as_deref().unwrap_or(Path::new("/"));
    RunError::Cgroup { parent: parent.display().to_string(), why: error.to_string() }
}

/// Reads both pipes until both have ended. They do: whoever holds them dies with the command.
fn follow(pipes: [(Stream, OwnedFd); 2], output: &mut (dyn FnMut(Stream, &[u8]) + Send)) -> io::Result<()> {
    let mut open: Vec<(Stream, File)> = pipes.map(|(stream, fd)| (stream, File::from(fd))).into();
    let mut buffer = vec![0; 64 << 10];
    while !open.is_empty() {
        let mut waiting: Vec<_> = open.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)).collect();
        match poll(&mut waiting, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = waiting.iter().map(|pipe| !pipe.revents().is_empty()).collect();
        drop(waiting);
        let mut ready = ready.into_iter();
        let mut failure = None;
        open.retain_mut(|(stream, pipe)| {
            if ready.next() != Some(true) {
                return true;
            }
            match pipe.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    output(*stream, &buffer[..count]);
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(())
}

/// The step as it travels. Taken apart, so that a new field cannot be forgotten here.
fn command(step: &Step, rung: &Rung, environment: usize) -> Result<Command, RunError> {
    let copied = rung.copies();
    let Step { layers, argv, env: _, secret_env: _, cwd, user, hostname, resolv_conf, hosts, network, .. } = step;
    let Step { insecure, mounts, shm_size, limits, cgroup_parent: _, emulator, .. } = step;
    if argv.is_empty() {
        return Err(RunError::NoCommand);
    }
    // The kernel takes -1 for "leave it as it is", which would be root.
    if [user.uid, user.gid].iter().chain(&user.groups).any(|id| *id == u32::MAX) {
        return Err(RunError::IdNotMapped { id: u32::MAX });
    }
    let argv = argv.iter().map(|word| without_nul("an argument", word)).collect::<Result<_, _>>()?;
    Ok(Command {
        root: overlay(layers, copied)?,
        way: rung.way(),
        owners: rung.owners(),
        argv,
        cwd: without_nul("the working directory", cwd.as_os_str())?,
        user: user.clone(),
        hostname: hostname.clone().into_bytes(),
        resolv_conf: resolv_conf.clone(),
        hosts: hosts.clone(),
        network: match network {
            Network::Host => wire::Network::Host,
            Network::None => wire::Network::None,
            Network::Gate(gate) => wire::Network::Gate(gate.port),
        },
        insecure: *insecure,
        mounts: mounts.iter().map(|each| mount(each, copied)).collect::<Result<_, _>>()?,
        shm_size: *shm_size,
        limits: limits.clone(),
        registration: emulator.as_ref().map(Emulator::registration),
        user_namespace: rung.command_map().is_some(),
        environment,
    })
}

fn overlay(layers: &Layers, copied: bool) -> Result<wire::Overlay, RunError> {
    let Layers { lower_parent, lower, upper, work, merged } = layers;
    if let Some(name) = lower.iter().find(|name| !names_a_layer(name)) {
        return Err(RunError::LayerName { name: name.clone() });
    }
    Ok(wire::Overlay {
        lower_parent: without_nul("a layer's folder", lower_parent.as_os_str())?,
        lower: lower.clone(),
        upper: without_nul("a layer's folder", upper.as_os_str())?,
        work: without_nul("a layer's folder", work.as_os_str())?,
        merged: without_nul("a layer's folder", merged.as_os_str())?,
        copied,
    })
}

fn mount(mount: &Mount, copied: bool) -> Result<wire::Mount, RunError> {
    let bytes = |path: &Path| without_nul("a mount's path", path.as_os_str());
    let what = match &mount.what {
        Mounted::Layers { layers, source, writable } => {
            wire::Mounted::Layers { overlay: overlay(layers, copied)?, source: bytes(source)?, writable: *writable }
        }
        Mounted::Folder { path, source, writable } => {
            wire::Mounted::Folder { path: bytes(path)?, source: bytes(source)?, writable: *writable }
        }
        Mounted::Tmpfs { size } => wire::Mounted::Tmpfs { size: *size },
        Mounted::File { uid, gid, .. } | Mounted::Socket { uid, gid, .. } if [*uid, *gid].contains(&u32::MAX) => {
            return Err(RunError::IdNotMapped { id: u32::MAX });
        }
        Mounted::File { content, mode, uid, gid, executable } => wire::Mounted::File {
            length: content.expose().len(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
            executable: *executable,
        },
        Mounted::Socket { path, mode, uid, gid } => {
            wire::Mounted::Socket { path: bytes(path)?, mode: *mode, uid: *uid, gid: *gid }
        }
    };
    Ok(wire::Mount { target: bytes(&mount.target)?, what })
}

/// What overlayfs takes between its colons without any escaping.
fn names_a_layer(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, ':' | ',' | '\\' | '\0') || c.is_whitespace())
}

/// The environment (`NAME=value`, each ended by a NUL) with the contents of mounted files behind it, wiped when
/// dropped; and how much of it is the environment.
fn contents(step: &Step) -> Result<(Zeroizing<Vec<u8>>, usize), RunError> {
    let plain = step.env.iter().map(|(name, value)| (name, value.as_bytes()));
    let secret = step.secret_env.iter().map(|(name, value)| (name, value.expose()));
    let files = step.mounts.iter().filter_map(|mount| match &mount.what {
        Mounted::File { content, .. } => Some(content.expose()),
        Mounted::Layers { .. } | Mounted::Folder { .. } | Mounted::Tmpfs { .. } | Mounted::Socket { .. } => None,
    });
    let environment = plain.clone().chain(secret.clone()).map(|(name, value)| name.len() + value.len() + 2).sum();
    let size = environment + files.clone().map(<[u8]>::len).sum::<usize>();
    // Taken whole at once: a buffer that grows leaves unwiped copies behind.
    let mut block = Zeroizing::new(Vec::with_capacity(size));
    for (name, value) in plain.chain(secret) {
        if name.as_bytes().contains(&0) || value.contains(&0) {
            return Err(RunError::Nul { what: format!("the variable {}", name.to_string_lossy()) });
        }
        block.extend_from_slice(name.as_bytes());
        block.push(b'=');
        block.extend_from_slice(value);
        block.push(0);
    }
    files.for_each(|content| block.extend_from_slice(content));
    Ok((block, environment))
}

fn without_nul(what: &str, word: &OsStr) -> Result<Vec<u8>, RunError> {
    match word.as_bytes() {
        bytes if bytes.contains(&0) => Err(RunError::Nul { what: what.to_owned() }),
        bytes => Ok(bytes.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_name_that_would_end_an_overlay_option_is_refused() {
        for bad in ["", "a:b", "a,upperdir=/", "a\\", "a b", "a\n"] {
            assert!(!names_a_layer(bad), "{bad:?}");
        }
        assert!(names_a_layer("l/0123abc"));
    }
}
