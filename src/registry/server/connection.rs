//! Connections: so many at a time, each with its handshake, its requests and its end.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Identity, State, answer};
use crate::listen;

/// How many connections are served at a time; more wait.
const CONNECTIONS: usize = 64;

/// The longest a client may take for its handshake, and for the head of its request.
const HEAD: Duration = Duration::from_secs(30);

/// How long, and for how many bytes, a client that was refused may go on sending before the connection is cut.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: u64 = 64 << 20;

/// Serves each connection in a task; all end with this one.
pub(super) async fn accept(listener: TcpListener, identity: Option<Identity>, state: Arc<State>) {
    let acceptor = identity.map(|identity| TlsAcceptor::from(identity.0));
    listen::accept(listener, CONNECTIONS, |stream| greet(stream, acceptor.clone(), state.clone())).await;
}

async fn greet(stream: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    let Some(acceptor) = acceptor else { return serve(stream, state).await };
    // Who does not trust the certificate, or speaks no TLS, knows it better than we do.
    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD, acceptor.accept(stream)).await {
        serve(stream, state).await;
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&state, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await;
    // Otherwise the client went away, which is no fault of ours, or was answered.
    if let Ok(parts) = served {
        linger(parts.io.into_inner()).await;
    }
}

/// Lets the client finish a body that was refused before its end.
///
/// To close a socket with bytes unread resets the connection, and the reset may overtake the answer: the client would
/// see a broken pipe and never why (RFC 9112, section 9.6).
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES);
        let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}
