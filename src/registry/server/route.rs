//! What a path of the API names. Everything behind it has been checked.

use hyper::{StatusCode, Uri};
use reqwest::Url;

use super::reply::Refusal;
use crate::image::{Digest, Reference};

pub(super) enum Route {
    Root,
    Tags { repository: Repository, page: Page },
    Manifest { repository: Repository, version: Version },
    Blob { repository: Repository, digest: Digest },
    Referrers { repository: Repository, subject: Digest, wanted: Wanted },
    Uploads { repository: Repository, query: Query },
    Upload { repository: Repository, id: String, query: Query },
}

/// A repository's name by the grammar of references: no part of it is empty, or begins with a dot or `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository(String);

pub(super) enum Version {
    Tag(String),
    Digest(Digest),
}

/// Which part of a list is asked for.
#[derive(Default)]
pub(super) struct Page {
    pub most: Option<usize>,
    pub after: Option<String>,
}

/// Which of a manifest's referrers are asked for.
#[derive(Default)]
pub(super) struct Wanted {
    pub artifact_type: Option<String>,
    /// The last one that was given.
    pub after: Option<Digest>,
}

#[derive(Default)]
pub(super) struct Query {
    pub digest: Option<Digest>,
    pub mount: Option<Digest>,
}

impl Repository {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(name: &str) -> Result<Self, Refusal> {
        match format!("localhost/{name}:x").parse::<Reference>() {
            Ok(reference) if reference.repository() == name => Ok(Self(name.to_owned())),
            _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "that is not a repository's name")),
        }
    }
}

impl Version {
    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            return Ok(Self::Digest(parse_digest(text)?));
        }
        let reference: Reference = "localhost/x".parse().expect("this is a reference");
        match reference.tagged(text) {
            Ok(_) => Ok(Self::Tag(text.to_owned())),
            Err(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "TAG_INVALID", "that is not a tag")),
        }
    }
}

pub(super) fn route(uri: &Uri) -> Result<Route, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such path");
    let path = uri.path().replace("%3A", ":").replace("%3a", ":");
    if path == "/v2" {
        return Ok(Route::Root);
    }
    let rest = path.strip_prefix("/v2/").ok_or_else(unknown)?;
    if rest.is_empty() {
        return Ok(Route::Root);
    }
    // From the right, since any of these words may be a part of a repository's name.
    let parts: Vec<&str> = rest.split('/').collect();
    let name = |parts: &[&str]| Repository::parse(&parts.join("/"));
    match parts[..] {
        [ref repository @ .., "tags", "list"] => Ok(Route::Tags { repository: name(repository)?, page: page(uri)? }),
        [ref repository @ .., "manifests", version] => {
            Ok(Route::Manifest { repository: name(repository)?, version: Version::parse(version)? })
        }
        [ref repository @ .., "blobs", "uploads", ""] | [ref repository @ .., "blobs", "uploads"] => {
            Ok(Route::Uploads { repository: name(repository)?, query: query(uri)? })
        }
        [ref repository @ .., "blobs", "uploads", id] => {
            Ok(Route::Upload { repository: name(repository)?, id: id.to_owned(), query: query(uri)? })
        }
        [ref repository @ .., "blobs", digest] => {
            Ok(Route::Blob { repository: name(repository)?, digest: parse_digest(digest)? })
        }
        [ref repository @ .., "referrers", subject] => Ok(Route::Referrers {
            repository: name(repository)?,
            subject: parse_digest(subject)?,
            wanted: wanted(uri)?,
        }),
        _ => Err(unknown()),
    }
}

fn pairs(uri: &Uri) -> Vec<(String, String)> {
    let url = format!("http://localhost/?{}", uri.query().unwrap_or_default()).parse::<Url>();
    url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}

fn query(uri: &Uri) -> Result<Query, Refusal> {
    let mut query = Query::default();
    for (name, value) in pairs(uri) {
        match name.as_str() {
            "digest" => query.digest = Some(parse_digest(&value)?),
            "mount" => query.mount = Some(parse_digest(&value)?),
            // `from` is not needed, and `_state` and its like are other registries' own.
            _ => {}
        }
    }
    Ok(query)
}

fn page(uri: &Uri) -> Result<Page, Refusal> {
    let mut page = Page::default();
    for (name, value) in pairs(uri) {
        match name.as_str() {
            "n" => {
                let bad = |_| Refusal::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "`n` is no number");
                page.most = Some(value.parse().map_err(bad)?);
            }
            "last" => page.after = Some(value),
            _ => {}
        }
    }
    Ok(page)
}

fn wanted(uri: &Uri) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted::default();
    for (name, value) in pairs(uri) {
        match name.as_str() {
            "artifactType" if !value.is_empty() => wanted.artifact_type = Some(value),
            "last" => wanted.after = Some(parse_digest(&value)?),
            _ => {}
        }
    }
    Ok(wanted)
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|bad: crate::image::BadDigest| {
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &bad.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Option<String> {
        Some(match route(&path.parse().unwrap()).ok()? {
            Route::Root => "root".to_owned(),
            Route::Tags { repository, .. } => format!("tags of {}", repository.as_str()),
            Route::Manifest { repository, version: Version::Tag(tag) } => format!("{} tag {tag}", repository.as_str()),
            Route::Manifest { repository, .. } => format!("{} by digest", repository.as_str()),
            Route::Blob { .. } => "blob".to_owned(),
            Route::Referrers { repository, .. } => format!("referrers in {}", repository.as_str()),
            Route::Uploads { repository, .. } => format!("uploads of {}", repository.as_str()),
            Route::Upload { repository, id, .. } => format!("upload {id} of {}", repository.as_str()),
        })
    }

    #[test]
    fn a_repository_may_be_called_anything_that_is_a_name() {
        let digest = Digest::of(b"");
        for (path, wanted) in [
            ("/v2/", "root"),
            ("/v2/a/manifests/x", "a tag x"),
            ("/v2/a/manifests/manifests/x", "a/manifests tag x"),
            ("/v2/a/blobs/uploads/", "uploads of a"),
            ("/v2/a/b/c/blobs/uploads/1", "upload 1 of a/b/c"),
            ("/v2/tags/list/tags/list", "tags of tags/list"),
            (&format!("/v2/a/manifests/{digest}"), "a by digest"),
            (&format!("/v2/a/referrers/referrers/{digest}"), "referrers in a/referrers"),
            (&format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A")), "blob"),
        ] {
            assert_eq!(named(path).as_deref(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn no_path_leads_out_of_the_folder() {
        for path in [
            "/v2/../manifests/x",
            "/v2/a/../b/manifests/x",
            "/v2/_tags/manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/%2e%2e",
            "/v2//manifests/x",
            "/v2/manifests/x",
            "/v2/A/manifests/x",
            "/v2/a:b/manifests/x",
            "/v2/a/blobs/sha256:..",
            "/v1/",
            "/",
        ] {
            assert_eq!(named(path), None, "{path}");
        }
    }
}
