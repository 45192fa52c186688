//! What the build does as root of the sandbox's ids: unpacking layers, and reading back what a RUN changed.
//!
//! These functions run in a process of their own, started by the sandbox; what they need comes as JSON.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::{Compression, Digest, HashingWriter};
use crate::layer::{
    Epoch, Index, LayerDirs, Limits, OverlayXattrs, Times, View, Whiteouts, decompress, read_upper, settle, unpack,
    write_layer,
};
use crate::owners::Owners;
use crate::sandbox::JobFn;
use crate::store::VerifiedReader;

use super::shared::{GATHER, gather};
use super::still::{Found, keys, still};
use super::trust::Added;
use super::upkeep::{MEASURE, measure};

pub(super) const UNPACK: &str = "unpack";
pub(super) const DIFF: &str = "diff";

/// The jobs that `main` must offer to the sandbox.
pub const JOBS: &[(&str, JobFn)] = &[(UNPACK, unpack_layers), (DIFF, diff), (MEASURE, measure), (GATHER, gather)];

/// Layers to unpack over one another, the lowest first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UnpackOrder {
    pub owners: Owners,
    pub layers: Vec<UnpackLayer>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UnpackLayer {
    /// The record of the layer's paths.
    pub tree: PathBuf,
    /// Where the layer is, or is to be, unpacked.
    pub directory: PathBuf,
    /// What to unpack; nothing where that has been done.
    pub blob: Option<UnpackBlob>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UnpackBlob {
    pub path: PathBuf,
    pub digest: Digest,
    pub compression: Wrap,
}

/// [`Compression`], for the wire.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Wrap {
    None,
    Gzip,
    Zstd,
}

/// What a RUN changed, to be written out as a tar; before it, what was found there: see [`read_found`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DiffOrder {
    pub owners: Owners,
    pub upper: PathBuf,
    /// The unpacked layers below, the lowest first.
    pub layers: Vec<PathBuf>,
    pub epoch: i64,
    /// What is no part of it, wherever it was copied.
    pub added: Option<Added>,
    /// Nothing is made still.
    pub keep_volatile: bool,
}

impl From<Compression> for Wrap {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip,
            Compression::Zstd => Self::Zstd,
        }
    }
}

impl From<Wrap> for Compression {
    fn from(wrap: Wrap) -> Self {
        match wrap {
            Wrap::None => Self::None,
            Wrap::Gzip => Self::Gzip,
            Wrap::Zstd => Self::Zstd,
        }
    }
}

fn unpack_layers(payload: &[u8], _: &mut dyn Write) -> Result<(), String> {
    let order: UnpackOrder = serde_json::from_slice(payload).map_err(words)?;
    let mut view = View::default();
    let mut directories = Vec::new();
    for layer in order.layers {
        let index = read_tree(&layer.tree)?;
        if let Some(blob) = &layer.blob {
            unpack_layer(blob, &index, (&view, &directories), &layer.directory, order.owners)?;
        }
        view.apply(&index).map_err(words)?;
        directories.push(layer.directory);
    }
    Ok(())
}

/// Unpacks beside the place and renames, so that what is in the place is whole.
fn unpack_layer(
    blob: &UnpackBlob,
    index: &Index,
    (lower, directories): (&View, &[PathBuf]),
    into: &Path,
    owners: Owners,
) -> Result<(), String> {
    let made = into.with_extension("new");
    let failed = |doing: &'static str| move |e: io::Error| format!("cannot {doing} a layer's folder: {e}");
    if made.exists() {
        // Left by a process that was killed; whoever held the lock before is gone.
        fs::remove_dir_all(&made).map_err(failed("clear"))?;
    }
    // The root of the image is this folder: readable for all, whatever our umask is.
    fs::DirBuilder::new().mode(0o755).create(&made).map_err(failed("make"))?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).map_err(failed("make"))?;
    let file = File::open(&blob.path).map_err(|e| format!("cannot open the layer {}: {e}", blob.digest))?;
    let verified = VerifiedReader::new(file, blob.digest);
    let tar = decompress(verified, blob.compression.into(), Limits::default());
    // It reads to the very end and refuses a tar of another diff_id.
    let whiteouts = Whiteouts::Overlay(OverlayXattrs::User);
    unpack(index, tar, lower, directories, &made, whiteouts, Some(owners)).map_err(words)?;
    fs::rename(&made, into).map_err(failed("name"))
}

fn diff(payload: &[u8], out: &mut dyn Write) -> Result<(), String> {
    let order: DiffOrder = serde_json::from_slice(payload).map_err(words)?;
    let below = LayerDirs::open(&order.layers, order.owners).map_err(words)?;
    let mut tree = read_upper(&order.upper, &below, order.owners).map_err(words)?;
    if let Some(added) = order.added {
        added.take_out(&order.upper, &mut tree).map_err(words)?;
    }
    let epoch = Epoch(order.epoch);
    let stilled = if order.keep_volatile { Vec::new() } else { still(&mut tree, &below, epoch).map_err(words)? };
    settle(&order.upper, &tree, &below, epoch).map_err(words)?;
    let found = serde_json::to_vec(&Found { stilled, keys: keys(&tree) }).map_err(words)?;
    out.write_all(&(found.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&found)).map_err(words)?;
    let no_layer = |digest: &Digest| Err(io::Error::other(format!("the layer {digest} is not read here")));
    let mut out = HashingWriter::new(io::BufWriter::with_capacity(256 << 10, out));
    write_layer(&tree, Times::Constant(epoch), &no_layer, &mut out).map_err(words)?;
    out.flush().map_err(words)?;
    out.finish().0.flush().map_err(words)
}

/// What [`diff`] says before the tar: JSON behind its length.
pub(super) fn read_found(job: &mut impl Read) -> io::Result<Found> {
    const LIMIT: u64 = 1 << 30;
    let mut length = [0; 8];
    job.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LIMIT {
        return Err(io::Error::other("what was made still is too long to tell"));
    }
    let mut text = Vec::new();
    job.take(length).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn read_tree(path: &Path) -> Result<Index, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(1 << 30).read_to_end(&mut text));
    read.map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    serde_json::from_slice(&text).map_err(words)
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
