//! The embedded registry: the distribution spec's HTTP API (version 1.1) over our own store; on loopback, unless it is
//! told who may come in from elsewhere.
//!
//! Blobs are the store's own, whatever repository they are asked of: an image that was built here is here already,
//! and a push of it sends its manifest alone. Who may come in may read what they know the digest or the tag of.
//!
//! | file | worry |
//! |---|---|
//! | `connection` | one connection: TLS, its requests, its end |
//! | `door` | who may come in |
//! | `route`, `reply` | what is asked for, and what goes back |
//! | `manifests`, `referrers`, `blobs`, `uploads` | the API |
//! | `shelf` | which manifests a repository has |
//! | `upstream` | a registry whose images are kept here |

mod blobs;
mod connection;
mod door;
mod manifests;
mod referrers;
mod reply;
mod route;
mod shelf;
mod uploads;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use self::door::Door;
use self::reply::{Refusal, Reply};
use self::route::{Route, route};
use self::shelf::Shelf;
use self::uploads::Uploads;
use crate::store::Store;

pub use self::door::{BadIdentity, BadLogin, Identity, Lacks, Login};
pub use self::upstream::Upstream;

/// A registry that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// Where a registry listens, and for whom.
pub struct ServerOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may come in; else everybody.
    pub login: Option<Login>,
    /// Who we are; else the registry speaks in clear text.
    pub identity: Option<Identity>,
    /// Listens beyond this machine even without a login or TLS.
    pub insecure: bool,
    /// Lets tags, manifests and blobs be deleted.
    pub may_delete: bool,
    /// The registry whose images are kept here; nothing is pushed then.
    pub upstream: Option<Upstream>,
}

/// Why there is no registry at the address that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{address} is not a loopback address, and {lacks}")]
    Open { address: SocketAddr, lacks: Lacks },
    #[error("cannot listen at {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot keep tags in {}: {source}", folder.display())]
    Shelf { folder: PathBuf, source: io::Error },
}

struct State {
    store: Store,
    shelf: Shelf,
    uploads: Uploads,
    door: Door,
    may_delete: bool,
    upstream: Option<Upstream>,
    /// Held while the shelf changes, so that no blob goes between being found and being needed.
    changing: Mutex<()>,
}

impl ServerOptions {
    /// For this machine alone.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, login: None, identity: None, insecure: false, may_delete: false, upstream: None }
    }
}

impl Server {
    /// Listens. Blobs are the store's; tags and the list of manifests are small files below `data`.
    pub async fn start(store: Store, data: &Path, options: ServerOptions) -> Result<Self, ServeError> {
        let ServerOptions { listen: address, login, identity, insecure, may_delete, upstream } = options;
        let door = Door::new(address, login, identity.as_ref(), insecure)
            .map_err(|lacks| ServeError::Open { address, lacks })?;
        let shelf = Shelf::open(data).map_err(|source| ServeError::Shelf { folder: data.to_owned(), source })?;
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (uploads, changing) = (Uploads::default(), Mutex::default());
        let state = Arc::new(State { store, shelf, uploads, door, may_delete, upstream, changing });
        Ok(Self { address, accepting: tokio::spawn(connection::accept(listener, identity, state)) })
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

async fn answer(state: &State, request: Request<Incoming>) -> Reply {
    match dispatch(state, request).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(),
    }
}

async fn dispatch(state: &State, request: Request<Incoming>) -> Result<Reply, Refusal> {
    state.door.admit(request.headers())?;
    let method = request.method().clone();
    let route = route(request.uri())?;
    if let Some(upstream) = &state.upstream {
        return read_through(state, upstream, route, request).await;
    }
    match (route, method) {
        (Route::Manifest { repository, version }, Method::PUT) => {
            manifests::write(state, &repository, &version, request).await
        }
        (Route::Uploads { repository, query }, Method::POST) => {
            uploads::open(state, &repository, &query, request).await
        }
        (Route::Upload { repository, id, .. }, Method::GET) => uploads::status(state, &repository, &id),
        (Route::Upload { repository, id, .. }, Method::PATCH) => uploads::add(state, &repository, &id, request).await,
        (Route::Upload { repository, id, query }, Method::PUT) => {
            uploads::close(state, &repository, &id, &query, request).await
        }
        (Route::Upload { repository, id, .. }, Method::DELETE) => uploads::cancel(state, &repository, &id),
        (route, _) => read(state, route, &request).await,
    }
}

/// What an upstream registry has, and what of it is kept.
async fn read_through(
    state: &State,
    upstream: &Upstream,
    route: Route,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let query = request.uri().query();
    match &route {
        Route::Manifest { repository, version } if reads => {
            upstream.bring_manifest(state, repository, version).await?;
        }
        Route::Blob { repository, digest } if reads && state.store.blob_size(digest).is_none() => {
            return upstream.blob(state, repository, digest, &request).await;
        }
        Route::Tags { repository, .. } if reads => {
            if let Some(found) = upstream.list(repository, "tags/list", query).await? {
                return Ok(found);
            }
        }
        Route::Referrers { repository, subject, .. } if reads => {
            if let Some(found) = upstream.list(repository, &format!("referrers/{subject}"), query).await? {
                return Ok(found);
            }
        }
        Route::Manifest { .. } if request.method() == Method::PUT => return Err(upstream.refuse_push()),
        Route::Uploads { .. } | Route::Upload { .. } => return Err(upstream.refuse_push()),
        Route::Root | Route::Manifest { .. } | Route::Blob { .. } | Route::Tags { .. } | Route::Referrers { .. } => {}
    }
    read(state, route, &request).await
}

/// What is here: shown, or deleted where that is allowed.
async fn read(state: &State, route: Route, request: &Request<Incoming>) -> Result<Reply, Refusal> {
    let may_delete = state.may_delete;
    match (route, request.method()) {
        (Route::Root, &Method::GET | &Method::HEAD) => Ok(reply::document("application/json", b"{}".to_vec())),
        (Route::Tags { repository, page }, &Method::GET) => manifests::tags(state, &repository, &page),
        (Route::Referrers { repository, subject, wanted }, &Method::GET) => {
            referrers::list(state, &repository, &subject, &wanted)
        }
        (Route::Manifest { repository, version }, method @ (&Method::GET | &Method::HEAD)) => {
            manifests::read(state, &repository, &version, method == Method::HEAD)
        }
        (Route::Manifest { repository, version }, &Method::DELETE) if may_delete => {
            manifests::remove(state, &repository, &version).await
        }
        (Route::Blob { digest, .. }, &Method::GET | &Method::HEAD) => blobs::read(state, &digest, request),
        (Route::Blob { digest, .. }, &Method::DELETE) if may_delete => blobs::remove(state, &digest).await,
        _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry does not do that")),
    }
}
