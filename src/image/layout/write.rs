//! An image as a layout: a folder, or one tar.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde_json::json;

use super::{LayoutError, MARK, failed};
use crate::image::{Descriptor, Digest, Image, MediaType, canonical_json};

/// Opens a blob that goes into a layout.
pub type OpenBlob<'a> = dyn Fn(&Digest) -> io::Result<Box<dyn Read>> + 'a;

/// For whom a layout is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavor {
    Oci,
    /// With the `manifest.json` that `docker load` reads (docker/docker's image/tarexport); all else is the same, the
    /// image's digest included.
    Docker,
}

/// Writes an image as a folder. Blobs that are there already are left alone; `index.json` comes last, so that it never
/// names what is not there.
pub fn write_folder(
    folder: &Path,
    image: &Image,
    names: &[String],
    flavor: Flavor,
    open: &OpenBlob<'_>,
) -> Result<(), LayoutError> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
    for (digest, _, content) in blobs_of(image) {
        let path = blobs.join(digest.hex());
        if path.exists() {
            continue;
        }
        match content {
            Some(bytes) => replace(&path, &mut bytes.as_slice())?,
            None => replace(&path, &mut open(&digest).map_err(failed("read a layer for", &path))?)?,
        }
    }
    documents(image, names, flavor).iter().try_for_each(|(name, bytes)| replace(&folder.join(name), &mut &bytes[..]))
}

/// Writes an image as one tar, the same bytes each time.
pub fn write_tar(
    file: &Path,
    image: &Image,
    names: &[String],
    flavor: Flavor,
    open: &OpenBlob<'_>,
) -> Result<(), LayoutError> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temp = tempfile::NamedTempFile::new_in(parent).map_err(failed("write", file))?;
    let written = stream_tar(temp.as_file_mut(), image, names, flavor, open);
    written.and_then(|()| temp.as_file().sync_all()).map_err(failed("write", file))?;
    readable(temp.as_file()).map_err(failed("write", file))?;
    temp.persist(file).map_err(|e| failed("write", file)(e.error))?;
    Ok(())
}

/// The same, to where it cannot be taken back: a pipe.
pub fn stream_tar(
    out: &mut dyn Write,
    image: &Image,
    names: &[String],
    flavor: Flavor,
    open: &OpenBlob<'_>,
) -> io::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::with_capacity(256 << 10, out));
    let mut add = |name: &str, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, name, content)
    };
    for (digest, size, content) in blobs_of(image) {
        let name = blob_name(&digest);
        match content {
            Some(bytes) => add(&name, size, &mut bytes.as_slice())?,
            None => open(&digest).and_then(|mut blob| add(&name, size, &mut blob))?,
        }
    }
    // The order of the names, as a folder would be packed.
    let documents: BTreeMap<_, _> = documents(image, names, flavor).into_iter().collect();
    for (name, bytes) in documents {
        add(name, bytes.len() as u64, &mut bytes.as_slice())?;
    }
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.flush()
}

/// The blobs of an image: digest, size, and the bytes of what is no layer.
fn blobs_of(image: &Image) -> Vec<(Digest, u64, Option<Vec<u8>>)> {
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

/// What says which blobs are the image; `index.json` last.
fn documents(image: &Image, names: &[String], flavor: Flavor) -> Vec<(&'static str, Vec<u8>)> {
    let mut documents = vec![("oci-layout", MARK.to_vec())];
    if flavor == Flavor::Docker {
        documents.push(("manifest.json", manifest_json(image, names)));
    }
    documents.push(("index.json", index_json(image, names)));
    documents
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

fn manifest_json(image: &Image, names: &[String]) -> Vec<u8> {
    let layers: Vec<String> = image.manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
    let config = blob_name(&image.manifest.config.digest);
    let manifest = json!([{ "Config": config, "RepoTags": names, "Layers": layers }]);
    canonical_json(&manifest).expect("strings, and maps with string keys, are always JSON")
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
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
