//! The embedded registry: the distribution spec's HTTP API over our own store, on loopback.
//!
//! Blobs are the store's own, whatever repository they are asked of: an image that was built here is here already,
//! and a push of it sends its manifest alone. Who may connect to this machine's loopback may read what they know the
//! digest or the tag of.

mod blobs;
mod manifests;
mod reply;
mod route;
mod shelf;
mod uploads;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use self::reply::{Refusal, Reply};
use self::route::{Route, route};
use self::shelf::Shelf;
use self::uploads::Uploads;
use super::endpoint::is_loopback;
use crate::store::Store;

/// How many connections are served at a time; more wait.
const CONNECTIONS: usize = 64;

/// The longest a client may take for the head of its request.
const HEAD: Duration = Duration::from_secs(30);

/// How long, and for how many bytes, a client that was refused may go on sending before the connection is cut.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: u64 = 64 << 20;

/// A registry that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

struct State {
    store: Store,
    shelf: Shelf,
    uploads: Uploads,
}

impl Server {
    /// Listens at a loopback address (port 0 takes a free one). Blobs are the store's; tags and the list of
    /// manifests are small files below `data`.
    pub async fn start(store: Store, data: &Path, address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let why = format!("{address} is not a loopback address; the embedded registry has neither TLS nor logins");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let shelf = Shelf::open(data)?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { store, shelf, uploads: Uploads::default() });
        Ok(Self { address, accepting: tokio::spawn(accept(listener, state)) })
    }

    /// Where it listens: also the name of the registry in references to what is in it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends when the server does, which it does not by itself.
    pub async fn wait(&mut self) {
        // It ends by being aborted, or with a bug of its own, which the panic has told of.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves each connection in a task; all end with this one.
async fn accept(listener: TcpListener, state: Arc<State>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                connections.spawn(async move {
                    serve(stream, state).await;
                    drop(slot);
                });
            }
            // Out of descriptors, most often: it passes when a connection ends.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
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
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(LINGER_BYTES);
        let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Reply {
    match dispatch(state, request).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(),
    }
}

async fn dispatch(state: &State, request: Request<Incoming>) -> Result<Reply, Refusal> {
    check_host(&request)?;
    let method = request.method().clone();
    match (route(request.uri())?, method) {
        (Route::Root, Method::GET | Method::HEAD) => Ok(reply::document("application/json", b"{}".to_vec())),
        (Route::Tags { repository, page }, Method::GET) => manifests::tags(state, &repository, &page),
        (Route::Manifest { repository, version }, Method::GET | Method::HEAD) => {
            manifests::read(state, &repository, &version, request.method() == Method::HEAD)
        }
        (Route::Manifest { repository, version }, Method::PUT) => {
            manifests::write(state, &repository, &version, request).await
        }
        (Route::Blob { digest, .. }, Method::GET | Method::HEAD) => blobs::read(state, &digest, &request),
        (Route::Uploads { repository, query }, Method::POST) => {
            uploads::open(state, &repository, &query, request).await
        }
        (Route::Upload { repository, id, .. }, Method::GET) => uploads::status(state, &repository, &id),
        (Route::Upload { repository, id, .. }, Method::PATCH) => uploads::add(state, &repository, &id, request).await,
        (Route::Upload { repository, id, query }, Method::PUT) => {
            uploads::close(state, &repository, &id, &query, request).await
        }
        (Route::Upload { repository, id, .. }, Method::DELETE) => uploads::cancel(state, &repository, &id),
        _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry does not do that")),
    }
}

/// A page in a browser may have its own name stand for 127.0.0.1 (DNS rebinding); the name shows in `Host`.
fn check_host(request: &Request<Incoming>) -> Result<(), Refusal> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match format!("http://{host}/").parse() {
        Ok(url) if is_loopback(&url) => Ok(()),
        _ => Err(Refusal::new(
            StatusCode::MISDIRECTED_REQUEST,
            "UNSUPPORTED",
            "this registry is asked by loopback names only",
        )),
    }
}
