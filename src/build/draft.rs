//! A layer in the making: new entries over what is there already.

use std::sync::Arc;

use crate::layer::{Content, Entry, LayerPath, Tree, View};

use super::files::{Files, follow};
use super::{BuildError, Problem};

/// A tree that will be a layer over `below`.
pub(super) struct Draft {
    below: Arc<View>,
    tree: Tree<Content>,
}

/// What directories that must be made are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parents {
    pub mode: u32,
    pub owner: (u32, u32),
}

impl Draft {
    pub(super) fn over(below: Arc<View>) -> Self {
        Self { below, tree: Tree::default() }
    }

    pub(super) fn finish(self) -> Tree<Content> {
        self.tree
    }

    /// What is at this very path.
    pub(super) fn entry(&self, path: &LayerPath) -> Option<Entry<Content>> {
        self.tree.entries.get(path).cloned().or_else(|| self.below.entry(path).map(|found| found.entry))
    }

    /// Whether this layer has something there.
    pub(super) fn has(&self, path: &LayerPath) -> bool {
        self.tree.entries.contains_key(path)
    }

    pub(super) fn is_directory(&self, path: &LayerPath) -> bool {
        self.entry(path).is_some_and(|entry| entry.is_directory())
    }

    /// Where a path leads, its last link followed too.
    pub(super) fn follow(&self, path: &[u8]) -> Result<LayerPath, BuildError> {
        follow(path, |path| self.entry(path))
    }

    /// Makes a directory and the ones above it that are missing.
    pub(super) fn make_directories(&mut self, path: &LayerPath, like: Parents) -> Result<(), BuildError> {
        match self.entry(path) {
            Some(entry) if entry.is_directory() => Ok(()),
            Some(_) => Err(Problem::NotADirectory(path.clone()).into()),
            None => {
                let (uid, gid) = like.owner;
                let made = Entry { uid, gid, ..Entry::directory(like.mode) };
                path.parent().map_or(Ok(()), |parent| self.make_directories(&parent, like))?;
                self.put(path.clone(), made);
                Ok(())
            }
        }
    }

    /// Puts something in the place of whatever is there; a directory in the place of a directory keeps what is in it.
    pub(super) fn replace(&mut self, path: LayerPath, entry: Entry<Content>) {
        if !entry.is_directory() {
            self.tree.entries.retain(|other, _| !other.is_within(&path));
        }
        self.put(path, entry);
    }

    /// Puts something in, whatever was there. Directories above it that exist are listed as they are, as in what an
    /// overlay's upper directory shows: a reader that unpacks the layer alone would make them up.
    pub(super) fn put(&mut self, path: LayerPath, entry: Entry<Content>) {
        let mut above = path.parent();
        while let Some(parent) = above.filter(|parent| !parent.is_root() && !self.tree.entries.contains_key(parent)) {
            if let Some(found) = self.below.entry(&parent) {
                self.tree.entries.insert(parent.clone(), found.entry);
            }
            above = parent.parent();
        }
        self.tree.entries.insert(path, entry);
    }
}
