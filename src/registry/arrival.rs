//! A blob on its way in: each byte once and in order, however often the connection is cut. Whoever takes the bytes
//! verifies them.

use bytes::Bytes;
use reqwest::header::{HeaderValue, RANGE};
use reqwest::{Method, StatusCode};

use super::client::Registry;
use super::error::{ExchangeError, PullError};
use super::exchange::{Answer, Question};
use super::pull::pull_scope;
use super::retry::Pace;
use crate::event::{Direction, Event};
use crate::image::{Descriptor, Digest, Hasher, Reference};

/// After how many bytes the next [`Event::Transfer`] is due; and what a connection must have brought before it is cut
/// for the cut to count as a new misfortune, and not as the next of a row.
const STRETCH: u64 = 1 << 20;

pub(super) struct Arrival {
    registry: Registry,
    from: Reference,
    blob: Descriptor,
    /// Whether this is the way to the store, and to be told of as such.
    tells: bool,
    answer: Option<Answer>,
    /// What has been given out.
    bytes: u64,
    told: u64,
    /// Cuts since the last [`STRETCH`].
    attempt: u32,
    steady: u64,
    pace: Pace,
}

impl Arrival {
    pub(super) fn new(registry: &Registry, from: &Reference, blob: &Descriptor) -> Self {
        Self {
            registry: registry.clone(),
            from: from.clone(),
            blob: blob.clone(),
            tells: false,
            answer: None,
            bytes: 0,
            told: 0,
            attempt: 1,
            steady: 0,
            pace: Pace::from(0),
        }
    }

    /// Tells how far it is.
    pub(super) fn telling(mut self) -> Self {
        self.tells = true;
        self
    }

    /// The next piece; `None` when so many bytes have come as there should be.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let error = match self.next().await {
                Err(error) if is_cut(&error) => error,
                Ok(Some(piece)) => {
                    self.count(piece.len() as u64);
                    return Ok(Some(piece));
                }
                done => return done,
            };
            self.answer = None;
            match self.registry.0.options.retries.pause(self.attempt) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
            self.attempt += 1;
        }
    }

    /// What those say who took all the pieces.
    pub(super) fn verify(&self, taken: Hasher) -> Result<(), PullError> {
        match taken.finish() {
            got if got == self.blob.digest => Ok(()),
            got => Err(self.mismatch(got)),
        }
    }

    pub(super) fn mismatch(&self, got: Digest) -> PullError {
        PullError::DigestMismatch { asked_of: self.endpoint(), asked: self.blob.digest, got }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        if self.answer.is_none() {
            self.answer = self.ask().await?;
            self.pace = Pace::from(self.bytes);
        }
        let Some(answer) = &mut self.answer else { return Ok(None) };
        let failed = |source| PullError::Exchange { reference: self.from.clone().into(), source };
        let piece = answer.piece().await.map_err(failed)?;
        let (size, silence) = (self.blob.size, self.registry.0.http.silence());
        match piece {
            Some(piece) if self.bytes + piece.len() as u64 > size => {
                Err(self.wrong_size(self.bytes + piece.len() as u64))
            }
            None if self.bytes < size => Err(self.wrong_size(self.bytes)),
            Some(_) if self.pace.crawls(self.bytes, silence) => {
                let (url, seconds) = (answer.url.clone(), silence.as_secs());
                Err(failed(ExchangeError::Stalled { url, seconds }))
            }
            piece => Ok(piece),
        }
    }

    /// Asks for what is missing; `None` where that is nothing.
    async fn ask(&mut self) -> Result<Option<Answer>, PullError> {
        if self.bytes > 0 && self.bytes == self.blob.size {
            return Ok(None);
        }
        let endpoint = self.registry.endpoint(&self.from);
        let scope = pull_scope(&self.from);
        let failed = |source| PullError::Exchange { reference: self.from.clone().into(), source };
        let path = format!("{}/blobs/{}", self.from.repository(), self.blob.digest);
        let mut question = Question::new(&endpoint, Method::GET, &path, &scope);
        if self.bytes > 0 {
            let range = format!("bytes={}-", self.bytes);
            question.headers.insert(RANGE, HeaderValue::from_str(&range).expect("a number is a header's value"));
        }
        let asked = question.url.to_string();
        let mut answer = self.registry.ask(&question).await.map_err(failed)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if self.bytes > 0 => match starts_at(&answer) {
                Some(start) if start == self.bytes => Ok(Some(answer)),
                _ => Err(failed(broken(&answer, "it answered another part than was asked for"))),
            },
            // Ranges are no duty of a registry's: what we have had is let pass.
            StatusCode::OK => {
                let mut left = self.bytes;
                while left > 0 {
                    match answer.piece().await.map_err(failed)? {
                        Some(piece) if piece.len() as u64 > left => {
                            answer.give_back(piece.slice(left as usize..));
                            left = 0;
                        }
                        Some(piece) => left -= piece.len() as u64,
                        None => return Err(failed(broken(&answer, "the answer ended before its end"))),
                    }
                }
                Ok(Some(answer))
            }
            StatusCode::NOT_FOUND => {
                Err(PullError::NoBlob { reference: self.from.clone().into(), digest: self.blob.digest, asked })
            }
            _ => Err(failed(answer.refusal())),
        }
    }

    fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes - self.steady >= STRETCH {
            (self.steady, self.attempt) = (self.bytes, 1);
        }
        if self.tells && (self.bytes - self.told >= STRETCH || self.bytes == self.blob.size) {
            self.told = self.bytes;
            let (digest, done, total) = (self.blob.digest, self.bytes, self.blob.size);
            self.registry.0.options.events.emit(Event::Transfer { direction: Direction::Pull, digest, done, total });
        }
    }

    fn wrong_size(&self, got: u64) -> PullError {
        PullError::Size { asked_of: self.endpoint(), digest: self.blob.digest, promised: self.blob.size, got }
    }

    fn endpoint(&self) -> String {
        self.registry.endpoint(&self.from).to_string()
    }
}

/// The number of the first byte of a part: `Content-Range: bytes 5-9/10`.
fn starts_at(answer: &Answer) -> Option<u64> {
    answer.header("content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn broken(answer: &Answer, why: &str) -> ExchangeError {
    ExchangeError::Broken { url: answer.url.clone(), why: why.to_owned() }
}

/// A transfer that ended early may end well the next time.
fn is_cut(error: &PullError) -> bool {
    match error {
        PullError::Exchange { source, .. } => {
            matches!(source, ExchangeError::Broken { .. } | ExchangeError::Stalled { .. })
        }
        PullError::Size { promised, got, .. } => got < promised,
        _ => false,
    }
}
