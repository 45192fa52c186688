//! Manifests by tag and digest, in, out and away; and the list of tags.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, LINK, LOCATION};
use hyper::{Request, StatusCode};

use super::State;
use super::referrers::{Face, SUBJECT};
use super::reply::{self, Refusal, Reply, with};
use super::route::{Page, Repository, Version};
use super::shelf::Record;
use super::uploads::SILENCE;
use crate::image::{Descriptor, Digest, Document, MediaType};
use crate::registry::pull::DOCUMENT_LIMIT;

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

pub(super) fn read(state: &State, repository: &Repository, version: &Version, head: bool) -> Result<Reply, Refusal> {
    let record = state.shelf.find(repository, version)?.ok_or_else(unknown)?;
    let bytes = state.store.read_blob(&record.digest, DOCUMENT_LIMIT as u64).map_err(|_| unknown())?;
    let mut found = reply::document(&record.media_type, bytes);
    if head {
        *found.body_mut() = reply::body(Bytes::new());
    }
    Ok(with(found, CONTENT_DIGEST, &record.digest.to_string()))
}

/// Keeps a manifest whose blobs are all here. Its subject need not be: a signature may come before what it signs.
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
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err(invalid("the manifest was cut")),
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "UNKNOWN", "the manifest did not come")),
    };
    let document = Document::parse(&bytes, header.as_deref()).map_err(|error| invalid(&error.to_string()))?;
    let face: Face = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    let digest = Digest::of(&bytes);
    if let Version::Digest(asked) = version
        && *asked != digest
    {
        let why = format!("the manifest's digest is {digest}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", &why));
    }
    let _alone = state.changing.lock().await;
    check_parts(state, repository, &document)?;
    let media_type = media_type(&face, header.as_deref(), &document);
    keep(state, repository, version, &bytes, (&face, media_type))?;
    let location = format!("/v2/{}/manifests/{digest}", repository.as_str());
    let created =
        with(with(reply::empty(StatusCode::CREATED), LOCATION, &location), CONTENT_DIGEST, &digest.to_string());
    Ok(match face.subject() {
        Some(subject) => with(created, SUBJECT, &subject.to_string()),
        None => created,
    })
}

/// Puts a manifest on the shelf, under its digest and its tag, and among the referrers of its subject.
pub(super) fn keep(
    state: &State,
    repository: &Repository,
    version: &Version,
    bytes: &[u8],
    (face, media_type): (&Face, String),
) -> Result<(), Refusal> {
    let digest = state.store.keep_blob(bytes)?;
    let record = Record { digest, media_type, subject: face.subject() };
    if let Some(subject) = &record.subject {
        let descriptor = face.descriptor(&digest, bytes.len(), &record.media_type);
        state.shelf.refer(repository, subject, &digest, &descriptor)?;
    }
    state.shelf.keep(repository, &Version::Digest(digest), &record)?;
    if let Version::Tag(_) = version {
        state.shelf.keep(repository, version, &record)?;
    }
    Ok(())
}

/// Removes a tag, or a manifest with the tags that stand for it. Its blobs stay: others may need them.
pub(super) async fn remove(state: &State, repository: &Repository, version: &Version) -> Result<Reply, Refusal> {
    let _alone = state.changing.lock().await;
    match state.shelf.remove(repository, version)? {
        true => Ok(reply::empty(StatusCode::ACCEPTED)),
        false => Err(unknown()),
    }
}

/// Which repository has a manifest that is or needs this blob.
pub(super) fn needing(state: &State, blob: &Digest) -> Result<Option<Repository>, Refusal> {
    for repository in state.shelf.repositories()? {
        for manifest in state.shelf.manifests(&repository)? {
            if manifest == *blob || parts(state, &manifest).iter().any(|part| part.digest == *blob) {
                return Ok(Some(repository));
            }
        }
    }
    Ok(None)
}

/// Config and layers of a manifest that is kept; none of an index, whose parts are manifests.
pub(super) fn parts(state: &State, manifest: &Digest) -> Vec<Descriptor> {
    let bytes = state.store.read_blob(manifest, DOCUMENT_LIMIT as u64).ok();
    match bytes.and_then(|bytes| Document::parse(&bytes, None).ok()) {
        Some(Document::Manifest(manifest)) => manifest.layers.into_iter().chain([manifest.config]).collect(),
        Some(Document::Index(_)) | None => Vec::new(),
    }
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
    let is_here =
        |blob: &Descriptor| is_foreign(&blob.media_type) || state.store.blob_size(&blob.digest) == Some(blob.size);
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

/// Layers that must not be in a registry: the manifest names the places that have them.
fn is_foreign(media_type: &MediaType) -> bool {
    ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign."]
        .iter()
        .any(|prefix| media_type.as_str().starts_with(prefix))
}

/// The type that the manifest says of itself, else the one that it came with, without its parameters.
pub(super) fn media_type(face: &Face, header: Option<&str>, document: &Document) -> String {
    let header = header.and_then(|header| header.split(';').next()).map(|header| header.trim().to_owned());
    face.media_type.clone().or(header).unwrap_or_else(|| {
        let guess = match document {
            Document::Manifest(_) => MediaType::OCI_MANIFEST,
            Document::Index(_) => MediaType::OCI_INDEX,
        };
        guess.to_owned()
    })
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "there is no such manifest")
}

fn too_large() -> Refusal {
    let why = format!("a manifest may have {} MiB", DOCUMENT_LIMIT >> 20);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", &why)
}
