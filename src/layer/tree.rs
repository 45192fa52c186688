//! What a layer holds, as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LayerPath, escape};
use crate::image::Digest;

/// The paths that one layer adds, changes and takes away. `C` says where the bytes of a file are: [`Content`] before
/// they are written, [`Offset`] in a layer that was written or read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree<C> {
    pub entries: BTreeMap<LayerPath, Entry<C>>,
    /// Paths of lower layers that are gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub whiteouts: BTreeSet<LayerPath>,
    /// Directories of which nothing in lower layers is left.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub opaque: BTreeSet<LayerPath>,
}

/// One thing in a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<C> {
    #[serde(flatten)]
    pub kind: Kind<C>,
    /// The permission bits, 07777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// In seconds since 1970. The writer of a layer decides whether it is kept: see [`super::Times`].
    pub mtime: i64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "escape::byte_values")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a path of a tree is. `C` tells where a file's bytes are; sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Kind<C> {
    Directory,
    File {
        size: u64,
        content: C,
    },
    Symlink {
        #[serde(with = "escape::bytes")]
        target: Vec<u8>,
    },
    /// Another name of a file; mode, owner and the like are those of the file.
    HardLink {
        to: LayerPath,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Where a file's bytes begin in its layer's tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// Where a file's bytes are in the tar of one layer of several. Two names of one file have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InTar {
    pub diff_id: Digest,
    pub offset: u64,
}

/// Where the bytes of a file are that is to be written into a layer.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Arc<[u8]>),
    Host(HostFile),
    InTar(InTar),
}

/// A regular file of the host below a directory that is held open. No component of the path is a symlink when it is
/// opened, or it is not opened.
#[derive(Clone, Debug)]
pub struct HostFile {
    pub root: Arc<OwnedFd>,
    pub path: LayerPath,
    /// Which file it is, where another one, or the same with other content, is an error.
    pub seen: Option<FileState>,
}

/// A file as it was when it was listed. What is read of it at one time is then what is read of it at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    pub inode: u64,
    /// Seconds since 1970, and nanoseconds.
    pub modified: (i64, i64),
}

/// What a layer's tar holds, and the digest of all its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub diff_id: Digest,
    /// Of the uncompressed tar, in bytes.
    pub size: u64,
    pub tree: Tree<Offset>,
}

impl Index {
    /// The time of the newest file, in seconds since 1970.
    pub fn newest(&self) -> Option<i64> {
        let files = self.tree.entries.values().filter(|entry| matches!(entry.kind, Kind::File { .. }));
        files.map(|entry| entry.mtime).max()
    }
}

impl<C> Default for Tree<C> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), whiteouts: BTreeSet::new(), opaque: BTreeSet::new() }
    }
}

impl<C> Tree<C> {
    /// Whether the layer changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { entries, whiteouts, opaque } = self;
        entries.is_empty() && whiteouts.is_empty() && opaque.is_empty()
    }
}

impl<C> Entry<C> {
    /// A directory of root's with this mode.
    pub fn directory(mode: u32) -> Self {
        Self::new(Kind::Directory, mode)
    }

    /// Something of root's with this mode, no extended attributes, and the time 0.
    pub fn new(kind: Kind<C>, mode: u32) -> Self {
        Self { kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }

    /// The same with other content.
    pub fn map<D>(self, content: impl FnOnce(C) -> D) -> Entry<D> {
        let Self { kind, mode, uid, gid, mtime, xattrs } = self;
        Entry { kind: kind.map(content), mode, uid, gid, mtime, xattrs }
    }

    /// Whether mode, owner and extended attributes are the same. The time is not asked for: layers have one.
    pub fn same_owner_and_mode<D>(&self, other: &Entry<D>) -> bool {
        (self.mode, self.uid, self.gid, &self.xattrs) == (other.mode, other.uid, other.gid, &other.xattrs)
    }
}

impl<C> Kind<C> {
    pub fn map<D>(self, content: impl FnOnce(C) -> D) -> Kind<D> {
        match self {
            Self::Directory => Kind::Directory,
            Self::File { size, content: from } => Kind::File { size, content: content(from) },
            Self::Symlink { target } => Kind::Symlink { target },
            Self::HardLink { to } => Kind::HardLink { to },
            Self::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            Self::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Self::Fifo => Kind::Fifo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives_a_record() {
        let path = |text: &str| LayerPath::parse(text.as_bytes()).unwrap();
        let mut tree = Tree::<Offset>::default();
        let mut file = Entry::new(Kind::File { size: 3, content: Offset(512) }, 0o4755);
        file.xattrs.insert("security.capability".into(), vec![1, 0, 0, 2, 255]);
        tree.entries.insert(path("d"), Entry::directory(0o755));
        tree.entries.insert(path("d/f"), file);
        tree.entries.insert(path("l"), Entry::new(Kind::Symlink { target: b"caf\xe9".to_vec() }, 0o777));
        tree.entries.insert(path("h"), Entry::new(Kind::HardLink { to: path("d/f") }, 0o4755));
        tree.entries.insert(path("c"), Entry::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666));
        tree.whiteouts.insert(path("gone"));
        tree.opaque.insert(path("d"));
        let text = serde_json::to_string(&tree).unwrap();
        assert_eq!(serde_json::from_str::<Tree<Offset>>(&text).unwrap(), tree, "{text}");
    }
}
