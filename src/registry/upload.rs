//! Blobs out: one upload, sent whole. Those that are sent while they are made begin in `ahead`.
//!
//! POST, then one PUT of the whole blob. ECR drops all but the first of several PATCHes and answers 201 where the
//! specification says 202 (aws/containers-roadmap#2831), so there is one request with a body, and an upload that
//! failed begins anew.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Request, StatusCode, Url};

use super::client::Registry;
use super::endpoint::Endpoint;
use super::error::{ExchangeError, Known, PullError, PushError};
use super::exchange::{Answer, Question, wants_another_pass};
use super::http;
use super::outgoing::{Origin, Outgoing};
use super::pull::LOOKS;
use super::retry::{is_passing, retry_after};
use crate::image::{Descriptor, Digest, Reference};

/// A registry that checks the whole of what it has got may be silent for this many times what it may be otherwise.
pub(super) const CHECKING: u32 = 5;

/// How often it is looked whether bytes still go out.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
}

impl Registry {
    /// A refusal, told by what it means for who pushes.
    pub(super) fn refused(&self, target: &Target, answer: Answer) -> PushError {
        let repository = target.name.clone();
        match (answer.status(), answer.said.code()) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) | (_, "DENIED") => {
                let known = match (answer.status(), self.0.passes.are_named(&target.endpoint)) {
                    (StatusCode::UNAUTHORIZED, false) => Known::Nobody,
                    (StatusCode::UNAUTHORIZED, true) => Known::NotTaken,
                    _ => Known::Somebody,
                };
                PushError::Denied { repository, said: answer.said, known }
            }
            (StatusCode::NOT_FOUND, "NAME_UNKNOWN") => PushError::NoRepository { repository, said: answer.said },
            _ => target.failed(answer.refusal()),
        }
    }

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
            StatusCode::ACCEPTED | StatusCode::CREATED => {
                own_location(target, &target.endpoint.url(&path), &answer).map(Opened::At)
            }
            _ => Err(self.refused(target, answer)),
        }
    }

    /// Takes an upload back that nothing will be sent to. That it failed harms nobody: registries drop old ones.
    pub(super) async fn cancel_upload(&self, target: &Target, location: Url) {
        let mut question = Question::new(&target.endpoint, Method::DELETE, "", &target.scope);
        question.url = location;
        let _ = self.ask(&question).await;
    }

    pub(super) async fn has_blob(&self, target: &Target, digest: &Digest) -> Result<bool, PushError> {
        let path = format!("{}/blobs/{digest}", target.repository);
        let question = Question::new(&target.endpoint, Method::HEAD, &path, &target.scope);
        let answer = self.ask(&question).await.map_err(|source| target.failed(source))?;
        match answer.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused(target, answer)),
        }
    }

    /// Sends a blob, anew from its first byte after each passing failure.
    pub(super) async fn upload(
        &self,
        target: &Target,
        blob: &Descriptor,
        origin: &Origin,
        mut opened: Option<Url>,
    ) -> Result<(), PushError> {
        let (mut attempt, mut looks) = (1, 1);
        loop {
            let location = match opened.take() {
                Some(location) => location,
                None => match self.open_upload(target, None).await? {
                    Opened::At(location) => location,
                    Opened::Mounted => return Ok(()),
                },
            };
            let pass = self.0.passes.of(&target.endpoint, &target.scope);
            let (asked, error) = match self.put(target, blob, origin, location, pass.clone()).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if is_refused(&answer, pass.is_some()) => return Err(self.refused(target, answer)),
                Ok(answer) => {
                    let asked = retry_after(answer.response.headers()).map(|pause| (pause, answer.url.clone()));
                    (asked, self.refused(target, answer))
                }
                // Counted apart: that the network failed before makes no bit turn.
                Err(error) if is_of_wrong_bytes(&error) && looks < LOOKS => {
                    looks += 1;
                    (None, error)
                }
                Err(error) if is_passing_failure(&error) => (None, error),
                Err(error) => return Err(error),
            };
            let Some(pause) = self.0.options.retries.pause(attempt) else { return Err(error) };
            self.wait(pause, asked).await.map_err(|source| target.failed(source))?;
            // The answer may have been lost and not the blob.
            if self.has_blob(target, &blob.digest).await? {
                return Ok(());
            }
            attempt += 1;
        }
    }

    /// One PUT of the whole blob to where the registry wants it.
    async fn put(
        &self,
        target: &Target,
        blob: &Descriptor,
        origin: &Origin,
        mut location: Url,
        pass: Option<HeaderValue>,
    ) -> Result<Answer, PushError> {
        let bytes = Outgoing::open(self, blob, origin)?;
        let fate = bytes.fate();
        location.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let mut request = Request::new(Method::PUT, location.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, blob.size.into());
        pass.into_iter().for_each(|pass| {
            headers.insert(AUTHORIZATION, pass);
        });
        *request.body_mut() = Some(Body::wrap_stream(bytes.pieces()));
        let silence = self.0.http.silence();
        let sent = async {
            let client = self.0.http.client(http::line_to(&location), &location)?;
            match unless_stalled(|| fate.sent(), silence * CHECKING, client.execute(request)).await {
                Some(Ok(response)) => Answer::read(&location, response, silence).await,
                Some(Err(error)) => Err(http::broken(&location, &error)),
                None => {
                    let seconds = (silence * CHECKING).as_secs();
                    Err(ExchangeError::Stalled { url: http::shown(&location), seconds })
                }
            }
        };
        sent.await.map_err(|error| fate.failure().unwrap_or_else(|| target.failed(error)))
    }
}

/// Whether sending it again would be no use. What was sent was right, or it would not have gone: a registry that saw
/// another digest saw a bit that turned on the way. An upload that it has forgotten can be begun anew, and so can one
/// whose token ran out meanwhile.
fn is_refused(answer: &Answer, had_pass: bool) -> bool {
    let passes = is_passing(answer.status()) || wants_another_pass(&Method::PUT, answer, had_pass);
    let anew = ["DIGEST_INVALID", "SIZE_INVALID", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"];
    !passes && !anew.contains(&answer.said.code())
}

fn is_passing_failure(error: &PushError) -> bool {
    let PushError::Exchange { source, .. } = error else { return false };
    matches!(source, ExchangeError::Broken { .. } | ExchangeError::Stalled { .. } | ExchangeError::Connect { .. })
}

/// Whether a layer of the base came with another digest than its own.
fn is_of_wrong_bytes(error: &PushError) -> bool {
    matches!(error, PushError::Base(error) if matches!(**error, PullError::DigestMismatch { .. }))
}

/// Where the registry wants the upload; it must be on the registry's own host, since a credential goes along.
pub(super) fn own_location(target: &Target, from: &Url, answer: &Answer) -> Result<Url, PushError> {
    let url = answer.url.clone();
    let location = answer.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| PushError::NoLocation { url: url.clone() })?;
    target.endpoint.own(from, location).ok_or_else(|| PushError::UploadElsewhere {
        url,
        location: from.join(location).map_or_else(|_| "no URL".to_owned(), |url| http::origin(&url)),
    })
}

/// Waits for an answer as long as `sent` says something else each time; `None` when neither came for so long.
pub(super) async fn unless_stalled<T>(
    sent: impl Fn() -> u64,
    patience: Duration,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        if let Ok(answer) = tokio::time::timeout((patience / 10).min(LOOK_EVERY), &mut answer).await {
            return Some(answer);
        }
        match sent() {
            now if now != seen => (seen, since) = (now, Instant::now()),
            _ if since.elapsed() > patience => return None,
            _ => {}
        }
    }
}
