//! `RUN --mount=type=cache`: folders that outlive the build.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use crate::event::Event;
use crate::graph::{CacheMount, Sharing};
use crate::image::{Digest, Hasher};
use crate::layer::{Entry, LayerPath, Times, Tree};
use crate::sandbox::Mounted;
use crate::store::{CacheFolder, Hold};

use super::mounts::LAID;
use super::snapshot::Layer;
use super::stage::{Files, Run};
use super::workshop::{Workshop, blocking, inside};
use super::{BuildError, Problem, Sink, Source};

/// How often it is tried again to get hold of a cache that another step holds.
const PATIENCE: Duration = Duration::from_millis(50);

/// A use of a cache.
pub(super) struct Wanted {
    pub name: Digest,
    cache: CacheMount,
    files: Option<Files>,
}

impl Wanted {
    pub fn new(cache: &CacheMount, files: Option<Files>, namespace: &str) -> Self {
        let name = name(cache, files.as_ref().map(|files| &files.digest), namespace);
        Self { name, cache: cache.clone(), files }
    }
}

/// What makes two mounts the same cache: the id, and what the cache holds when it is new.
pub(super) fn name(cache: &CacheMount, files: Option<&Digest>, namespace: &str) -> Digest {
    let CacheMount { id, mode, uid, gid, .. } = cache;
    let mut name = Hasher::default();
    name.field(b"locus-push cache 1");
    name.field(namespace.as_bytes());
    name.field(id.as_bytes());
    match files {
        Some(files) => name.field(files.as_bytes()),
        None => [mode, uid, gid].into_iter().for_each(|number| name.field(format!("{number:?}").as_bytes())),
    }
    name.finish()
}

impl<S: Source + 'static, K: Sink> Run<'_, S, K> {
    /// BuildKit's build argument for telling the caches of one Dockerfile from those of others.
    pub(super) fn namespace(&self) -> &str {
        self.graph.options().build_args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str)
    }

    /// Where nothing is mounted a cache is moved to the one who uses it.
    pub(super) fn sharing(&self, cache: &CacheMount) -> Result<Sharing, BuildError> {
        Ok(match (cache.sharing, self.workshop.sandbox()?.rung().mounts()) {
            (Sharing::Shared, false) => Sharing::Locked,
            (sharing, _) => sharing,
        })
    }

    /// Fills the cache where it is new.
    pub(super) async fn cache(&self, folder: &CacheFolder, wanted: Wanted) -> Result<Mounted, BuildError> {
        let Wanted { name, cache, files } = wanted;
        let (path, writable) = (folder.data(self.workshop.sandbox()?.rung().owners()), cache.writable);
        let from = cache.from.is_some();
        let source = if from { LAID.to_owned() } else { cache.source.clone() };
        if !path.exists() {
            match (files, &cache.from) {
                (Some(files), Some(from)) => {
                    let layer = self.laid_out(from, &cache.source, files).await?;
                    self.workshop.unpack_into(&layer, &path).await?;
                }
                _ if self.imported(&name, &cache.id, &path).await? => {}
                _ if [cache.mode, cache.uid, cache.gid] == [None; 3] => make_empty(&path)?,
                _ => {
                    let root = Entry {
                        uid: cache.uid.unwrap_or(0),
                        gid: cache.gid.unwrap_or(0),
                        ..Entry::directory(cache.mode.unwrap_or(0o755))
                    };
                    let tree = Tree { entries: [(LayerPath::root(), root)].into(), ..Tree::default() };
                    let layer = self
                        .workshop
                        .pack(tree, Times::Constant(self.epochs.layers()), self.workshop.unwrapped()?)
                        .await?;
                    self.workshop.unpack_into(&layer, &path).await?;
                }
            }
        }
        Ok(Mounted::Folder { path, source: source.into(), writable })
    }

    /// Fills a new cache with what another machine's held, if a build cache elsewhere has that. What cannot be had is
    /// done without, as it is where there is no such cache.
    async fn imported(&self, name: &Digest, id: &str, path: &Path) -> Result<bool, BuildError> {
        let Some(layer) = self.imports.mount(name, &self.workshop).await else { return Ok(false) };
        let said = |what: &str| format!("RUN --mount=type=cache,id={id}: {what}");
        match self.workshop.filled(&layer, path).await {
            Ok(()) => {
                let note = said("it is new here, and filled from --cache-from");
                self.workshop.events.emit(Event::Note(note));
                Ok(true)
            }
            Err(error) if matches!(*error.problem, Problem::Interrupted) => Err(error),
            Err(error) => {
                let message = said(&format!("it is empty, as what --cache-from holds of it cannot be used: {error}"));
                self.workshop.events.emit(Event::Warning { message, hint: None });
                Ok(false)
            }
        }
    }
}

impl<S: Source> Workshop<S> {
    async fn filled(&self, layer: &Layer, path: &Path) -> Result<(), BuildError> {
        self.put_on_record(layer).await?;
        self.fetch(layer).await?;
        self.unpack_into(layer, path).await
    }

    /// Waits until the cache can be had in the way that is wanted.
    pub(super) async fn hold_cache(&self, name: Digest, sharing: Sharing) -> Result<CacheFolder, BuildError> {
        let (hold, instances) = match sharing {
            Sharing::Shared => (Hold::Shared, 1),
            Sharing::Locked => (Hold::Exclusive, 1),
            // Far more than steps run at the same time.
            Sharing::Private => (Hold::Exclusive, 64),
        };
        let mut instance = 0;
        loop {
            if self.stopper.stopped() {
                return Err(Problem::Interrupted.into());
            }
            let store = self.store.clone();
            if let Some(folder) = blocking(move || Ok(store.cache(&name, instance, hold)?)).await? {
                return Ok(folder);
            }
            instance = (instance + 1) % instances;
            if instance == 0 {
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

/// Another step may make it at the same time, which is as well.
fn make_empty(path: &Path) -> Result<(), BuildError> {
    let failed = |error| inside("making a cache", error);
    match DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
