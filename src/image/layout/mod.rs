//! The OCI image layout: a folder, or a tar of one (image-spec, "OCI Image Layout Specification").

mod write;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::members::Members;
use super::{Descriptor, Digest, Document, Image, ImageConfig, Manifest, ManifestError, Platform, Written};

pub use self::write::{Flavor, OpenBlob, stream_tar, write_folder, write_tar};

/// The file that says that a folder is a layout.
pub(super) const MARKED: &str = "oci-layout";
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// How deep indexes may point at indexes.
const DEPTH: u32 = 4;

/// Why a folder or a tar is not an OCI layout, or could not be written as one.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not an OCI layout: it has no {what}", path.display())]
    Missing { path: PathBuf, what: String },
    #[error("{} has no image {which}", path.display())]
    NoSuchImage { path: PathBuf, which: String },
    #[error("{} holds a damaged blob: {wanted} has the digest {got}", path.display())]
    Damaged { path: PathBuf, wanted: Digest, got: Digest },
    #[error("in {}: {source}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("in {}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("{} holds no image for {wanted}; it has {offered}", path.display())]
    NoSuchPlatform { path: PathBuf, wanted: Platform, offered: String },
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io { doing, path, source }
}

/// A layout that is read: a folder, or a tar of one.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    members: Members,
}

/// Which of the images of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The one that is there; of several, the first for the platform.
    First,
    /// That of this tag, or of this whole name.
    Tag(String),
    Digest(Digest),
}

impl Layout {
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        Self::of(Members::open(path)?)
    }

    pub(super) fn of(members: Members) -> Result<Self, LayoutError> {
        members.open_member(MARKED)?;
        Ok(Self { path: members.path().to_owned(), members })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What its images are for, as far as its index says.
    pub fn platforms(&self) -> Result<Vec<Platform>, LayoutError> {
        Ok(match self.document(&self.members.small("index.json")?, None)? {
            Document::Index(index) => index.platforms(),
            Document::Manifest(_) => Vec::new(),
        })
    }

    /// The image for a platform: its manifest and config, verified.
    pub fn image(&self, wanted: &Platform) -> Result<Image, LayoutError> {
        self.image_of(&Which::First, wanted).map(|(image, _)| image)
    }

    /// One of several images, with the bytes of its manifest.
    pub fn image_of(&self, which: &Which, wanted: &Platform) -> Result<(Image, Vec<u8>), LayoutError> {
        let mut bytes = self.members.small("index.json")?;
        let mut document = self.document(&bytes, None)?;
        if *which != Which::First
            && let Document::Index(index) = &mut document
        {
            index.entries.retain(|entry| which.is(&entry.descriptor));
            if index.entries.is_empty() {
                let (path, which) = (self.path.clone(), which.to_string());
                return Err(LayoutError::NoSuchImage { path, which });
            }
        }
        for _ in 0..DEPTH {
            let index = match document {
                Document::Manifest(manifest) => return self.with_config(manifest).map(|image| (image, bytes)),
                Document::Index(index) => index,
            };
            let entry = index.select(wanted).ok_or_else(|| LayoutError::NoSuchPlatform {
                path: self.path.clone(),
                wanted: wanted.clone(),
                offered: index.platforms().iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
            })?;
            bytes = self.verified(&entry.descriptor)?;
            document = self.document(&bytes, Some(entry.descriptor.media_type.as_str()))?;
        }
        let source = ManifestError::Unsupported("index of indexes".to_owned());
        Err(LayoutError::Manifest { path: self.path.clone(), source })
    }

    /// The image for a platform, and its manifest as it lies here. One that leaves out its own type is none that
    /// every registry takes as it is (ECR answers 405: containers/image#584).
    pub fn image_as_written(&self, wanted: &Platform) -> Result<(Image, Option<Written>), LayoutError> {
        let (image, json) = self.image_of(&Which::First, wanted)?;
        Ok((image, Document::own_type(&json).map(|media_type| Written { media_type, json })))
    }

    /// Opens a blob. Its bytes are not verified: whoever keeps them does it.
    pub fn blob(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, LayoutError> {
        self.members.open_member(&blob_name(digest))
    }

    fn with_config(&self, manifest: Manifest) -> Result<Image, LayoutError> {
        let config_json = self.verified(&manifest.config)?;
        let config = ImageConfig::from_json(&config_json)
            .map_err(|e| LayoutError::Config { path: self.path.clone(), why: e.to_string() })?;
        Ok(Image { manifest, config, config_json })
    }

    fn document(&self, bytes: &[u8], media_type: Option<&str>) -> Result<Document, LayoutError> {
        Document::parse(bytes, media_type).map_err(|source| LayoutError::Manifest { path: self.path.clone(), source })
    }

    fn verified(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let bytes = self.members.small(&blob_name(&descriptor.digest))?;
        match Digest::of(&bytes) {
            got if got == descriptor.digest => Ok(bytes),
            got => Err(LayoutError::Damaged { path: self.path.clone(), wanted: descriptor.digest, got }),
        }
    }
}

impl Which {
    fn is(&self, descriptor: &Descriptor) -> bool {
        let named = |tag: &str| {
            let names = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
            names.iter().filter_map(|name| descriptor.annotations.get(*name)).any(|name| name == tag)
        };
        match self {
            Self::First => true,
            Self::Tag(tag) => named(tag),
            Self::Digest(digest) => descriptor.digest == *digest,
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => f.write_str("the first"),
            Self::Tag(tag) => write!(f, "`{}`", tag.escape_debug()),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::super::MediaType;
    use super::*;

    fn image() -> (Image, Vec<u8>) {
        let layer = b"a layer's bytes".to_vec();
        let descriptor = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), Digest::of(&layer), layer.len() as u64);
        let config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        (Image::new(config, vec![descriptor], BTreeMap::new()), layer)
    }

    fn opener(layer: Vec<u8>) -> impl Fn(&Digest) -> io::Result<Box<dyn Read>> {
        move |_| Ok(Box::new(io::Cursor::new(layer.clone())))
    }

    #[test]
    fn folder_and_tar_read_back_as_what_was_written() {
        let (image, layer) = image();
        let folder = tempfile::tempdir().unwrap();
        let (dir, tar) = (folder.path().join("dir"), folder.path().join("x.tar"));
        write_folder(&dir, &image, &["docker.io/library/a:b".into()], Flavor::Oci, &opener(layer.clone())).unwrap();
        write_tar(&tar, &image, &[], Flavor::Docker, &opener(layer.clone())).unwrap();
        for path in [dir, tar] {
            let layout = Layout::open(&path).unwrap();
            assert_eq!(layout.image(&Platform::linux_amd64()).unwrap(), image);
            let mut bytes = Vec::new();
            layout.blob(&Digest::of(&layer)).unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, layer);
        }
    }

    #[test]
    fn a_tar_has_the_same_bytes_each_time() {
        let (image, layer) = image();
        let folder = tempfile::tempdir().unwrap();
        let paths = ["1", "2"].map(|name| folder.path().join(name));
        let write = |path| write_tar(path, &image, &["a:b".into()], Flavor::Docker, &opener(layer.clone())).unwrap();
        paths.iter().for_each(|path: &PathBuf| write(path));
        assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
    }

    #[test]
    fn what_is_no_layout_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = Layout::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not an OCI layout: it has no oci-layout"), "{error}");
        let file = folder.path().join("f");
        fs::write(&file, "text").unwrap();
        assert!(Layout::open(&file).is_err());
    }

    #[test]
    fn a_damaged_manifest_is_named() {
        let (image, layer) = image();
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), &image, &[], Flavor::Oci, &opener(layer)).unwrap();
        let path = folder.path().join("blobs/sha256").join(image.digest().hex());
        fs::write(&path, "{}").unwrap();
        let error = Layout::open(folder.path()).unwrap().image(&Platform::linux_amd64()).unwrap_err();
        assert!(matches!(error, LayoutError::Damaged { .. }), "{error}");
    }
}
