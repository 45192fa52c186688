//! What is in an image, read with nothing of ours: the layout's JSON, and its layers by the crate `tar`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// An image read out of an OCI layout, every blob checked against its digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub digest: String,
    pub config_digest: String,
    pub config: Value,
    pub manifest: Value,
    pub layers: Vec<Layer>,
    /// The names that the index gives it.
    pub names: Vec<String>,
}

#[derive(Clone, PartialEq)]
pub struct Layer {
    pub diff_id: String,
    /// In the order of the tar, below `/`.
    pub entries: Vec<(String, Entry)>,
}

/// One path: what stands in front of its content, `0644 0:0`, with the kind of what is no plain file or folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub meta: String,
    /// In seconds since 1970.
    pub time: u64,
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// Reads the only image of the layout in a folder.
    pub fn of_folder(folder: &Path) -> Self {
        Self::read(&|path| {
            fs::read(folder.join(path)).unwrap_or_else(|e| panic!("{}: {e}", folder.join(path).display()))
        })
    }

    /// Reads the only image of the layout in a tar.
    pub fn of_tar(file: &Path) -> Self {
        let mut archive = tar::Archive::new(fs::File::open(file).expect("the tar was written"));
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("it is a tar") {
            let mut entry = entry.expect("it is a tar");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("it is whole");
            files.insert(entry.path().expect("a path").display().to_string(), bytes);
        }
        Self::read(&|path| files.get(path).unwrap_or_else(|| panic!("no {path} in the tar")).clone())
    }

    fn read(file: &dyn Fn(&str) -> Vec<u8>) -> Self {
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("it is JSON");
        let blob = |digest: &str| {
            let bytes = file(&format!("blobs/{}", digest.replace(':', "/")));
            assert_eq!(sha256(&bytes), digest);
            bytes
        };
        assert_eq!(json(&file("oci-layout"))["imageLayoutVersion"], "1.0.0");
        let index = json(&file("index.json"));
        let manifests = index["manifests"].as_array().expect("a list");
        let digests: Vec<&str> = manifests.iter().map(|manifest| text(&manifest["digest"])).collect();
        assert!(digests.iter().all(|digest| *digest == digests[0]), "one image: {index}");
        let names = manifests
            .iter()
            .filter_map(|manifest| manifest["annotations"]["io.containerd.image.name"].as_str().map(str::to_owned));
        let (digest, names) = (digests[0].to_owned(), names.collect());
        let manifest = json(&blob(&digest));
        let config_digest = text(&manifest["config"]["digest"]).to_owned();
        let config = json(&blob(&config_digest));
        let layers = manifest["layers"].as_array().expect("a list").iter();
        let layers: Vec<Layer> = layers.map(|layer| Layer::read(&blob(text(&layer["digest"])))).collect();
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(diff_ids));
        Self { digest, config_digest, config, manifest, layers, names }
    }

    /// The files of the layers `from` and above, as a container sees them. A whiteout of what lies below stays.
    pub fn files(&self, from: usize) -> BTreeMap<String, Entry> {
        let mut seen = BTreeMap::new();
        for layer in &self.layers[from..] {
            for (path, entry) in &layer.entries {
                let (folder, name) = path.rsplit_once('/').expect("paths begin with a slash");
                match name.strip_prefix(".wh.") {
                    Some(".wh..opq") => seen.retain(|at: &String, _| !at.starts_with(&format!("{folder}/"))),
                    Some(gone) => {
                        let gone = format!("{folder}/{gone}");
                        seen.retain(|at, _| *at != gone && !at.starts_with(&format!("{gone}/")));
                        seen.insert(path.clone(), entry.clone());
                    }
                    None => {
                        seen.remove(&format!("{folder}/.wh.{name}"));
                        seen.insert(path.clone(), entry.clone());
                    }
                }
            }
        }
        seen
    }
}

impl Layer {
    fn read(blob: &[u8]) -> Self {
        let mut tar = Vec::new();
        match blob {
            [0x1f, 0x8b, ..] => MultiGzDecoder::new(blob).read_to_end(&mut tar).expect("it is gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                zstd::Decoder::new(blob).and_then(|mut all| all.read_to_end(&mut tar)).expect("it is zstd")
            }
            _ => (&mut &*blob).read_to_end(&mut tar).expect("it is in memory"),
        };
        let mut archive = tar::Archive::new(&*tar);
        let entries = archive.entries().expect("it is a tar").map(|entry| entry_of(entry.expect("it is a tar")));
        Self { diff_id: sha256(&tar), entries: entries.collect() }
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.diff_id)?;
        self.entries.iter().try_for_each(|(path, entry)| writeln!(f, "{path} {entry}"))
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.meta)?;
        match &self.content[..] {
            [] => {}
            large if large.len() > 200 => write!(f, " ({} bytes)", large.len())?,
            content => write!(f, " {:?}", String::from_utf8_lossy(content))?,
        }
        self.xattrs.iter().try_for_each(|(name, value)| write!(f, " {name}={:?}", String::from_utf8_lossy(value)))
    }
}

fn entry_of(mut entry: tar::Entry<'_, impl Read>) -> (String, Entry) {
    let path = format!("/{}", entry.path().expect("a path").display());
    let header = entry.header();
    let ids = format!("{}:{}", header.uid().expect("a number"), header.gid().expect("a number"));
    let mode = header.mode().expect("a number");
    let time = header.mtime().expect("a number");
    let target = entry.link_name().expect("a link").map(|target| target.display().to_string()).unwrap_or_default();
    let meta = match header.entry_type() {
        tar::EntryType::Regular => format!("{mode:04o} {ids}"),
        tar::EntryType::Directory => format!("{mode:04o}/ {ids}"),
        tar::EntryType::Symlink => format!("-> {target} {ids}"),
        tar::EntryType::Link => format!("= {target}"),
        other => format!("{other:?} {mode:04o} {ids}"),
    };
    let mut xattrs = BTreeMap::new();
    for pair in entry.pax_extensions().expect("pax records").into_iter().flatten() {
        let pair = pair.expect("a pax record");
        if let Some(name) = pair.key().expect("text").strip_prefix("SCHILY.xattr.") {
            xattrs.insert(name.to_owned(), pair.value_bytes().to_vec());
        }
    }
    let mut content = Vec::new();
    entry.read_to_end(&mut content).expect("the tar is whole");
    (path.trim_end_matches('/').to_owned(), Entry { meta, time, content, xattrs })
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

pub fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
