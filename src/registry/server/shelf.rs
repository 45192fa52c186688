//! Which manifests a repository has, and what its tags stand for: small files, each replaced whole.
//!
//! `REPOSITORY/_manifests/HEX` and `REPOSITORY/_tags/TAG`; no part of a repository's name begins with `_`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
}

impl Shelf {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        make(&root)?;
        Ok(Self { root })
    }

    /// What the repository has under a tag or digest.
    pub(super) fn find(&self, repository: &Repository, version: &Version) -> io::Result<Option<Record>> {
        match fs::read(self.path(repository, version)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).map_err(io::Error::other)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn keep(&self, repository: &Repository, version: &Version, record: &Record) -> io::Result<()> {
        let path = self.path(repository, version);
        let folder = path.parent().expect("the path was joined from a folder and a name");
        make(folder)?;
        // Its name begins with a dot, which no tag and no digest does.
        let mut temp = tempfile::NamedTempFile::new_in(folder)?;
        temp.write_all(&serde_json::to_vec(record).map_err(io::Error::other)?)?;
        temp.as_file().sync_all()?;
        temp.persist(path)?;
        Ok(())
    }

    /// The tags in order; `None` where there is no such repository.
    pub(super) fn tags(&self, repository: &Repository) -> io::Result<Option<Vec<String>>> {
        let folder = self.root.join(repository.as_str());
        if !folder.join("_manifests").is_dir() {
            return Ok(None);
        }
        let any: Reference = "localhost/x".parse().expect("this is a reference");
        let mut tags = Vec::new();
        match fs::read_dir(folder.join("_tags")) {
            Ok(entries) => {
                for entry in entries {
                    tags.extend(entry?.file_name().into_string().ok().filter(|tag| any.tagged(tag).is_ok()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        tags.sort_unstable();
        Ok(Some(tags))
    }

    fn path(&self, repository: &Repository, version: &Version) -> PathBuf {
        let folder = self.root.join(repository.as_str());
        match version {
            Version::Tag(tag) => folder.join("_tags").join(tag),
            Version::Digest(digest) => folder.join("_manifests").join(digest.hex()),
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
