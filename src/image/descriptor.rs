//! What a manifest says of a blob: its media type, digest and size.

use std::collections::BTreeMap;

use oci_spec::image as oci;
use serde::{Deserialize, Serialize};

use super::{Digest, ManifestError};

/// A blob that a document points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub media_type: MediaType,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self { media_type, digest, size, annotations: BTreeMap::new() }
    }

    pub(super) fn from_oci(found: &oci::Descriptor) -> Result<Self, ManifestError> {
        let digest = found.digest().to_string();
        Ok(Self {
            media_type: MediaType(found.media_type().to_string()),
            digest: digest.parse().map_err(ManifestError::Digest)?,
            size: found.size(),
            annotations: found.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        })
    }

    pub(super) fn to_oci(&self) -> oci::Descriptor {
        let digest: oci::Sha256Digest = self.digest.hex().parse().expect("64 hex digits are a sha256 to oci-spec too");
        let mut made = oci::Descriptor::new(self.media_type.as_str().into(), self.size, digest);
        if !self.annotations.is_empty() {
            made.set_annotations(Some(self.annotations.clone().into_iter().collect()));
        }
        made
    }
}

/// A media type, kept as it was written: a base's layers pass through with the type that they came with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MediaType(pub(super) String);

/// How a layer's tar is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl MediaType {
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER_GZIP: &'static str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub const DOCKER_LAYER_ZSTD: &'static str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    pub const DOCKER_LAYER: &'static str = "application/vnd.docker.image.rootfs.diff.tar";

    /// The `Accept` header's value for "any manifest that we can read".
    pub const MANIFESTS: &'static str = "application/vnd.oci.image.manifest.v1+json, \
        application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
        application/vnd.docker.distribution.manifest.list.v2+json";

    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How a layer of this type is compressed; `None` where it is not a layer that we can read
    /// (encrypted, foreign, unknown).
    pub fn layer_compression(&self) -> Option<Compression> {
        match self.as_str() {
            Self::OCI_LAYER | Self::DOCKER_LAYER => Some(Compression::None),
            Self::OCI_LAYER_GZIP | Self::DOCKER_LAYER_GZIP => Some(Compression::Gzip),
            Self::OCI_LAYER_ZSTD | Self::DOCKER_LAYER_ZSTD => Some(Compression::Zstd),
            _ => None,
        }
    }
}

impl std::fmt::Display for MediaType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
