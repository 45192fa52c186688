//! Caches that were read. A cache is as trusted as the registry or folder that it is read from: what it calls the layer
//! of a step is taken for it. Whatever it says is bounded, and its blobs are those of their digests.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::Event;
use crate::image::{Descriptor, Digest, Image, Layout, MediaType, Reference};
use crate::store::Store;

use super::super::snapshot::Layer;
use super::super::workshop::{Workshop, blocking, inside};
use super::super::{BuildError, Source};
use super::{NoCacheImage, Record};

/// Where the blobs of a cache are.
#[derive(Clone, Debug)]
pub enum CacheAt {
    Registry(Reference),
    Folder(Arc<Layout>),
}

/// What all caches of a build say. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Imports(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<Digest, Known>,
    /// What cache mounts hold, by their names.
    mounts: BTreeMap<Digest, Held>,
    /// A step's layer was given.
    used: AtomicBool,
}

/// The layer of a step.
#[derive(Clone, Debug)]
struct Known {
    diff_id: Digest,
    /// `None` where the cache does not hold it.
    held: Option<Held>,
}

/// A layer's blob, and where it is.
#[derive(Clone, Debug)]
struct Held {
    diff_id: Digest,
    blob: Descriptor,
    at: CacheAt,
}

impl Imports {
    /// All that these caches say; where two know the same step or mount, the first that holds its layer is believed.
    pub fn of(caches: Vec<(Record, Image, CacheAt)>) -> Self {
        let (mut known, mut mounts) = (BTreeMap::<Digest, Known>::new(), BTreeMap::new());
        for (record, image, at) in caches {
            let held = held(&image);
            let held = |diff_id| held.get(&diff_id).map(|&blob| Held { diff_id, blob: blob.clone(), at: at.clone() });
            for (name, diff_id) in record.mounts {
                if let (false, Some(held)) = (mounts.contains_key(&name), held(diff_id)) {
                    mounts.insert(name, held);
                }
            }
            for (key, diff_id) in record.steps {
                let held = held(diff_id);
                let better = known.get(&key).is_none_or(|known| known.held.is_none() && held.is_some());
                if better {
                    known.insert(key, Known { diff_id, held });
                }
            }
        }
        Self(Arc::new(Inner { known, mounts, used: AtomicBool::new(false) }))
    }

    /// What an image says of steps.
    pub fn read(image: &Image) -> Result<Record, NoCacheImage> {
        Record::of(&image.config)
    }

    /// Whether they know no step.
    pub fn is_empty(&self) -> bool {
        self.0.known.is_empty()
    }

    /// Whether a layer of theirs was taken.
    pub fn were_used(&self) -> bool {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The same without what made a build fail: first without the layers that no cache holds, then no step at all.
    pub fn less(&self) -> Self {
        let held: BTreeMap<_, _> = match self.0.known.values().all(|known| known.held.is_some()) {
            true => BTreeMap::new(),
            false => self.0.known.iter().filter(|(_, known)| known.held.is_some()).collect(),
        };
        self.with(held.into_iter().map(|(key, known)| (*key, known.clone())).collect())
    }

    /// The same without the layers of steps whose blobs are gone.
    pub fn without(&self, gone: &BTreeSet<Digest>) -> Self {
        let is_gone = |known: &Known| known.held.as_ref().is_some_and(|held| gone.contains(&held.blob.digest));
        let left = self.0.known.iter().filter(|(_, known)| !is_gone(known));
        self.with(left.map(|(key, known)| (*key, known.clone())).collect())
    }

    fn with(&self, known: BTreeMap<Digest, Known>) -> Self {
        Self(Arc::new(Inner { known, mounts: self.0.mounts.clone(), used: AtomicBool::new(false) }))
    }

    /// The layer of a step, if a cache holds it. Its blob stays where it is as long as nobody reads it.
    pub(in super::super) async fn layer<S: Source>(&self, key: &Digest, workshop: &Workshop<S>) -> Option<Layer> {
        let layer = self.0.known.get(key)?.held.as_ref()?.layer(workshop).await;
        if layer.is_some() {
            self.0.used.store(true, Ordering::Relaxed);
        }
        layer
    }

    /// What a cache mount held elsewhere. Its blob stays where it is as long as nobody reads it.
    pub(in super::super) async fn mount<S: Source>(&self, name: &Digest, workshop: &Workshop<S>) -> Option<Layer> {
        self.0.mounts.get(name)?.layer(workshop).await
    }

    /// The layer of a step, known by its diff_id alone.
    pub(in super::super) fn known_alone(&self, key: &Digest) -> Option<Layer> {
        let Known { diff_id, held: None } = self.0.known.get(key)? else { return None };
        self.0.used.store(true, Ordering::Relaxed);
        // As if it were not compressed: no other digest is known.
        let blob = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), *diff_id, 0);
        Some(Layer { diff_id: *diff_id, blob, from: None, tar_size: None })
    }
}

impl Held {
    /// The layer to be read where it is; of a folder, in the store.
    async fn layer<S: Source>(&self, workshop: &Workshop<S>) -> Option<Layer> {
        let Self { diff_id, blob, at } = self.clone();
        let from = match at {
            CacheAt::Registry(reference) => Some(reference),
            CacheAt::Folder(layout) => {
                let (store, wanted) = (workshop.store.clone(), blob.clone());
                if let Err(error) = blocking(move || take_in(&store, &layout, &wanted)).await {
                    let message = format!("the layer {} of a build cache is passed over: {error}", blob.digest);
                    workshop.events.emit(Event::Warning { message, hint: None });
                    return None;
                }
                None
            }
        };
        Some(Layer { diff_id, blob, from, tar_size: None })
    }
}

/// Whether nobody has the blob of this layer. A tar is never empty.
pub(super) fn is_known_alone(layer: &Layer) -> bool {
    layer.blob.size == 0 && layer.blob.digest == layer.diff_id
}

/// The layers of a cache that can be read, by their diff_ids.
fn held(image: &Image) -> BTreeMap<Digest, &Descriptor> {
    let pairs = image.config.rootfs.diff_ids.iter().copied().zip(&image.manifest.layers);
    pairs.filter(|(_, blob)| blob.media_type.layer_compression().is_some()).collect()
}

/// Copies a blob into the store, unless it is there.
fn take_in(store: &Store, layout: &Layout, blob: &Descriptor) -> Result<(), BuildError> {
    if store.blob_size(&blob.digest) == Some(blob.size) {
        return Ok(());
    }
    let bytes = layout.blob(&blob.digest).map_err(|error| inside("opening it", io::Error::other(error)))?;
    let mut writer = store.blob_writer()?;
    // One byte more is another blob.
    let mut bytes = io::Read::take(bytes, blob.size.saturating_add(1));
    io::copy(&mut bytes, &mut writer).map_err(|error| inside("copying it", error))?;
    writer.commit(Some(&blob.digest))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;
    use crate::image::ImageConfig;
    use crate::sandbox::Stopper;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    /// A cache that knows the steps with these keys, and holds the layers of the first few.
    fn cache(keys: &[&str], held: usize, at: &CacheAt) -> (Record, Image, CacheAt) {
        let layer = |key: &str| digest(&format!("layer of {key}"));
        let record = Record::new(keys.iter().map(|key| (digest(key), layer(key))).collect());
        let mut config = ImageConfig::default();
        config.rootfs.diff_ids = keys[..held].iter().map(|key| layer(key)).collect();
        let blob = |key: &&str| Descriptor::new(MediaType::new(MediaType::OCI_LAYER_GZIP), digest(key), 7);
        let layers = keys[..held].iter().map(blob).collect();
        (record, Image::new(config, layers, BTreeMap::new()), at.clone())
    }

    struct Nowhere;

    impl Source for Nowhere {
        async fn image(
            &self,
            _: &Reference,
            _: &crate::image::Platform,
        ) -> Result<crate::build::BaseImage, crate::build::FetchError> {
            unreachable!("nothing is asked for")
        }

        async fn fetch(
            &self,
            _: &Reference,
            _: &Descriptor,
            _: Option<crate::build::Tap>,
        ) -> Result<(), crate::build::FetchError> {
            unreachable!("nothing is asked for")
        }

        async fn download(&self, _: &str) -> Result<crate::build::Download, crate::build::FetchError> {
            unreachable!("nothing is asked for")
        }
    }

    fn workshop() -> (tempfile::TempDir, Workshop<Nowhere>) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        (home, Workshop::new(store, Nowhere, Events::silent(), Stopper::new()))
    }

    fn registry(text: &str) -> CacheAt {
        CacheAt::Registry(text.parse().unwrap())
    }

    #[tokio::test]
    async fn the_first_cache_that_holds_a_layer_is_believed() {
        let (_home, workshop) = workshop();
        let caches = [("r.test/a:1", 0), ("r.test/b:1", 1), ("r.test/c:1", 2)];
        let imports =
            Imports::of(caches.iter().map(|(name, held)| cache(&["k", "l"], *held, &registry(name))).collect());
        let from = |layer: Layer| layer.from.map(|from| from.to_string());
        assert!(!imports.were_used());
        assert_eq!(imports.layer(&digest("k"), &workshop).await.and_then(from), Some("r.test/b:1".to_owned()));
        assert_eq!(imports.layer(&digest("l"), &workshop).await.and_then(from), Some("r.test/c:1".to_owned()));
        assert!(imports.were_used() && imports.known_alone(&digest("k")).is_none());
        assert!(imports.layer(&digest("other"), &workshop).await.is_none());
    }

    #[tokio::test]
    async fn what_a_cache_does_not_hold_is_known_until_it_is_wanted() {
        let (_home, workshop) = workshop();
        let imports = Imports::of(vec![cache(&["k", "l"], 1, &registry("r.test/a:1"))]);
        assert!(imports.layer(&digest("l"), &workshop).await.is_none());
        let layer = imports.known_alone(&digest("l")).unwrap();
        assert!(is_known_alone(&layer) && layer.diff_id == digest("layer of l"));
        let less = imports.less();
        assert!(less.known_alone(&digest("l")).is_none() && less.layer(&digest("k"), &workshop).await.is_some());
        assert!(less.less().is_empty());
    }

    #[tokio::test]
    async fn a_blob_of_a_folder_that_is_not_its_name_is_passed_over() {
        let (home, workshop) = workshop();
        let folder = home.path().join("cache");
        let blob = folder.join("blobs/sha256").join(digest("k").hex());
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(folder.join("oci-layout"), "{}").unwrap();
        let imports = || {
            let layout = CacheAt::Folder(Arc::new(Layout::open(&folder).unwrap()));
            Imports::of(vec![cache(&["k"], 1, &layout)])
        };
        assert!(imports().layer(&digest("k"), &workshop).await.is_none());
        std::fs::write(&blob, "bites").unwrap();
        let imports = imports();
        assert!(imports.layer(&digest("k"), &workshop).await.is_none() && !imports.were_used());
        std::fs::write(&blob, "k").unwrap();
        assert!(imports.layer(&digest("k"), &workshop).await.is_some());
        assert_eq!(workshop.store.blob_size(&digest("k")), Some(1));
    }
}
