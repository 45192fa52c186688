//! Keys that are known before anything is looked at.
//!
//! The key of a COPY --from has the digest of the files that it finds, and finding them takes the paths of all layers of
//! where it looks: of a base image, all of its bytes. What it finds is a function of those layers, though; so their
//! ChainID makes a key as well. It is the stricter of the two, and tried first.

use crate::graph::{self, Action, Copy, Key, Part};
use crate::image::{Digest, Hasher};

use super::super::mounts::taken;
use super::super::stage::Run;
use super::super::{BuildError, Sink, Source};

impl<S: Source + 'static, K: Sink> Run<'_, S, K> {
    /// The key of a step that takes files from other layers; `None` where there is no other than the usual one.
    pub(in super::super) async fn early_key(&self, action: &Action, key: &Key) -> Result<Option<Digest>, BuildError> {
        let mut key = key.clone();
        let found = match action {
            Action::Copy(copy) => self.chain_of(copy, key.part(Part::Sought)).await?,
            Action::Run(run) => {
                self.options.key(&mut key);
                self.chains_of_mounts(run, key.part(Part::Sought)).await?
            }
            Action::Config | Action::Workdir { .. } => false,
        };
        Ok(found.then(|| key.finish()))
    }

    async fn chain_of(&self, copy: &Copy, key: &mut Hasher) -> Result<bool, BuildError> {
        let Some((snapshot, _)) = self.layers_named(&copy.from).await? else { return Ok(false) };
        key.field(snapshot.chain().as_bytes());
        // The usual key leaves to the digest of the files what of the sources decides which files they are.
        key.field(format!("{:?}", copy.sources).as_bytes());
        Ok(true)
    }

    /// Whether some mount takes its files from layers.
    async fn chains_of_mounts(&self, run: &graph::Run, key: &mut Hasher) -> Result<bool, BuildError> {
        let mut of_layers = false;
        for (from, source) in run.mounts.iter().filter_map(taken) {
            match self.layers_named(from).await? {
                Some((snapshot, _)) => {
                    of_layers = true;
                    key.field(snapshot.chain().as_bytes());
                }
                None => key.field(self.pick_mounted(from, source).await?.digest.as_bytes()),
            }
        }
        Ok(of_layers)
    }
}
