//! The OCI image layout: a folder, or a tar of one (image-spec, "OCI Image Layout Specification").

mod write;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Descriptor, Digest, Document, Image, ImageConfig, Manifest, ManifestError, Platform, Written};

pub use self::write::{Flavor, OpenBlob, stream_tar, write_folder, write_tar};

const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The largest `index.json`, manifest or config that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// How deep indexes may point at indexes.
const DEPTH: u32 = 4;
/// How many files a layout's tar may have.
const MEMBERS: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not an OCI layout: it has no {what}", path.display())]
    Missing { path: PathBuf, what: String },
    #[error("{} holds a damaged blob: {wanted} has the digest {got}", path.display())]
    Damaged { path: PathBuf, wanted: Digest, got: Digest },
    #[error("in {}: {source}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("in {}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("{} holds no image for {wanted}; it has {offered}", path.display())]
    NoSuchPlatform { path: PathBuf, wanted: Platform, offered: String },
}

/// A layout that is read: a folder, or a tar of one.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    /// Of a tar: where each member is.
    members: Option<BTreeMap<String, (u64, u64)>>,
}

impl Layout {
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let path = path.to_owned();
        let meta = fs::metadata(&path).map_err(failed("open", &path))?;
        let members = if meta.is_dir() { None } else { Some(members(&path)?) };
        let layout = Self { path, members };
        layout.member("oci-layout")?;
        Ok(layout)
    }

    /// The image for a platform: its manifest and config, verified.
    pub fn image(&self, wanted: &Platform) -> Result<Image, LayoutError> {
        Ok(self.image_as_written(wanted)?.0)
    }

    /// The image for a platform, and its manifest as it lies here. One that leaves out its own type is none that
    /// every registry takes as it is (ECR answers 405: containers/image#584).
    pub fn image_as_written(&self, wanted: &Platform) -> Result<(Image, Option<Written>), LayoutError> {
        let mut document = self.document(&self.small("index.json")?, None)?;
        let mut written = None;
        for _ in 0..DEPTH {
            let index = match document {
                Document::Manifest(manifest) => return Ok((self.with_config(manifest)?, written)),
                Document::Index(index) => index,
            };
            let entry = index.select(wanted).ok_or_else(|| LayoutError::NoSuchPlatform {
                path: self.path.clone(),
                wanted: wanted.clone(),
                offered: index.platforms().iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
            })?;
            let bytes = self.verified(&entry.descriptor)?;
            document = self.document(&bytes, Some(entry.descriptor.media_type.as_str()))?;
            written = Document::own_type(&bytes).map(|media_type| Written { media_type, json: bytes });
        }
        let source = ManifestError::Unsupported("index of indexes".to_owned());
        Err(LayoutError::Manifest { path: self.path.clone(), source })
    }

    /// Opens a blob. Its bytes are not verified: whoever keeps them does it.
    pub fn blob(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, LayoutError> {
        self.member(&format!("blobs/sha256/{}", digest.hex()))
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
        let bytes = self.small(&format!("blobs/sha256/{}", descriptor.digest.hex()))?;
        match Digest::of(&bytes) {
            got if got == descriptor.digest => Ok(bytes),
            got => Err(LayoutError::Damaged { path: self.path.clone(), wanted: descriptor.digest, got }),
        }
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        self.member(name)?.take(DOCUMENT_LIMIT).read_to_end(&mut bytes).map_err(failed("read", &self.path))?;
        Ok(bytes)
    }

    fn member(&self, name: &str) -> Result<Box<dyn Read + Send>, LayoutError> {
        let missing = || LayoutError::Missing { path: self.path.clone(), what: name.to_owned() };
        match &self.members {
            None => match File::open(self.path.join(name)) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(error) => Err(failed("read", &self.path.join(name))(error)),
            },
            Some(members) => {
                let &(offset, size) = members.get(name).ok_or_else(missing)?;
                let mut file = File::open(&self.path).map_err(failed("open", &self.path))?;
                file.seek(SeekFrom::Start(offset)).map_err(failed("read", &self.path))?;
                Ok(Box::new(file.take(size)))
            }
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io { doing, path, source }
}

fn members(path: &Path) -> Result<BTreeMap<String, (u64, u64)>, LayoutError> {
    let not_one = |_| LayoutError::Missing { path: path.to_owned(), what: "oci-layout".to_owned() };
    let file = File::open(path).map_err(failed("open", path))?;
    let mut tar = tar::Archive::new(file);
    let mut members = BTreeMap::new();
    for entry in tar.entries_with_seek().map_err(not_one)?.take(MEMBERS) {
        let entry = entry.map_err(not_one)?;
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            members.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
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
