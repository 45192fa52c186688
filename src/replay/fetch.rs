//! What is not here is fetched: recorded, or, where the store has lost it, had again and held to its record.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, LOCATION, VARY};
use reqwest::{Response, Url};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::address::Address;
use super::answer::{Share, reply, set, share, words};
use super::download::{Download, HEADERS, Method, is_kept, may_be_kept};
use super::keep::{KeepError, keep};
use super::passage::Moved;
use super::pipe::{Pieces, Reply, pipe, whole};
use super::question::Question;
use super::serve::{Desk, forwarded};
use crate::image::Digest;

impl Desk<'_> {
    /// Asks for it, records the answer and gives it.
    pub async fn record(&self, question: Question, alone: OwnedMutexGuard<()>) -> Reply {
        let answer = match self.ask(&question).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&question, error),
        };
        let status = answer.status().as_u16();
        let Some((download, location)) = is_kept(status).then(|| draft(&question, &answer)).flatten() else {
            return forwarded(answer, self.inner.silence);
        };
        if download.sha256.is_none() {
            let mut reply = reply(&download, Share::Head, whole(""));
            // This one has the signature still.
            location.iter().for_each(|location| set(&mut reply, LOCATION, location));
            self.recorded(download);
            return reply;
        }
        self.take_in(question, answer, download, None, alone).await
    }

    /// The store has lost the body, or a signature is wanted: it is asked for again, and must be what it was.
    pub async fn fetch_again(&self, question: Question, known: Arc<Download>, alone: OwnedMutexGuard<()>) -> Reply {
        // A part, or the head, of what is known is asked for as a whole.
        let question = Question { method: known.method, ..question };
        let answer = match self.ask(&question).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&question, error),
        };
        let now = answer.status().as_u16();
        match (known.sha256, draft(&question, &answer)) {
            (Some(wanted), _) if now == known.status => {
                let download = Download::clone(&known);
                self.take_in(question, answer, download, Some(wanted), alone).await
            }
            (None, Some((download, Some(location))))
                if download.headers.get("location") == known.headers.get("location") =>
            {
                let mut reply = reply(&known, Share::Head, whole(""));
                set(&mut reply, LOCATION, &location);
                self.give(&known);
                reply
            }
            (_, again) => {
                let shown = |download: &Download| {
                    let to = download.headers.get("location").or(download.headers.get("etag"));
                    format!("{} {}", download.status, to.cloned().unwrap_or_default()).trim_end().to_owned()
                };
                let now = again.map_or(now.to_string(), |(download, _)| shown(&download));
                let recorded = known.sha256.map_or_else(|| shown(&known), |digest| digest.to_string());
                let text = format!("{} was {recorded}, and is {now}", known.url);
                self.passage.outcome().moved.push(Moved { url: known.url.to_string(), recorded, now });
                words(StatusCode::BAD_GATEWAY, &text)
            }
        }
    }

    /// Brings a body into the store, and to whoever asks.
    async fn take_in(
        &self,
        question: Question,
        answer: Response,
        download: Download,
        wanted: Option<Digest>,
        alone: OwnedMutexGuard<()>,
    ) -> Reply {
        let length = answer.content_length();
        let known = Download { size: wanted.map_or(length.unwrap_or(0), |_| download.size), ..download };
        let share = share(&question, &known);
        if share == Share::All {
            let (pieces, body) = pipe();
            let mut reply = reply(&known, share, body);
            if wanted.is_none() && length.is_none() {
                reply.headers_mut().remove(CONTENT_LENGTH);
            }
            self.keep_on(answer, known, wanted, Some(pieces), alone);
            return reply;
        }
        // Parts are given when all of it is here.
        let done = self.keep_on(answer, known, wanted, None, alone);
        let Ok(kept) = done.await else { return words(StatusCode::BAD_GATEWAY, "the download ended with the step") };
        match kept {
            Some(download) => match self.at_hand(&question, &download).await {
                Some(reply) => reply,
                None => words(StatusCode::BAD_GATEWAY, "the store has lost what it was given just now"),
            },
            None => words(StatusCode::BAD_GATEWAY, &format!("{} could not be kept", question.address)),
        }
    }

    /// Keeps it in a task of its own: a step that has seen enough of it, or one that asked for a part, needs all the same.
    fn keep_on(
        &self,
        answer: Response,
        download: Download,
        wanted: Option<Digest>,
        pieces: Option<Pieces>,
        alone: OwnedMutexGuard<()>,
    ) -> oneshot::Receiver<Option<Arc<Download>>> {
        let (inner, passage) = (Arc::clone(self.inner), Arc::clone(self.passage));
        let (done, kept) = oneshot::channel();
        self.passage.download(async move {
            let desk = Desk { inner: &inner, passage: &passage };
            match keep(&inner.store, answer, wanted, pieces.as_ref(), inner.silence).await {
                Ok((digest, size, last)) => {
                    inner.sound().insert(digest);
                    let download = match wanted {
                        Some(_) => {
                            let download = Arc::new(download);
                            desk.give(&download);
                            download
                        }
                        None => desk.recorded(Download { sha256: Some(digest), size, ..download }),
                    };
                    drop(alone);
                    // Whoever waits may be gone.
                    if let (Some(pieces), Some(last)) = (pieces, last) {
                        let _ = pieces.send(Ok(last)).await;
                    }
                    let _ = done.send(Some(download));
                }
                Err(error) => {
                    let cut = io::Error::other(error.to_string());
                    desk.not_kept(&download, error);
                    if let Some(pieces) = pieces {
                        let _ = pieces.send(Err(cut)).await;
                    }
                    let _ = done.send(None);
                }
            }
        });
        kept
    }

    fn not_kept(&self, download: &Download, error: KeepError) {
        let url = download.url.to_string();
        match error {
            KeepError::Moved { wanted, got } => {
                self.passage.outcome().moved.push(Moved { url, recorded: wanted.to_string(), now: got.to_string() });
            }
            error => drop(self.passage.note(|outcome| &mut outcome.failed, format!("{url}: {error}"))),
        }
    }

    fn recorded(&self, download: Download) -> Arc<Download> {
        let size = if download.sha256.is_some() { download.size } else { 0 };
        let mut table = self.inner.table();
        let download = table.record(&self.passage.step, download);
        table.give(&self.passage.step, &download);
        drop(table);
        let mut outcome = self.passage.outcome();
        outcome.recorded = (outcome.recorded.0 + 1, outcome.recorded.1 + size);
        download
    }
}

/// What would be recorded of an answer, and the `Location` as it came; none where a header cannot be kept.
fn draft(question: &Question, answer: &Response) -> Option<(Download, Option<String>)> {
    let status = answer.status().as_u16();
    let mut headers = BTreeMap::new();
    for name in HEADERS {
        if let Some(value) = answer.headers().get(name) {
            headers.insert(name.to_owned(), value.to_str().ok().filter(|value| may_be_kept(value))?.to_owned());
        }
    }
    let location = headers.get(LOCATION.as_str()).cloned();
    let mut signed = false;
    if let Some(location) = &location {
        let to = question.url.join(location).ok()?;
        let address = Address::of(&to)?;
        signed = address.as_str() != Url::as_str(&without_fragment(&to));
        if signed {
            headers.insert(LOCATION.as_str().to_owned(), address.to_string());
        }
    }
    let has_body = question.method == Method::Get && status < 300;
    let length = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let download = Download {
        url: question.address.clone(),
        method: question.method,
        varies: question.chosen_by(headers.get(VARY.as_str()).map(String::as_str)),
        status,
        size: if question.method == Method::Head { length.unwrap_or(0) } else { 0 },
        // Filled in when it is known.
        sha256: has_body.then(|| Digest::of(b"")),
        headers,
        signed,
    };
    Some((download, location))
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}
