//! COPY and ADD: which files. The rules are those of BuildKit's fsutil (`copy/copy.go`).

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::iter::once;
use std::sync::Arc;

use crate::dockerfile::glob;
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::nearest::nearest;
use crate::graph::{Copy, GitSource, Source};
use crate::image::{Digest, Hasher};
use crate::layer::{Content, Entry, InTar, Index, Kind, LayerPath};

use super::context::Listing;
use super::files::{Files, Found, follow};
use super::memory::{Listed, Memory};
use super::paths::Paths;
use super::{BuildError, Problem};

/// The files of one source, not yet placed.
pub(super) struct Picked {
    /// The source's own name, which it keeps in a directory.
    pub name: Vec<u8>,
    /// Where it was found, for people.
    pub at: String,
    pub root: Found,
    /// What is below it, when it is a directory, by paths relative to it.
    pub below: Vec<(LayerPath, Found)>,
    /// An archive: its entries replace the file.
    pub archive: Option<Index>,
}

/// Opens what a [`Content`] stands for.
pub(super) type Open<'a> = dyn Fn(&Content) -> io::Result<Box<dyn Read>> + 'a;

/// What was fetched for an ADD.
#[derive(Default)]
pub(super) struct Arrived {
    /// By their URLs.
    pub files: BTreeMap<String, Found>,
    pub repositories: BTreeMap<GitSource, Listing>,
}

/// Finds what a COPY names. `place` is the words for where it looks.
pub(super) fn pick(copy: &Copy, files: &impl Files, arrived: &Arrived, place: &str) -> Result<Vec<Picked>, BuildError> {
    let finder = Finder { verb: if copy.unpack { "ADD" } else { "COPY" }, files, place };
    let exclude = patterns(&copy.exclude)?;
    let mut picked = Vec::new();
    for source in &copy.sources {
        match source {
            Source::Inline { name, bytes } => {
                let bytes: Arc<[u8]> = bytes.as_slice().into();
                let kind = Kind::File { size: bytes.len() as u64, content: Content::Bytes(bytes) };
                picked.push(Picked::file(name, Found::alone(Entry::new(kind, 0o644))));
            }
            Source::Url { url, name, checksum: _ } => {
                let found = arrived.files.get(url).ok_or(Problem::Worker)?;
                picked.push(Picked::file(name, found.clone()));
            }
            Source::Git(git) => {
                let files = arrived.repositories.get(git).ok_or(Problem::Worker)?;
                let selection = Selection { include: None, exclude: exclude.as_ref() };
                picked.push(Finder { verb: "ADD", files, place: "the repository" }.found(b"", &selection)?);
            }
            Source::Path { pattern, is_pattern } => {
                for path in finder.matches(pattern, *is_pattern)? {
                    picked.push(finder.found(&path, &Selection { include: None, exclude: exclude.as_ref() })?);
                }
            }
            Source::Parents { root, root_is_pattern, pattern, required } => {
                if *required {
                    finder.require(&[root.as_str(), pattern].join("/"))?;
                }
                let include = patterns(std::slice::from_ref(pattern))?.unwrap_or_default();
                for path in finder.matches(root, *root_is_pattern)? {
                    let selection = Selection { include: Some(&include), exclude: exclude.as_ref() };
                    picked.push(finder.found(&path, &selection)?);
                }
            }
        }
    }
    Ok(picked)
}

impl Picked {
    fn file(name: &str, root: Found) -> Self {
        Self { name: name.as_bytes().to_vec(), at: name.to_owned(), root, below: Vec::new(), archive: None }
    }
}

struct Finder<'a, F> {
    verb: &'static str,
    files: &'a F,
    place: &'a str,
}

impl<F: Files> Finder<'_, F> {
    /// The paths of a source: itself, or what it matches, which may be nothing.
    fn matches(&self, pattern: &str, is_pattern: bool) -> Result<Vec<Vec<u8>>, BuildError> {
        match is_pattern {
            true => expand(pattern, self.files),
            false => Ok(vec![pattern.as_bytes().to_vec()]),
        }
    }

    /// What is at a path, links followed, and what is selected below it.
    fn found(&self, path: &[u8], selection: &Selection<'_>) -> Result<Picked, BuildError> {
        let (real, root) = self.require_bytes(path)?;
        let mut below = if root.entry.is_directory() { selection.below(self.files, &real) } else { Vec::new() };
        // Half of it may be room for more: megabytes, where a folder has tens of thousands of files.
        below.shrink_to_fit();
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default().to_vec();
        let at = String::from_utf8_lossy(real.as_bytes()).into_owned();
        Ok(Picked { name, at, root, below, archive: None })
    }

    fn require(&self, path: &str) -> Result<(), BuildError> {
        self.require_bytes(path.as_bytes()).map(drop)
    }

    fn require_bytes(&self, path: &[u8]) -> Result<(LayerPath, Found), BuildError> {
        let real = follow(path, |path| self.files.entry(path).map(|found| found.entry))?;
        let found = self.files.entry(&real).ok_or_else(|| self.missing(path))?;
        Ok((real, found))
    }

    fn missing(&self, path: &[u8]) -> BuildError {
        let path = String::from_utf8_lossy(path);
        let path = path.trim_start_matches('/');
        let hint = self.near(path).map(|near| format!("did you mean `{near}`?"));
        let problem = Problem::NotFound { verb: self.verb, path: format!("/{path}"), place: self.place.to_owned() };
        BuildError { hint, ..problem.into() }
    }

    /// What stands beside a path that is not there and is called nearly so.
    fn near(&self, path: &str) -> Option<String> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let real = follow(folder.as_bytes(), |path| self.files.entry(path).map(|found| found.entry)).ok()?;
        let below = self.files.below(&real);
        let names = below.iter().filter_map(|(path, _)| std::str::from_utf8(path.below(&real)?).ok());
        let near = nearest(name, names.filter(|name| !name.contains('/')))?;
        Some(if folder.is_empty() { near.to_owned() } else { format!("{folder}/{near}") })
    }
}

/// What of a directory is taken: `--parents` includes, `--exclude` takes out.
struct Selection<'a> {
    include: Option<&'a Ignore>,
    exclude: Option<&'a Ignore>,
}

impl Selection<'_> {
    fn takes(&self, path: &LayerPath) -> bool {
        let text = String::from_utf8_lossy(path.as_bytes());
        self.include.is_none_or(|include| include.ignored(&text))
            && self.exclude.is_none_or(|exclude| !exclude.ignored(&text))
    }

    /// What is taken, and each directory on the way to it even where it is not taken itself.
    fn below(&self, files: &impl Files, directory: &LayerPath) -> Vec<(LayerPath, Found)> {
        let mut taken = Vec::new();
        // Directories above the one at hand that nothing was taken of yet.
        let mut waiting: Vec<(LayerPath, Found)> = Vec::new();
        for (path, found) in files.below(directory) {
            // A path that was joined to the directory's is one by itself.
            let Some(path) = path.below(directory).and_then(|rest| LayerPath::parse(rest).ok()) else { continue };
            waiting.retain(|(above, _)| path.is_within(above));
            if self.takes(&path) {
                taken.append(&mut waiting);
                taken.push((path, found));
            } else if found.entry.is_directory() {
                waiting.push((path, found));
            }
        }
        taken
    }
}

/// Patterns as `--exclude` gives them; `None` where there are none.
fn patterns(patterns: &[String]) -> Result<Option<Ignore>, BuildError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let bad = |e: crate::dockerfile::ignore::Problem| Problem::Pattern(patterns.join(" "), e.to_string());
    Ok(Some(Ignore::from_patterns(patterns.iter().map(String::as_str)).map_err(bad)?))
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

/// How bytes that are in a tar are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// By where they are: the tar is a layer, which is what it is.
    ByPlace,
    /// By themselves: the tar is a context, in which other files may change.
    ByContent,
}

/// The digest of all that was picked, and that of each file: names, kinds, modes, owners and bytes, but no times, for
/// layers carry none.
pub(super) fn digest(
    picked: &[Picked],
    known: Known,
    memory: &Memory,
    open: &Open<'_>,
) -> Result<(Digest, Paths), BuildError> {
    let mut key = Hasher::default();
    let mut paths = Paths::default();
    // That two names are of one file is what counts. How the walk of the context numbers them depends on the host's order
    // of a directory; and of a file's further names that are not taken, nothing is seen in a layer.
    let mut first_names = HashMap::new();
    let mut number = 0_u64;
    let mut contents = memory.digests(&of_the_host(picked)).into_iter();
    for Picked { name, at, root, below, archive: _ } in picked {
        key.field(name);
        key.field(&(below.len() as u64).to_le_bytes());
        let top = LayerPath::root();
        for (path, found) in once((&top, root)).chain(below.iter().map(|(path, found)| (path, found))) {
            let mut entry = Hasher::default();
            entry.field(path.as_bytes());
            match found.identity.map(|identity| *first_names.entry(identity).or_insert(number)) {
                Some(first) if first < number => entry.field(&first.to_le_bytes()),
                Some(_) | None => entry.field(b"-"),
            }
            number += 1;
            entry_digest(&mut entry, found, (known, &mut contents), open, path)?;
            let entry = entry.finish();
            key.field(entry.as_bytes());
            paths.add(at, path, &entry);
        }
    }
    Ok((key.finish(), paths))
}

/// The files of the host among what was picked, in their order.
fn of_the_host(picked: &[Picked]) -> Vec<Listed<'_>> {
    let found = picked.iter().flat_map(|picked| once(&picked.root).chain(picked.below.iter().map(|(_, found)| found)));
    found.filter_map(Found::of_the_host).collect()
}

fn entry_digest(
    key: &mut Hasher,
    found: &Found,
    (known, contents): (Known, &mut impl Iterator<Item = io::Result<Digest>>),
    open: &Open<'_>,
    path: &LayerPath,
) -> Result<(), BuildError> {
    let Found { entry: Entry { kind, mode, uid, gid, xattrs, mtime: _ }, identity: _, stamp: _ } = found;
    key.field(&mode.to_le_bytes());
    key.field(&uid.to_le_bytes());
    key.field(&gid.to_le_bytes());
    key.field(&(xattrs.len() as u64).to_le_bytes());
    for (name, value) in xattrs {
        key.field(name.as_bytes());
        key.field(value);
    }
    let failed = |source| Problem::Write(crate::layer::WriteError::Content { path: path.clone(), source });
    match kind {
        Kind::Directory => key.field(b"directory"),
        Kind::File { size, content } => {
            key.field(b"file");
            key.field(&size.to_le_bytes());
            match content {
                Content::InTar(InTar { diff_id, offset }) if known == Known::ByPlace => {
                    key.field(diff_id.as_bytes());
                    key.field(&offset.to_le_bytes());
                }
                Content::Host(_) => {
                    let digest = contents.next().ok_or(Problem::Worker)?;
                    key.field(digest.map_err(failed)?.as_bytes());
                }
                Content::Bytes(_) | Content::InTar(_) => {
                    // Behind a file in a tar come others.
                    let bytes = open(content).map_err(failed)?.take(*size);
                    key.field(digest_of(bytes, &mut [0; 16 << 10]).map_err(failed)?.as_bytes());
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

/// How much is read at a time, in bytes.
pub(super) const BUFFER: usize = 128 << 10;

pub(super) fn digest_of(mut reader: impl Read, buffer: &mut [u8]) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    loop {
        match reader.read(buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
