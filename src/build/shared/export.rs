//! What a build did, as a cache for others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::image::{Digest, Image, ImageConfig, Platform};

use super::super::snapshot::Layer;
use super::{Record, is_known_alone};

/// Which layers a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those of the image. Of the other stages' steps it is known what they gave, so that they need not be done as long
    /// as nothing new is made of them.
    #[default]
    Min,
    /// Those of all steps.
    Max,
}

/// A step that was done, or found done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Did {
    pub layer: Layer,
    /// The layer is one of the image's.
    pub of_image: bool,
    /// The key is the one that is tried first, and so is known whatever was found done.
    pub first: bool,
}

/// The steps of a build so far, each by its keys.
#[derive(Default)]
pub(in super::super) struct Doing(Mutex<BTreeMap<Digest, Did>>);

impl Doing {
    pub fn did(&self, key: Digest, layer: &Layer, of_image: bool, first: bool) {
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let did = Did { layer: layer.clone(), of_image, first };
        match steps.get_mut(&key) {
            // Two stages may do the same step.
            Some(known) if is_known_alone(&known.layer) => *known = Did { of_image: known.of_image || of_image, ..did },
            // What another stage kept for itself does not travel.
            Some(known) if of_image && !known.of_image => *known = Did { first: known.first || first, ..did },
            Some(_) => {}
            None => drop(steps.insert(key, did)),
        }
    }

    pub fn all(self) -> BTreeMap<Digest, Did> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an image says of its own layers. A function of what it was built from, whatever of it was found done.
pub(in super::super) fn inline(steps: &BTreeMap<Digest, Did>) -> Record {
    let own = steps.iter().filter(|(_, did)| did.of_image && did.first);
    Record::new(own.map(|(key, did)| (*key, did.layer.diff_id)).collect())
}

/// The cache as an image, and its layers, those of cache mounts among them; `None` where there is nothing to remember.
/// The same bytes for the same build, so that jobs that write the same cache at once write the same.
pub fn cache_image(
    steps: &BTreeMap<Digest, Did>,
    mounts: &BTreeMap<Digest, Layer>,
    mode: Mode,
    platform: &Platform,
) -> Option<(Image, Vec<Layer>)> {
    if steps.is_empty() {
        return None;
    }
    let wanted = |did: &&Did| (did.of_image || mode == Mode::Max) && !is_known_alone(&did.layer);
    let mut seen = BTreeSet::new();
    let layers = steps.values().filter(wanted).map(|did| &did.layer).chain(mounts.values());
    let mut layers: Vec<Layer> = layers.filter(|layer| seen.insert(layer.diff_id)).cloned().collect();
    layers.sort_by_key(|layer| layer.diff_id);
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    Record::new(steps.iter().map(|(key, did)| (*key, did.layer.diff_id)).collect())
        .with_mounts(mounts.iter().map(|(name, layer)| (*name, layer.diff_id)).collect())
        .put_into(&mut config);
    let blobs = layers.iter().map(|layer| layer.blob.clone()).collect();
    Some((Image::new(config, blobs, BTreeMap::new()), layers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Imports;
    use crate::image::{Descriptor, MediaType};

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn layer(text: &str, size: u64) -> Layer {
        let blob = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), digest(text), size);
        Layer { diff_id: digest(text), blob, from: None, tar_size: None }
    }

    /// Two steps of the image that gave the same layer, one of another stage, and one that is only known.
    fn steps() -> BTreeMap<Digest, Did> {
        let doing = Doing::default();
        doing.did(digest("1"), &layer("a", 7), true, true);
        doing.did(digest("2"), &layer("a", 7), true, true);
        doing.did(digest("3"), &layer("b", 7), false, true);
        doing.did(digest("4"), &layer("c", 0), false, true);
        doing.all()
    }

    #[test]
    fn min_holds_the_images_layers_once_and_max_those_of_all_steps() {
        let held = |mode| {
            let (image, layers) = cache_image(&steps(), &BTreeMap::new(), mode, &Platform::linux_amd64()).unwrap();
            assert_eq!(Imports::read(&image).unwrap().steps.len(), 4);
            assert_eq!(image.config.rootfs.diff_ids.len(), image.manifest.layers.len());
            layers.iter().map(|layer| layer.diff_id).collect::<BTreeSet<_>>()
        };
        assert_eq!(held(Mode::Min), [digest("a")].into());
        assert_eq!(held(Mode::Max), [digest("a"), digest("b")].into());
        assert!(cache_image(&BTreeMap::new(), &BTreeMap::new(), Mode::Max, &Platform::linux_amd64()).is_none());
    }

    #[test]
    fn a_cache_mount_is_a_layer_more_and_named_beside_the_steps() {
        let mounts = [(digest("pip"), layer("wheels", 7)), (digest("npm"), layer("a", 7))].into();
        let (image, layers) = cache_image(&steps(), &mounts, Mode::Min, &Platform::linux_amd64()).unwrap();
        let held: BTreeSet<_> = layers.iter().map(|layer| layer.diff_id).collect();
        assert_eq!((held, layers.len()), ([digest("a"), digest("wheels")].into(), 2), "each layer once");
        let named = [(digest("pip"), digest("wheels")), (digest("npm"), digest("a"))];
        assert_eq!(Imports::read(&image).unwrap().mounts, named.into());
    }

    #[test]
    fn the_same_steps_make_the_same_cache_in_whatever_order_they_were_done() {
        let (one, other) = (Doing::default(), Doing::default());
        one.did(digest("1"), &layer("a", 0), false, true);
        one.did(digest("1"), &layer("a", 7), true, true);
        other.did(digest("1"), &layer("a", 7), true, true);
        other.did(digest("1"), &layer("a", 0), false, true);
        assert_eq!(one.all(), other.all());
    }
}
