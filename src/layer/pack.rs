//! Tar, digest, compression and digest in one pass.

use std::io::{self, Read, Write};

use super::gzip::Packer;
use super::index::{Tee, read_tree};
use super::{Content, Index, Offset, OpenTar, Packing, TarError, Times, Tree, WriteError, write_layer};
use crate::image::{Digest, HashingWriter};

/// A layer as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Of the bytes that were written out.
    pub blob: Digest,
    /// How many bytes were written out.
    pub size: u64,
    /// What the tar inside holds; its diff_id and size.
    pub index: Index,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] TarError),
    #[error("cannot compress a layer: {0}")]
    Io(#[from] io::Error),
}

/// Packs a tree into a blob, compressing on `threads` threads in bounded memory. The bytes do not depend on `threads`.
pub fn pack(
    tree: &Tree<Content>,
    times: Times,
    packing: Packing,
    threads: usize,
    open: &OpenTar<'_>,
    out: impl Write,
) -> Result<Packed, PackError> {
    let mut packer = packer(packing, threads, out)?;
    let tree = write_layer(tree, times, open, &mut packer)?;
    seal(packer, tree)
}

/// Packs an uncompressed tar, as it comes, into a blob.
pub fn pack_stream(tar: impl Read, packing: Packing, threads: usize, out: impl Write) -> Result<Packed, PackError> {
    let mut packer = packer(packing, threads, out)?;
    let mut tee = Tee { from: tar, to: &mut packer, failed: None };
    let tree = read_tree(&mut tee).map_err(|error| match tee.failed.take() {
        Some(failed) => PackError::Io(failed),
        None => error.into(),
    })?;
    seal(packer, tree)
}

/// Digests the tar, compresses it, and digests the blob.
type Digesting<W> = HashingWriter<Packer<HashingWriter<W>>>;

fn packer<W: Write>(packing: Packing, threads: usize, out: W) -> io::Result<Digesting<W>> {
    Ok(HashingWriter::new(Packer::new(packing, threads, HashingWriter::new(out))?))
}

fn seal<W: Write>(tar: Digesting<W>, tree: Tree<Offset>) -> Result<Packed, PackError> {
    let (packer, diff_id, tar_size) = tar.finish();
    let (mut out, blob, size) = packer.finish()?.finish();
    out.flush()?;
    Ok(Packed { blob, size, index: Index { diff_id, size: tar_size, tree } })
}
