//! COPY and ADD: which files, and where they come to lie. The rules are those of BuildKit's fsutil (`copy/copy.go`).

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::dockerfile::glob;
use crate::dockerfile::ignore::Ignore;
use crate::graph::{Copy, Source};
use crate::image::{Compression, Digest, Hasher};
use crate::layer::{ArchiveKind, Content, Entry, InTar, Index, Kind, LayerPath, Limits, Offset, decompress};

use super::draft::{Draft, Parents};
use super::files::{Files, Found, Identity, follow};
use super::{BuildError, Problem};

/// The files of one source, not yet placed.
pub(super) struct Picked {
    /// The source's own name, which it keeps in a directory.
    name: Vec<u8>,
    root: Found,
    /// What is below it, when it is a directory, by paths relative to it.
    below: Vec<(LayerPath, Found)>,
    /// A local archive: its entries replace the file.
    archive: Option<Index>,
}

/// Opens what a [`Content`] stands for.
pub(super) type Open<'a> = dyn Fn(&Content) -> io::Result<Box<dyn Read>> + 'a;

/// Finds what a COPY names. `place` is the words for where it looks.
pub(super) fn pick(copy: &Copy, files: &impl Files, place: &str) -> Result<Vec<Picked>, BuildError> {
    let verb = if copy.unpack { "ADD" } else { "COPY" };
    let exclude = exclusions(&copy.exclude)?;
    let mut picked = Vec::new();
    for source in &copy.sources {
        match source {
            Source::Inline { name, bytes } => {
                let bytes: Arc<[u8]> = bytes.as_slice().into();
                let kind = Kind::File { size: bytes.len() as u64, content: Content::Bytes(bytes) };
                let root = Found { entry: Entry::new(kind, 0o644), identity: None };
                picked.push(Picked { name: name.clone().into_bytes(), root, below: Vec::new(), archive: None });
            }
            Source::Path { pattern, is_pattern, directory_only } => {
                let not_found = || Problem::NotFound { verb, path: format!("/{pattern}"), place: place.to_owned() };
                let matches = if *is_pattern { expand(pattern, files)? } else { vec![pattern.clone().into_bytes()] };
                for path in matches {
                    let real = follow(&path, |path| files.entry(path).map(|found| found.entry))?;
                    let root = files.entry(&real).ok_or_else(not_found)?;
                    if *directory_only && !root.entry.is_directory() {
                        return Err(not_found().into());
                    }
                    let below =
                        if root.entry.is_directory() { relative(files, &real, exclude.as_ref()) } else { vec![] };
                    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec();
                    picked.push(Picked { name, root, below, archive: None });
                }
            }
        }
    }
    Ok(picked)
}

fn exclusions(patterns: &[String]) -> Result<Option<Ignore>, BuildError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let text = patterns.join("\n");
    let bad = |e: crate::dockerfile::ignore::IgnoreError| Problem::Pattern(text.clone(), e.to_string());
    Ok(Some(Ignore::parse(&text).map_err(bad)?))
}

fn relative(files: &impl Files, directory: &LayerPath, exclude: Option<&Ignore>) -> Vec<(LayerPath, Found)> {
    let kept = |path: &LayerPath| exclude.is_none_or(|e| !e.ignored(&String::from_utf8_lossy(path.as_bytes())));
    let below = files.below(directory).into_iter().filter_map(|(path, found)| {
        let rest = path.below(directory)?;
        Some((LayerPath::parse(rest).ok()?, found))
    });
    below.filter(|(path, _)| kept(path)).collect()
}

/// The paths that a pattern matches: the part before the first wildcard is followed through links, the rest is
/// matched against whole paths below it; what is below a match is not looked at.
fn expand(pattern: &str, files: &impl Files) -> Result<Vec<Vec<u8>>, BuildError> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let fixed = parts.iter().position(|part| glob::has_wildcard(part)).unwrap_or(parts.len());
    let directory = follow(parts[..fixed].join("/").as_bytes(), |path| files.entry(path).map(|found| found.entry))?;
    let wild = parts[fixed..].join("/");
    let mut matches: Vec<Vec<u8>> = Vec::new();
    let mut inside: Option<LayerPath> = None;
    for (path, found) in files.below(&directory) {
        if inside.as_ref().is_some_and(|matched| path.is_within(matched)) {
            continue;
        }
        let Some(rest) = path.below(&directory) else { continue };
        let rest = String::from_utf8_lossy(rest);
        if glob::matches(&wild, &rest).map_err(|e| Problem::Pattern(wild.clone(), e.to_string()))? {
            matches.push(path.as_bytes().to_vec());
            inside = found.entry.is_directory().then_some(path);
        }
    }
    Ok(matches)
}

/// Keeps an uncompressed tar, so that files can be read out of it.
pub(super) type Keep<'a> = dyn Fn(Box<dyn Read>) -> Result<Index, BuildError> + 'a;

/// Finds the local archives among what ADD picked, by their content, so that they are unpacked.
pub(super) fn open_archives(picked: &mut [Picked], open: &Open<'_>, keep: &Keep<'_>) -> Result<(), BuildError> {
    for source in picked {
        let Kind::File { content, .. } = &source.root.entry.kind else { continue };
        let shown = || String::from_utf8_lossy(&source.name).into_owned();
        let failed = |e: io::Error| Problem::Unpack { path: shown(), why: e.to_string() };
        let Some(kind) = ArchiveKind::sniff(&prefix(open(content).map_err(failed)?).map_err(failed)?) else { continue };
        let refuse = |kind| Problem::Archive { kind, path: shown() };
        let compression = match kind {
            ArchiveKind::Tar => Compression::None,
            ArchiveKind::Gzip => Compression::Gzip,
            ArchiveKind::Bzip2 => return Err(refuse("bzip2").into()),
            ArchiveKind::Xz => return Err(refuse("xz").into()),
            ArchiveKind::Zstd => return Err(refuse("zstd").into()),
        };
        let reader = || -> io::Result<Box<dyn Read>> {
            Ok(Box::new(decompress(open(content)?, compression, Limits::default()).map_err(io::Error::other)?))
        };
        let holds = reader().and_then(prefix).map(|prefix| ArchiveKind::sniff(&prefix));
        if !matches!(holds, Ok(Some(ArchiveKind::Tar))) {
            // A compressed file that holds no archive is copied as it is.
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
            unpack(copy, archive, &target, parents, owner, draft)?;
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

/// Lays an archive's entries below `target`. They keep what the archive says of them, unless the flags say otherwise.
fn unpack(
    copy: &Copy,
    archive: &Index,
    target: &LayerPath,
    parents: Parents,
    owner: Option<(u32, u32)>,
    draft: &mut Draft,
) -> Result<(), BuildError> {
    draft.make_directories(target, parents)?;
    let diff_id = archive.diff_id;
    for (path, entry) in &archive.tree.entries {
        if path.is_root() {
            continue;
        }
        let place = joined(target, path)?;
        // A link of the image on the way is followed, inside the root.
        let directory = draft.follow(parent_of(&[b"/", place.as_bytes()].concat()))?;
        draft.make_directories(&directory, parents)?;
        let place = directory.join(path.name().unwrap_or_default())?;
        let mut entry = entry.clone().map(|Offset(offset)| Content::InTar(InTar { diff_id, offset }));
        if let Kind::HardLink { to } = &entry.kind {
            entry.kind = Kind::HardLink { to: joined(target, to)? };
        }
        Placing { copy, owner, names: HashMap::new(), draft }.put(place, &Found { entry, identity: None })?;
    }
    Ok(())
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

/// The digest of all that was picked: names, kinds, modes, owners and bytes, but no times, for layers carry none.
pub(super) fn digest(picked: &[Picked], open: &Open<'_>) -> Result<Digest, BuildError> {
    let mut key = Hasher::default();
    for Picked { name, root, below, archive: _ } in picked {
        key.field(name);
        key.field(&(below.len() as u64).to_le_bytes());
        let all =
            [(&LayerPath::root(), root)].into_iter().map(|(path, found)| (path.clone(), found)).collect::<Vec<_>>();
        for (path, found) in all.iter().map(|(path, found)| (path, *found)).chain(below.iter().map(|(p, f)| (p, f))) {
            key.field(path.as_bytes());
            entry_digest(&mut key, found, open, path)?;
        }
    }
    Ok(key.finish())
}

fn entry_digest(key: &mut Hasher, found: &Found, open: &Open<'_>, path: &LayerPath) -> Result<(), BuildError> {
    let Found { entry: Entry { kind, mode, uid, gid, xattrs, mtime: _ }, identity } = found;
    key.field(&mode.to_le_bytes());
    key.field(&uid.to_le_bytes());
    key.field(&gid.to_le_bytes());
    for (name, value) in xattrs {
        key.field(name.as_bytes());
        key.field(value);
    }
    match identity {
        Some(Identity::Host(number)) => key.field(&(*number as u64).to_le_bytes()),
        Some(Identity::Layer(_)) | None => key.field(b"-"),
    }
    match kind {
        Kind::Directory => key.field(b"directory"),
        Kind::File { size, content } => {
            key.field(b"file");
            key.field(&size.to_le_bytes());
            match content {
                // A layer's bytes are known by where they are.
                Content::InTar(InTar { diff_id, offset }) => {
                    key.field(diff_id.as_bytes());
                    key.field(&offset.to_le_bytes());
                }
                Content::Bytes(_) | Content::Host(_) => {
                    let failed =
                        |source| Problem::Write(crate::layer::WriteError::Content { path: path.clone(), source });
                    key.field(digest_of(open(content).map_err(failed)?).map_err(failed)?.as_bytes());
                }
            }
        }
        Kind::Symlink { target } => {
            key.field(b"link");
            key.field(target);
        }
        Kind::HardLink { to } => {
            key.field(b"name");
            key.field(to.as_bytes());
        }
        Kind::CharDevice { major, minor } => {
            key.field(b"char");
            key.field(&(u64::from(*major) << 32 | u64::from(*minor)).to_le_bytes());
        }
        Kind::BlockDevice { major, minor } => {
            key.field(b"block");
            key.field(&(u64::from(*major) << 32 | u64::from(*minor)).to_le_bytes());
        }
        Kind::Fifo => key.field(b"fifo"),
    }
    Ok(())
}

fn digest_of(mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
