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

/// Why a tree was not written as a tar.
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
    let mut writer = Writer { out, at: 0, times, tars: Tars::new(open) };
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
pub(super) struct Tars<'a> {
    open: &'a OpenTar<'a>,
    opened: BTreeMap<Digest, File>,
}

impl<'a> Tars<'a> {
    pub(super) fn new(open: &'a OpenTar<'a>) -> Self {
        Self { open, opened: BTreeMap::new() }
    }

    pub(super) fn open(&mut self, diff_id: &Digest) -> io::Result<&File> {
        if !self.opened.contains_key(diff_id) {
            self.opened.insert(*diff_id, (self.open)(diff_id)?);
        }
        Ok(&self.opened[diff_id])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::testing::{path, words};
    use crate::layer::{Index, index};

    fn no_tars(_: &Digest) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn file(bytes: &[u8]) -> Entry<Content> {
        Entry::new(Kind::File { size: bytes.len() as u64, content: Content::Bytes(bytes.into()) }, 0o644)
    }

    fn link(to: &str) -> Entry<Content> {
        Entry::new(Kind::HardLink { to: path(to) }, 0)
    }

    fn tree<const N: usize>(entries: [(&str, Entry<Content>); N]) -> Tree<Content> {
        let entries = entries.map(|(name, entry)| (path(name), entry)).into();
        Tree { entries, ..Tree::default() }
    }

    fn write(tree: &Tree<Content>) -> Result<Vec<u8>, WriteError> {
        let mut tar = Vec::new();
        let written = write_layer(tree, Times::default(), &no_tars, &mut tar)?;
        let Index { tree: read, diff_id, .. } = index(&tar[..]).unwrap();
        assert_eq!(read, written, "what is read is what was written");
        assert_eq!(diff_id, Digest::of(&tar));
        Ok(tar)
    }

    /// One of everything that ustar can say, and one of everything that it cannot.
    fn everything() -> Tree<Content> {
        let mut tree = tree([
            ("bin", Entry::directory(0o755)),
            ("bin/su", Entry { mode: 0o4755, uid: 1000, gid: 2_097_151, ..file(b"#!/bin/sh\n") }),
            ("bin/sudo", link("bin/su")),
            ("bin/ls", Entry::new(Kind::Symlink { target: b"/usr/bin/ls".to_vec() }, 0o755)),
            ("dev/null", Entry::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666)),
            ("dev/sda", Entry::new(Kind::BlockDevice { major: 8, minor: 0 }, 0o660)),
            ("pipe", Entry::new(Kind::Fifo, 0o600)),
            ("\u{fc}", Entry { uid: 2_097_152, gid: 3_000_000_000, ..file(b"") }),
            (&"long/".repeat(60), Entry::directory(0o700)),
            ("link", Entry::new(Kind::Symlink { target: vec![b't'; 101] }, 0o777)),
        ]);
        let mut caps = file(b"caps");
        caps.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, 0, b'\n', 0xff]);
        caps.xattrs.insert("user.a".into(), b"b=c".to_vec());
        tree.entries.insert(path("bin/ping"), caps);
        tree.entries.insert(LayerPath::parse(b"caf\xe9").unwrap(), file(b"latin"));
        tree.entries.insert(LayerPath::root(), Entry::directory(0o711));
        tree.whiteouts.extend([path("gone"), path("bin/ls")]);
        tree.opaque.extend([path("bin"), path("other")]);
        tree
    }

    #[test]
    fn everything_comes_back_as_it_went_in() {
        let tar = write(&everything()).unwrap();
        let tree = index(&tar[..]).unwrap().tree;
        assert_eq!(tree.whiteouts, everything().whiteouts);
        assert_eq!(tree.opaque, everything().opaque);
        for (path, entry) in everything().entries {
            let read = &tree.entries[&path];
            let expected = match entry.kind {
                Kind::Symlink { .. } => Entry { mode: 0o777, ..entry },
                // Its owner and mode are the file's.
                Kind::HardLink { .. } => Entry { mode: 0o4755, uid: 1000, gid: 2_097_151, ..entry },
                _ => entry,
            };
            assert!(read.same_owner_and_mode(&expected) || matches!(read.kind, Kind::HardLink { .. }), "{path}");
            assert_eq!(read.kind.clone().map(|_| ()), expected.kind.map(|_| ()), "{path}");
            assert_eq!(read.mtime, 315_532_801, "{path}");
        }
    }

    // When this digest moves, every layer that anybody ever built moves with it: a person has to want that.
    #[test]
    fn the_bytes_of_a_tar_do_not_move() {
        let tar = write(&everything()).unwrap();
        let golden = "sha256:4d8fb8431cf7c82eb18b74ad824b6589d9fc8d739194851f61f89a0b29a0d9bd";
        assert_eq!(Digest::of(&tar).to_string(), golden);
    }

    #[test]
    fn gnu_tar_reads_it() {
        use std::process::{Command, Stdio};
        let mut list = Command::new("tar");
        list.args(["--numeric-owner", "--full-time", "--utc", "-tvf-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut list = list.env("LC_ALL", "C").stderr(Stdio::piped()).spawn().unwrap();
        list.stdin.take().unwrap().write_all(&write(&everything()).unwrap()).unwrap();
        let output = list.wait_with_output().unwrap();
        let lines: Vec<_> = str::from_utf8(&output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let time = "1980-01-01 00:00:01";
        for line in [
            format!("drwx--x--x 0/0 0 {time} ./"),
            format!("drwxr-xr-x 0/0 0 {time} bin/"),
            format!("-rwsr-xr-x 1000/2097151 10 {time} bin/su"),
            format!("hrwsr-xr-x 1000/2097151 0 {time} bin/sudo link to bin/su"),
            format!("lrwxrwxrwx 0/0 0 {time} bin/ls -> /usr/bin/ls"),
            format!("crw-rw-rw- 0/0 1,3 {time} dev/null"),
            format!("-rw-r--r-- 2097152/3000000000 0 {time} \\303\\274"),
            format!("-rw-r--r-- 0/0 5 {time} caf\\351"),
            format!("drwx------ 0/0 0 {time} {}", "long/".repeat(60)),
            format!("---------- 0/0 0 {time} bin/.wh..wh..opq"),
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output.stderr.escape_ascii());
    }

    #[test]
    fn the_bytes_of_a_file_come_with_the_first_of_its_names() {
        let one = tree([("a", file(b"x")), ("b", link("a")), ("c", link("b"))]);
        let other = tree([("a", link("c")), ("b", link("a")), ("c", file(b"x"))]);
        assert_eq!(write(&one).unwrap(), write(&other).unwrap());
        assert_eq!(words(&index(&write(&one).unwrap()[..]).unwrap().tree), "/a:1 /b=/a /c=/a");
    }

    #[test]
    fn a_hard_link_to_nothing_is_an_error() {
        for tree in [
            tree([("a", link("b"))]),
            tree([("a", link("b")), ("b", link("a"))]),
            tree([("a", link("d")), ("d", Entry::directory(0o755))]),
        ] {
            assert!(matches!(write(&tree), Err(WriteError::Dangling { .. })));
        }
    }

    #[test]
    fn the_mark_of_an_opaque_directory_comes_before_what_is_in_it() {
        let mut tree = tree([("d", Entry::directory(0o755)), ("d/-", file(b"")), ("d-", file(b""))]);
        tree.opaque.insert(path("d"));
        tree.whiteouts.extend([path("d"), path("d/+")]);
        let tar = write(&tree).unwrap();
        let mut names = tar::Archive::new(&tar[..]);
        let names = names.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(names.collect::<Vec<_>>(), [".wh.d", "d/", "d/.wh..wh..opq", "d/.wh.+", "d/-", "d-"]);
    }

    #[test]
    fn a_name_that_would_remove_a_file_is_refused() {
        for name in [".wh.x", "d/.wh..wh..opq", ".wh.d/x"] {
            let error = write(&tree([(name, file(b""))])).unwrap_err();
            assert!(matches!(error, WriteError::WhiteoutName { .. }), "{error}");
        }
    }

    #[test]
    fn a_file_that_grows_or_shrinks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "four").unwrap();
        let root = std::sync::Arc::new(File::open(dir.path()).unwrap().into());
        for size in [3, 5] {
            let content = Content::Host(super::super::HostFile {
                root: std::sync::Arc::clone(&root),
                path: path("f"),
                seen: None,
            });
            let tree = tree([("in/image", Entry::new(Kind::File { size, content }, 0o644))]);
            let error = write(&tree).unwrap_err();
            assert!(matches!(&error, WriteError::Changed { path: at, .. } if *at == path("in/image")), "{error}");
        }
    }

    #[test]
    fn times_are_kept_where_that_is_asked_for() {
        let old = Entry { mtime: -1, ..file(b"") };
        let mut tar = Vec::new();
        write_layer(&tree([("a", old)]), Times::Keep, &no_tars, &mut tar).unwrap();
        assert_eq!(index(&tar[..]).unwrap().tree.entries[&path("a")].mtime, -1);
    }

    #[test]
    fn files_are_taken_out_of_other_layers() {
        let mut lower = tempfile::tempfile().unwrap();
        let written =
            write_layer(&tree([("a", file(b"first")), ("b", file(b"second"))]), Times::Keep, &no_tars, &mut lower);
        let Kind::File { size, content: Offset(offset) } = written.unwrap().entries[&path("b")].kind else { panic!() };
        let diff_id = Digest::of(b"lower");
        let content = Content::InTar(super::super::InTar { diff_id, offset });
        let open = |asked: &Digest| if *asked == diff_id { lower.try_clone() } else { no_tars(asked) };
        let mut tar = Vec::new();
        let taken = tree([("copy", Entry::new(Kind::File { size, content }, 0o600))]);
        write_layer(&taken, Times::default(), &open, &mut tar).unwrap();
        assert_eq!(tar, write(&tree([("copy", Entry { mode: 0o600, ..file(b"second") })])).unwrap());
    }

    #[test]
    fn a_size_that_ustar_cannot_say_is_said_before_it() {
        let entry = Entry::new(Kind::File { size: 8 << 30, content: () }, 0o644);
        let (header, pax) = describe(b"big", b"", &entry);
        assert_eq!((header.size, pax.size), (8 << 30, Some(8 << 30)));
        assert_eq!(Header::decode(&header.encode()).unwrap().size, 0);
        let fits = Entry::new(Kind::File { size: (8 << 30) - 1, content: () }, 0o644);
        assert!(describe(b"fits", b"", &fits).1.is_empty());
    }
}
