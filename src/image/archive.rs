//! An image on disk as whatever wrote it has it: an OCI layout, or what `docker save` writes.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::layout::MARKED;
use super::members::Members;
use super::{
    Compression, Descriptor, Digest, ImageConfig, ImageFacts, Layout, LayoutError, MediaType, Platform, Which,
};

/// A folder or a tar with images in it.
#[derive(Debug)]
pub enum Archive {
    Layout(Layout),
    Docker(DockerArchive),
}

/// What `docker save`, `skopeo copy docker-archive:` and `podman save` write: a tar of `manifest.json` and a tar a
/// layer.
#[derive(Debug)]
pub struct DockerArchive(Members);

/// Where in its archive the layers of an image are, the lowest first.
#[derive(Debug)]
pub struct Places(Vec<Place>);

#[derive(Debug)]
enum Place {
    Blob(Digest, MediaType),
    Member(String),
}

/// An image of a `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Archive {
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let members = Members::open(path)?;
        // Docker has written both since its version 25: the layout says more. No folder is taken for an archive of
        // Docker's: the names in its manifest could lead out of it.
        match members.has(MARKED) || members.is_folder() || !members.has("manifest.json") {
            true => Layout::of(members).map(Self::Layout),
            false => Ok(Self::Docker(DockerArchive(members))),
        }
    }

    pub fn image(&self, which: &Which, platform: &Platform) -> Result<(ImageFacts, Places), LayoutError> {
        let (facts, places) = match self {
            Self::Layout(layout) => {
                let (image, manifest_json) = layout.image_of(which, platform)?;
                let place = |layer: &Descriptor| Place::Blob(layer.digest, layer.media_type.clone());
                let places = image.manifest.layers.iter().map(place).collect();
                (ImageFacts::of(image, manifest_json), Places(places))
            }
            Self::Docker(archive) => archive.image(which)?,
        };
        let (layers, diff_ids) = (places.0.len(), facts.config.rootfs.diff_ids.len());
        match layers == diff_ids {
            true => Ok((facts, places)),
            false => Err(LayoutError::Config {
                path: self.path().to_owned(),
                why: format!("the config has {diff_ids} diff_ids for {layers} layers"),
            }),
        }
    }

    /// Opens the blob of an image's layer, counted from the lowest; its bytes are not verified.
    pub fn layer(&self, places: &Places, number: usize) -> Result<(Box<dyn Read + Send>, Compression), LayoutError> {
        let missing = |what: String| LayoutError::Missing { path: self.path().to_owned(), what };
        match (self, places.0.get(number)) {
            (Self::Layout(layout), Some(Place::Blob(digest, media_type))) => {
                let unreadable = || LayoutError::Config {
                    path: layout.path().to_owned(),
                    why: format!("a layer of the type `{}` cannot be read", media_type.as_str().escape_debug()),
                };
                Ok((layout.blob(digest)?, media_type.layer_compression().ok_or_else(unreadable)?))
            }
            (Self::Docker(DockerArchive(members)), Some(Place::Member(member))) => {
                let mut start = [0; 2];
                let gzip = members.open_member(member)?.read_exact(&mut start).is_ok() && start == [0x1f, 0x8b];
                let compression = if gzip { Compression::Gzip } else { Compression::None };
                Ok((members.open_member(member)?, compression))
            }
            // An image of another archive.
            (_, Some(Place::Blob(..) | Place::Member(_)) | None) => Err(missing(format!("layer {number}"))),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Layout(layout) => layout.path(),
            Self::Docker(DockerArchive(members)) => members.path(),
        }
    }
}

impl DockerArchive {
    fn image(&self, which: &Which) -> Result<(ImageFacts, Places), LayoutError> {
        let Self(members) = self;
        let failed = |why: String| LayoutError::Config { path: members.path().to_owned(), why };
        let saved: Vec<Saved> = serde_json::from_slice(&members.small("manifest.json")?)
            .map_err(|error| failed(format!("manifest.json: {error}")))?;
        for Saved { config, repo_tags, layers } in saved {
            let config_json = members.small(&config)?;
            let is_it = match which {
                Which::First => true,
                Which::Tag(tag) => repo_tags.iter().flatten().any(|name| is_named(name, tag)),
                // Its identity is that of its config: it has no other.
                Which::Digest(digest) => Digest::of(&config_json) == *digest,
            };
            if is_it {
                let config = ImageConfig::from_json(&config_json).map_err(|error| failed(error.to_string()))?;
                let places = Places(layers.into_iter().map(Place::Member).collect());
                return Ok((ImageFacts { manifest: None, config, config_json }, places));
            }
        }
        Err(LayoutError::NoSuchImage { path: members.path().to_owned(), which: which.to_string() })
    }
}

/// `latest` and `a:latest` both name `a:latest`.
fn is_named(name: &str, tag: &str) -> bool {
    name == tag || name.rsplit_once(':').is_some_and(|(_, own)| own == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut tar = tar::Builder::new(file.as_file());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.finish().unwrap();
        drop(tar);
        file
    }

    /// Of one layer.
    fn config() -> Vec<u8> {
        let diff_id = Digest::of(b"tar");
        let rootfs = format!(r#"{{"type":"layers","diff_ids":["{diff_id}"]}}"#);
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{rootfs}}}"#).into_bytes()
    }

    #[test]
    fn what_docker_saved_is_read_by_its_tag() {
        let manifest = br#"[{"Config":"c.json","RepoTags":["a:1","b:2"],"Layers":["l/layer.tar"]}]"#;
        let file = archive(&[("c.json", &config()), ("l/layer.tar", b"tar"), ("manifest.json", manifest)]);
        let archive = Archive::open(file.path()).unwrap();
        let tags = ["b:2", "1"].map(|tag| Which::Tag(tag.into()));
        for which in tags.into_iter().chain([Which::First, Which::Digest(Digest::of(&config()))]) {
            let (facts, places) = archive.image(&which, &Platform::linux_amd64()).unwrap();
            assert_eq!((facts.manifest.is_none(), facts.config_json), (true, config()));
            let (mut layer, compression) = archive.layer(&places, 0).unwrap();
            let mut bytes = Vec::new();
            layer.read_to_end(&mut bytes).unwrap();
            assert_eq!((&bytes[..], compression), (&b"tar"[..], Compression::None));
        }
        let error = archive.image(&Which::Tag("3".into()), &Platform::linux_amd64()).unwrap_err();
        assert!(error.to_string().ends_with("has no image `3`"), "{error}");
    }

    #[test]
    fn a_layer_that_an_archive_does_not_have_is_named() {
        let manifest = br#"[{"Config":"c.json","RepoTags":null,"Layers":["../layer.tar"]}]"#;
        let file = archive(&[("c.json", &config()), ("manifest.json", manifest)]);
        let archive = Archive::open(file.path()).unwrap();
        let (_, places) = archive.image(&Which::First, &Platform::linux_amd64()).unwrap();
        let error = archive.layer(&places, 0).err().unwrap();
        assert!(error.to_string().ends_with("it has no ../layer.tar"), "{error}");
    }

    #[test]
    fn a_folder_is_never_taken_for_an_archive_of_dockers() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = br#"[{"Config":"/etc/passwd","Layers":[]}]"#;
        std::fs::write(folder.path().join("manifest.json"), manifest).unwrap();
        let error = Archive::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not an OCI layout: it has no oci-layout"), "{error}");
    }
}
