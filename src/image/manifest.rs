//! Manifests and indexes: read from hostile bytes, written in one order.

use std::collections::BTreeMap;

use oci_spec::image as oci;
use serde_json::Value;

use super::{BadDigest, Descriptor, Digest, ImageConfig, MediaType, Platform, canonical_json, unambiguous};

/// The largest manifest or index that is read: 4 MiB, the limit that the distribution spec suggests.
const LIMIT: usize = 4 << 20;

/// A manifest or an index, told apart by body and media type together.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// One platform's image: its config and its layers, the lowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    pub annotations: BTreeMap<String, String>,
}

/// A manifest as bytes, and the type that it is sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub media_type: MediaType,
    pub json: Vec<u8>,
}

/// Images by platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    pub entries: Vec<IndexEntry>,
}

/// An image of an index, and for which platform it is.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexEntry {
    pub descriptor: Descriptor,
    pub platform: Option<Platform>,
}

/// An image whole, but for the bytes of its layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub manifest: Manifest,
    pub config: ImageConfig,
    /// The config's bytes, whose digest the manifest names.
    pub config_json: Vec<u8>,
}

/// Why bytes are not a manifest or an index that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {0} bytes; at most {LIMIT} are read")]
    TooLarge(usize),
    #[error("the manifest is not one: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the manifest's own mediaType is `{body}`, but it came as `{header}`")]
    MediaTypesDisagree { body: String, header: String },
    /// CVE-2021-41190: a document that is both may be read as either.
    #[error("the manifest has both `layers` and `manifests`")]
    Ambiguous,
    #[error("manifests of the type `{0}` are not supported; OCI and Docker schema 2 are")]
    Unsupported(String),
    #[error("manifests of schema {0} are not supported; OCI and Docker schema 2 are")]
    Schema(String),
    #[error("in the manifest, {0}")]
    Digest(#[source] BadDigest),
    #[error("the manifest is not one: {0}")]
    Oci(#[from] oci_spec::OciSpecError),
}

impl Document {
    /// Reads what a registry or a layout answered. `header` is the `Content-Type` that it came with, if any.
    pub fn parse(bytes: &[u8], header: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > LIMIT {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let mut value = unambiguous(bytes)?;
        // Schema 1 has no type in its body, and no config.
        if let Some(version) = value.get("schemaVersion").filter(|version| version.as_u64() != Some(2)) {
            return Err(ManifestError::Schema(version.to_string().chars().take(20).collect()));
        }
        let header = header
            .map(|h| h.split(';').next().unwrap_or(h).trim())
            .filter(|h| h.contains("manifest") || h.contains("image.index"));
        let body = media_type(&value);
        if let (Some(body), Some(header)) = (&body, header)
            && body != header
        {
            return Err(ManifestError::MediaTypesDisagree { body: body.clone(), header: header.to_owned() });
        }
        let (layers, manifests) = (value.get("layers").is_some(), value.get("manifests").is_some());
        if layers && manifests {
            return Err(ManifestError::Ambiguous);
        }
        let guess = if manifests { MediaType::OCI_INDEX } else { MediaType::OCI_MANIFEST };
        match body.as_deref().or(header).unwrap_or(guess) {
            MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST if !manifests => {
                // An image of no layers is written with `"layers": null` by BuildKit.
                if value.get("layers").is_none_or(Value::is_null) {
                    value["layers"] = Value::Array(Vec::new());
                }
                let found: oci::ImageManifest = serde_json::from_value(value)?;
                Ok(Self::Manifest(Manifest {
                    config: Descriptor::from_oci(found.config())?,
                    layers: found.layers().iter().map(Descriptor::from_oci).collect::<Result<_, _>>()?,
                    annotations: found.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
                }))
            }
            MediaType::OCI_INDEX | MediaType::DOCKER_LIST if !layers => {
                let found: oci::ImageIndex = serde_json::from_value(value)?;
                let entry = |entry: &oci::Descriptor| {
                    Ok(IndexEntry {
                        descriptor: Descriptor::from_oci(entry)?,
                        platform: entry.platform().as_ref().map(|p| {
                            Platform::new(&p.os().to_string(), &p.architecture().to_string(), p.variant().as_deref())
                        }),
                    })
                };
                Ok(Self::Index(Index {
                    entries: found.manifests().iter().map(entry).collect::<Result<_, ManifestError>>()?,
                }))
            }
            other => Err(ManifestError::Unsupported(other.chars().take(200).collect())),
        }
    }

    /// The type that a document gives itself.
    pub fn own_type(bytes: &[u8]) -> Option<MediaType> {
        media_type(&serde_json::from_slice(bytes).ok()?).map(MediaType)
    }
}

fn media_type(document: &Value) -> Option<String> {
    document.get("mediaType").and_then(Value::as_str).map(str::to_owned)
}

impl Manifest {
    /// The manifest's bytes: OCI, `mediaType` on top (ECR answers 405 without it: containers/image#584).
    pub fn to_json(&self) -> Vec<u8> {
        let made = oci::ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(oci::MediaType::ImageManifest)
            .config(self.config.to_oci())
            .layers(self.layers.iter().map(Descriptor::to_oci).collect::<Vec<_>>());
        let made = match self.annotations.is_empty() {
            true => made.build(),
            false => made
                .annotations(self.annotations.clone().into_iter().collect::<std::collections::HashMap<_, _>>())
                .build(),
        };
        let made = made.expect("schema version, config and layers are all that a manifest must have");
        canonical_json(&made).expect("strings, numbers and maps with string keys are always JSON")
    }

    /// The manifest as we write it.
    pub fn written(&self) -> Written {
        Written { media_type: MediaType::new(MediaType::OCI_MANIFEST), json: self.to_json() }
    }

    /// What points at this manifest.
    pub fn descriptor(&self) -> Descriptor {
        let json = self.to_json();
        Descriptor::new(MediaType::new(MediaType::OCI_MANIFEST), Digest::of(&json), json.len() as u64)
    }
}

impl Index {
    /// The image for a platform: an exact variant first, then one that serves it. Entries of `unknown/unknown`
    /// (attestations) serve nobody; an only entry needs to say nothing of its platform.
    pub fn select(&self, wanted: &Platform) -> Option<&IndexEntry> {
        let exact = |entry: &&IndexEntry| entry.platform.as_ref() == Some(wanted);
        let serves = |entry: &&IndexEntry| entry.platform.as_ref().is_some_and(|p| p.serves(wanted));
        let only = || self.entries.first().filter(|entry| self.entries.len() == 1 && entry.platform.is_none());
        self.entries.iter().find(exact).or_else(|| self.entries.iter().find(serves)).or_else(only)
    }

    pub fn platforms(&self) -> Vec<Platform> {
        self.entries.iter().filter_map(|entry| entry.platform.clone()).filter(|p| p.os != "unknown").collect()
    }
}

impl Image {
    /// The image of a config and its layers' blobs.
    pub fn new(config: ImageConfig, layers: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Self {
        let config_json = config.to_json();
        let descriptor =
            Descriptor::new(MediaType::new(MediaType::OCI_CONFIG), Digest::of(&config_json), config_json.len() as u64);
        Self { manifest: Manifest { config: descriptor, layers, annotations }, config, config_json }
    }

    /// The digest that the image is known by: that of its manifest.
    pub fn digest(&self) -> Digest {
        self.manifest.descriptor().digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(media: &str, fields: &str) -> String {
        format!(r#"{{"schemaVersion":2,"mediaType":"{media}",{fields}}}"#)
    }

    fn config() -> String {
        format!(r#""config":{{"mediaType":"{}","digest":"{}","size":2}}"#, MediaType::OCI_CONFIG, Digest::of(b"{}"))
    }

    #[test]
    fn a_manifest_reads_what_it_writes() {
        let layer = Descriptor::new(MediaType::new(MediaType::DOCKER_LAYER_GZIP), Digest::of(b"l"), 7);
        let image = Image::new(
            ImageConfig::default(),
            vec![layer],
            BTreeMap::from([("b".into(), "1".into()), ("a".into(), "2".into())]),
        );
        let json = image.manifest.to_json();
        assert_eq!(
            Document::parse(&json, Some(MediaType::OCI_MANIFEST)).unwrap(),
            Document::Manifest(image.manifest.clone())
        );
        assert_eq!(Digest::of(&json), image.digest());
    }

    #[test]
    fn no_layers_may_be_null() {
        let json = text(MediaType::OCI_MANIFEST, &format!(r#"{},"layers":null"#, config()));
        let Document::Manifest(manifest) = Document::parse(json.as_bytes(), None).unwrap() else { panic!("an index") };
        assert!(manifest.layers.is_empty());
    }

    #[test]
    fn a_document_that_could_be_read_two_ways_is_refused() {
        let both = text(MediaType::OCI_MANIFEST, &format!(r#"{},"layers":[],"manifests":[]"#, config()));
        assert!(matches!(Document::parse(both.as_bytes(), None), Err(ManifestError::Ambiguous)));
        let index = text(MediaType::OCI_INDEX, r#""manifests":[]"#);
        let disagree = Document::parse(index.as_bytes(), Some(MediaType::OCI_MANIFEST));
        assert!(matches!(disagree, Err(ManifestError::MediaTypesDisagree { .. })));
        let lies = text(MediaType::OCI_INDEX, &format!(r#"{},"layers":[]"#, config()));
        assert!(matches!(Document::parse(lies.as_bytes(), None), Err(ManifestError::Unsupported(_))));
    }

    #[test]
    fn a_digest_that_is_a_path_is_refused() {
        let json =
            text(MediaType::OCI_MANIFEST, &format!(r#"{},"layers":[]"#, config().replace("sha256:", "sha256:../../")));
        assert!(Document::parse(json.as_bytes(), None).is_err());
    }

    #[test]
    fn f6_a_document_that_readers_may_read_differently_is_refused() {
        let image = |fields: &str| text(MediaType::OCI_MANIFEST, &format!(r#"{},"layers":[]{fields}"#, config()));
        for fields in [
            r#","layers":[]"#,
            // Go's reader does not mind case, and takes the last.
            r#","Layers":[]"#,
            r#","annotations":{"a":"1","a":"2"}"#,
            &format!(r#","x":{}{}"#, "[".repeat(200), "]".repeat(200)),
            r#","x":1e999999"#,
        ] {
            let read = Document::parse(image(fields).as_bytes(), None);
            assert!(matches!(read, Err(ManifestError::Json(_))), "{fields}: {read:?}");
        }
        assert!(Document::parse(image(r#","annotations":{"a":"1","A":"2"}"#).as_bytes(), None).is_ok());
        let huge = image("").replace(r#""size":2"#, r#""size":99999999999999999999"#);
        assert!(Document::parse(huge.as_bytes(), None).is_err());
    }

    #[test]
    fn f4_schema_1_is_refused_by_name() {
        let old = br#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#;
        let said = |header| Document::parse(old, header).unwrap_err().to_string();
        assert_eq!(said(None), "manifests of schema 1 are not supported; OCI and Docker schema 2 are");
        assert_eq!(said(Some("application/vnd.docker.distribution.manifest.v1+prettyjws")), said(None));
    }

    #[test]
    fn an_attestation_serves_no_platform() {
        let entry = |os: &str, arch: &str| IndexEntry {
            descriptor: Descriptor::new(MediaType::new(MediaType::OCI_MANIFEST), Digest::of(arch.as_bytes()), 1),
            platform: Some(Platform::new(os, arch, None)),
        };
        let index =
            Index { entries: vec![entry("unknown", "unknown"), entry("linux", "arm64"), entry("linux", "amd64")] };
        assert_eq!(index.select(&Platform::linux_amd64()), Some(&index.entries[2]));
        assert_eq!(index.select(&Platform::new("linux", "s390x", None)), None);
        assert_eq!(index.platforms().len(), 2);
    }
}
