//! A tar on disk, entry by entry, with the places of its headers and its files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use serde::Serialize;

use super::super::{Entries, Entry, Item, LayerPath, Offset, TarError};

/// An uncompressed tar and what is in it.
pub struct Listing {
    tar: File,
    size: u64,
    pub(super) rows: BTreeMap<Name, Row>,
}

/// What an entry of a tar speaks of. One path may have a whiteout and what takes its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Name {
    pub path: LayerPath,
    pub mark: Mark,
}

/// What an entry says of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It is gone.
    Whiteout,
    /// It is there.
    Entry,
    /// Of lower layers nothing is left in it.
    Opaque,
}

pub(super) struct Row {
    /// None for a marker.
    pub entry: Option<Entry<Offset>>,
    pub headers: Range<u64>,
    /// The how manieth of the tar it is.
    pub position: u64,
    /// How often the tar has it; what counts is the last.
    pub times: u64,
}

impl Listing {
    /// Reads a tar from its beginning to its end.
    pub fn read(tar: File) -> Result<Self, TarError> {
        let mut entries = Entries::new(Positioned { file: &tar, at: 0 });
        let mut rows = BTreeMap::<Name, Row>::new();
        let mut position = 0;
        while let Some(item) = entries.next()? {
            let (path, mark, entry) = match item {
                Item::Entry(path, entry) => (path, Mark::Entry, Some(entry)),
                Item::Whiteout(path) => (path, Mark::Whiteout, None),
                Item::Opaque(path) => (path, Mark::Opaque, None),
            };
            let name = Name { path, mark };
            let times = 1 + rows.get(&name).map_or(0, |row| row.times);
            rows.insert(name, Row { entry, headers: entries.headers(), position, times });
            position += 1;
        }
        let size = tar.metadata()?.len();
        Ok(Self { tar, size, rows })
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn headers(&self, row: &Row) -> io::Result<Vec<u8>> {
        // The reader took no more than its limits allow.
        self.bytes(row.headers.start, (row.headers.end - row.headers.start) as usize)
    }

    /// Up to `length` bytes from `at` on; fewer at the end of the tar.
    pub(super) fn bytes(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Positioned { file: &self.tar, at }.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads from a place of its own: the file's is shared by all who have it open.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
