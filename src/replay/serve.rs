//! What a step asks is answered from what is held; else it is recorded, let through or refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{LOCATION, UPGRADE};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use reqwest::{Response, Url};

use super::address::{Address, without_secrets};
use super::answer::{Share, from_file, reply, share, words};
use super::door::Own;
use super::download::{Download, Method};
use super::passage::Passage;
use super::pipe::{Reply, streamed, whole};
use super::proxy::{Inner, Policy};
use super::question::Question;
use super::upstream::{self, UpstreamError, is_neighbour, is_this_machine, passed_on};
use crate::event::Event;
use crate::image::Digest;

/// How far a redirect is followed to see whether what it ends at is held.
const REDIRECTS: usize = 10;

/// Within a CONNECT: whom the step believes that it speaks to.
#[derive(Clone)]
pub(super) struct Tunnelled {
    pub passage: Arc<Passage>,
    pub host: String,
    pub port: u16,
}

/// One step's question, and who answers it.
pub(super) struct Desk<'a> {
    pub inner: &'a Arc<Inner>,
    pub passage: &'a Arc<Passage>,
}

impl Tunnelled {
    /// The address of its root.
    fn root(&self) -> Option<Url> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("https://{host}:{}/", self.port).parse().ok()
    }

    /// What the step serves itself, where it speaks to that.
    pub async fn own(&self, inner: &Inner) -> Option<Own> {
        let root = self.root()?;
        if !is_this_machine(&root) || inner.table().holds_any_below(root.as_str()) {
            return None;
        }
        self.passage.own(self.port).await
    }
}

pub(super) async fn answer(
    inner: &Arc<Inner>,
    passage: &Arc<Passage>,
    request: Request<Incoming>,
    within: Option<&Tunnelled>,
) -> Reply {
    let Some(url) = target(request.uri(), within) else {
        return words(StatusCode::BAD_REQUEST, "this is a proxy for http and https: it wants a whole URL");
    };
    if is_this_machine(&url) && url.port_or_known_default() == Some(inner.address.port()) {
        return words(StatusCode::LOOP_DETECTED, "this is the proxy itself");
    }
    let desk = Desk { inner, passage };
    if request.headers().get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return words(StatusCode::NOT_IMPLEMENTED, "a WebSocket does not go through this proxy");
    }
    let method = match *request.method() {
        hyper::Method::GET => Some(Method::Get),
        hyper::Method::HEAD => Some(Method::Head),
        _ => None,
    };
    let address = Address::of(&url).filter(|_| !passage.shows_a_secret(url.as_str()) && !is_neighbour(&url));
    match (method, address) {
        (Some(method), Some(address)) if request.body().is_end_stream() => {
            let question = Question { url, address, method, headers: request.headers().clone() };
            desk.answer(question).await
        }
        _ => desk.send_on(url, request).await,
    }
}

/// What is asked for: outside of a tunnel a whole URL, within one a path.
fn target(uri: &Uri, within: Option<&Tunnelled>) -> Option<Url> {
    match within {
        Some(within) => {
            within.root()?.join(uri.path_and_query()?.as_str().trim_start_matches('/')).ok().filter(|url| {
                // `join` takes some paths for other hosts.
                within.root().is_some_and(|root| root.origin() == url.origin())
            })
        }
        None => uri
            .scheme()
            .and_then(|_| uri.to_string().parse().ok())
            .filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host()),
    }
}

/// Something that no lock can hold goes through, unless nothing else may. True where it goes through.
pub(super) fn note_unheld(inner: &Inner, passage: &Passage, what: &str) -> bool {
    let told = |words: &str| inner.events.emit(Event::Note(format!("{what}: no lock can hold this; {words}")));
    match inner.policy {
        Policy::Refuse => {
            if passage.note(|outcome| &mut outcome.declined, what.to_owned()) {
                told("--locked refuses it");
            }
            false
        }
        Policy::Record | Policy::Pass => {
            if passage.note(|outcome| &mut outcome.unheld, what.to_owned()) {
                told("it goes through");
            }
            true
        }
    }
}

impl Desk<'_> {
    async fn answer(&self, question: Question) -> Reply {
        if let Some(download) = self.known(&question)
            && let Some(reply) = self.at_hand(&question, &download).await
        {
            return reply;
        }
        // Who asks for what is on its way waits for it.
        let alone = self.inner.alone_with((question.address.clone(), question.method, Default::default())).await;
        match self.known(&question) {
            Some(download) => match self.at_hand(&question, &download).await {
                Some(reply) => reply,
                None => self.fetch_again(question, download, alone).await,
            },
            None => match (self.own(&question.url).await, self.inner.policy) {
                (Some(own), _) => self.let_through(&question, Some(own)).await,
                (None, Policy::Record) => self.record(question, alone).await,
                (None, Policy::Pass) => {
                    let url = question.address.to_string();
                    if self.passage.note(|outcome| &mut outcome.passed, url.clone()) {
                        self.inner.events.emit(Event::Note(format!("the lock does not hold {url}: it goes through")));
                    }
                    drop(alone);
                    self.let_through(&question, None).await
                }
                (None, Policy::Refuse) => self.refuse(&question),
            },
        }
    }

    /// The recorded answer, unless a later one may take its place.
    fn known(&self, question: &Question) -> Option<Arc<Download>> {
        let table = self.inner.table();
        table.find(&self.passage.step, question).filter(|download| !table.may_change(download))
    }

    /// The answer from what is here, if it is.
    pub async fn at_hand(&self, question: &Question, download: &Arc<Download>) -> Option<Reply> {
        let share = share(question, download);
        let reply = match share {
            Share::Head if download.signed && !self.ends_here(question, download).await => return None,
            Share::Nothing | Share::NoSuchPart | Share::Head => reply(download, share, whole("")),
            Share::All | Share::Part(_) => {
                let digest = download.sha256?;
                if !self.is_sound(digest, download.size).await {
                    return None;
                }
                let file = std::fs::File::open(self.inner.store.blob_path(&digest)).ok()?;
                from_file(download, share, file)
            }
        };
        self.give(download);
        Some(reply)
    }

    /// Whether what a redirect ends at is held, and its body here.
    async fn ends_here(&self, question: &Question, download: &Arc<Download>) -> bool {
        let mut next = Arc::clone(download);
        for _ in 0..REDIRECTS {
            let Some(location) = next.headers.get(LOCATION.as_str()) else { break };
            let Some(url) = next.url.as_str().parse().ok().and_then(|from: Url| from.join(location).ok()) else {
                break;
            };
            let Some(address) = Address::of(&url) else { break };
            let onward = Question { url, address, method: question.method, headers: question.headers.clone() };
            let Some(found) = self.known(&onward) else { return false };
            next = found;
        }
        match next.sha256 {
            Some(digest) => question.method == Method::Head || self.is_sound(digest, next.size).await,
            None => !next.signed,
        }
    }

    /// Whether the store has the blob, and its bytes are right: a client may ask for a part, of which nobody could tell.
    async fn is_sound(&self, digest: Digest, size: u64) -> bool {
        if self.inner.store.blob_size(&digest) != Some(size) {
            return false;
        }
        if self.inner.sound().contains(&digest) {
            return true;
        }
        let store = self.inner.store.clone();
        let read = move || io::copy(&mut store.open_blob(&digest).map_err(io::Error::other)?, &mut io::sink());
        let sound = matches!(tokio::task::spawn_blocking(read).await, Ok(Ok(_)));
        match sound {
            true => drop(self.inner.sound().insert(digest)),
            false => self.inner.store.forget_blob(&digest),
        }
        sound
    }

    pub fn give(&self, download: &Arc<Download>) {
        self.inner.table().give(&self.passage.step, download);
    }

    async fn own(&self, url: &Url) -> Option<Own> {
        if !is_this_machine(url) {
            return None;
        }
        self.passage.own(url.port_or_known_default()?).await
    }

    fn refuse(&self, question: &Question) -> Reply {
        let url = question.address.to_string();
        self.passage.note(|outcome| &mut outcome.refused, url.clone());
        let text = format!("the lock does not hold {url}, and --locked was passed; `locus-push lock --run` records it");
        words(StatusCode::FORBIDDEN, &text)
    }

    pub async fn ask(&self, question: &Question) -> Result<Response, UpstreamError> {
        let method = if question.method == Method::Get { hyper::Method::GET } else { hyper::Method::HEAD };
        let headers = upstream::whole(&question.headers);
        self.inner.upstream.ask(method, &question.url, headers, None, self.inner.silence).await
    }

    /// As it was asked, and as it is answered.
    async fn let_through(&self, question: &Question, own: Option<Own>) -> Reply {
        let method = if question.method == Method::Get { hyper::Method::GET } else { hyper::Method::HEAD };
        let headers = passed_on(&question.headers);
        match self.ask_there(own, method, &question.url, headers, None).await {
            Ok(answer) => forwarded(answer, self.inner.silence),
            Err(error) => self.failed(question, error),
        }
    }

    /// Asks a server outside, or one of the step's own.
    async fn ask_there(
        &self,
        own: Option<Own>,
        method: hyper::Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Result<Response, UpstreamError> {
        match own {
            Some(Own::Within(stream)) => {
                upstream::ask_over(stream, method, url, headers, body, self.inner.silence).await
            }
            Some(Own::Nobody) => Err(upstream::nobody(url)),
            Some(Own::Shared) | None => self.inner.upstream.ask(method, url, headers, body, self.inner.silence).await,
        }
    }

    /// What is no plain question: POST and its like, and what must not be recorded.
    async fn send_on(&self, url: Url, request: Request<Incoming>) -> Reply {
        let what = format!("{} {}", request.method(), without_secrets(&url));
        let own = self.own(&url).await;
        // A secret in a path would be shown by its address.
        let what = if self.passage.shows_a_secret(&what) {
            format!("{} {}", request.method(), url.origin().ascii_serialization())
        } else {
            what
        };
        if own.is_none() && !note_unheld(self.inner, self.passage, &what) {
            return words(StatusCode::FORBIDDEN, &format!("{what}: no lock can hold this, and --locked was passed"));
        }
        let (head, body) = request.into_parts();
        let body = (!body.is_end_stream()).then(|| reqwest::Body::wrap_stream(body.into_data_stream()));
        match self.ask_there(own, head.method, &url, passed_on(&head.headers), body).await {
            Ok(answer) => forwarded(answer, self.inner.silence),
            Err(error) => words(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }

    pub fn failed(&self, question: &Question, error: UpstreamError) -> Reply {
        let text = format!("{}: {error}", question.address);
        self.passage.note(|outcome| &mut outcome.failed, text.clone());
        words(StatusCode::BAD_GATEWAY, &text)
    }
}

/// A server's own answer.
pub(super) fn forwarded(answer: Response, silence: Duration) -> Reply {
    let mut reply = Reply::new(whole(""));
    *reply.status_mut() = answer.status();
    *reply.headers_mut() = passed_on(answer.headers());
    let pieces = stream::unfold(Some(answer), move |answer| async move {
        let mut answer = answer?;
        match tokio::time::timeout(silence, answer.chunk()).await {
            Ok(Ok(piece)) => Some((Ok(piece?), Some(answer))),
            Ok(Err(error)) => Some((Err(io::Error::other(error.without_url())), None)),
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
        }
    });
    *reply.body_mut() = streamed(pieces);
    reply
}
