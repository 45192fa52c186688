//! An image as a value: references, digests, media types, config, manifest, and the OCI layout on disk.
//!
//! `oci-spec` reads and writes the standard's own documents; the types here are what those documents mean once
//! they have been checked, so that no other room handles an unverified digest, size or media type.

mod archive;
mod canonical;
mod compare;
mod config;
mod descriptor;
mod digest;
mod layout;
mod manifest;
mod members;
mod platform;
mod reference;
mod unambiguous;

pub use archive::{Archive, DockerArchive, Places};
pub use canonical::canonical_json;
pub use compare::{DocumentChange, Field, ImageChanges, ImageFacts, LayerChange, ManifestFacts};
pub use config::{ConfigError, ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{Compression, Descriptor, MediaType};
pub use digest::{BadDigest, Digest, Hasher, HashingWriter};
pub use layout::{Flavor, Layout, LayoutError, OpenBlob, Which, stream_tar, write_folder, write_tar};
pub use manifest::{Document, Image, Index, IndexEntry, Manifest, ManifestError, Written};
pub use platform::{BadPlatform, Platform};
pub use reference::{BadReference, Reference};
use unambiguous::unambiguous;
