//! CONNECT: the server that the step wants to speak TLS with is us; other bytes go through as they are.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::answer::words;
use super::door::Own;
use super::passage::Passage;
use super::pipe::{Reply, whole};
use super::proxy::{Inner, Policy, connection};
use super::serve::{Tunnelled, note_unheld};
use crate::event::Event;

/// How a TLS connection begins: a record of the kind `handshake` (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

pub(super) fn open(inner: Arc<Inner>, passage: Arc<Passage>, request: Request<Incoming>) -> Reply {
    let target = request.uri().authority().and_then(|target| Some((target.host().to_owned(), target.port_u16()?)));
    let Some((host, port)) = target else {
        return words(StatusCode::BAD_REQUEST, "CONNECT wants HOST:PORT");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let task = Arc::clone(&passage);
    task.tunnel(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            through(inner, passage, TokioIo::new(upgraded), host, port).await;
        }
    });
    Response::new(whole(""))
}

async fn through<S>(inner: Arc<Inner>, passage: Arc<Passage>, mut stream: S, host: String, port: u16)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let mut first = [0];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    let (read, write) = tokio::io::split(stream);
    let mut stream = tokio::io::join(std::io::Cursor::new(first).chain(read), write);
    let place = Tunnelled { passage, host, port };
    let own = place.own(&inner).await;
    if first != [HANDSHAKE] || own.is_some() {
        if own.is_none() && !note_unheld(&inner, &place.passage, &format!("CONNECT {}:{}", place.host, place.port)) {
            return;
        }
        let server = match own {
            Some(Own::Within(server)) => Ok(server),
            Some(Own::Nobody) => return,
            Some(Own::Shared) | None => inner.upstream.connect(&place.host, port).await,
        };
        let Ok(mut server) = server else { return };
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        return;
    }
    let Ok(config) = inner.authority.host(&place.host) else { return };
    match TlsAcceptor::from(config).accept(stream).await {
        Ok(stream) => connection(stream, inner, Some(place)).await,
        Err(error) => distrusted(&inner, &place, &error),
    }
}

/// A client that believes in authorities of its own only is the commonest reason, and its own words for it are many.
fn distrusted(inner: &Inner, place: &Tunnelled, error: &std::io::Error) {
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if !matches!(alert, Some(rustls::Error::AlertReceived(_))) {
        return;
    }
    let said = format!("{}:{}", place.host, place.port);
    if place.passage.note(|outcome| &mut outcome.distrusted, said.clone()) {
        let what = match inner.policy {
            Policy::Record => "recorded",
            Policy::Pass | Policy::Refuse => "given again",
        };
        let message = format!(
            "a program of this RUN does not trust the authority by which what it downloads from {said} would be {what}"
        );
        let hint =
            "it is in the image's bundles, and in SSL_CERT_FILE and its like: the program has certificates of its own";
        inner.events.emit(Event::Warning { message, hint: Some(hint.to_owned()) });
    }
}
