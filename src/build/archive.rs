//! ADD: which of the files are archives, known by their content.

use std::io::{self, Cursor, Read};

use crate::layer::{ArchiveKind, Decompressed, Index, Kind, Limits, index};
use crate::store::Store;

use super::pick::{Open, Picked};
use super::{BuildError, Problem};

/// Keeps an uncompressed tar, so that files can be read out of it.
pub(super) type Keep<'a> = dyn Fn(Box<dyn Read>) -> Result<Index, BuildError> + 'a;

/// Finds the archives among what ADD picked, so that they are unpacked. What is compressed and holds no tar, or a tar
/// of nothing, is copied as it is.
pub(super) fn open_archives(picked: &mut [Picked], open: &Open<'_>, keep: &Keep<'_>) -> Result<(), BuildError> {
    for source in picked {
        let Kind::File { size, content } = &source.root.entry.kind else { continue };
        // Behind a file in a tar come others.
        let open = || open(content).map(|file| file.take(*size));
        let shown = || String::from_utf8_lossy(&source.name).into_owned();
        let failed = |e: io::Error| Problem::Unpack { path: shown(), why: e.to_string() };
        let Some(kind) = ArchiveKind::sniff(&prefix(open().map_err(failed)?).map_err(failed)?) else { continue };
        let reader =
            || -> io::Result<Box<dyn Read>> { Ok(Box::new(Decompressed::of(open()?, kind, Limits::default()))) };
        let holds = reader().and_then(prefix).map(|prefix| ArchiveKind::sniff(&prefix));
        if !matches!(holds, Ok(Some(ArchiveKind::Tar))) {
            continue;
        }
        let index = keep(reader().map_err(failed)?)?;
        source.archive = Some(adds_only(index, &shown())?);
    }
    Ok(())
}

/// Keeps the tar of an archive that can be read but once.
pub(super) fn keep_stream(
    store: &Store,
    archive: impl Read,
    kind: ArchiveKind,
    shown: &str,
) -> Result<Index, BuildError> {
    let failed = |why: String| Problem::Unpack { path: shown.to_owned(), why };
    let mut tar = Decompressed::of(archive, kind, Limits::default());
    let prefix = prefix(&mut tar).map_err(|e| failed(e.to_string()))?;
    if ArchiveKind::sniff(&prefix) != Some(ArchiveKind::Tar) {
        return Err(failed("there is no tar in it".to_owned()).into());
    }
    adds_only(keep_archive(store, Cursor::new(prefix).chain(tar))?, shown)
}

/// Keeps the uncompressed tar of an archive; what it holds is then found by its digest, like a layer.
pub(super) fn keep_archive(store: &Store, tar: impl Read) -> Result<Index, BuildError> {
    let mut kept = Tee { inner: tar, copy: store.tar_writer()? };
    let index = index(&mut kept)?;
    store.keep_tar(kept.copy, &index.diff_id)?;
    Ok(index)
}

/// Passes bytes on and keeps a copy.
struct Tee<R> {
    inner: R,
    copy: tempfile::NamedTempFile,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        io::Write::write_all(&mut self.copy, &buffer[..read])?;
        Ok(read)
    }
}

/// An archive of files takes none away.
fn adds_only(index: Index, shown: &str) -> Result<Index, BuildError> {
    match index.tree.whiteouts.iter().chain(&index.tree.opaque).next() {
        None => Ok(index),
        Some(path) => {
            let why = format!("it takes {path} away, as only a layer may");
            Err(Problem::Unpack { path: shown.to_owned(), why }.into())
        }
    }
}

fn prefix(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(ArchiveKind::PREFIX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
