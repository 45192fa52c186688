//! One question to a registry, asked until it is answered: with the credential it wants, again after a passing
//! failure, and at the place it redirects to.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, AsHeaderName, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Request, Response, StatusCode, Url};

use super::client::Registry;
use super::endpoint::{Endpoint, is_loopback, same_origin};
use super::error::ExchangeError;
use super::http::{self, Line};
use super::retry::{is_passing, retry_after};
use super::said::{self, Said};
use crate::event::Event;

/// The most places that a question is sent on to.
const REDIRECTS: usize = 5;

/// A failure to connect at all is more often a wrong address than a bad moment.
const CONNECTS: u32 = 2;

/// How often a question is asked as somebody new: once more than a refused pass needs, for those whose new pass ran
/// out while they waited for their turn.
const PASSES: u32 = 3;

/// Something asked of a registry that may be asked twice.
pub(super) struct Question<'a> {
    pub endpoint: &'a Endpoint,
    pub method: Method,
    pub url: Url,
    /// What the token must allow: `repository:NAME:pull`, several divided by spaces.
    pub scope: &'a str,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The answer is a document of at most so many bytes, and is read whole.
    pub limit: Option<usize>,
}

/// What came back. Of a refusal, the registry's words have been read.
pub(super) struct Answer {
    pub url: String,
    pub response: Response,
    pub said: Said,
    /// The document, where the question was for one and it was answered.
    pub body: Vec<u8>,
    /// How long its next piece is waited for.
    silence: Duration,
    /// A piece that was read too far.
    ahead: Option<Bytes>,
}

impl<'a> Question<'a> {
    pub(super) fn new(endpoint: &'a Endpoint, method: Method, path: &str, scope: &'a str) -> Self {
        let url = endpoint.url(path);
        Self { endpoint, method, url, scope, headers: HeaderMap::new(), body: Bytes::new(), limit: None }
    }

    /// The answer is short and wanted whole.
    pub(super) fn whole(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(super) fn accept(mut self, types: &'static str) -> Self {
        self.headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static(types));
        self
    }

    pub(super) fn document(mut self, media_type: &str, body: Vec<u8>) -> Self {
        let value = HeaderValue::from_str(media_type).expect("a media type of ours is a header's value");
        self.headers.insert(CONTENT_TYPE, value);
        self.body = body.into();
        self
    }

    fn request(&self, url: &Url, authorization: Option<&HeaderValue>) -> Request {
        let mut request = Request::new(self.method.clone(), url.clone());
        *request.headers_mut() = self.headers.clone();
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        if !self.body.is_empty() || matches!(self.method, Method::POST | Method::PUT) {
            *request.body_mut() = Some(self.body.clone().into());
        }
        request
    }
}

impl Registry {
    /// Whether a registry answers, and knows us where it wants to (distribution spec, end-1).
    pub async fn greet(&self, registry: &str) -> Result<(), ExchangeError> {
        let endpoint = self.0.options.endpoints.of(registry);
        let answer = self.ask(&Question::new(&endpoint, Method::GET, "", "")).await?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.refusal()) }
    }

    /// Asks, as whoever the registry wants us to be. The answer may be a refusal.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Result<Answer, ExchangeError> {
        let Question { endpoint, scope, .. } = question;
        let mut used = self.0.passes.of(endpoint, scope);
        let mut round = 1;
        loop {
            let answer = self.ask_as(question, used.as_ref()).await?;
            if !wants_another_pass(&question.method, &answer, used.is_some()) {
                return Ok(answer);
            }
            // The second refusal is one, unless the pass was somebody else's idea and is a newer one by now.
            let stale = round == 1 || self.0.passes.of(endpoint, scope) != used;
            if !stale || round == PASSES {
                return Ok(answer);
            }
            if !self.authorize(endpoint, scope, answer.response.headers(), used).await? {
                return Ok(answer);
            }
            used = self.0.passes.of(endpoint, scope);
            round += 1;
        }
    }

    /// Asks under one authorization, wherever the registry sends us. The header goes to the registry's own scheme,
    /// host and port and nowhere else: a 401 of another host is its own affair (go-containerregistry#2349).
    async fn ask_as(&self, question: &Question<'_>, pass: Option<&HeaderValue>) -> Result<Answer, ExchangeError> {
        let home = question.endpoint.base();
        let mut url = question.url.clone();
        for _ in 0..=REDIRECTS {
            let own = same_origin(&url, home);
            let line = if own { http::line_to(&url) } else { self.line_away(question.endpoint, &url).await };
            let request = || question.request(&url, pass.filter(|_| own));
            let mut answer = self.steadily(line, question.limit, request).await?;
            if !answer.response.status().is_redirection() || !matches!(question.method, Method::GET | Method::HEAD) {
                if !own {
                    answer.url = http::origin(&url);
                }
                return Ok(answer);
            }
            url = self.target(&answer.response, &url, question.endpoint).await?;
        }
        Err(ExchangeError::Redirect {
            url: http::shown(&question.url),
            target: http::origin(&url),
            why: "and so on without an end",
        })
    }

    /// Sends until the answer is more than "not now".
    pub(super) async fn steadily(
        &self,
        line: Line,
        limit: Option<usize>,
        request: impl Fn() -> Request,
    ) -> Result<Answer, ExchangeError> {
        let mut attempt = 1;
        loop {
            let (pause, asked) = match self.once(line, limit, request()).await {
                Ok(answer) if !is_passing(answer.response.status()) => return Ok(answer),
                Ok(answer) => {
                    let asked = retry_after(answer.response.headers());
                    match self.0.options.retries.pause(attempt) {
                        Some(pause) => (pause, asked.map(|pause| (pause, answer.url))),
                        None => return Ok(answer),
                    }
                }
                Err(error) if is_broken(&error, attempt) => match self.0.options.retries.pause(attempt) {
                    Some(pause) => (pause, None),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            };
            self.wait(pause, asked).await?;
            attempt += 1;
        }
    }

    /// Waits for as long as the registry asks, else for our own pause.
    pub(super) async fn wait(&self, own: Duration, asked: Option<(Duration, String)>) -> Result<(), ExchangeError> {
        let Some((asked, url)) = asked else {
            tokio::time::sleep(own).await;
            return Ok(());
        };
        let seconds = asked.as_secs();
        if asked > self.0.options.retries.patience {
            return Err(ExchangeError::WaitTooLong { url, seconds });
        }
        if seconds > 1 {
            self.0.options.events.emit(Event::Note(format!("{url} asks to wait {seconds} s")));
        }
        // With our own pause on top, so that all who were told the same second do not come back in it.
        tokio::time::sleep(asked + own).await;
        Ok(())
    }

    async fn once(&self, line: Line, limit: Option<usize>, request: Request) -> Result<Answer, ExchangeError> {
        let url = request.url().clone();
        let response = self.0.http.send(line, request).await?;
        let answer = Answer::read(&url, response, self.0.http.silence()).await?;
        answer.with_document(limit).await
    }

    /// The line to an address that the registry named and that is not its own.
    pub(super) async fn line_away(&self, endpoint: &Endpoint, url: &Url) -> Line {
        match endpoint.is_loopback() && is_loopback(url) {
            true => Line::Near,
            false => Line::Away { private: self.0.http.is_private(endpoint.base()).await },
        }
    }

    /// Where a redirect leads, if we may go there.
    async fn target(&self, response: &Response, from: &Url, endpoint: &Endpoint) -> Result<Url, ExchangeError> {
        let refuse = |target: String, why| ExchangeError::Redirect { url: http::shown(from), target, why };
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(mut url) = location.and_then(|location| from.join(location).ok()) else {
            return Err(refuse("nowhere".to_owned(), "which is no URL"));
        };
        // A user in a URL becomes an Authorization header.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(http::origin(&url), "with a credential in the address"));
        }
        url.set_fragment(None);
        if same_origin(&url, endpoint.base()) {
            return Ok(url);
        }
        match url.scheme() {
            "https" => {}
            "http" if from.scheme() == "http" => {}
            _ => return Err(refuse(http::origin(&url), "which is not protected by TLS")),
        }
        if endpoint.is_loopback() && is_loopback(&url) {
            return Ok(url);
        }
        match self.0.http.refusal(&url, endpoint.base()).await {
            Some(why) => Err(refuse(http::origin(&url), why)),
            None => Ok(url),
        }
    }
}

impl Answer {
    /// Takes an answer in; of a refusal, a part of its body that is large enough for any error document.
    pub(super) async fn read(url: &Url, mut response: Response, silence: Duration) -> Result<Self, ExchangeError> {
        let mut said = Said::default();
        if response.status().is_client_error() || response.status().is_server_error() {
            let body = bounded(&mut response, said::LIMIT, silence).await;
            said = body.map(|body| Said::read(&body)).unwrap_or_default();
        }
        Ok(Self { url: http::shown(url), response, said, body: Vec::new(), silence, ahead: None })
    }

    /// The answer with its whole body, where it is a document of at most this length.
    async fn with_document(mut self, limit: Option<usize>) -> Result<Self, ExchangeError> {
        if let Some(limit) = limit.filter(|_| self.status().is_success()) {
            let body = bounded(&mut self.response, limit, self.silence).await;
            self.body = body.map_err(|cut| cut.at(self.url.clone(), limit, self.silence))?;
        }
        Ok(self)
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of a long body.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        if let Some(piece) = self.ahead.take() {
            return Ok(Some(piece));
        }
        match tokio::time::timeout(self.silence, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(_)) => Err(Cut::Broken.at(self.url.clone(), 0, self.silence)),
            Err(_) => Err(Cut::Stalled.at(self.url.clone(), 0, self.silence)),
        }
    }

    /// Lets the next piece of the body be this one.
    pub(super) fn give_back(&mut self, piece: Bytes) {
        self.ahead = Some(piece);
    }

    /// The refusal as an error.
    pub(super) fn refusal(self) -> ExchangeError {
        ExchangeError::Answer { status: self.status(), url: self.url, said: self.said }
    }
}

/// Why a body was not read to its end.
enum Cut {
    TooLong,
    Broken,
    Stalled,
}

impl Cut {
    fn at(self, url: String, limit: usize, silence: Duration) -> ExchangeError {
        match self {
            Self::TooLong => ExchangeError::TooLong { url, limit },
            Self::Broken => ExchangeError::Broken { url, why: "the answer ended before its end".to_owned() },
            Self::Stalled => ExchangeError::Stalled { url, seconds: silence.as_secs() },
        }
    }
}

/// A short document, within one time limit for all of it: a byte a minute is not an answer.
async fn bounded(response: &mut Response, limit: usize, silence: Duration) -> Result<Vec<u8>, Cut> {
    let whole = async {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|_| Cut::Broken)? {
            if body.len() + piece.len() > limit {
                return Err(Cut::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    };
    tokio::time::timeout(silence, whole).await.unwrap_or(Err(Cut::Stalled))
}

/// 401 is the question who we are. ECR says 403 of a token that has expired, and to HEAD says nothing more.
pub(super) fn wants_another_pass(method: &Method, answer: &Answer, had_one: bool) -> bool {
    let expired = || answer.said.message().contains("expired") || method == Method::HEAD;
    match answer.status() {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::FORBIDDEN => had_one && expired(),
        _ => false,
    }
}

fn is_broken(error: &ExchangeError, attempt: u32) -> bool {
    match error {
        ExchangeError::Connect { .. } => attempt < CONNECTS,
        ExchangeError::Broken { .. } | ExchangeError::Stalled { .. } => true,
        _ => false,
    }
}
