//! Which manifests a repository has, what its tags stand for, and who refers to whom: small files, each replaced whole.
//!
//! `REPOSITORY/_manifests/HEX`, `REPOSITORY/_tags/TAG` and `REPOSITORY/_referrers/SUBJECT/HEX`; no part of a
//! repository's name begins with `_`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::route::{Repository, Version};
use crate::image::{Digest, Reference};

pub(super) struct Shelf {
    root: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub digest: Digest,
    pub media_type: String,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

impl Shelf {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        make(&root)?;
        Ok(Self { root })
    }

    /// What the repository has under a tag or digest.
    pub(super) fn find(&self, repository: &Repository, version: &Version) -> io::Result<Option<Record>> {
        read(&self.path(repository, version))
    }

    pub(super) fn keep(&self, repository: &Repository, version: &Version, record: &Record) -> io::Result<()> {
        write(&self.path(repository, version), record)
    }

    /// Lets a manifest be found by what it refers to, described by a descriptor.
    pub(super) fn refer(
        &self,
        repository: &Repository,
        subject: &Digest,
        from: &Digest,
        descriptor: &Value,
    ) -> io::Result<()> {
        write(&self.referrers_of(repository, subject).join(from.hex()), descriptor)
    }

    /// The descriptors of those that refer to a manifest, in the order of their digests.
    pub(super) fn referrers(&self, repository: &Repository, subject: &Digest) -> io::Result<Vec<(Digest, Value)>> {
        let folder = self.referrers_of(repository, subject);
        let mut found = Vec::new();
        for digest in digests(&folder)? {
            // One that is gone by now was removed meanwhile.
            found.extend(read(&folder.join(digest.hex()))?.map(|descriptor| (digest, descriptor)));
        }
        Ok(found)
    }

    /// Removes a tag; or a manifest, the tags that stand for it, and its place among the referrers. Whether it was
    /// there.
    pub(super) fn remove(&self, repository: &Repository, version: &Version) -> io::Result<bool> {
        let Version::Digest(digest) = version else {
            return forget(&self.path(repository, version));
        };
        let Some(record) = self.find(repository, version)? else { return Ok(false) };
        for tag in self.tags(repository)?.unwrap_or_default() {
            let tag = Version::Tag(tag);
            if self.find(repository, &tag)?.is_some_and(|found| found.digest == *digest) {
                forget(&self.path(repository, &tag))?;
            }
        }
        if let Some(subject) = &record.subject {
            forget(&self.referrers_of(repository, subject).join(digest.hex()))?;
        }
        forget(&self.path(repository, version))
    }

    /// The manifests of one repository.
    pub(super) fn manifests(&self, repository: &Repository) -> io::Result<Vec<Digest>> {
        digests(&self.root.join(repository.as_str()).join("_manifests"))
    }

    /// All repositories that were ever pushed to.
    pub(super) fn repositories(&self) -> io::Result<Vec<Repository>> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(parent) = folders.pop() {
            for name in names(&self.root.join(&parent))? {
                let path = if parent.is_empty() { name.clone() } else { format!("{parent}/{name}") };
                if name == "_manifests" {
                    found.extend(Repository::parse(&parent));
                } else if !name.starts_with('_') && self.root.join(&path).is_dir() {
                    folders.push(path);
                }
            }
        }
        Ok(found)
    }

    /// The tags in order; `None` where there is no such repository.
    pub(super) fn tags(&self, repository: &Repository) -> io::Result<Option<Vec<String>>> {
        let folder = self.root.join(repository.as_str());
        if !folder.join("_manifests").is_dir() {
            return Ok(None);
        }
        let any: Reference = "localhost/x".parse().expect("this is a reference");
        let mut tags = names(&folder.join("_tags"))?;
        tags.retain(|tag| any.tagged(tag).is_ok());
        Ok(Some(tags))
    }

    fn path(&self, repository: &Repository, version: &Version) -> PathBuf {
        let folder = self.root.join(repository.as_str());
        match version {
            Version::Tag(tag) => folder.join("_tags").join(tag),
            Version::Digest(digest) => folder.join("_manifests").join(digest.hex()),
        }
    }

    fn referrers_of(&self, repository: &Repository, subject: &Digest) -> PathBuf {
        self.root.join(repository.as_str()).join("_referrers").join(subject.hex())
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(io::Error::other)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().expect("the path was joined from a folder and a name");
    make(folder)?;
    // Its name begins with a dot, which no tag and no digest does.
    let mut temp = tempfile::NamedTempFile::new_in(folder)?;
    temp.write_all(&serde_json::to_vec(value).map_err(io::Error::other)?)?;
    temp.as_file().sync_all()?;
    temp.persist(path)?;
    Ok(())
}

/// Whether there was such a file.
fn forget(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names in a folder, in order; none where there is no folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    match fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                names.extend(entry?.file_name().into_string().ok());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    names.sort_unstable();
    Ok(names)
}

fn digests(folder: &Path) -> io::Result<Vec<Digest>> {
    Ok(names(folder)?.into_iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
