//! Two images, wherever they are, and what is not the same in them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::image::{
    Archive, Digest, HashingWriter, ImageChanges, ImageFacts, LayerChange, Places, Platform, Reference, Which,
};
use crate::layer::compare::{Difference, Listing, compare};
use crate::layer::{Limits, TarError, decompress};
use crate::registry::Registry;
use crate::store::Store;

use super::{House, HouseOptions, RoadError};

/// The largest manifest, in bytes: what the registry client reads too.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageAt {
    /// In an OCI layout, a folder or a tar, or in an archive of Docker's.
    Disk {
        path: PathBuf,
        which: Which,
    },
    Registry(Reference),
}

/// An image that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Where it was found, or what it is.
    pub name: String,
    pub digest: Digest,
    pub layers: usize,
}

/// What is not the same in two images.
#[derive(Clone, Debug, PartialEq)]
pub struct Differences {
    pub images: [Compared; 2],
    pub changes: ImageChanges,
    /// For each of the changes' layers what its tars hold differently; nothing for a layer of one side alone.
    pub paths: Vec<Vec<Difference>>,
}

/// Why two images cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("layer {number} of {image} cannot be read: {source}")]
    Layer { image: String, number: usize, source: TarError },
    #[error("layer {number} of {image} holds {got}, and the config says {wanted}")]
    DiffId { image: String, number: usize, wanted: Digest, got: Digest },
    #[error("layer {number} of {image} is of the type `{media_type}`, which cannot be read")]
    LayerType { image: String, number: usize, media_type: String },
    #[error("the layers could not be compared: {0}")]
    Compare(io::Error),
}

impl Differences {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Compares two images. A layer that is the same in both is not fetched.
pub async fn diff(at: [ImageAt; 2], platform: &Platform, options: &HouseOptions) -> Result<Differences, RoadError> {
    let house = House::open(options, None)?;
    house.unless_interrupted(compare_at(at, platform, &house)).await
}

pub(super) async fn compare_at(
    [left, right]: [ImageAt; 2],
    platform: &Platform,
    house: &House,
) -> Result<Differences, RoadError> {
    let images = [open(left, platform, house).await?, open(right, platform, house).await?];
    between(images.map(Arc::new), house).await
}

async fn between(images: [Arc<Image>; 2], house: &House) -> Result<Differences, RoadError> {
    let changes = ImageChanges::between(&images[0].facts, &images[1].facts);
    let mut paths = Vec::with_capacity(changes.layers.len());
    for LayerChange { numbers, diff_ids, .. } in &changes.layers {
        paths.push(match numbers {
            [Some(left), Some(right)] if diff_ids[0] != diff_ids[1] => {
                for (image, number) in images.iter().zip([*left, *right]) {
                    image.fetch(number, &house.registry).await?;
                }
                let (images, store, numbers) = (images.clone(), house.store.clone(), [*left, *right]);
                blocking(move || {
                    let listings = [images[0].listing(numbers[0], &store)?, images[1].listing(numbers[1], &store)?];
                    Ok(compare(&listings[0], &listings[1]).map_err(DiffError::Compare)?)
                })
                .await?
            }
            _ => Vec::new(),
        });
    }
    let compared = |image: &Image| Compared {
        name: image.at.to_string(),
        digest: image.facts.digest(),
        layers: image.facts.config.rootfs.diff_ids.len(),
    };
    Ok(Differences { images: [compared(&images[0]), compared(&images[1])], changes, paths })
}

/// An image that is open: its documents are read, its layers are not.
struct Image {
    at: ImageAt,
    facts: ImageFacts,
    layers: Layers,
}

enum Layers {
    Disk(Archive, Places),
    Registry(Reference),
}

async fn open(at: ImageAt, platform: &Platform, house: &House) -> Result<Image, RoadError> {
    match &at {
        ImageAt::Disk { path, which } => {
            let archive = Archive::open(path)?;
            let (facts, places) = archive.image(which, platform)?;
            Ok(Image { facts, layers: Layers::Disk(archive, places), at })
        }
        ImageAt::Registry(reference) => {
            let pulled = house.registry.pull_image(reference, platform).await?;
            // As the registry gave it, and not as we would write it.
            let manifest = house.store.read_blob(&pulled.digest, MANIFEST_LIMIT)?;
            let layers = Layers::Registry(reference.clone());
            Ok(Image { facts: ImageFacts::of(pulled.image, manifest), layers, at })
        }
    }
}

impl Image {
    /// Sees to it that a layer is on this machine.
    async fn fetch(&self, number: usize, registry: &Registry) -> Result<(), RoadError> {
        match (&self.layers, self.facts.layer(number)) {
            (Layers::Registry(reference), Some(layer)) => Ok(registry.pull_blob(reference, layer).await?),
            (Layers::Registry(_) | Layers::Disk(..), _) => Ok(()),
        }
    }

    fn listing(&self, number: usize, store: &Store) -> Result<Listing, RoadError> {
        let failed = |source: TarError| DiffError::Layer { image: self.at.to_string(), number: number + 1, source };
        let (blob, compression) = match (&self.layers, self.facts.layer(number)) {
            (Layers::Disk(archive, places), _) => archive.layer(places, number)?,
            (Layers::Registry(_), Some(layer)) => {
                let unreadable = || DiffError::LayerType {
                    image: self.at.to_string(),
                    number: number + 1,
                    media_type: layer.media_type.to_string(),
                };
                let compression = layer.media_type.layer_compression().ok_or_else(unreadable)?;
                (Box::new(store.open_blob(&layer.digest)?) as Box<dyn io::Read + Send>, compression)
            }
            (Layers::Registry(_), None) => return Err(failed(TarError::Truncated).into()),
        };
        let mut out = HashingWriter::new(store.tar_writer()?.into_file());
        io::copy(&mut decompress(blob, compression, Limits::default()), &mut out)
            .map_err(|error| failed(error.into()))?;
        let (tar, got, _) = out.finish();
        match self.facts.config.rootfs.diff_ids.get(number) {
            Some(wanted) if *wanted != got => {
                Err(DiffError::DiffId { image: self.at.to_string(), number: number + 1, wanted: *wanted, got }.into())
            }
            _ => Ok(Listing::read(tar).map_err(failed)?),
        }
    }
}

impl std::fmt::Display for ImageAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk { path, which: Which::First } => write!(f, "{}", path.display()),
            Self::Disk { path, which: Which::Tag(tag) } => write!(f, "{}:{tag}", path.display()),
            Self::Disk { path, which: Which::Digest(digest) } => write!(f, "{}@{digest}", path.display()),
            Self::Registry(reference) => write!(f, "{reference}"),
        }
    }
}

/// Runs something that blocks, away from the threads that must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RoadError> + Send + 'static,
) -> Result<T, RoadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(DiffError::Compare(io::Error::other(error)).into()),
    }
}
