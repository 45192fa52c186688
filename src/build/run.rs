//! RUN: the command in the sandbox, and the layer of what it changed.

use std::ffi::OsString;
use std::path::Path;

use crate::event::Event;
use crate::graph::Run;
use crate::layer::pack_stream;
use crate::lines::Lines;
use crate::replay::Outcome;
use crate::sandbox::{
    self, Emulator, Exit, Job, JobHandle, Layers, Mounted, Ran, RunError, Sandbox, Step, host_resolv_conf, hosts_file,
};
use crate::secret::Secret;
use crate::store::{Store, WorkFolder};

use super::downloads::Gate;
use super::inside::{DIFF, DiffOrder, read_found};
use super::mounts::{Placed, Ready, for_sandbox};
use super::moved::Moved;
use super::owner::Person;
use super::packed::{Wrapping, keep, layer_of};
use super::packing::Telling;
use super::snapshot::{Layer, Snapshot, chains};
use super::still::{Found, How, Stilled};
use super::trust::{self, Added, Trust};
use super::workshop::{Workshop, blocking, inside};
use super::{BuildError, Certificates, Problem, RunOptions, Source};

/// Where what a command changes is collected, in its work folder.
const UPPER: &str = "upper";

/// With fewer bytes left a disk is full.
const FULL: u64 = 64 << 10;

/// A RUN, and what the build has for it.
pub(super) struct RunOrder<'a> {
    pub run: &'a Run,
    pub options: &'a RunOptions,
    pub network: sandbox::Network,
    pub insecure: bool,
    /// For the programs of another CPU.
    pub emulator: Option<Emulator>,
    /// What people call the stage.
    pub stage: String,
    /// Where its downloads are recorded or given again.
    pub gate: Option<Gate>,
}

/// Where a command runs, and as whom.
struct Ground<'a> {
    person: &'a Person,
    /// The unpacked layers, the topmost first.
    lower: Vec<String>,
    folder: &'a WorkFolder,
    epoch: i64,
}

impl<S: Source> Workshop<S> {
    /// Runs the command over the snapshot; the layer is what it changed.
    pub(super) async fn run(
        &self,
        order: RunOrder<'_>,
        into: Wrapping,
        ready: Ready,
        below: &Snapshot,
        epoch: i64,
    ) -> Result<(Layer, Outcome), BuildError> {
        // Before anything waits for all of the layers: those that are here are unpacked while others come.
        self.unpacked(below).await?;
        let person = self.accounts(below).await?.person(&order.run.user)?;
        let own = order.options.certificates.as_ref();
        let with_ours = order.gate.as_ref().map(|gate| Certificates::with(own, gate.certificate()));
        let trust = match with_ours.as_ref().or(own) {
            Some(certificates) => Some(self.trust(certificates, below, crate::layer::Epoch(epoch)).await?),
            None => None,
        };
        let lower = self.unpacked(trust.as_ref().map_or(below, |trust| &trust.over)).await?;
        let sandbox = self.sandbox()?.clone();
        let folder = self.store.work_folder()?;
        let (bundle, added) = trust.map(|Trust { bundle, added, .. }| (bundle, added)).unzip();
        let keep_volatile = order.options.keep_volatile;
        let diff = self.diff_order(&folder, below, epoch, added, keep_volatile)?;
        let ground = Ground { person: &person, lower, folder: &folder, epoch };
        let stage = order.stage.clone();
        let layer = match self.execute(order, ready, bundle, ground, diff).await {
            Ok((job, outcome)) => self.keep(job, into, &stage, &folder, below).await.map(|layer| (layer, outcome)),
            Err(error) => Err(error),
        };
        let path = folder.path().to_owned();
        blocking(move || remove(&sandbox, &path)).await?;
        layer
    }

    /// Runs the command to its end; gives the reader of what it changed, which `diff` tells what to do.
    async fn execute(
        &self,
        order: RunOrder<'_>,
        ready: Ready,
        bundle: Option<Vec<u8>>,
        ground: Ground<'_>,
        diff: Vec<u8>,
    ) -> Result<(JobHandle, Outcome), BuildError> {
        let Ground { person, lower, folder, epoch } = ground;
        let RunOrder { run, options, network, insecure, emulator, stage, gate } = order;
        let Ready { mounts, variables, caches } = ready;
        let Placed { mounts, agents } = for_sandbox(mounts, &self.store, folder).await?;
        let mut step = step(run, person, overlay(&self.store, folder, "", lower)?);
        stand_still(&mut step.env, epoch);
        step.env.retain(|(name, _)| !variables.iter().any(|(secret, _)| name == secret.as_str()));
        step.secret_env = variables.into_iter().map(|(name, value)| (name.into(), value)).collect();
        step.mounts = mounts;
        if let Some(bundle) = bundle {
            let content = Secret::new(bundle);
            let what = Mounted::File { content, mode: 0o444, uid: 0, gid: 0, executable: false };
            step.mounts.push(sandbox::Mount { target: trust::FILE.into(), what });
            trust::name_in(&mut step.env);
        }
        step.hosts = hosts_file(&options.hostname, &options.hosts);
        step.hostname.clone_from(&options.hostname);
        step.network = network;
        if let Some(gate) = &gate {
            let unheld = gate.lead(&mut step, self.sandbox()?.rung());
            gate.warning(run).into_iter().chain(unheld).for_each(|warning| self.events.emit(warning));
        }
        step.insecure = insecure;
        if insecure {
            self.events.emit(Event::Note(format!("--security=insecure: {}", self.sandbox()?.rung().insecure())));
        }
        step.shm_size = options.shm_size;
        step.limits.clone_from(&options.limits);
        step.cgroup_parent.clone_from(&options.cgroup_parent);
        step.emulator = emulator;
        let (sandbox, stopper, events) = (self.sandbox()?.clone(), self.stopper.clone(), self.events.clone());
        let store = self.store.clone();
        let name = stage.clone();
        let ran = blocking(move || {
            let mut moved = Moved::default();
            let mut lines = Lines::new(|line| {
                moved.see(line);
                events.emit(Event::Output { stage: stage.clone(), line: line.to_vec() });
            });
            let job = Job { name: DIFF, payload: &diff };
            let ran = sandbox.run_then(&step, job, &stopper, &mut |_, bytes| lines.push(bytes));
            let last = lines.finish();
            match ran {
                Ok(Ran::Succeeded(job)) => Ok(job),
                Ok(Ran::Failed(exit)) => Err(failed(exit, last).first_hint(full_disk(&store)).first_hint(moved.hint())),
                Err(RunError::Stopped) => Err(Problem::Interrupted.into()),
                Err(error) => Err(BuildError { last_lines: last, ..error.into() }),
            }
        })
        .await;
        drop((caches, agents));
        match gate {
            Some(gate) => self.settle(gate, &name, ran).await,
            None => Ok((ran?, Outcome::default())),
        }
    }

    /// What the reader of the changes has to know.
    fn diff_order(
        &self,
        folder: &WorkFolder,
        below: &Snapshot,
        epoch: i64,
        added: Option<Added>,
        keep_volatile: bool,
    ) -> Result<Vec<u8>, BuildError> {
        let owners = self.sandbox()?.rung().owners();
        let layers = chains(&below.layers).iter().map(|chain| self.store.layer_path(chain, owners)).collect();
        let order = DiffOrder { owners, upper: folder.path().join(UPPER), layers, epoch, added, keep_volatile };
        serde_json::to_vec(&order).map_err(|e| inside("reading what RUN changed", e.into()))
    }

    /// Packs what the command changed, as `job` reads it, and keeps it unpacked for the next RUN.
    async fn keep(
        &self,
        mut job: JobHandle,
        into: Wrapping,
        stage: &str,
        folder: &WorkFolder,
        below: &Snapshot,
    ) -> Result<Layer, BuildError> {
        let store = self.store.clone();
        let (threads, events) = (self.threads, self.events.clone());
        let Wrapping { packing, mut blob } = into;
        let (found, packed) = blocking(move || {
            let telling = Telling::new(&mut blob, &events);
            let read = read_found(&mut job).map(|found| (found, pack_stream(&mut job, packing, threads, telling)));
            // The job's own words say more than that its output ended early.
            job.wait().map_err(|e| Problem::Inside { doing: "reading what RUN changed", why: e.to_string() })?;
            let (found, packed) = read.map_err(|e| inside("reading what RUN changed", e))?;
            let packed = packed?;
            keep(&store, blob, &packed)?;
            Ok((found, packed))
        })
        .await?;
        self.tell(stage, &found);
        let layer = layer_of(&packed, packing);
        self.wrote(&layer);
        let owners = self.sandbox()?.rung().owners();
        let place = self.store.layer_path(&below.with(layer.clone()).chain(), owners);
        if !place.exists() {
            // Another process may have put the same layer there meanwhile, which then serves as well.
            let _ = std::fs::rename(folder.path().join(UPPER), &place);
        }
        Ok(layer)
    }

    fn tell(&self, stage: &str, Found { stilled, keys }: &Found) {
        for Stilled { path, how, why } in stilled {
            let (stage, path, how, why) = (stage.to_owned(), path.to_string(), how.verb(), why.clone());
            self.events.emit(Event::StilledFile { stage, path, how, why });
        }
        if !stilled.is_empty() {
            let [left_out, emptied, rewritten] = [How::LeftOut, How::Emptied, How::Rewritten]
                .map(|wanted| stilled.iter().filter(|stilled| stilled.how == wanted).count());
            self.events.emit(Event::Stilled { stage: stage.to_owned(), left_out, emptied, rewritten });
        }
        if let Some(first) = keys.first() {
            let others = if keys.len() > 1 { format!(" (and {} more)", keys.len() - 1) } else { String::new() };
            let message = format!("the private key {first}{others} is in the image: whoever has the image has the key");
            let hint = "remove it in the same RUN; `ssh-keygen -A` makes keys when a container starts".to_owned();
            self.events.emit(Event::Warning { message, hint: Some(hint) });
        }
    }
}

/// The overlay over these layers with a throw-away upper directory in `folder`, or in `below` in it.
pub(super) fn overlay(
    store: &Store,
    folder: &WorkFolder,
    below: &str,
    mut lower: Vec<String>,
) -> Result<Layers, BuildError> {
    if lower.is_empty() {
        // overlayfs wants something below; an image of no layers stands on an empty folder.
        lower.push("empty".to_owned());
        let empty = store.layers_path().join("empty");
        std::fs::create_dir_all(&empty).map_err(|e| inside("making an empty layer", e))?;
        open_to_all(&empty)?;
    }
    let make = |name: &str, mode| folder.make(Path::new(below).join(name).to_string_lossy().as_ref(), mode);
    let upper = make(UPPER, 0o755)?;
    // The upper directory is the root that the command sees.
    open_to_all(&upper)?;
    Ok(Layers {
        lower_parent: store.layers_path(),
        lower,
        upper,
        work: make("work", 0o700)?,
        merged: make("merged", 0o700)?,
    })
}

fn open_to_all(directory: &Path) -> Result<(), BuildError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).map_err(|e| inside("making a root folder", e))
}

/// The command as the Dockerfile alone has it.
fn step(run: &Run, person: &Person, layers: Layers) -> Step {
    let pairs = run.env.iter().chain(&run.proxies);
    let mut env: Vec<(OsString, OsString)> = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".into(), person.home.clone().into()));
    }
    Step {
        layers,
        argv: run.argv.iter().map(OsString::from).collect(),
        env,
        secret_env: Vec::new(),
        cwd: run.cwd.clone().into(),
        user: person.ids.clone(),
        hostname: String::new(),
        resolv_conf: host_resolv_conf(),
        hosts: Vec::new(),
        network: sandbox::Network::Host,
        insecure: false,
        mounts: Vec::new(),
        shm_size: None,
        limits: Vec::new(),
        cgroup_parent: None,
        emulator: None,
    }
}

/// What makes programs write the same twice; no part of the image's config, and the Dockerfile's own word wins.
///
/// The time is the layer's (<https://reproducible-builds.org/specs/source-date-epoch/>), for which the default was chosen:
/// Zip files, and with them Python's wheels, cannot say a time before 1980. Python's own files then hold a hash in the
/// place of the time (py_compile), and sets are written in one order (PYTHONHASHSEED).
fn stand_still(env: &mut Vec<(OsString, OsString)>, epoch: i64) {
    // No program takes a time before 1970 from there.
    let date = (epoch >= 0).then(|| ("SOURCE_DATE_EPOCH", epoch.to_string()));
    for (name, value) in date.into_iter().chain([("PYTHONHASHSEED", "0".to_owned())]) {
        if !env.iter().any(|(own, _)| own == name) {
            env.push((name.into(), value.into()));
        }
    }
}

/// What a command that finds no room says differs; that there is none is seen here.
fn full_disk(store: &Store) -> Option<String> {
    let left = store.space()?.free;
    (left < FULL).then(|| {
        format!(
            "{left} bytes are left on the disk of {}: `locus-push cache prune --all` makes room, LOCUS_PUSH_HOME may name \
             another place",
            store.root().display()
        )
    })
}

fn failed(exit: Exit, last_lines: Vec<Vec<u8>>) -> BuildError {
    BuildError { last_lines, ..Problem::Exit(exit).into() }
}

fn remove(sandbox: &Sandbox, path: &Path) -> Result<(), BuildError> {
    let why =
        |e: crate::sandbox::JobError| Problem::Inside { doing: "removing what RUN worked on", why: e.to_string() };
    Ok(sandbox.remove(path).map_err(why)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_layers_time_unless_the_dockerfile_names_another() {
        let stood = |own: &[(&str, &str)], epoch| {
            let mut env: Vec<(OsString, OsString)> =
                own.iter().map(|(name, value)| (name.into(), value.into())).collect();
            stand_still(&mut env, epoch);
            let pair = |(name, value): &(OsString, OsString)| format!("{}={}", name.display(), value.display());
            env.iter().map(pair).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(stood(&[("A", "1")], 7), "A=1 SOURCE_DATE_EPOCH=7 PYTHONHASHSEED=0");
        let own = [("PYTHONHASHSEED", "random"), ("SOURCE_DATE_EPOCH", "")];
        assert_eq!(stood(&own, 7), "PYTHONHASHSEED=random SOURCE_DATE_EPOCH=");
        assert_eq!(stood(&[], -1), "PYTHONHASHSEED=0");
    }
}
