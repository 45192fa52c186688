//! Manifests by tag and digest, and the list of tags.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, LINK, LOCATION};
use hyper::{Request, StatusCode};

use super::State;
use super::reply::{self, Refusal, Reply, with};
use super::route::{Page, Repository, Version};
use super::shelf::Record;
use super::uploads::SILENCE;
use crate::image::{Descriptor, Digest, Document};
use crate::registry::pull::DOCUMENT_LIMIT;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

pub(super) fn read(state: &State, repository: &Repository, version: &Version, head: bool) -> Result<Reply, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "there is no such manifest");
    let record = state.shelf.find(repository, version)?.ok_or_else(unknown)?;
    let bytes = state.store.read_blob(&record.digest, DOCUMENT_LIMIT as u64).map_err(|_| unknown())?;
    let mut found = reply::document(&record.media_type, bytes);
    if head {
        *found.body_mut() = reply::body(Bytes::new());
    }
    Ok(with(found, CONTENT_DIGEST, &record.digest.to_string()))
}

/// Keeps a manifest whose blobs are all here.
pub(super) async fn write(
    state: &State,
    repository: &Repository,
    version: &Version,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let invalid = |why: &str| Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why);
    let header = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = tokio::time::timeout(SILENCE, Limited::new(request.into_body(), DOCUMENT_LIMIT).collect()).await;
    let bytes = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(invalid("the manifest is larger than 4 MiB, or was cut")),
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "UNKNOWN", "the manifest did not come")),
    };
    let document = Document::parse(&bytes, header.as_deref()).map_err(|error| invalid(&error.to_string()))?;
    check_parts(state, repository, &document)?;
    let digest = Digest::of(&bytes);
    if let Version::Digest(asked) = version
        && *asked != digest
    {
        let why = format!("the manifest's digest is {digest}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &why));
    }
    state.store.keep_blob(&bytes)?;
    let record = Record { digest, media_type: media_type(&bytes, header.as_deref(), &document) };
    state.shelf.keep(repository, &Version::Digest(digest), &record)?;
    if let Version::Tag(_) = version {
        state.shelf.keep(repository, version, &record)?;
    }
    let location = format!("/v2/{}/manifests/{digest}", repository.as_str());
    Ok(with(with(reply::empty(StatusCode::CREATED), LOCATION, &location), CONTENT_DIGEST, &digest.to_string()))
}

pub(super) fn tags(state: &State, repository: &Repository, page: &Page) -> Result<Reply, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "there is no such repository");
    let mut tags = state.shelf.tags(repository)?.ok_or_else(unknown)?;
    if let Some(after) = &page.after {
        tags.retain(|tag| tag > after);
    }
    let more = page.most.is_some_and(|most| most < tags.len());
    tags.truncate(page.most.unwrap_or(usize::MAX));
    let body = serde_json::json!({"name": repository.as_str(), "tags": &tags});
    let found = reply::document("application/json", body.to_string().into_bytes());
    match (more, tags.last(), page.most) {
        (true, Some(last), Some(most)) => {
            let next = format!("</v2/{}/tags/list?n={most}&last={last}>; rel=\"next\"", repository.as_str());
            Ok(with(found, LINK, &next))
        }
        _ => Ok(found),
    }
}

/// The blobs of a manifest with the sizes that it tells, or the manifests of an index.
fn check_parts(state: &State, repository: &Repository, document: &Document) -> Result<(), Refusal> {
    let missing = |digest: &Digest| {
        let why = format!("{digest} is not here with the size that is told");
        Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", &why)
    };
    let is_here = |blob: &Descriptor| state.store.blob_size(&blob.digest) == Some(blob.size);
    match document {
        Document::Manifest(manifest) => {
            match manifest.layers.iter().chain([&manifest.config]).find(|blob| !is_here(blob)) {
                Some(blob) => Err(missing(&blob.digest)),
                None => Ok(()),
            }
        }
        Document::Index(index) => {
            for entry in &index.entries {
                let digest = entry.descriptor.digest;
                if state.shelf.find(repository, &Version::Digest(digest))?.is_none() {
                    return Err(missing(&digest));
                }
            }
            Ok(())
        }
    }
}

/// The type that the manifest says of itself, else the one that it came with.
fn media_type(bytes: &[u8], header: Option<&str>, document: &Document) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Own {
        media_type: Option<String>,
    }
    let own = serde_json::from_slice::<Own>(bytes).ok().and_then(|own| own.media_type);
    own.or_else(|| header.map(str::to_owned)).unwrap_or_else(|| {
        let guess = match document {
            Document::Manifest(_) => crate::image::MediaType::OCI_MANIFEST,
            Document::Index(_) => crate::image::MediaType::OCI_INDEX,
        };
        guess.to_owned()
    })
}
