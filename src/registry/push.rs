//! Images out.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::client::Registry;
use super::error::PushError;
use crate::build::Sink;
use crate::image::{Descriptor, Digest, Image, Reference};

/// A faster way to ask which blobs a repository has, where there is one; `None` when it cannot say.
pub type Presence = Arc<dyn Fn(Vec<Digest>) -> BoxFuture<'static, Option<BTreeSet<Digest>>> + Send + Sync>;

/// One image on its way to one repository. Made within a tokio runtime; layers go out while the build still runs.
pub struct Pusher {
    _registry: Registry,
    _destination: Reference,
    _presence: Option<Presence>,
}

/// The image is where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// By digest.
    pub reference: Reference,
    /// The registry had the manifest before.
    pub already_there: bool,
    /// How many blobs were sent.
    pub uploaded: usize,
    /// How many bytes of blobs were sent.
    pub bytes: u64,
}

impl Pusher {
    pub fn new(registry: &Registry, destination: Reference) -> Self {
        Self { _registry: registry.clone(), _destination: destination, _presence: None }
    }

    /// Asks for many blobs at once where it can.
    pub fn with_presence(mut self, presence: Presence) -> Self {
        self._presence = Some(presence);
        self
    }

    /// Brings what is missing, then the manifest by its digest, then the tags. `base` names the layers that come
    /// from elsewhere, and where they can be had.
    pub async fn finish(
        self,
        _image: &Image,
        _base: &[(Reference, Descriptor)],
        _tags: &[String],
    ) -> Result<Pushed, PushError> {
        todo!()
    }
}

impl Sink for Pusher {
    fn layer(&self, _layer: &Descriptor) {
        todo!()
    }
}

impl Registry {
    /// Whether we may push to the reference's repository, asked before anything is built.
    pub async fn may_push(&self, _destination: &Reference) -> Result<(), PushError> {
        todo!()
    }
}
