//! Files of a git repository, through the program `git`.
//!
//! ```text
//! GitSource ─ resolve ─▶ a commit ─ fetch ─▶ a bare repository in the store ─ check out ─▶ a tar in the store
//! ```
//!
//! The commit is the key: what was checked out once is neither fetched nor checked out again.

mod access;
mod checkout;
mod error;
mod fetch;
mod program;
mod resolve;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::graph::GitSource;
use crate::image::{Digest, Hasher, HashingWriter};
use crate::layer::{Content, Index, LayerPath, Times, Tree, write_layer};
use crate::store::{Store, WorkFolder};

pub use access::GitAccess;
pub use error::GitError;

use self::program::Git;
use self::resolve::Resolved;
use super::context::Listing;
use super::files::{Files, follow};
use super::workshop::{Workshop, blocking, inside};
use super::{BuildError, Source};

/// What a commit holds.
pub(super) struct Checkout {
    /// Its files, in a tar that the store keeps.
    pub index: Index,
    /// When the commit was made, in seconds since 1970.
    pub committed: i64,
}

/// The store's record of a checkout.
#[derive(Serialize, Deserialize)]
struct Record {
    tar: Digest,
    committed: i64,
}

impl<S: Source> Workshop<S> {
    /// The files of a repository, as they are at this moment.
    pub(super) async fn checkout(&self, source: &GitSource, access: &GitAccess) -> Result<Checkout, BuildError> {
        let git = Git::new(&self.store, &source.remote, access)?;
        let pinned = self.pinned_commit(source)?;
        let wanted = resolve::resolve(&git, source, pinned.as_ref()).await?;
        let commit = wanted.commit.as_ref().unwrap_or(&wanted.object).clone();
        self.commit_found(source, &commit);
        self.events.emit(Event::Note(format!("{} is at commit {commit}", source.remote)));
        let key = key(source, &wanted);
        if let Some(known) = recorded(&self.store, &key) {
            return Ok(known);
        }
        let (store, name) = (self.store.clone(), repository_name(source, &wanted));
        let repository = blocking(move || Ok(store.repository(&name)?)).await?;
        // Another build may have done it while this one waited.
        if let Some(known) = recorded(&self.store, &key) {
            return Ok(known);
        }
        fetch::fetch(&git, &repository, source, &wanted).await?;
        let object = format!("{}^{{commit}}", wanted.object);
        let date = ["show", "--no-patch", "--format=%ct", &object, "--"];
        let date = git.local("looking into", repository.path(), &date).await?;
        let committed = date.trim().parse().unwrap_or(0);
        let scratch = Scratch(self.store.work_folder()?);
        let folder = scratch.0.path();
        let keep = keeps_git_dir(source);
        checkout::check_out(&git, repository.path(), source, &wanted, keep, folder).await?;
        let (store, source, tree) = (self.store.clone(), source.clone(), checkout::tree(folder));
        let index = blocking(move || gather(&store, &tree, &source, keep, &commit)).await?;
        self.store.keep_step(&key, &Record { tar: index.diff_id, committed })?;
        Ok(Checkout { index, committed })
    }
}

/// A folder that is gone when it is dropped, whatever stopped the work in it.
struct Scratch(WorkFolder);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is tried again by the next build.
        let _ = std::fs::remove_dir_all(self.0.path());
    }
}

/// A part of a repository has no `.git` of its own.
fn keeps_git_dir(source: &GitSource) -> bool {
    source.keep_git_dir == Some(true) && source.folder.is_none()
}

/// Everything that the files are a function of; no credentials.
fn key(source: &GitSource, wanted: &Resolved) -> Digest {
    let GitSource { remote, reference: _, folder, checksum: _, keep_git_dir: _, submodules, fetch_by_commit: _ } =
        source;
    let Resolved { object, commit, name } = wanted;
    let keep = keeps_git_dir(source);
    let mut key = Hasher::default();
    key.field(b"locus-push checkout 1");
    key.field(remote.url().as_bytes());
    key.field(if keep { object } else { commit.as_ref().unwrap_or(object) }.as_bytes());
    key.field(name.as_deref().filter(|_| keep).unwrap_or_default().as_bytes());
    key.field(folder.as_deref().unwrap_or_default().as_bytes());
    key.field(&[u8::from(keep), u8::from(*submodules)]);
    key.finish()
}

fn repository_name(source: &GitSource, wanted: &Resolved) -> Digest {
    let mut name = Hasher::default();
    name.field(source.remote.url().as_bytes());
    // SHA-1 and SHA-256 do not go together in one repository.
    name.field(&[wanted.object.len() as u8]);
    name.finish()
}

fn recorded(store: &Store, key: &Digest) -> Option<Checkout> {
    let Record { tar, committed } = store.step(key)?;
    let index = store.tree::<Index>(&tar).filter(|index| index.diff_id == tar)?;
    store.tar_path(&tar).exists().then_some(Checkout { index, committed })
}

/// Puts what was checked out into a tar, so that its files can be had like those of any archive.
fn gather(store: &Store, folder: &Path, source: &GitSource, keep: bool, commit: &str) -> Result<Index, BuildError> {
    let tree = Listing::of_checkout(folder, keep)?;
    let tree = part(&tree, source, commit)?;
    let nowhere = |_: &Digest| -> std::io::Result<std::fs::File> { Err(std::io::ErrorKind::NotFound.into()) };
    let mut tar = HashingWriter::new(std::io::BufWriter::new(store.tar_writer()?));
    let tree = write_layer(&tree, Times::default(), &nowhere, &mut tar)?;
    let (tar, diff_id, size) = tar.finish();
    let tar = tar.into_inner().map_err(|e| inside("keeping a checkout", e.into_error()))?;
    store.keep_tar(tar, &diff_id)?;
    let index = Index { diff_id, size, tree };
    store.keep_tree(&diff_id, &index)?;
    Ok(index)
}

/// The folder that is wanted, or all. Links are followed inside the repository, as they would be were it a root.
fn part(listing: &Listing, source: &GitSource, commit: &str) -> Result<Tree<Content>, BuildError> {
    let whole = listing.tree();
    let Some(folder) = &source.folder else { return Ok(whole) };
    let remote = || source.remote.to_string();
    if leads_out(folder) {
        return Err(GitError::Outside { remote: remote(), folder: folder.clone() }.into());
    }
    let top = follow(folder.as_bytes(), |path| listing.entry(path).map(|found| found.entry)).ok();
    let is_directory = |path: &LayerPath| listing.entry(path).is_some_and(|found| found.entry.is_directory());
    let Some(top) = top.filter(is_directory) else {
        let (folder, commit) = (folder.clone(), commit.to_owned());
        return Err(GitError::NoFolder { remote: remote(), folder, commit }.into());
    };
    let mut tree = Tree::default();
    for (path, entry) in whole.entries {
        let below = path.below(&top).filter(|below| !below.is_empty());
        if let Some(below) = below {
            tree.entries.insert(LayerPath::parse(below)?, entry);
        }
    }
    Ok(tree)
}

fn leads_out(folder: &str) -> bool {
    let mut depth = 0usize;
    for part in folder.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}
