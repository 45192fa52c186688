//! ADD: which of the files are archives, known by their content.

use std::io::{self, Read};

use crate::layer::{ArchiveKind, Decompressed, Index, Kind, Limits};

use super::pick::{Open, Picked};
use super::{BuildError, Problem};

/// Keeps an uncompressed tar, so that files can be read out of it.
pub(super) type Keep<'a> = dyn Fn(Box<dyn Read>) -> Result<Index, BuildError> + 'a;

/// Finds the archives among what ADD picked, so that they are unpacked. What is compressed and holds no tar, or a tar
/// of nothing, is copied as it is.
pub(super) fn open_archives(picked: &mut [Picked], open: &Open<'_>, keep: &Keep<'_>) -> Result<(), BuildError> {
    for source in picked {
        let Kind::File { content, .. } = &source.root.entry.kind else { continue };
        let shown = || String::from_utf8_lossy(&source.name).into_owned();
        let failed = |e: io::Error| Problem::Unpack { path: shown(), why: e.to_string() };
        let Some(kind) = ArchiveKind::sniff(&prefix(open(content).map_err(failed)?).map_err(failed)?) else { continue };
        let reader =
            || -> io::Result<Box<dyn Read>> { Ok(Box::new(Decompressed::of(open(content)?, kind, Limits::default()))) };
        let holds = reader().and_then(prefix).map(|prefix| ArchiveKind::sniff(&prefix));
        if !matches!(holds, Ok(Some(ArchiveKind::Tar))) {
            continue;
        }
        let index = keep(reader().map_err(failed)?)?;
        if let Some(path) = index.tree.whiteouts.iter().chain(&index.tree.opaque).next() {
            let why = format!("it takes {path} away, as only a layer may");
            return Err(Problem::Unpack { path: shown(), why }.into());
        }
        source.archive = Some(index);
    }
    Ok(())
}

fn prefix(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(ArchiveKind::PREFIX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
