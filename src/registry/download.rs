//! Files of the network for ADD: no registry, no credential, redirects confined.

use std::io::Write;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, LAST_MODIFIED, LOCATION};
use reqwest::{Method, Request, StatusCode, Url};

use super::client::Registry;
use super::date::http_date;
use super::endpoint::is_loopback;
use super::error::ExchangeError;
use super::exchange::Answer;
use super::http::{self, Line};
use super::reach::PRIVATE;
use super::retry::{Pace, is_passing, retry_after};
use crate::build::{Download, FetchError};
use crate::store::StoreError;

/// The most places that a download is sent on to, as in Go's client.
const REDIRECTS: usize = 10;

/// The largest file that is fetched, in bytes.
const LIMIT: u64 = 64 << 30;

#[derive(Debug, thiserror::Error)]
enum DownloadError {
    #[error("it is no http or https URL")]
    Scheme,
    #[error("{0}")]
    Exchange(#[from] ExchangeError),
    #[error("it answers {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("it redirects {REDIRECTS} times and more")]
    Redirects,
    #[error("it redirects to {target}, {why}")]
    Redirect { target: String, why: &'static str },
    #[error("it ends after {got} of {promised} bytes")]
    Cut { got: u64, promised: u64 },
    #[error("it is larger than {LIMIT} bytes")]
    TooLarge,
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl DownloadError {
    /// Whether it may go well the next time.
    fn is_passing(&self) -> bool {
        match self {
            Self::Exchange(error) => matches!(error, ExchangeError::Broken { .. } | ExchangeError::Stalled { .. }),
            Self::Status { status, .. } => is_passing(*status),
            Self::Cut { got, promised } => got < promised,
            _ => false,
        }
    }
}

impl From<DownloadError> for FetchError {
    fn from(error: DownloadError) -> Self {
        let hint = match &error {
            DownloadError::Redirect { why: PRIVATE, .. } => Some(
                "`--allow-private HOST` lets servers send us there; or ADD the address that it leads to".to_owned(),
            ),
            DownloadError::Redirect { .. } => Some("ADD the address that it leads to, if you trust it".to_owned()),
            _ => None,
        };
        Self { source: Box::new(error), hint }
    }
}

impl Registry {
    /// Fetches the file at a URL into the store.
    pub(super) async fn fetch_url(&self, url: &str) -> Result<Download, FetchError> {
        Ok(self.download_file(url).await?)
    }

    /// Fetches it, anew after each passing failure.
    async fn download_file(&self, url: &str) -> Result<Download, DownloadError> {
        let url = parse(url)?;
        let mut attempt = 1;
        loop {
            let error = match self.download_once(&url).await {
                Err(error) if error.is_passing() => error,
                done => return done,
            };
            let Some(pause) = self.0.options.retries.pause(attempt) else { return Err(error) };
            let asked = match &error {
                DownloadError::Status { retry_after, .. } => retry_after.map(|pause| (pause, http::shown(&url))),
                _ => None,
            };
            self.wait(pause, asked).await?;
            attempt += 1;
        }
    }

    async fn download_once(&self, url: &Url) -> Result<Download, DownloadError> {
        let mut answer = self.follow(url).await?;
        let header = |name| answer.header(name);
        let last_modified = header(LAST_MODIFIED).and_then(http_date);
        let promised: Option<u64> = header(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let mut writer = self.0.options.store.blob_writer()?;
        let (mut pace, silence) = (Pace::from(0), self.0.http.silence());
        while let Some(piece) = answer.piece().await? {
            if writer.bytes() + piece.len() as u64 > LIMIT {
                return Err(DownloadError::TooLarge);
            }
            if pace.crawls(writer.bytes(), silence) {
                return Err(ExchangeError::Stalled { url: http::shown(url), seconds: silence.as_secs() }.into());
            }
            let path = self.0.options.store.root().to_owned();
            writer.write_all(&piece).map_err(|source| StoreError::Io { doing: "write a download in", path, source })?;
        }
        if let Some(promised) = promised.filter(|promised| *promised != writer.bytes()) {
            return Err(DownloadError::Cut { got: writer.bytes(), promised });
        }
        let kept = tokio::task::spawn_blocking(move || writer.commit(None)).await;
        let (digest, size) = kept.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(Download { digest, size, last_modified })
    }

    /// Asks, and asks where it is sent on to. A server of the internet may not send us to this machine or into a
    /// private network, nor from TLS to clear text.
    async fn follow(&self, first: &Url) -> Result<Answer, DownloadError> {
        let mut url = first.clone();
        let mut line = http::line_to(&url);
        for _ in 0..REDIRECTS {
            let response = self.0.http.send(line, Request::new(Method::GET, url.clone())).await?;
            let answer = Answer::read(&url, response, self.0.http.silence()).await?;
            match answer.status() {
                status if status.is_success() => return Ok(answer),
                status if status.is_redirection() && answer.header(LOCATION).is_some() => {}
                status => {
                    let retry_after = retry_after(answer.response.headers());
                    return Err(DownloadError::Status { status, retry_after });
                }
            }
            let next = url.join(answer.header(LOCATION).unwrap_or_default()).map_err(|_| DownloadError::Scheme)?;
            let refuse = |why| Err(DownloadError::Redirect { target: http::origin(&next), why });
            match next.scheme() {
                "https" => {}
                "http" if url.scheme() == "http" => {}
                _ => return refuse("which is not TLS any more"),
            }
            line = match is_loopback(first) && is_loopback(&next) {
                true => Line::Near,
                false => match self.0.http.refusal(&next, first).await {
                    Some(why) => return refuse(why),
                    None => Line::Away { private: self.0.http.is_private(first).await },
                },
            };
            url = next;
        }
        Err(DownloadError::Redirects)
    }
}

fn parse(text: &str) -> Result<Url, DownloadError> {
    let url: Url = text.parse().map_err(|_| DownloadError::Scheme)?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(DownloadError::Scheme),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_are_fetched() {
        for url in ["ftp://h/a", "file:///etc/passwd", "http:/x y", "a"] {
            assert!(matches!(parse(url), Err(DownloadError::Scheme)), "{url}");
        }
        assert!(parse("https://h/a?b").is_ok());
    }
}
