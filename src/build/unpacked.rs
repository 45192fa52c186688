//! Layers as folders, for RUN: the lower ones are unpacked while the upper ones still come.

use std::io;
use std::path::Path;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::{Semaphore, watch};

use crate::image::Digest;
use crate::owners::Owners;
use crate::store::Store;

use super::inside::{UNPACK, UnpackBlob, UnpackLayer, UnpackOrder};
use super::snapshot::{Layer, Snapshot, chains};
use super::workshop::{AT_A_TIME, Workshop, blocking, compression, inside};
use super::{BuildError, Problem, Source};

impl<S: Source> Workshop<S> {
    /// Unpacks what is not unpacked yet; gives the names below the store's folder of layers, the topmost first.
    pub(super) async fn unpacked(&self, snapshot: &Snapshot) -> Result<Vec<String>, BuildError> {
        // First of all: it forgets layers that are not to be believed.
        let owners = self.sandbox()?.rung().owners();
        let chains = chains(&snapshot.layers);
        if chains.iter().all(|chain| self.is_unpacked(chain, owners)) {
            self.index_all(snapshot).await?;
        } else {
            let (came, coming) = watch::channel(0);
            let fetching = self.fetch_in_order(&snapshot.layers, &chains, owners, came);
            tokio::try_join!(fetching, self.unpack_as_they_come(&snapshot.layers, &chains, owners, coming))?;
        }
        let names: Vec<String> = chains.iter().rev().map(|chain| Store::layer_name(chain, owners)).collect();
        names.iter().for_each(|name| self.store.layer_used(name));
        Ok(names)
    }

    fn is_unpacked(&self, chain: &Digest, owners: Owners) -> bool {
        self.store.layer_path(chain, owners).exists()
    }

    /// Puts all layers on record, and fetches those that are not unpacked; tells how many are ready from the lowest on.
    async fn fetch_in_order(
        &self,
        layers: &[Layer],
        chains: &[Digest],
        owners: Owners,
        came: watch::Sender<usize>,
    ) -> Result<(), BuildError> {
        let turns = Semaphore::new(AT_A_TIME);
        let turns = &turns;
        let each = layers.iter().zip(chains).map(|(layer, chain)| async move {
            let _turn = turns.acquire().await.map_err(|_| Problem::Worker)?;
            self.put_on_record(layer).await?;
            if self.is_unpacked(chain, owners) { Ok(()) } else { self.fetch(layer).await }
        });
        // All at once, as the turns are what limits them: a large layer does not keep those above it from coming.
        let mut ready = stream::iter(each).buffered(layers.len());
        while ready.try_next().await?.is_some() {
            came.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    async fn unpack_as_they_come(
        &self,
        layers: &[Layer],
        chains: &[Digest],
        owners: Owners,
        mut coming: watch::Receiver<usize>,
    ) -> Result<(), BuildError> {
        let mut done = 0;
        while done < layers.len() {
            // Where nobody tells any more, the fetching has failed, and says why.
            let Ok(count) = coming.wait_for(|count| *count > done).await.map(|count| *count) else { break };
            if !chains[..count].iter().all(|chain| self.is_unpacked(chain, owners)) {
                self.unpack(&layers[..count], owners).await?;
            }
            done = count;
        }
        Ok(())
    }

    /// Unpacks those that are not unpacked yet, of layers that are all on record.
    async fn unpack(&self, layers: &[Layer], owners: Owners) -> Result<(), BuildError> {
        let (sandbox, stopper) = (self.sandbox()?.clone(), self.stopper.clone());
        let (store, layers) = (self.store.clone(), layers.to_vec());
        blocking(move || {
            // One process at a time unpacks; another may have done it meanwhile.
            let _lock = store.lock("unpack")?;
            let order = unpack_order(&store, &layers, owners)?;
            let payload = serde_json::to_vec(&order).map_err(|e| inside("unpacking", io::Error::other(e)))?;
            let job = sandbox.job_until(&stopper, UNPACK, &payload)?;
            Ok(job.wait().map_err(|e| Problem::Inside { doing: "unpacking a layer", why: e.to_string() })?)
        })
        .await
    }

    /// Unpacks one layer by itself, to be found at `place`; unless something is there.
    pub(super) async fn unpack_into(&self, layer: &Layer, place: &Path) -> Result<(), BuildError> {
        let blob = UnpackBlob {
            path: self.store.blob_path(&layer.blob.digest),
            digest: layer.blob.digest,
            compression: compression(layer)?.into(),
        };
        let (sandbox, stopper, store) = (self.sandbox()?.clone(), self.stopper.clone(), self.store.clone());
        let (tree, directory) = (self.store.tree_path(&layer.diff_id), place.to_owned());
        blocking(move || {
            let _lock = store.lock("unpack")?;
            if directory.exists() {
                return Ok(());
            }
            let owners = sandbox.rung().owners();
            let order = UnpackOrder { owners, layers: vec![UnpackLayer { tree, directory, blob: Some(blob) }] };
            let payload = serde_json::to_vec(&order).map_err(|e| inside("unpacking", io::Error::other(e)))?;
            let job = sandbox.job_until(&stopper, UNPACK, &payload)?;
            Ok(job.wait().map_err(|e| Problem::Inside { doing: "filling a mount", why: e.to_string() })?)
        })
        .await
    }
}

fn unpack_order(store: &Store, layers: &[Layer], owners: Owners) -> Result<UnpackOrder, BuildError> {
    let each = layers.iter().zip(chains(layers)).map(|(layer, chain)| {
        let directory = store.layer_path(&chain, owners);
        let blob = match directory.exists() {
            true => None,
            false => Some(UnpackBlob {
                path: store.blob_path(&layer.blob.digest),
                digest: layer.blob.digest,
                compression: compression(layer)?.into(),
            }),
        };
        Ok(UnpackLayer { tree: store.tree_path(&layer.diff_id), directory, blob })
    });
    Ok(UnpackOrder { owners, layers: each.collect::<Result<_, BuildError>>()? })
}
