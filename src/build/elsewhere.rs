//! A build's own context that is no folder of this machine: a repository, a URL, or what stdin holds.

use std::io::{self, Cursor, Read};
use std::path::Path;

use crate::dockerfile::credentials::hidden;
use crate::graph::GitSource;
use crate::layer::{ArchiveKind, Index, Kind};
use crate::store::Store;

use super::archive::keep_stream;
use super::context::{Listing, read_ignore};
use super::files::{Files as _, follow};
use super::workshop::{Workshop, blocking, inside, open};
use super::{BuildError, Context, Download, Fetched, GitAccess, Problem, Source};

/// The largest Dockerfile that is read: BuildKit's limit is a gRPC message's 16 MiB.
const DOCKERFILE: u64 = 16 << 20;

/// Where a context is had from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    Git(GitSource),
    Url(String),
    Stdin,
}

/// What was there.
pub enum Found {
    Files(Files),
    /// No archive, so it is a Dockerfile; with the context that goes with it.
    Dockerfile {
        text: String,
        context: Context,
    },
}

/// The files of a context, not yet seen through `.dockerignore`.
pub struct Files {
    listing: Listing,
    date: Option<i64>,
    store: Store,
}

impl<S: Source> Workshop<S> {
    /// Fetches a build's own context.
    pub async fn elsewhere(&self, from: &Elsewhere, access: &GitAccess) -> Result<Found, BuildError> {
        let store = self.store.clone();
        let files = |index: &Index, date| {
            Ok::<_, BuildError>(Found::Files(Files { listing: Listing::of_archive(index)?, date, store }))
        };
        match from {
            Elsewhere::Git(source) => {
                let checkout = self.checkout(source, access).await?;
                blocking(move || files(&checkout.index, Some(checkout.committed))).await
            }
            Elsewhere::Url(url) => {
                let Download { digest, size, last_modified } = self.fetch_url(url).await?;
                let (store, shown) = (self.store.clone(), hidden(url).into_owned());
                let file = self.of_download(digest, size)?;
                blocking(move || match stream(&store, store.open_blob(&digest)?, &shown)? {
                    Streamed::Archive(index) => files(&index, last_modified.or_else(|| index.newest())),
                    Streamed::Text(text) => {
                        let fetched = Fetched { listing: file.into(), date: last_modified, ..Fetched::default() };
                        Ok(Found::Dockerfile { text, context: Context::Fetched(fetched) })
                    }
                })
                .await
            }
            Elsewhere::Stdin => {
                let store = self.store.clone();
                blocking(move || match stream(&store, io::stdin().lock(), "stdin")? {
                    Streamed::Archive(index) => files(&index, index.newest()),
                    Streamed::Text(text) => Ok(Found::Dockerfile { text, context: Context::empty() }),
                })
                .await
            }
        }
    }

    /// The text of a Dockerfile at a URL.
    pub async fn dockerfile_at(&self, url: &str) -> Result<String, BuildError> {
        let Download { digest, .. } = self.fetch_url(url).await?;
        let (store, shown) = (self.store.clone(), hidden(url).into_owned());
        blocking(move || text(store.open_blob(&digest)?, &shown)).await
    }
}

impl Files {
    /// A text file by its path, links followed; `None` where there is none.
    pub fn read(&self, path: &str) -> Result<Option<String>, BuildError> {
        self.file(path)?.map(|file| text(file, path)).transpose()
    }

    /// The files that may be seen: `<Dockerfile>.dockerignore` wins over the context's own.
    pub fn context(self, dockerfile: Option<&str>) -> Result<Context, BuildError> {
        let beside = dockerfile.map(|name| format!("{name}.dockerignore"));
        for name in beside.into_iter().chain([".dockerignore".to_owned()]) {
            if let Some(file) = self.file(&name)? {
                let ignore = read_ignore(file, Path::new(&name))?;
                let listing = self.listing.without(&ignore).into();
                return Ok(Context::Fetched(Fetched { listing, ignore, date: self.date }));
            }
        }
        Ok(Context::Fetched(Fetched { listing: self.listing.into(), date: self.date, ..Fetched::default() }))
    }

    fn file(&self, path: &str) -> Result<Option<impl Read>, BuildError> {
        let real = follow(path.as_bytes(), |path| self.listing.entry(path).map(|found| found.entry))?;
        match self.listing.entry(&real).map(|found| found.entry.kind) {
            Some(Kind::File { size, content }) => {
                let file = open(&self.store, &content).map_err(|e| inside("reading a context", e))?;
                Ok(Some(file.take(size)))
            }
            _ => Ok(None),
        }
    }
}

enum Streamed {
    Archive(Index),
    Text(String),
}

/// Reads what is an archive, by its first bytes, into the store; all else is text.
fn stream(store: &Store, mut from: impl Read, shown: &str) -> Result<Streamed, BuildError> {
    let mut prefix = Vec::new();
    let read = from.by_ref().take(ArchiveKind::PREFIX as u64).read_to_end(&mut prefix);
    read.map_err(|e| inside("reading a context", e))?;
    let kind = ArchiveKind::sniff(&prefix);
    let whole = Cursor::new(prefix).chain(from);
    match kind {
        Some(kind) => Ok(Streamed::Archive(keep_stream(store, whole, kind, shown)?)),
        None => Ok(Streamed::Text(text(whole, shown)?)),
    }
}

fn text(from: impl Read, shown: &str) -> Result<String, BuildError> {
    let problem = |why: String| Problem::Dockerfile { name: shown.to_owned(), why };
    let mut bytes = Vec::new();
    from.take(DOCKERFILE + 1).read_to_end(&mut bytes).map_err(|e| problem(e.to_string()))?;
    if bytes.len() as u64 > DOCKERFILE {
        return Err(problem(format!("it is longer than {} MiB", DOCKERFILE >> 20)).into());
    }
    String::from_utf8(bytes).map_err(|_| problem("it is neither an archive nor UTF-8".to_owned()).into())
}
