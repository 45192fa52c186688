//! `RUN --mount=`: what a command finds beside its own file system.
//!
//! A stage or image is mounted as it is unpacked. Files of the context are first laid out as a layer of their own, so
//! that the command sees what `.dockerignore` lets it see, and nothing that changes while it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::graph::{self, BindMount, CacheMount, Copy, CopyFrom, Key, Mount, Part, SecretMount, SshMount};
use crate::image::Hasher;
use crate::layer::{Content, Entry, Kind, Times, View};
use crate::sandbox::{self, Mounted};
use crate::secret::Secret;
use crate::store::{CacheFolder, Store, WorkFolder};

use super::agent::Forwarded;
use super::caches::Wanted;
use super::copy::place;
use super::draft::Draft;
use super::run::overlay;
use super::snapshot::{Layer, Snapshot};
use super::stage::{Files, Run, StepRecord, holders};
use super::workshop::layer_path;
use super::{Agent, BuildError, Problem, Sink, Source};

/// The name of what was laid out, in its layer.
pub(super) const LAID: &str = "m";

/// What the mounts of a RUN take files from, looked up; by the mount's place in the list.
pub(super) type Sources = BTreeMap<usize, Files>;

/// Mounts, ready for the sandbox.
#[derive(Default)]
pub(super) struct Ready {
    pub mounts: Vec<ReadyMount>,
    pub variables: Vec<(String, Secret)>,
    /// Held for as long as the command runs.
    pub caches: Vec<CacheFolder>,
}

pub(super) struct ReadyMount {
    pub target: String,
    pub what: ReadyWhat,
}

pub(super) enum ReadyWhat {
    /// Layers by their names, the topmost first.
    Layers {
        lower: Vec<String>,
        source: PathBuf,
        writable: bool,
    },
    Agent {
        id: String,
        agent: Arc<Agent>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    Other(Mounted),
}

/// Mounts with all that they need in place.
pub(super) struct Placed {
    pub mounts: Vec<sandbox::Mount>,
    /// They answer for as long as the command runs.
    pub agents: Vec<Forwarded>,
}

impl<S: Source + 'static, K: Sink> Run<'_, S, K> {
    /// Looks up what the mounts of a RUN take files from, and adds what is there to the step's key.
    pub(super) async fn mount_sources(&self, run: &graph::Run, key: &mut Key) -> Result<Sources, BuildError> {
        let mut sources = Sources::new();
        for (at, mount) in run.mounts.iter().enumerate() {
            let Some((from, source)) = taken(mount) else { continue };
            let files = self.pick_mounted(from, source).await?;
            key.part(Part::Mounted(mount.place())).field(files.digest.as_bytes());
            sources.insert(at, files);
        }
        Ok(sources)
    }

    /// Looks up what a mount takes files from.
    pub(super) async fn pick_mounted(&self, from: &CopyFrom, source: &str) -> Result<Files, BuildError> {
        self.pick(&whole(from, source)).await.map_err(of_a_mount)
    }

    /// Makes ready what a RUN mounts.
    pub(super) async fn mounts(&self, run: &graph::Run, mut sources: Sources) -> Result<Ready, BuildError> {
        let mut ready = Ready::default();
        let mut caches = BTreeMap::new();
        for (at, mount) in run.mounts.iter().enumerate() {
            let files = sources.remove(&at);
            match mount {
                Mount::Bind(bind) => {
                    let what = match (&bind.from, files) {
                        (Some(from), Some(files)) => self.bind(bind, from, files).await?,
                        // No layers are an empty folder.
                        _ => ReadyWhat::Layers { lower: vec![], source: PathBuf::new(), writable: bind.writable },
                    };
                    ready.mounts.push(ReadyMount { target: bind.target.clone(), what });
                }
                Mount::Cache(cache) => {
                    let wanted = Wanted::new(cache, files, self.namespace());
                    let sharing = self.sharing(cache)?;
                    let held = caches.entry(wanted.name).or_insert((sharing, Vec::new()));
                    // Twice in one command it is one cache, held in the stricter way.
                    held.0 = held.0.max(sharing);
                    let place = ready.mounts.len();
                    held.1.push((place, wanted));
                    // Put right below, once it is known which instance it is.
                    let what = ReadyWhat::Other(Mounted::Tmpfs { size: None });
                    ready.mounts.push(ReadyMount { target: cache.target.clone(), what });
                }
                Mount::Tmpfs { target, size } => {
                    let what = ReadyWhat::Other(Mounted::Tmpfs { size: *size });
                    ready.mounts.push(ReadyMount { target: target.clone(), what });
                }
                Mount::Secret(secret) => self.secret(secret, &mut ready)?,
                Mount::Ssh(ssh) => self.agent(ssh, &mut ready)?,
            }
        }
        if let Some(graph::Script { name, content }) = &run.script {
            let content = Secret::new(content.as_bytes());
            let what = Mounted::File { content, mode: 0o755, uid: 0, gid: 0, executable: true };
            ready.mounts.push(ReadyMount { target: format!("/dev/pipes/{name}"), what: ReadyWhat::Other(what) });
        }
        // In the order of their names, so that no two steps wait for each other.
        for (name, (sharing, uses)) in caches {
            let folder = self.workshop.hold_cache(name, sharing).await?;
            for (place, wanted) in uses {
                ready.mounts[place].what = ReadyWhat::Other(self.cache(&folder, wanted).await?);
            }
            ready.caches.push(folder);
        }
        Ok(ready)
    }

    async fn bind(&self, bind: &BindMount, from: &CopyFrom, files: Files) -> Result<ReadyWhat, BuildError> {
        let (snapshot, source) = match &files.snapshot {
            Some(snapshot) => (snapshot.clone(), PathBuf::from(&bind.source)),
            None => {
                let layer = self.laid_out(from, &bind.source, files).await?;
                (Snapshot { layers: vec![layer] }, PathBuf::from(LAID))
            }
        };
        let lower = self.workshop.unpacked(&snapshot).await?;
        Ok(ReadyWhat::Layers { lower, source, writable: bind.writable })
    }

    fn secret(&self, secret: &SecretMount, ready: &mut Ready) -> Result<(), BuildError> {
        let SecretMount { id, target, variable, required, mode, uid, gid } = secret;
        let Some(value) = self.options.secrets.get(id) else {
            return match required {
                true => Err(Problem::SecretNotFound(id.clone()).into()),
                false => Ok(()),
            };
        };
        let value = || Secret::new(value.expose());
        if let Some(variable) = variable {
            ready.variables.push((variable.clone(), value()));
        }
        if let Some(target) = target {
            let (mode, uid, gid) = (*mode, *uid, *gid);
            let what = Mounted::File { content: value(), mode, uid, gid, executable: false };
            ready.mounts.push(ReadyMount { target: target.clone(), what: ReadyWhat::Other(what) });
        }
        Ok(())
    }

    fn agent(&self, ssh: &SshMount, ready: &mut Ready) -> Result<(), BuildError> {
        let SshMount { id, target, required, mode, uid, gid } = ssh;
        match (self.options.agents.get(id), required) {
            (Some(agent), _) => {
                let (id, agent, mode, uid, gid) = (id.clone(), Arc::clone(agent), *mode, *uid, *gid);
                let what = ReadyWhat::Agent { id, agent, mode, uid, gid };
                ready.mounts.push(ReadyMount { target: target.clone(), what });
                Ok(())
            }
            (None, true) => Err(Problem::NoAgent(id.clone()).into()),
            (None, false) => Ok(()),
        }
    }

    /// What was picked, as a layer in which it is called [`LAID`].
    pub(super) async fn laid_out(&self, from: &CopyFrom, source: &str, files: Files) -> Result<Layer, BuildError> {
        let mut key = Hasher::default();
        key.field(b"locus-push laid out 1");
        key.field(files.digest.as_bytes());
        let key = key.finish();
        let store = &self.workshop.store;
        if let Some(StepRecord { diff_id, blob, tar_size }) = store.step::<StepRecord>(&key)
            && store.blob_size(&blob.digest) == Some(blob.size)
        {
            return Ok(Layer { diff_id, blob, from: None, tar_size });
        }
        if let Some(snapshot) = &files.snapshot {
            self.workshop.tars(&holders(&files.picked, snapshot)).await?;
        }
        let mut draft = Draft::over(Arc::new(View::default()));
        place(&whole(from, source), &files.picked, None, &mut draft)?;
        let mut tree = draft.finish();
        if let Some(snapshot) = &files.snapshot
            && let Some(directory) = self.workshop.view(snapshot)?.resolve(source.as_bytes(), true)?.node
            && directory.is_directory()
        {
            // COPY makes the directory anew; here it is the directory itself.
            let directory = Entry { kind: Kind::Directory, ..directory.clone().map(Content::InTar) };
            tree.entries.insert(layer_path(LAID)?, directory);
        }
        let layer = self.workshop.pack(tree, Times::Constant(self.epochs.layers()), self.workshop.unwrapped()?).await?;
        let Layer { diff_id, blob, tar_size, .. } = layer.clone();
        store.keep_step(&key, &StepRecord { diff_id, blob, tar_size })?;
        Ok(layer)
    }
}

/// Gives a RUN's mounts their upper directories and sockets, below `folder`.
pub(super) async fn for_sandbox(
    ready: Vec<ReadyMount>,
    store: &Store,
    folder: &WorkFolder,
) -> Result<Placed, BuildError> {
    let (mut mounts, mut agents) = (Vec::new(), Vec::new());
    for (number, ReadyMount { target, what }) in ready.into_iter().enumerate() {
        let below = format!("mount-{number}");
        let what = match what {
            ReadyWhat::Other(mounted) => mounted,
            ReadyWhat::Layers { lower, source, writable } => {
                folder.make(&below, 0o700)?;
                Mounted::Layers { layers: overlay(store, folder, &below, lower)?, source, writable }
            }
            ReadyWhat::Agent { id, agent, mode, uid, gid } => {
                let failed = |source| Problem::Agent { id, source };
                let forwarded = agent.forward(folder, &below).await.map_err(failed)?;
                let path = forwarded.socket.clone();
                agents.push(forwarded);
                Mounted::Socket { path, mode, uid, gid }
            }
        };
        mounts.push(sandbox::Mount { target: target.into(), what });
    }
    Ok(Placed { mounts, agents })
}

/// Where a mount takes files from, and which.
pub(super) fn taken(mount: &Mount) -> Option<(&CopyFrom, &str)> {
    match mount {
        Mount::Bind(BindMount { from, source, .. }) | Mount::Cache(CacheMount { from, source, .. }) => {
            Some((from.as_ref()?, source))
        }
        Mount::Tmpfs { .. } | Mount::Secret(_) | Mount::Ssh(_) => None,
    }
}

/// A COPY that takes what is mounted as it is.
fn whole(from: &CopyFrom, source: &str) -> Copy {
    let source = graph::Source::Path { pattern: source.to_owned(), is_pattern: false };
    Copy {
        from: from.clone(),
        sources: vec![source],
        destination: format!("/{LAID}"),
        chown: None,
        chmod: None,
        link: true,
        exclude: Vec::new(),
        unpack: false,
    }
}

fn of_a_mount(mut error: BuildError) -> BuildError {
    if let Problem::NotFound { verb, .. } = error.problem.as_mut() {
        *verb = "RUN --mount";
    }
    error
}
