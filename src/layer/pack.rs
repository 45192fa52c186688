//! Tar, digest, compression and digest in one pass.

use std::io::{self, Read, Write};

use super::index::{Tee, read_tree};
use super::packing::Packer;
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

/// Why a tree did not become a blob.
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
type Digesting<W> = HashingWriter<Packer<W>>;

fn packer<W: Write>(packing: Packing, threads: usize, out: W) -> io::Result<Digesting<W>> {
    Ok(HashingWriter::new(Packer::new(packing, threads, out)?))
}

fn seal<W: Write>(tar: Digesting<W>, tree: Tree<Offset>) -> Result<Packed, PackError> {
    let (packer, diff_id, tar_size) = tar.finish();
    let (mut out, compressed) = packer.finish()?;
    out.flush()?;
    let (blob, size) = compressed.unwrap_or((diff_id, tar_size));
    Ok(Packed { blob, size, index: Index { diff_id, size: tar_size, tree } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Compression;
    use crate::layer::testing::{path, tar, words};
    use crate::layer::{Entry, Kind, Limits, decompress, index};

    fn tree() -> Tree<Content> {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let file = Kind::File { size: bytes.len() as u64, content: Content::Bytes(bytes.into()) };
        let entries = [(path("d"), Entry::directory(0o755)), (path("d/f"), Entry::new(file, 0o644))].into();
        Tree { entries, ..Tree::default() }
    }

    fn packed(packing: Packing, threads: usize) -> (Packed, Vec<u8>) {
        let mut blob = Vec::new();
        let none = |_: &Digest| Err(io::ErrorKind::NotFound.into());
        (pack(&tree(), Times::default(), packing, threads, &none, &mut blob).unwrap(), blob)
    }

    #[test]
    fn a_packed_layer_knows_both_its_digests_and_where_its_files_are() {
        for packing in [Packing::default(), Packing::None] {
            let (packed, blob) = packed(packing, 2);
            assert_eq!((packed.blob, packed.size), (Digest::of(&blob), blob.len() as u64));
            let tar = decompress(&blob[..], packing.compression(), Limits::default());
            assert_eq!(index(tar).unwrap(), packed.index);
        }
    }

    #[test]
    fn a_tar_that_streams_by_is_packed_as_the_tree_that_it_holds() {
        let (from_tree, blob) = packed(Packing::default(), 2);
        let mut tar = Vec::new();
        decompress(&blob[..], Compression::Gzip, Limits::default()).read_to_end(&mut tar).unwrap();
        let mut again = Vec::new();
        let from_tar = pack_stream(&tar[..], Packing::default(), 1, &mut again).unwrap();
        assert_eq!(from_tar, from_tree);
        assert!(again == blob);
    }

    #[test]
    fn the_size_of_reads_does_not_show() {
        /// Gives so many bytes at a time.
        struct Pieces<'a>(&'a [u8], usize);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let piece = self.1.min(buffer.len());
                self.0.read(&mut buffer[..piece])
            }
        }
        let whole = tar().file("f", &[b'x'; 70_000]).dir("d").end();
        let pack = |piece| {
            let mut blob = Vec::new();
            (pack_stream(Pieces(&whole, piece), Packing::default(), 2, &mut blob).unwrap(), blob)
        };
        let one = pack(65_536);
        for piece in [1, 511, whole.len()] {
            assert!(pack(piece) == one, "reads of {piece}");
        }
    }

    #[test]
    fn the_bytes_of_a_blob_do_not_move() {
        let (packed, _) = packed(Packing::default(), 2);
        assert_eq!(format!("{} {}", packed.blob.short(), packed.index.diff_id.short()), "ad7d63ca8dd7 074ce66f6f4a");
    }

    #[test]
    fn bytes_behind_the_trailer_are_packed_too() {
        let whole = tar().file("f", b"x").bytes(&[0; 1024]).bytes(b"more").without_end();
        let mut blob = Vec::new();
        let packed = pack_stream(&whole[..], Packing::None, 1, &mut blob).unwrap();
        assert_eq!((&blob, packed.index.diff_id, packed.blob), (&whole, Digest::of(&whole), Digest::of(&whole)));
        assert_eq!(words(&packed.index.tree), "/f:1");
    }

    #[test]
    fn a_disk_that_is_full_is_not_blamed_on_the_tar() {
        let mut small = [0; 100];
        let error = pack_stream(&tar().file("f", b"x").end()[..], Packing::None, 1, &mut small[..]).unwrap_err();
        assert!(matches!(error, PackError::Io(_)), "{error}");
    }
}
