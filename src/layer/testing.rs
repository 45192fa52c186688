//! Tars as nobody should write them, for tests.

use super::ustar::{BLOCK, Header};
use super::{Kind, LayerPath, Tree};

/// A tar that is put together by hand; every method adds to its end.
#[derive(Clone, Default)]
pub(super) struct Tar(Vec<u8>);

pub(super) fn path(text: &str) -> LayerPath {
    LayerPath::parse(text.as_bytes()).unwrap()
}

pub(super) fn tar() -> Tar {
    Tar::default()
}

impl Tar {
    pub fn file(self, name: &str, data: &[u8]) -> Self {
        self.any(b'0', name, "", data)
    }

    pub fn dir(self, name: &str) -> Self {
        self.any(b'5', name, "", b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.any(b'2', name, target, b"")
    }

    pub fn hard_link(self, name: &str, to: &str) -> Self {
        self.any(b'1', name, to, b"")
    }

    /// GNU's long name or link for the next entry.
    pub fn gnu_long(self, type_flag: u8, text: &str) -> Self {
        self.any(type_flag, "././@LongLink", "", &[text.as_bytes(), b"\0"].concat())
    }

    /// Pax records: `key=value`, one after the other.
    pub fn pax(self, type_flag: u8, records: &[(&str, &str)]) -> Self {
        let record = |(key, value): &(&str, &str)| {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
            format!("{length} {key}={value}\n")
        };
        let text: String = records.iter().map(record).collect();
        self.any(type_flag, "PaxHeaders.0", "", text.as_bytes())
    }

    pub fn any(self, type_flag: u8, name: &str, link: &str, data: &[u8]) -> Self {
        let header = Self::header(type_flag, name, link, data.len() as u64);
        self.put(header.encode(), data)
    }

    pub fn header(type_flag: u8, name: &str, link: &str, size: u64) -> Header {
        let (name, link) = (name.into(), link.into());
        let mode = if type_flag == b'5' { 0o755 } else { 0o644 };
        Header { name, mode, uid: 0, gid: 0, size, mtime: 7, type_flag, link, major: 0, minor: 0 }
    }

    /// A header of which some bytes were changed.
    pub fn patched(self, header: &Header, at: usize, bytes: &[u8], data: &[u8]) -> Self {
        let mut block = header.encode();
        block[at..at + bytes.len()].copy_from_slice(bytes);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.put(block, data)
    }

    fn put(mut self, block: [u8; BLOCK], data: &[u8]) -> Self {
        self.0.extend(block);
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn end(self) -> Vec<u8> {
        self.bytes(&[0; 2 * BLOCK]).0
    }

    pub fn without_end(self) -> Vec<u8> {
        self.0
    }
}

/// A tree in a few words: `d/`, `f:SIZE`, `l>target`, `h=f`, `-whiteout`, `!opaque`.
pub(super) fn words<C>(tree: &Tree<C>) -> String {
    let entry = |(path, entry): (&LayerPath, &super::Entry<C>)| match &entry.kind {
        Kind::Directory => format!("{path}/"),
        Kind::File { size, .. } => format!("{path}:{size}"),
        Kind::Symlink { target } => format!("{path}>{}", target.escape_ascii()),
        Kind::HardLink { to } => format!("{path}={to}"),
        Kind::CharDevice { major, minor } => format!("{path}#{major},{minor}"),
        Kind::BlockDevice { major, minor } => format!("{path}##{major},{minor}"),
        Kind::Fifo => format!("{path}|"),
    };
    let whiteouts = tree.whiteouts.iter().map(|path| format!("-{path}"));
    let opaque = tree.opaque.iter().map(|path| format!("!{path}"));
    tree.entries.iter().map(entry).chain(whiteouts).chain(opaque).collect::<Vec<_>>().join(" ")
}
