//! What RUNs left in their cache mounts, as layers of a build cache.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::graph::{Action, Mount, Sharing, Step};
use crate::image::Digest;
use crate::layer::{Content, Kind, Times, Tree, View, pack_stream, read_upper, write_layer};
use crate::owners::Owners;

use super::super::caches;
use super::super::packed::layer_of;
use super::super::snapshot::Layer;
use super::super::workshop::{Workshop, blocking, inside};
use super::super::{BuildError, Problem, Source};
use super::Imports;

/// The job that reads a cache mount.
pub(in super::super) const GATHER: &str = "gather";

/// The most that a cache mount may hold to be given to others.
const LIMIT: u64 = 4 << 30;

/// The cache mounts that the RUNs of a build name, whether they were run or found done.
#[derive(Clone, Debug, Default)]
pub struct CacheMounts {
    /// Their ids, for people, by their names in the store.
    ids: BTreeMap<Digest, String>,
    /// The ids of those that begin as a copy of other files. What they are called depends on those files, which nobody
    /// looks at where the step is found done.
    copies: BTreeSet<String>,
}

impl CacheMounts {
    /// Adds those of a stage's steps.
    pub(in super::super) fn add(&mut self, steps: &[Step], namespace: &str) {
        for step in steps {
            let Action::Run(run) = &step.action else { continue };
            for mount in &run.mounts {
                let Mount::Cache(cache) = mount else { continue };
                if cache.from.is_some() {
                    self.copies.insert(cache.id.clone());
                } else {
                    self.ids.insert(caches::name(cache, None, namespace), cache.id.clone());
                }
            }
        }
    }
}

impl<S: Source> Workshop<S> {
    /// What is in these cache mounts, by their names: here, or else in the caches that the build took from. The same
    /// files are the same bytes. One that cannot be read, or holds too much, is left out, and this is said.
    pub async fn gather(
        &self,
        CacheMounts { ids, copies }: &CacheMounts,
        imports: &Imports,
    ) -> Result<BTreeMap<Digest, Layer>, BuildError> {
        let left_out = |id: &str, why: &str| {
            let message = format!("RUN --mount=type=cache,id={id}: it is left out of --cache-to: {why}");
            self.events.emit(Event::Warning { message, hint: None });
        };
        for id in copies {
            left_out(id, "it began as a copy of other files (from=)");
        }
        // Where no RUN can be executed there are no files of any.
        let owners = if ids.is_empty() { None } else { self.sandbox().ok().map(|sandbox| sandbox.rung().owners()) };
        let mut layers = BTreeMap::new();
        for (name, id) in ids {
            let layer = match owners.is_some_and(|owners| self.store.has_cache(name, owners)) {
                false => imports.mount(name, self).await,
                true => match self.gather_one(*name).await {
                    Ok(layer) => layer,
                    Err(error) if matches!(*error.problem, Problem::Interrupted) => return Err(error),
                    Err(error) => {
                        left_out(id, &error.to_string());
                        None
                    }
                },
            };
            layers.extend(layer.map(|layer| (*name, layer)));
        }
        Ok(layers)
    }

    /// The first instance of a cache, read while nobody writes there; none where it is empty.
    async fn gather_one(&self, name: Digest) -> Result<Option<Layer>, BuildError> {
        let sandbox = self.sandbox()?.clone();
        let held = self.hold_cache(name, Sharing::Locked).await?;
        let owners = sandbox.rung().owners();
        let order = Order { folder: held.data(owners), owners, limit: LIMIT };
        let payload = serde_json::to_vec(&order).map_err(|e| inside("reading a cache mount", e.into()))?;
        let (store, stopper) = (self.store.clone(), self.stopper.clone());
        let (packing, threads) = (self.packing, self.threads);
        let packed = blocking(move || {
            let _held = held;
            let mut blob = store.blob_file()?;
            let mut job = sandbox.job_until(&stopper, GATHER, &payload)?;
            let packed = pack_stream(&mut job, packing, threads, &mut blob);
            // The job's own words say more than that its output ended early.
            job.wait().map_err(|e| Problem::Inside { doing: "reading it", why: e.to_string() })?;
            let packed = packed?;
            if packed.index.tree.entries.keys().all(crate::layer::LayerPath::is_root) {
                return Ok(None);
            }
            blob.keep(&packed.blob)?;
            Ok(Some(packed))
        })
        .await?;
        Ok(packed.map(|packed| layer_of(&packed, packing)))
    }
}

/// A cache mount to be read.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    folder: PathBuf,
    owners: Owners,
    limit: u64,
}

/// Writes a folder as a tar. Each file keeps its time: `apt` asks by it whether what it has is old.
pub(in super::super) fn gather(payload: &[u8], out: &mut dyn Write) -> Result<(), String> {
    fn words(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let Order { folder, owners, limit } = serde_json::from_slice(payload).map_err(words)?;
    let tree = read_upper(&folder, &View::default(), owners).map_err(words)?;
    if held(&tree) > limit {
        return Err(format!("it holds more than {} GiB", limit >> 30));
    }
    let no_layer = |digest: &Digest| Err(io::Error::other(format!("the layer {digest} is not read here")));
    let mut out = io::BufWriter::with_capacity(256 << 10, out);
    write_layer(&tree, Times::Keep, &no_layer, &mut out).map_err(words)?;
    out.flush().map_err(words)
}

fn held(tree: &Tree<Content>) -> u64 {
    let size = |kind: &Kind<Content>| if let Kind::File { size, .. } = kind { *size } else { 0 };
    tree.entries.values().fold(0, |sum, entry| sum.saturating_add(size(&entry.kind)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::layer::index;

    fn gathered(folder: &std::path::Path, limit: u64) -> Result<Vec<u8>, String> {
        let order = Order { folder: folder.to_owned(), owners: Owners::Real, limit };
        let mut tar = Vec::new();
        gather(&serde_json::to_vec(&order).unwrap(), &mut tar).map(|()| tar)
    }

    #[test]
    fn the_same_files_are_the_same_bytes_and_keep_their_times() {
        let [one, other] = ["a", "b"].map(|_| tempfile::tempdir().unwrap());
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        for (folder, first) in [(&one, "x"), (&other, "y")] {
            // Made in another order.
            for name in [first, "x", "y"] {
                fs::write(folder.path().join(name), name).unwrap();
                fs::File::options().write(true).open(folder.path().join(name)).unwrap().set_modified(time).unwrap();
            }
        }
        let tar = gathered(one.path(), 2).unwrap();
        assert_eq!(tar, gathered(other.path(), 2).unwrap());
        let tree = index(&tar[..]).unwrap().tree;
        assert!(tree.entries.values().filter(|entry| !entry.is_directory()).all(|entry| entry.mtime == 1_000_000_000));
    }

    #[test]
    fn what_holds_too_much_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        fs::File::create(folder.path().join("sparse")).unwrap().set_len(LIMIT + 1).unwrap();
        assert_eq!(gathered(folder.path(), LIMIT).unwrap_err(), "it holds more than 4 GiB");
    }
}
