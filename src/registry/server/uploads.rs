//! Uploads: each is a temp file of the store's until its digest is told and found right.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use hyper::{Request, StatusCode};

use super::State;
use super::manifests::CONTENT_DIGEST;
use super::reply::{self, Refusal, Reply, with};
use super::route::{Query, Repository};
use crate::image::Digest;
use crate::store::{BlobWriter, StoreError};

/// The longest wait for the next bytes of a body.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// How many uploads may be open; the oldest gives way.
const MOST: usize = 256;

/// How long nothing may come of an upload before it gives way to a new one.
const IDLE: Duration = Duration::from_secs(3600);

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

#[derive(Default)]
pub(super) struct Uploads(Mutex<BTreeMap<String, Upload>>);

struct Upload {
    repository: Repository,
    writer: BlobWriter,
    touched: Instant,
}

impl Uploads {
    /// A thread that died while it held the lock left a whole map.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an upload out, so that nobody else writes to it meanwhile.
    fn take(&self, repository: &Repository, id: &str) -> Result<Upload, Refusal> {
        let mut all = self.all();
        match all.get(id) {
            Some(upload) if upload.repository == *repository => {}
            _ => return Err(unknown()),
        }
        all.remove(id).ok_or_else(unknown)
    }

    fn put(&self, id: &str, upload: Upload) {
        let mut all = self.all();
        all.retain(|_, upload| upload.touched.elapsed() < IDLE);
        if all.len() >= MOST
            && let Some(oldest) = all.iter().min_by_key(|(_, upload)| upload.touched).map(|(id, _)| id.clone())
        {
            all.remove(&oldest);
        }
        all.insert(id.to_owned(), upload);
    }
}

/// POST: an upload begins, or is whole at once, or need not be, because the blob is here.
pub(super) async fn open(
    state: &State,
    repository: &Repository,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    if let Some(digest) = query.mount.filter(|digest| state.store.blob_size(digest).is_some()) {
        return Ok(created(repository, &digest));
    }
    let mut upload =
        Upload { repository: repository.clone(), writer: state.store.blob_writer()?, touched: Instant::now() };
    if let Some(digest) = query.digest {
        receive(&mut upload, request.into_body()).await?;
        return keep(repository, upload, digest).await;
    }
    let id = new_id();
    state.uploads.put(&id, upload);
    Ok(progress(StatusCode::ACCEPTED, repository, &id, 0))
}

/// GET: how much there is.
pub(super) fn status(state: &State, repository: &Repository, id: &str) -> Result<Reply, Refusal> {
    let all = state.uploads.all();
    let upload = all.get(id).filter(|upload| upload.repository == *repository).ok_or_else(unknown)?;
    Ok(progress(StatusCode::NO_CONTENT, repository, id, upload.writer.bytes()))
}

/// PATCH: more bytes, at the end of those that there are.
pub(super) async fn add(
    state: &State,
    repository: &Repository,
    id: &str,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let mut upload = state.uploads.take(repository, id)?;
    if let Err(refusal) = check_range(&request, upload.writer.bytes()) {
        state.uploads.put(id, upload);
        return Err(refusal);
    }
    let received = receive(&mut upload, request.into_body()).await;
    let bytes = upload.writer.bytes();
    // A client that was cut off asks how far it came, and goes on from there.
    state.uploads.put(id, upload);
    received.map(|()| progress(StatusCode::ACCEPTED, repository, id, bytes))
}

/// PUT: the last bytes, or all, and the digest that they must have.
pub(super) async fn close(
    state: &State,
    repository: &Repository,
    id: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let digest = query
        .digest
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "there is no `digest` in the query"))?;
    let mut upload = state.uploads.take(repository, id)?;
    if let Err(refusal) = check_range(&request, upload.writer.bytes()) {
        state.uploads.put(id, upload);
        return Err(refusal);
    }
    receive(&mut upload, request.into_body()).await?;
    keep(repository, upload, digest).await
}

pub(super) fn cancel(state: &State, repository: &Repository, id: &str) -> Result<Reply, Refusal> {
    state.uploads.take(repository, id).map(|_| reply::empty(StatusCode::NO_CONTENT))
}

async fn keep(repository: &Repository, upload: Upload, digest: Digest) -> Result<Reply, Refusal> {
    // Committing waits for the disk.
    let kept = tokio::task::spawn_blocking(move || upload.writer.commit(Some(&digest))).await;
    kept.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    Ok(created(repository, &digest))
}

async fn receive(upload: &mut Upload, mut body: Incoming) -> Result<(), Refusal> {
    let cut = || Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "the body was cut");
    while let Some(frame) = tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| cut())? {
        if let Ok(piece) = frame.map_err(|_| cut())?.into_data() {
            let full = |source: std::io::Error| match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    Refusal::from(StoreError::Full { path: Default::default() })
                }
                _ => Refusal::from(source),
            };
            upload.writer.write_all(&piece).map_err(full)?;
        }
    }
    upload.touched = Instant::now();
    Ok(())
}

/// `Content-Range: 0-99`, where a client sends it, must begin where we are and be as long as the body.
fn check_range(request: &Request<Incoming>, bytes: u64) -> Result<(), Refusal> {
    let number = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(range) = number(CONTENT_RANGE) else { return Ok(()) };
    let ends = range.trim_start_matches("bytes ").split_once('-');
    let ends = ends.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    let Some((first, last)) = ends.filter(|(first, _)| *first == bytes) else {
        let why = format!("the next byte is number {bytes}");
        return Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", &why));
    };
    match number(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length.checked_add(first) != last.checked_add(1) => {
            let why = format!("the body has {length} bytes, and its Content-Range others");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", &why))
        }
        _ => Ok(()),
    }
}

fn progress(status: StatusCode, repository: &Repository, id: &str, bytes: u64) -> Reply {
    let location = format!("/v2/{}/blobs/uploads/{id}", repository.as_str());
    let found = with(with(reply::empty(status), LOCATION, &location), UPLOAD_UUID, id);
    with(found, RANGE, &format!("0-{}", bytes.saturating_sub(1)))
}

fn created(repository: &Repository, digest: &Digest) -> Reply {
    let location = format!("/v2/{}/blobs/{digest}", repository.as_str());
    with(with(reply::empty(StatusCode::CREATED), LOCATION, &location), CONTENT_DIGEST, &digest.to_string())
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")
}

/// 128 bits of the randomness that the standard library seeds its maps with.
fn new_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
