//! What a layer's tar holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use super::resolve::{At, Stopped, resolve};
use super::{Entries, Entry, Index, Item, Kind, LayerPath, Offset, TarError, Tree};
use crate::image::HashingWriter;

/// Reads an uncompressed tar to its end. Of two entries for one path the later one counts.
///
/// An entry below a symlink of the same layer is put where the symlink leads, inside the root.
pub fn index(tar: impl Read) -> Result<Index, TarError> {
    let mut hashed = HashingWriter::new(io::sink());
    let tree = read_tree(Tee { from: tar, to: &mut hashed, failed: None })?;
    let (_, diff_id, size) = hashed.finish();
    Ok(Index { diff_id, size, tree })
}

/// Passes on what is read.
pub(super) struct Tee<R, W> {
    pub from: R,
    pub to: W,
    /// Why it could not be passed on, which is nothing that the reader did.
    pub failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if let Err(error) = self.to.write_all(&buffer[..read]) {
            self.failed = Some(error);
            return Err(io::Error::other("what was read could not be passed on"));
        }
        Ok(read)
    }
}

pub(super) fn read_tree(tar: impl Read) -> Result<Tree<Offset>, TarError> {
    let mut layer = Layer::default();
    let mut entries = Entries::new(tar);
    while let Some(item) = entries.next()? {
        match item {
            Item::Entry(path, entry) => layer.put(&path, entry)?,
            Item::Whiteout(path) => {
                let path = layer.settle(&path)?;
                layer.tree.whiteouts.insert(path);
            }
            Item::Opaque(path) => {
                let path = layer.settle(&path)?;
                layer.tree.opaque.insert(path);
            }
        }
    }
    Ok(layer.tree)
}

/// A layer as far as it was read.
#[derive(Default)]
struct Layer {
    tree: Tree<Offset>,
    /// The hard links to each file.
    links: BTreeMap<LayerPath, BTreeSet<LayerPath>>,
    symlinks: bool,
}

impl Layer {
    fn put(&mut self, path: &LayerPath, mut entry: Entry<Offset>) -> Result<(), TarError> {
        let path = self.settle(path)?;
        let refused = |why| TarError::Refused { path: path.clone(), why };
        if let Kind::HardLink { to } = &mut entry.kind {
            *to = self.settle(to)?;
            match self.tree.entries.get(to).map(|target| &target.kind) {
                Some(Kind::Directory) => return Err(refused("it is a hard link to a directory")),
                Some(Kind::HardLink { to: first }) => *to = first.clone(),
                // A file of a lower layer, perhaps.
                None | Some(Kind::File { .. } | Kind::Symlink { .. } | Kind::Fifo) => {}
                Some(Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => {}
            }
            if *to == path {
                // Another name of the file that this name already has.
                return Ok(());
            }
        }
        if !self.tree.entries.contains_key(&path) && self.links.get(&path).is_some_and(|names| !names.is_empty()) {
            return Err(refused("a hard link to it came before it"));
        }
        let stays = entry.is_directory() && self.tree.entries.get(&path).is_none_or(Entry::is_directory);
        if !stays {
            self.remove(&path);
        }
        match &entry.kind {
            Kind::HardLink { to } => _ = self.links.entry(to.clone()).or_default().insert(path.clone()),
            Kind::Symlink { .. } => self.symlinks = true,
            Kind::Directory | Kind::File { .. } | Kind::Fifo => {}
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {}
        }
        self.tree.entries.insert(path, entry);
        Ok(())
    }

    /// Where a path leads when the symlinks of this layer above it are followed.
    fn settle(&self, path: &LayerPath) -> Result<LayerPath, TarError> {
        let refused = |why| TarError::Refused { path: path.clone(), why };
        let at = |path: &LayerPath| match self.tree.entries.get(path).map(|entry| &entry.kind) {
            None | Some(Kind::Directory) => At::Open,
            Some(Kind::Symlink { target }) => At::Symlink(target),
            Some(Kind::File { .. } | Kind::HardLink { .. } | Kind::Fifo) => At::Closed,
            Some(Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => At::Closed,
        };
        if !self.symlinks && path.ancestors().skip(1).all(|above| matches!(at(&above), At::Open)) {
            return Ok(path.clone());
        }
        resolve(path.as_bytes(), false, at).map_err(|stopped| match stopped {
            Stopped::Loop => refused("it is below too many symlinks"),
            Stopped::NotADirectory(_) => refused("it is below what is no directory"),
            Stopped::Path(error) => error.into(),
        })
    }

    /// Removes a path and all below it.
    fn remove(&mut self, path: &LayerPath) {
        let below = self.tree.entries.range(path..).map(|(at, _)| at).take_while(|at| at.is_within(path));
        for gone in below.cloned().collect::<Vec<_>>() {
            let Some(entry) = self.tree.entries.remove(&gone) else { continue };
            if let Kind::HardLink { to } = &entry.kind {
                self.links.get_mut(to).map(|names| names.remove(&gone));
            }
            self.pass_on(&gone, entry);
        }
    }

    /// A file that loses its first name lives on under the next one.
    fn pass_on(&mut self, gone: &LayerPath, entry: Entry<Offset>) {
        let mut names = self.links.remove(gone).unwrap_or_default();
        let Some(heir) = names.pop_first() else { return };
        for name in &names {
            if let Some(link) = self.tree.entries.get_mut(name) {
                link.kind = Kind::HardLink { to: heir.clone() };
            }
        }
        self.tree.entries.insert(heir.clone(), entry);
        if !names.is_empty() {
            self.links.insert(heir, names);
        }
    }
}
