//! The layers that are made here. One that travels is compressed as it is made. What a stage makes that no image stands on
//! is read here and nowhere else: it stays as it is until it has to travel after all.

use std::fs::File;
use std::sync::PoisonError;

use crate::image::{Compression, Descriptor, Digest, MediaType};
use crate::layer::{Content, Packed, Packing, Times, Tree, pack, pack_stream};

use crate::store::{BlobFile, Store};

use super::packing::Telling;
use super::snapshot::Layer;
use super::workshop::{Workshop, blocking, check_diff_id};
use super::{BuildError, Source};

/// How a layer is compressed, and into what.
pub(super) struct Wrapping {
    pub packing: Packing,
    pub blob: BlobFile,
}

impl<S: Source> Workshop<S> {
    /// For a layer that stays here.
    pub(super) fn unwrapped(&self) -> Result<Wrapping, BuildError> {
        Ok(Wrapping { packing: Packing::None, blob: self.store.blob_file()? })
    }

    /// Keeps a tree as a layer.
    pub(super) async fn pack(&self, tree: Tree<Content>, times: Times, into: Wrapping) -> Result<Layer, BuildError> {
        let (store, threads, events) = (self.store.clone(), self.threads, self.events.clone());
        let Wrapping { packing, mut blob } = into;
        let layer = blocking(move || {
            let tar = |diff_id: &Digest| File::open(store.tar_path(diff_id));
            let packed = pack(&tree, times, packing, threads, &tar, Telling::new(&mut blob, &events))?;
            keep(&store, blob, &packed)?;
            Ok(layer_of(&packed, packing))
        })
        .await?;
        self.wrote(&layer);
        Ok(layer)
    }

    /// A layer was made, and its bytes are what they are called.
    pub(super) fn wrote(&self, layer: &Layer) {
        if layer.blob.digest == layer.diff_id {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.diff_id);
        }
    }

    /// Whether it was made by this build, and as it is.
    pub(super) fn is_written(&self, layer: &Layer) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).contains(&layer.diff_id)
    }

    /// The layer as it travels: one of ours that stayed uncompressed is compressed now, into what is given then.
    pub(super) async fn to_travel(
        &self,
        layer: Layer,
        into: impl FnOnce() -> Result<Wrapping, BuildError>,
    ) -> Result<Layer, BuildError> {
        let plain = layer.blob.media_type.layer_compression() == Some(Compression::None);
        if layer.from.is_some() || !plain || self.packing == Packing::None {
            return Ok(layer);
        }
        let (store, threads, events) = (self.store.clone(), self.threads, self.events.clone());
        let Wrapping { packing, mut blob } = into()?;
        blocking(move || {
            let tar = store.open_blob(&layer.blob.digest)?;
            let packed = pack_stream(tar, packing, threads, Telling::new(&mut blob, &events))?;
            check_diff_id(&layer, packed.index.diff_id)?;
            blob.keep(&packed.blob)?;
            Ok(layer_of(&packed, packing))
        })
        .await
    }
}

/// Keeps a packed layer, and the paths in it.
pub(super) fn keep(store: &Store, blob: BlobFile, packed: &Packed) -> Result<(), BuildError> {
    blob.keep(&packed.blob)?;
    Ok(store.keep_tree(&packed.index.diff_id, &packed.index)?)
}

/// A packed layer of ours.
pub(super) fn layer_of(packed: &Packed, packing: Packing) -> Layer {
    let media_type = match packing.compression() {
        Compression::None => MediaType::OCI_LAYER,
        Compression::Gzip => MediaType::OCI_LAYER_GZIP,
        Compression::Zstd => MediaType::OCI_LAYER_ZSTD,
    };
    let blob = Descriptor::new(MediaType::new(media_type), packed.blob, packed.size);
    Layer { diff_id: packed.index.diff_id, blob, from: None, tar_size: Some(packed.index.size) }
}
