//! The OCI image layout: a folder, or a tar of one (image-spec, "OCI Image Layout Specification").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Descriptor, Digest, Document, Image, ImageConfig, Manifest, ManifestError, MediaType, Platform, Written,
    canonical_json,
};

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

/// Opens a blob that goes into a layout.
pub type OpenBlob<'a> = dyn Fn(&Digest) -> io::Result<Box<dyn Read>> + 'a;

/// Writes an image as a folder. Blobs that are there already are left alone; `index.json` comes last, so that it never
/// names what is not there.
pub fn write_folder(folder: &Path, image: &Image, names: &[String], open: &OpenBlob<'_>) -> Result<(), LayoutError> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
    for (digest, _, content) in parts(image) {
        let path = blobs.join(digest.hex());
        if path.exists() {
            continue;
        }
        match content {
            Some(bytes) => replace(&path, &mut bytes.as_slice())?,
            None => replace(&path, &mut open(&digest).map_err(failed("read a layer for", &path))?)?,
        }
    }
    replace(&folder.join("oci-layout"), &mut &*MARK)?;
    replace(&folder.join("index.json"), &mut index_json(image, names).as_slice())
}

/// Writes an image as one tar, the same bytes each time.
pub fn write_tar(file: &Path, image: &Image, names: &[String], open: &OpenBlob<'_>) -> Result<(), LayoutError> {
    let failed = || failed("write", file);
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temp = tempfile::NamedTempFile::new_in(parent).map_err(failed())?;
    let mut tar = tar::Builder::new(BufWriter::with_capacity(256 << 10, temp.as_file_mut()));
    let mut add = |name: &str, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, name, content)
    };
    for (digest, size, content) in parts(image) {
        let name = format!("blobs/sha256/{}", digest.hex());
        match content {
            Some(bytes) => add(&name, size, &mut bytes.as_slice()),
            None => open(&digest).and_then(|mut blob| add(&name, size, &mut blob)),
        }
        .map_err(failed())?;
    }
    let index = index_json(image, names);
    add("index.json", index.len() as u64, &mut index.as_slice()).map_err(failed())?;
    add("oci-layout", MARK.len() as u64, &mut &*MARK).map_err(failed())?;
    let written = tar.into_inner().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error).map(drop));
    written.and_then(|()| temp.as_file().sync_all()).map_err(failed())?;
    readable(temp.as_file()).map_err(failed())?;
    temp.persist(file).map_err(|e| failed()(e.error))?;
    Ok(())
}

/// The blobs of an image: digest, size, and the bytes of what is no layer.
fn parts(image: &Image) -> Vec<(Digest, u64, Option<Vec<u8>>)> {
    let manifest = image.manifest.to_json();
    let config = &image.manifest.config;
    let mut parts = BTreeMap::new();
    for layer in &image.manifest.layers {
        parts.insert(layer.digest, (layer.size, None));
    }
    parts.insert(config.digest, (config.size, Some(image.config_json.clone())));
    parts.insert(Digest::of(&manifest), (manifest.len() as u64, Some(manifest)));
    parts.into_iter().map(|(digest, (size, content))| (digest, size, content)).collect()
}

fn index_json(image: &Image, names: &[String]) -> Vec<u8> {
    let Descriptor { media_type, digest, size, .. } = image.manifest.descriptor();
    let platform = image.config.platform();
    let entry = |name: Option<&String>| {
        let mut entry = json!({ "mediaType": media_type, "digest": digest, "size": size, "platform": platform });
        if let Some(name) = name {
            let tag = name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/')).unwrap_or(name);
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": tag,
            });
        }
        entry
    };
    let entries: Vec<_> = match names {
        [] => vec![entry(None)],
        names => names.iter().map(|name| entry(Some(name))).collect(),
    };
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries });
    canonical_json(&index).expect("strings, numbers and maps with string keys are always JSON")
}

/// Temp file, fsync, rename.
fn replace(path: &Path, content: &mut dyn Read) -> Result<(), LayoutError> {
    let failed = || failed("write", path);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut temp = tempfile::NamedTempFile::new_in(parent).map_err(failed())?;
    io::copy(content, temp.as_file_mut()).map_err(failed())?;
    temp.as_file().sync_all().map_err(failed())?;
    readable(temp.as_file()).map_err(failed())?;
    temp.persist(path).map_err(|e| failed()(e.error))?;
    Ok(())
}

/// A file for others to read: temporary ones are made for their owner alone.
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io { doing, path, source }
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
        write_folder(&dir, &image, &["docker.io/library/a:b".into()], &opener(layer.clone())).unwrap();
        write_tar(&tar, &image, &[], &opener(layer.clone())).unwrap();
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
        paths.iter().for_each(|path| write_tar(path, &image, &["a:b".into()], &opener(layer.clone())).unwrap());
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
        write_folder(folder.path(), &image, &[], &opener(layer)).unwrap();
        let path = folder.path().join("blobs/sha256").join(image.digest().hex());
        fs::write(&path, "{}").unwrap();
        let error = Layout::open(folder.path()).unwrap().image(&Platform::linux_amd64()).unwrap_err();
        assert!(matches!(error, LayoutError::Damaged { .. }), "{error}");
    }
}
