//! Blobs out: one upload, sent whole.
//!
//! POST, then one PUT of the whole blob. ECR drops all but the first of several PATCHes and answers 201 where the
//! specification says 202 (aws/containers-roadmap#2831), so there is one request with a body, and an upload that
//! failed begins anew.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Request, StatusCode, Url};

use super::client::Registry;
use super::endpoint::Endpoint;
use super::error::{ExchangeError, PushError};
use super::exchange::{Answer, Question};
use super::http;
use super::retry::{is_passing, retry_after};
use crate::event::{Direction, Event, Events};
use crate::image::{Descriptor, Digest, Reference};
use crate::store::VerifiedReader;

/// The bytes that are read from the disk at a time.
const PIECE: usize = 256 << 10;

/// How long a registry may take to take the next piece, or to check the whole once it has it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where a repository is, and what it takes to write there.
pub(super) struct Target {
    pub endpoint: Endpoint,
    pub repository: String,
    /// For people: host and repository.
    pub name: String,
    pub scope: String,
}

/// How an upload can begin.
pub(super) enum Opened {
    At(Url),
    /// The registry had the blob in the other repository, and it is in ours now.
    Mounted,
}

impl Target {
    pub(super) fn new(endpoint: Endpoint, reference: &Reference) -> Self {
        let repository = reference.repository().to_owned();
        let name = format!("{}/{repository}", reference.registry());
        let scope = format!("repository:{repository}:pull,push");
        Self { endpoint, repository, name, scope }
    }

    pub(super) fn failed(&self, source: ExchangeError) -> PushError {
        PushError::Exchange { repository: self.name.clone(), source }
    }

    /// A refusal, told by what it means for who pushes.
    pub(super) fn refused(&self, answer: Answer) -> PushError {
        let repository = self.name.clone();
        match (answer.status(), answer.said.code()) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) | (_, "DENIED") => {
                PushError::Denied { repository, said: answer.said }
            }
            (StatusCode::NOT_FOUND, "NAME_UNKNOWN") => PushError::NoRepository { repository, said: answer.said },
            _ => self.failed(answer.refusal()),
        }
    }
}

impl Registry {
    /// Opens an upload; with `from`, asks first that the blob be taken from that repository of the same registry.
    pub(super) async fn open_upload(
        &self,
        target: &Target,
        mount: Option<(&Digest, &Reference)>,
    ) -> Result<Opened, PushError> {
        let path = format!("{}/blobs/uploads/", target.repository);
        let mut scope = target.scope.clone();
        if let Some((_, from)) = mount {
            scope = format!("{scope} {}", super::pull::pull_scope(from));
        }
        let mut question = Question::new(&target.endpoint, Method::POST, &path, &scope);
        if let Some((digest, from)) = mount {
            let mut query = question.url.query_pairs_mut();
            query.append_pair("mount", &digest.to_string()).append_pair("from", from.repository());
        }
        let answer = self.ask(&question).await.map_err(|source| target.failed(source))?;
        match answer.status() {
            StatusCode::CREATED if mount.is_some() => Ok(Opened::Mounted),
            // 202 to a mount means "send it": ECR mounts only when an account has that turned on.
            StatusCode::ACCEPTED | StatusCode::CREATED => own_location(target, &path, &answer).map(Opened::At),
            _ => Err(target.refused(answer)),
        }
    }

    /// Takes an upload back that nothing will be sent to. That it failed harms nobody: registries drop old ones.
    pub(super) async fn cancel_upload(&self, target: &Target, location: Url) {
        let mut question = Question::new(&target.endpoint, Method::DELETE, "", &target.scope);
        question.url = location;
        let _ = self.ask(&question).await;
    }

    /// Sends a blob of the store, anew from its first byte after each passing failure.
    pub(super) async fn upload(
        &self,
        target: &Target,
        blob: &Descriptor,
        mut opened: Option<Url>,
    ) -> Result<(), PushError> {
        let mut attempt = 1;
        let mut renewed = false;
        loop {
            let location = match opened.take() {
                Some(location) => location,
                None => match self.open_upload(target, None).await? {
                    Opened::At(location) => location,
                    Opened::Mounted => return Ok(()),
                },
            };
            let (pause, asked) = match self.put(target, blob, location).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                // The token ran out on the way: the next POST gets a new one.
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && !renewed => {
                    renewed = true;
                    (Some(Duration::ZERO), None)
                }
                Ok(answer) if is_passing(answer.status()) => {
                    let asked = retry_after(answer.response.headers()).map(|pause| (pause, answer.url.clone()));
                    match self.0.options.retries.pause(attempt) {
                        Some(pause) => (Some(pause), asked),
                        None => return Err(target.refused(answer)),
                    }
                }
                Ok(answer) => {
                    self.check_own(blob).await?;
                    return Err(target.refused(answer));
                }
                Err(error @ (ExchangeError::Broken { .. } | ExchangeError::Stalled { .. })) => {
                    self.check_own(blob).await?;
                    match self.0.options.retries.pause(attempt) {
                        Some(pause) => (Some(pause), None),
                        None => return Err(target.failed(error)),
                    }
                }
                Err(error) => return Err(target.failed(error)),
            };
            self.wait(pause.unwrap_or_default(), asked).await.map_err(|source| target.failed(source))?;
            attempt += 1;
        }
    }

    /// One PUT of the whole blob to where the registry wants it.
    async fn put(&self, target: &Target, blob: &Descriptor, mut location: Url) -> Result<Answer, ExchangeError> {
        location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let progress = Arc::new(AtomicU64::new(0));
        let mut request = Request::new(Method::PUT, location.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, blob.size.into());
        if let Some(pass) = self.0.passes.of(&target.endpoint, &target.scope) {
            headers.insert(AUTHORIZATION, pass);
        }
        let reader = self.0.options.store.open_blob(&blob.digest);
        let reader =
            reader.map_err(|error| ExchangeError::Broken { url: target.name.clone(), why: error.to_string() })?;
        *request.body_mut() =
            Some(Body::wrap_stream(pieces(reader, blob, progress.clone(), self.0.options.events.clone())));
        let client = self.0.http.client(http::line_to(&location), &location)?;
        let sent = unless_stalled(&progress, client.execute(request)).await;
        match sent {
            Some(Ok(response)) => Answer::read(&location, response).await,
            Some(Err(error)) => Err(http::broken(&location, &error)),
            None => Err(ExchangeError::Stalled { url: http::shown(&location), seconds: PATIENCE.as_secs() }),
        }
    }

    /// After a refusal: whether it was the blob of ours that is not what it should be.
    async fn check_own(&self, blob: &Descriptor) -> Result<(), PushError> {
        let (store, digest) = (self.0.options.store.clone(), blob.digest);
        let read = tokio::task::spawn_blocking(move || {
            io::copy(&mut store.open_blob(&digest).map_err(io::Error::other)?, &mut io::sink())
        });
        match read.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(bytes) if bytes == blob.size => Ok(()),
            _ => {
                self.0.options.store.forget_blob(&blob.digest);
                Err(PushError::Damaged { digest: blob.digest })
            }
        }
    }
}

/// Where the registry wants the upload; it must be on the registry's own host, since a credential goes along.
fn own_location(target: &Target, path: &str, answer: &Answer) -> Result<Url, PushError> {
    let url = answer.url.clone();
    let from = target.endpoint.url(path);
    let location = answer.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| PushError::NoLocation { url: url.clone() })?;
    target.endpoint.own(&from, location).ok_or_else(|| PushError::UploadElsewhere {
        url,
        location: from.join(location).map_or_else(|_| "no URL".to_owned(), |url| http::origin(&url)),
    })
}

/// The blob in pieces, read off the async threads; what has gone out is told as it goes.
fn pieces(
    reader: VerifiedReader<File>,
    blob: &Descriptor,
    progress: Arc<AtomicU64>,
    events: Events,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (digest, total) = (blob.digest, blob.size);
    stream::try_unfold((reader, 0, 0), move |(mut reader, done, told)| {
        let (progress, events) = (progress.clone(), events.clone());
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = Vec::with_capacity(PIECE);
                let read = reader.by_ref().take(PIECE as u64).read_to_end(&mut piece);
                read.map(|_| (piece, reader))
            });
            let (piece, reader) = read.await.map_err(io::Error::other)??;
            if piece.is_empty() {
                return Ok(None);
            }
            let done = done + piece.len() as u64;
            progress.store(done, Ordering::Relaxed);
            let due = done - told >= 1 << 20 || done == total;
            if due {
                events.emit(Event::Transfer { direction: Direction::Push, digest, done, total });
            }
            Ok(Some((Bytes::from(piece), (reader, done, if due { done } else { told }))))
        }
    })
}

/// Waits for an answer as long as bytes go out; `None` when neither came for [`PATIENCE`].
async fn unless_stalled<T>(progress: &AtomicU64, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), &mut answer).await {
            return Some(answer);
        }
        match progress.load(Ordering::Relaxed) {
            now if now != seen => (seen, since) = (now, Instant::now()),
            _ if since.elapsed() > PATIENCE => return None,
            _ => {}
        }
    }
}
