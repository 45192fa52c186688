//! The two verbs of a place where images live: what a build takes from it, and what it gives to it.

use std::error::Error;
use std::future::Future;

use bytes::Bytes;

use crate::image::{Descriptor, Digest, Image, Platform, Reference};
use crate::store::Growing;

/// An image that a build stands on.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// What was asked for, short names filled in.
    pub reference: Reference,
    /// The digest of the manifest for our platform.
    pub digest: Digest,
    pub image: Image,
}

/// Takes the bytes of a blob as they come, in their order and before anybody has verified them; perhaps not all of
/// them, and none where the blob was here already. Its other end may be gone, which is no reason to stop.
pub type Tap = tokio::sync::mpsc::Sender<Bytes>;

/// Where base images come from.
pub trait Source: Send + Sync {
    /// The image for a platform: its manifest and config, no layers.
    fn image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> impl Future<Output = Result<BaseImage, FetchError>> + Send;

    /// Sees to it that a blob of an image is in the store, verified. The bytes go to the tap as they come, where they
    /// do come.
    fn fetch(
        &self,
        from: &Reference,
        blob: &Descriptor,
        tap: Option<Tap>,
    ) -> impl Future<Output = Result<(), FetchError>> + Send;

    /// Sees to it that the file at an http or https URL is in the store, as a blob.
    fn download(&self, url: &str) -> impl Future<Output = Result<Download, FetchError>> + Send;
}

/// A file that came from the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    pub digest: Digest,
    pub size: u64,
    /// In seconds since 1970, where the server said so.
    pub last_modified: Option<i64>,
}

/// Where the finished image goes. Layers are told of while later steps still run.
pub trait Sink: Send + Sync {
    /// A layer of the final image is being made, and these are its bytes. It is told of again when it is finished; one that
    /// fails never is. Must not block.
    fn growing(&self, layer: Growing);

    /// A layer of the final image is in the store. Must not block.
    fn layer(&self, layer: &Descriptor);
}

/// Perhaps there is no place yet: then nothing is done with a layer before the image is whole.
impl<K: Sink> Sink for Option<K> {
    fn growing(&self, layer: Growing) {
        if let Some(sink) = self {
            sink.growing(layer);
        }
    }

    fn layer(&self, layer: &Descriptor) {
        if let Some(sink) = self {
            sink.layer(layer);
        }
    }
}

/// A base image could not be had. Says it in the place's own words.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct FetchError {
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
    /// What to do about it.
    pub hint: Option<String>,
}
