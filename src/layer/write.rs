//! A tree as a tar, the same bytes for the same tree on every machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use super::pax::Pax;
use super::ustar::{BLOCK, Header, MAX_8, MAX_12, holds_link, holds_name};
use super::{Content, Entry, Kind, LayerPath, Offset, Tree};
use crate::image::Digest;

/// The one time of everything in a layer, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub i64);

/// Which times a layer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    Constant(Epoch),
    /// Each entry's own.
    Keep,
}

impl Default for Epoch {
    /// 1980-01-01T00:00:01Z. Zip files, and with them Python's wheels, cannot say a time before 1980.
    fn default() -> Self {
        Self(315_532_801)
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::Constant(Epoch::default())
    }
}

/// Opens the uncompressed tar of a layer by its diff_id.
pub type OpenTar<'a> = dyn Fn(&Digest) -> io::Result<File> + 'a;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("cannot read {path}: {source}")]
    Content { path: LayerPath, source: io::Error },
    #[error("{path} changed while it was read: it had {was} bytes, and then {is} or more")]
    Changed { path: LayerPath, was: u64, is: u64 },
    #[error("{path} cannot be put into a layer: a name that begins with `.wh.` means that a file was removed")]
    WhiteoutName { path: LayerPath },
    #[error("{path} is a hard link to {to}, which is not a file of the same layer")]
    Dangling { path: LayerPath, to: LayerPath },
    #[error("{path} has an extended attribute whose name a tar cannot hold")]
    XattrName { path: LayerPath },
    #[error("cannot write a layer: {0}")]
    Write(#[from] io::Error),
}

/// Writes the tree as a tar; gives the same tree with the places of its files in the tar.
///
/// Parents come before children, a whiteout before what takes its place, the mark of an opaque directory before
/// what is in it, and a file's bytes with the first of its names. There are ids but no names of owners, and pax records
/// only for what ustar cannot say.
pub fn write_layer(
    tree: &Tree<Content>,
    times: Times,
    open: &OpenTar<'_>,
    out: &mut impl Write,
) -> Result<Tree<Offset>, WriteError> {
    let files = first_names(tree)?;
    let mut writer = Writer { out, at: 0, times, tars: Tars { open, opened: BTreeMap::new() } };
    let mut written = Tree { entries: BTreeMap::new(), whiteouts: tree.whiteouts.clone(), opaque: tree.opaque.clone() };
    for ((path, _), part) in in_order(tree) {
        match part {
            Part::Whiteout => writer.marker(&whiteout(path)?)?,
            Part::Opaque => writer.marker(&[&directory_name(path)[..], b".wh..wh..opq"].concat())?,
            Part::Entry => {
                if path.components().any(|name| name.starts_with(b".wh.")) {
                    return Err(WriteError::WhiteoutName { path: path.clone() });
                }
                let entry = files.entry(path);
                written.entries.insert(path.clone(), writer.entry(path, entry)?);
            }
        }
    }
    writer.out.write_all(&[0; 2 * BLOCK])?;
    Ok(written)
}

#[derive(Clone, Copy)]
enum Part {
    Whiteout,
    Entry,
    Opaque,
}

fn in_order(tree: &Tree<Content>) -> BTreeMap<(&LayerPath, u8), Part> {
    let whiteouts = tree.whiteouts.iter().map(|path| ((path, 0), Part::Whiteout));
    let entries = tree.entries.keys().map(|path| ((path, 1), Part::Entry));
    let opaque = tree.opaque.iter().map(|path| ((path, 2), Part::Opaque));
    whiteouts.chain(entries).chain(opaque).collect()
}

/// The tree with each file's bytes at the first of its names.
struct FirstNames<'a> {
    tree: &'a Tree<Content>,
    /// For each name of a file that has several: where the tree has the file, and its first name.
    names: BTreeMap<&'a LayerPath, (&'a LayerPath, &'a LayerPath)>,
}

fn first_names(tree: &Tree<Content>) -> Result<FirstNames<'_>, WriteError> {
    let mut groups: BTreeMap<&LayerPath, Vec<&LayerPath>> = BTreeMap::new();
    for (path, entry) in &tree.entries {
        if let Kind::HardLink { to } = &entry.kind {
            groups.entry(linked(tree, path, to)?).or_insert_with_key(|file| vec![file]).push(path);
        }
    }
    let mut names = BTreeMap::new();
    for (file, group) in groups {
        let first = group.iter().min().copied().unwrap_or(file);
        names.extend(group.into_iter().map(|name| (name, (file, first))));
    }
    Ok(FirstNames { tree, names })
}

/// The file that a hard link means in the end.
fn linked<'a>(tree: &'a Tree<Content>, path: &LayerPath, to: &LayerPath) -> Result<&'a LayerPath, WriteError> {
    let dangling = || WriteError::Dangling { path: path.clone(), to: to.clone() };
    let mut to = to;
    // A link to a link to a link … is none of ours; it is followed a little, so that a ring of them ends.
    for _ in 0..40 {
        let (found, entry) = tree.entries.get_key_value(to).ok_or_else(dangling)?;
        match &entry.kind {
            Kind::HardLink { to: next } => to = next,
            Kind::Directory => return Err(dangling()),
            Kind::File { .. } | Kind::Symlink { .. } | Kind::Fifo => return Ok(found),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => return Ok(found),
        }
    }
    Err(dangling())
}

impl FirstNames<'_> {
    fn entry(&self, path: &LayerPath) -> Entry<Content> {
        match self.names.get(path) {
            Some((file, first)) if *first != path => {
                let mut entry = self.tree.entries[*file].clone();
                entry.kind = Kind::HardLink { to: (*first).clone() };
                entry
            }
            Some((file, _)) => self.tree.entries[*file].clone(),
            None => self.tree.entries[path].clone(),
        }
    }
}

struct Writer<'a, W> {
    out: W,
    at: u64,
    times: Times,
    tars: Tars<'a>,
}

impl<W: Write> Writer<'_, W> {
    fn entry(&mut self, path: &LayerPath, mut entry: Entry<Content>) -> Result<Entry<Offset>, WriteError> {
        if let Times::Constant(Epoch(epoch)) = self.times {
            entry.mtime = epoch;
        }
        entry.mode = match entry.kind {
            // Linux has no others, other systems do.
            Kind::Symlink { .. } => 0o777,
            _ => entry.mode & 0o7777,
        };
        let (name, link) = match &entry.kind {
            Kind::Directory => (directory_name(path), &[][..]),
            Kind::Symlink { target } => (path.as_bytes().to_vec(), &target[..]),
            Kind::HardLink { to } => (path.as_bytes().to_vec(), to.as_bytes()),
            Kind::File { .. } | Kind::Fifo => (path.as_bytes().to_vec(), &[][..]),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => (path.as_bytes().to_vec(), &[][..]),
        };
        let (header, pax) = describe(&name, link, &entry);
        if !pax.is_empty() {
            let records = pax.encode().ok_or_else(|| WriteError::XattrName { path: path.clone() })?;
            self.records(&records)?;
        }
        self.put(&header.encode())?;
        let at = self.at;
        if let Kind::File { size, content } = &entry.kind {
            self.content(path, *size, content)?;
        }
        Ok(entry.map(|_| Offset(at)))
    }

    fn content(&mut self, path: &LayerPath, size: u64, content: &Content) -> Result<(), WriteError> {
        let failed = |source| WriteError::Content { path: path.clone(), source };
        let mut reader: Box<dyn Read> = match content {
            Content::Bytes(bytes) => Box::new(&bytes[..]),
            Content::Host(file) => Box::new(file.open().map_err(failed)?),
            Content::InTar(place) => Box::new(place.reader(self.tars.open(&place.diff_id).map_err(failed)?, size)),
        };
        let mut buffer = [0; 64 << 10];
        let mut came = 0;
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(failed(e)),
            };
            came += read as u64;
            if came > size || (read == 0 && came < size) {
                return Err(WriteError::Changed { path: path.clone(), was: size, is: came });
            }
            if read == 0 {
                break;
            }
            self.out.write_all(&buffer[..read])?;
        }
        drop(reader);
        self.at += size;
        self.pad(size)
    }

    fn records(&mut self, records: &[u8]) -> Result<(), WriteError> {
        let header = Header { size: records.len() as u64, mode: 0o644, type_flag: b'x', ..blank(b"PaxHeaders.0") };
        self.put(&header.encode())?;
        self.put(records)?;
        self.pad(records.len() as u64)
    }

    /// A name alone, as whiteouts are.
    fn marker(&mut self, name: &[u8]) -> Result<(), WriteError> {
        let mtime = match self.times {
            Times::Constant(Epoch(epoch)) => epoch,
            Times::Keep => 0,
        };
        let file = Kind::File { size: 0, content: () };
        let (header, pax) = describe(name, &[], &Entry { mtime, ..Entry::new(file, 0) });
        if let Some(records) = pax.encode().filter(|records| !records.is_empty()) {
            self.records(&records)?;
        }
        self.put(&header.encode())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), WriteError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        // Less than a block.
        self.put(&[0; BLOCK][..padding as usize])
    }
}

/// A header, and records for what it has no room for.
fn describe<C>(name: &[u8], link: &[u8], entry: &Entry<C>) -> (Header, Pax) {
    let Entry { kind, mode, uid, gid, mtime, xattrs } = entry;
    let (uid, gid) = (u64::from(*uid), u64::from(*gid));
    let mut header = Header { mode: *mode, uid, gid, mtime: *mtime, link: link.to_vec(), ..blank(name) };
    let mut size = 0;
    header.type_flag = match kind {
        Kind::File { size: bytes, .. } => {
            size = *bytes;
            b'0'
        }
        Kind::HardLink { .. } => b'1',
        Kind::Symlink { .. } => b'2',
        Kind::CharDevice { .. } => b'3',
        Kind::BlockDevice { .. } => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = kind {
        (header.major, header.minor) = (*major, *minor);
    }
    header.size = size;
    // A hard link has the attributes of its file; they are said there.
    let hard_link = matches!(kind, Kind::HardLink { .. });
    let pax = Pax {
        path: (!holds_name(name)).then(|| name.to_vec()),
        link: (!holds_link(link)).then(|| link.to_vec()),
        size: Some(size).filter(|&size| size > MAX_12),
        uid: Some(uid).filter(|&uid| uid > MAX_8),
        gid: Some(gid).filter(|&gid| gid > MAX_8),
        mtime: Some(*mtime).filter(|mtime| u64::try_from(*mtime).is_ok_and(|time| time > MAX_12) || *mtime < 0),
        xattrs: if hard_link { BTreeMap::new() } else { xattrs.clone() },
    };
    (header, pax)
}

fn blank(name: &[u8]) -> Header {
    let name = name.to_vec();
    Header { name, mode: 0, uid: 0, gid: 0, size: 0, mtime: 0, type_flag: b'0', link: Vec::new(), major: 0, minor: 0 }
}

/// With a slash at the end; `./` for the root.
fn directory_name(path: &LayerPath) -> Vec<u8> {
    if path.is_root() { b"./".to_vec() } else { [path.as_bytes(), b"/"].concat() }
}

fn whiteout(path: &LayerPath) -> Result<Vec<u8>, WriteError> {
    let refused = || WriteError::WhiteoutName { path: path.clone() };
    let (Some(name), Some(dir)) = (path.name(), path.parent()) else { return Err(refused()) };
    if path.components().any(|name| name.starts_with(b".wh.")) {
        return Err(refused());
    }
    let dir = if dir.is_root() { Vec::new() } else { directory_name(&dir) };
    Ok([&dir, &b".wh."[..], name].concat())
}

/// The tars that files are taken from, each opened once.
struct Tars<'a> {
    open: &'a OpenTar<'a>,
    opened: BTreeMap<Digest, File>,
}

impl Tars<'_> {
    fn open(&mut self, diff_id: &Digest) -> io::Result<&File> {
        if !self.opened.contains_key(diff_id) {
            self.opened.insert(*diff_id, (self.open)(diff_id)?);
        }
        Ok(&self.opened[diff_id])
    }
}
