//! A registry further up whose images are kept here: what is not here is fetched, verified and kept; a tag is asked for
//! anew, and stands for what it stood for where nobody answers.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, LINK, RANGE};
use hyper::{Method, Request, StatusCode};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::State;
use super::referrers::{FILTERS_APPLIED, Face};
use super::reply::{self, Refusal, Reply, with};
use super::route::{Repository, Version};
use super::uploads::SILENCE;
use super::{blobs, manifests};
use crate::build::{FetchError, Source};
use crate::event::Event;
use crate::image::{Descriptor, Digest, Document, Hasher, MediaType, Reference};
use crate::registry::exchange::Question;
use crate::registry::pull::{DOCUMENT_LIMIT, pull_scope};
use crate::registry::retry::is_passing;
use crate::registry::{ExchangeError, PullError, Registry};

/// How long the registry is waited for where there is an answer without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many pieces of a blob may wait for whoever asked for it.
const AHEAD: usize = 8;

/// The registry whose images are kept here, and who fetches them into our store.
pub struct Upstream {
    client: Registry,
    /// As references name it.
    registry: String,
}

impl Upstream {
    /// The client must be one that fetches into the store that is served.
    pub fn new(client: Registry, registry: &str) -> Self {
        Self { client, registry: registry.to_owned() }
    }

    /// What is pushed belongs upstream.
    pub(super) fn refuse_push(&self) -> Refusal {
        let why = format!("this registry keeps what {} has; push there", self.registry);
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", &why)
    }

    /// Sees to it that the shelf has what a version stands for.
    pub(super) async fn bring_manifest(
        &self,
        state: &State,
        repository: &Repository,
        version: &Version,
    ) -> Result<(), Refusal> {
        let kept = state.shelf.find(repository, version)?;
        let is_kept = kept.as_ref().is_some_and(|kept| state.store.blob_size(&kept.digest).is_some());
        let reference = match version {
            Version::Digest(_) if is_kept => return Ok(()),
            Version::Digest(digest) => self.reference(repository)?.at(*digest),
            Version::Tag(tag) => self.reference(repository)?.tagged(tag).map_err(|_| manifests::unknown())?,
        };
        if let Version::Tag(_) = version
            && let Some(kept) = kept.filter(|_| is_kept)
        {
            let told = tokio::time::timeout(PATIENCE, self.client.resolve(&reference)).await;
            match told {
                Ok(Ok(Some(digest))) if digest == kept.digest => return Ok(()),
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Err(manifests::unknown()),
                Ok(Err(error)) if !is_absence(&error) => return Err(refusal(&error)),
                silent => {
                    let why = silent.map_or_else(|_| "it is silent".to_owned(), |told| words(told.err()));
                    let message = format!("{reference} is given as it was kept: {why}");
                    self.client.0.options.events.emit(Event::Warning { message, hint: None });
                    return Ok(());
                }
            }
        }
        let (_, bytes, header) = self.client.manifest(&reference).await.map_err(|error| refusal(&error))?;
        let wrong = |why: String| Refusal::new(StatusCode::BAD_GATEWAY, "MANIFEST_INVALID", &why);
        let document = Document::parse(&bytes, header.as_deref()).map_err(|error| wrong(error.to_string()))?;
        let face: Face = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let media_type = manifests::media_type(&face, header.as_deref(), &document);
        let _alone = state.changing.lock().await;
        manifests::keep(state, repository, version, &bytes, (&face, media_type))
    }

    /// A blob that is not here: it passes through while it is kept.
    pub(super) async fn blob(
        &self,
        state: &State,
        repository: &Repository,
        digest: &Digest,
        request: &Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        let from = self.reference(repository)?;
        let size = self.size(state, repository, &from, digest).await?;
        if request.method() == Method::HEAD {
            return Ok(blobs::head(digest, size));
        }
        let blob = Descriptor::new(MediaType::new("application/octet-stream"), *digest, size);
        if request.headers().contains_key(RANGE) {
            self.client.pull_blob(&from, &blob).await.map_err(|error| refusal(&error))?;
            return blobs::read(state, digest, request);
        }
        let ((tap, tapped), (to, mut pieces)) = (channel(AHEAD), channel(AHEAD));
        tokio::spawn(pass_on(tapped, to));
        let client = self.client.clone();
        // It is kept also when whoever asked for it has gone.
        let fetching = tokio::spawn(async move { client.fetch(&from, &blob, Some(tap)).await });
        let Some(first) = pieces.recv().await else {
            // Nothing passed: somebody else has fetched it meanwhile, or nobody can.
            return match fetching.await {
                Ok(Ok(())) => blobs::read(state, digest, request),
                Ok(Err(error)) => Err(bad_gateway(&error.source.to_string())),
                Err(_) => Err(bad_gateway("the fetch was ended")),
            };
        };
        let mut found = blobs::head(digest, size);
        let passing = Passing { held: Some(first), pieces, hasher: Hasher::default(), wanted: *digest, fetching };
        let body = futures_util::stream::try_unfold(passing, next);
        *found.body_mut() = BodyExt::boxed_unsync(StreamBody::new(body));
        Ok(found)
    }

    /// A list that the registry makes: `None` where it does not answer, or does not make such lists.
    pub(super) async fn list(
        &self,
        repository: &Repository,
        path: &str,
        query: Option<&str>,
    ) -> Result<Option<Reply>, Refusal> {
        let from = self.reference(repository)?;
        let (endpoint, scope) = (self.client.endpoint(&from), pull_scope(&from));
        let asked = format!("{}/{path}", from.repository());
        let mut question = Question::new(&endpoint, Method::GET, &asked, &scope).whole(DOCUMENT_LIMIT);
        question.url.set_query(query);
        let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, self.client.ask(&question)).await else { return Ok(None) };
        if !answer.status().is_success() {
            return Ok(None);
        }
        let mut found = reply::document(answer.header(CONTENT_TYPE).unwrap_or("application/json"), answer.body.clone());
        if let Some(filters) = answer.header(FILTERS_APPLIED.as_str()) {
            found = with(found, FILTERS_APPLIED, filters);
        }
        // The next page is asked for here: only what the registry wants to be told then is its own.
        if let Some((_, next)) = answer.header(LINK).and_then(|link| link.split('>').next()?.split_once('?')) {
            found = with(found, LINK, &format!("</v2/{}/{path}?{next}>; rel=\"next\"", repository.as_str()));
        }
        Ok(Some(found))
    }

    /// As a manifest that was asked for here tells it, else as the registry does.
    async fn size(
        &self,
        state: &State,
        repository: &Repository,
        from: &Reference,
        digest: &Digest,
    ) -> Result<u64, Refusal> {
        for manifest in state.shelf.manifests(repository)? {
            if let Some(part) = manifests::parts(state, &manifest).iter().find(|part| part.digest == *digest) {
                return Ok(part.size);
            }
        }
        let (endpoint, scope) = (self.client.endpoint(from), pull_scope(from));
        let path = format!("{}/blobs/{digest}", from.repository());
        let failed = |source| refusal(&PullError::Exchange { reference: from.clone().into(), source });
        let answer = self.client.ask(&Question::new(&endpoint, Method::HEAD, &path, &scope)).await.map_err(failed)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Err(blobs::unknown()),
            status if status.is_success() => {
                let size = answer.header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
                size.ok_or_else(|| bad_gateway("it does not tell the blob's size"))
            }
            _ => Err(failed(answer.refusal())),
        }
    }

    fn reference(&self, repository: &Repository) -> Result<Reference, Refusal> {
        let bad = |_| Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "that is not a repository's name");
        format!("{}/{}", self.registry, repository.as_str()).parse().map_err(bad)
    }
}

/// Hands on what comes for as long as it is taken: a client that does not read must not hold up those who wait for the
/// same blob.
async fn pass_on(mut tapped: Receiver<Bytes>, to: Sender<Bytes>) {
    while let Some(piece) = tapped.recv().await {
        if to.send_timeout(piece, SILENCE).await.is_err() {
            return;
        }
    }
}

/// A blob on its way through. Its last piece is held back until the whole is known to be what it is called, and is kept:
/// who asked sees the connection end early, and not a wrong blob, and what somebody has is here as well.
struct Passing {
    held: Option<Bytes>,
    pieces: Receiver<Bytes>,
    hasher: Hasher,
    wanted: Digest,
    fetching: JoinHandle<Result<(), FetchError>>,
}

async fn next(mut passing: Passing) -> io::Result<Option<(Frame<Bytes>, Passing)>> {
    let Some(held) = passing.held.take() else { return Ok(None) };
    passing.hasher.update(&held);
    passing.held = passing.pieces.recv().await;
    if passing.held.is_none() {
        if std::mem::take(&mut passing.hasher).finish() != passing.wanted {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the registry sent other bytes than the blob has"));
        }
        // A disk that is full is no reason to keep a blob from whoever wants it.
        let _ = tokio::time::timeout(SILENCE, &mut passing.fetching).await;
    }
    Ok(Some((Frame::data(held), passing)))
}

/// Whether the registry did not answer at all, rather than refuse.
fn is_absence(error: &PullError) -> bool {
    match error {
        PullError::Exchange { source: ExchangeError::Answer { status, .. }, .. } => is_passing(*status),
        PullError::Exchange { source, .. } => matches!(
            source,
            ExchangeError::Connect { .. }
                | ExchangeError::Roots { .. }
                | ExchangeError::Tls { .. }
                | ExchangeError::Broken { .. }
                | ExchangeError::Stalled { .. }
                | ExchangeError::WaitTooLong { .. }
        ),
        _ => false,
    }
}

fn refusal(error: &PullError) -> Refusal {
    let answered = |status: StatusCode| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    match error {
        PullError::NoImage { .. } => manifests::unknown(),
        PullError::Exchange { source: ExchangeError::Answer { status, .. }, .. } if answered(*status) => {
            Refusal::new(StatusCode::FORBIDDEN, "DENIED", &error.to_string())
        }
        _ => bad_gateway(&error.to_string()),
    }
}

fn bad_gateway(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_GATEWAY, "UNKNOWN", why)
}

fn words(error: Option<PullError>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}
