//! COPY and ADD: where files come to lie. The rules are those of BuildKit's fsutil (`copy/copy.go`), and for archives
//! those of Docker's `archive.Unpack`.

use std::collections::HashMap;

use crate::graph::Copy;
use crate::layer::{Content, InTar, Index, Kind, LayerPath, Offset};

use super::draft::{Draft, Parents};
use super::files::{Found, Identity};
use super::pick::Picked;
use super::{BuildError, Problem};

/// Lays the picked files into a layer.
pub(super) fn place(
    copy: &Copy,
    picked: &[Picked],
    owner: Option<(u32, u32)>,
    draft: &mut Draft,
) -> Result<(), BuildError> {
    let parents = Parents {
        // A made parent takes the owner, and the mode where it is octal.
        mode: copy.chmod.as_ref().and_then(|chmod| chmod.octal()).unwrap_or(0o755),
        owner: owner.unwrap_or((0, 0)),
    };
    for source in picked {
        let wanted = copy.destination.as_bytes();
        let directory = if copy.destination.ends_with('/') { wanted } else { parent_of(wanted) };
        let directory = draft.follow(directory)?;
        draft.make_directories(&directory, parents)?;
        let mut target = draft.follow(wanted)?;
        if let Some(archive) = &source.archive {
            unpack(archive, &target, owner, draft)?;
            continue;
        }
        let is_directory = source.root.entry.is_directory();
        if !is_directory && draft.is_directory(&target) {
            target = target.join(&source.name)?;
        }
        if is_directory {
            draft.make_directories(&target, parents)?;
        }
        let mut placing = Placing { copy, owner, names: HashMap::new(), draft };
        if !is_directory {
            placing.put(target, &source.root)?;
            continue;
        }
        for (path, found) in &source.below {
            placing.put(joined(&target, path)?, found)?;
        }
    }
    Ok(())
}

/// Lays an archive's entries below `target`. They keep what the archive says of them but for the owner, where one was
/// asked for: BuildKit's `unpack` looks at no `--chmod`. What is in the way is replaced, unless both are directories.
fn unpack(archive: &Index, target: &LayerPath, owner: Option<(u32, u32)>, draft: &mut Draft) -> Result<(), BuildError> {
    let parents = Parents { mode: 0o755, owner: owner.unwrap_or((0, 0)) };
    draft.make_directories(target, parents)?;
    let diff_id = archive.diff_id;
    for (path, entry) in archive.tree.entries.iter().filter(|(path, _)| !path.is_root()) {
        let place = settled(draft, &joined(target, path)?)?;
        if let Some(directory) = place.parent() {
            draft.make_directories(&directory, parents)?;
        }
        let mut entry = entry.clone().map(|Offset(offset)| Content::InTar(InTar { diff_id, offset }));
        if let Kind::HardLink { to } = &entry.kind {
            entry.kind = Kind::HardLink { to: settled(draft, &joined(target, to)?)? };
        }
        if let Some((uid, gid)) = owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        draft.replace(place, entry);
    }
    Ok(())
}

/// The path with links of the image above it followed, inside the root.
fn settled(draft: &Draft, path: &LayerPath) -> Result<LayerPath, BuildError> {
    let Some(name) = path.name() else { return Ok(path.clone()) };
    let directory = draft.follow(parent_of(&[b"/", path.as_bytes()].concat()))?;
    Ok(directory.join(name)?)
}

struct Placing<'a> {
    copy: &'a Copy,
    owner: Option<(u32, u32)>,
    /// Where the first name of a file went.
    names: HashMap<Identity, LayerPath>,
    draft: &'a mut Draft,
}

impl Placing<'_> {
    fn put(&mut self, path: LayerPath, found: &Found) -> Result<(), BuildError> {
        let mut entry = found.entry.clone();
        match (entry.is_directory(), self.draft.entry(&path)) {
            (true, Some(there)) if !there.is_directory() => return Err(Problem::NotADirectory(path).into()),
            (false, Some(there)) if there.is_directory() => return Err(Problem::IsADirectory(path).into()),
            _ => {}
        }
        if let Some((uid, gid)) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(chmod) = &self.copy.chmod
            && !matches!(entry.kind, Kind::Symlink { .. })
        {
            entry.mode = chmod.apply(entry.mode, entry.is_directory());
        }
        if let Some(identity) = found.identity {
            match self.names.get(&identity) {
                Some(first) => entry.kind = Kind::HardLink { to: first.clone() },
                None => drop(self.names.insert(identity, path.clone())),
            }
        }
        self.draft.put(path, entry);
        Ok(())
    }
}

fn joined(directory: &LayerPath, path: &LayerPath) -> Result<LayerPath, BuildError> {
    let mut joined = directory.clone();
    for part in path.components() {
        joined = joined.join(part)?;
    }
    Ok(joined)
}

fn parent_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&b| b == b'/').map_or(b"/", |at| &path[..at])
}
