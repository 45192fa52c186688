//! A file system as a stack of layers.

use crate::image::{Descriptor, Digest, Reference};

/// One layer: what it holds, and the blob that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    pub blob: Descriptor,
    /// The image that the blob can be had from, when it is not ours.
    pub from: Option<Reference>,
    /// The bytes of the uncompressed tar, where they are known.
    pub tar_size: Option<u64>,
}

/// A stack of layers, the lowest first.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub layers: Vec<Layer>,
}

impl Snapshot {
    /// The digest of the whole stack: the OCI image spec's ChainID; of no layers, that of the empty text.
    pub fn chain(&self) -> Digest {
        chains(&self.layers).last().copied().unwrap_or_else(|| Digest::of(b""))
    }

    /// The snapshot with one more layer on it.
    pub fn with(&self, layer: Layer) -> Self {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self { layers }
    }
}

/// The ChainID of each layer with all that are below it.
pub(super) fn chains(layers: &[Layer]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(layers.len());
    for layer in layers {
        chains.push(match chains.last() {
            None => layer.diff_id,
            Some(below) => Digest::of(format!("{below} {}", layer.diff_id).as_bytes()),
        });
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::MediaType;

    fn layer(text: &str) -> Layer {
        let digest = Digest::of(text.as_bytes());
        Layer {
            diff_id: digest,
            blob: Descriptor::new(MediaType::new(MediaType::OCI_LAYER), digest, 1),
            from: None,
            tar_size: None,
        }
    }

    #[test]
    fn the_chain_of_one_layer_is_its_diff_id_and_order_matters() {
        // image-spec config.md, "Layer ChainID".
        let of = |names: &[&str]| Snapshot { layers: names.iter().map(|name| layer(name)).collect() }.chain();
        assert_eq!(of(&["a"]), Digest::of(b"a"));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
        assert_eq!(of(&["a", "b"]), Digest::of(format!("{} {}", Digest::of(b"a"), Digest::of(b"b")).as_bytes()));
    }
}
