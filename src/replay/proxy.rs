//! The proxy itself: on loopback, for those who know a step's token.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::answer::{set, words};
use super::authority::{Authority, AuthorityError};
use super::download::{Command, Downloads, Key, RunDownloads};
use super::passage::Passage;
use super::pipe::Reply;
use super::serve::{self, Tunnelled};
use super::session::Session;
use super::table::Table;
use super::tunnel;
use super::upstream::{Outward, Upstream};
use crate::event::Events;
use crate::image::Digest;
use crate::listen;
use crate::secret::Secret;
use crate::store::Store;

/// How many connections are served at a time; more wait. npm opens some dozens.
const CONNECTIONS: usize = 512;

/// The longest a client may take for the head of its request.
const HEAD: Duration = Duration::from_secs(60);

/// What becomes of a GET that the lock does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `lock --run`: it is recorded.
    Record,
    /// It goes through, and this is said.
    Pass,
    /// `--locked`: it is refused.
    Refuse,
}

/// What the proxy of one build is made of.
pub struct Options {
    pub store: Store,
    pub events: Events,
    /// What the lock holds.
    pub downloads: Downloads,
    pub policy: Policy,
    pub outward: Outward,
    /// The longest wait for an answer's head, and for each piece of its body.
    pub silence: Duration,
}

/// Why a RUN cannot be given a proxy.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot listen on loopback: {0}")]
    Listen(#[source] io::Error),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("this machine gives no random numbers")]
    Random,
}

/// The downloads of one build. Cheap to clone; the proxy ends with the last one.
#[derive(Clone)]
pub struct Replay(Arc<Running>);

struct Running {
    inner: Arc<Inner>,
    accepting: JoinHandle<()>,
}

/// What all connections share.
pub(super) struct Inner {
    pub store: Store,
    pub events: Events,
    pub policy: Policy,
    pub silence: Duration,
    pub address: SocketAddr,
    pub authority: Authority,
    pub upstream: Upstream,
    table: Mutex<Table>,
    /// By the digest of their token, so that how long a search takes says nothing of a token.
    passages: RwLock<BTreeMap<Digest, Arc<Passage>>>,
    /// What is being asked for, so that two who ask for one thing get one answer.
    asking: Mutex<BTreeMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    /// Blobs whose bytes were read once and are what their name says.
    sound: Mutex<BTreeSet<Digest>>,
}

impl Replay {
    pub async fn start(options: Options) -> Result<Self, ReplayError> {
        let Options { store, events, downloads, policy, outward, silence } = options;
        let upstream = Upstream::new(outward);
        let authority = Authority::of(&store)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(ReplayError::Listen)?;
        let address = listener.local_addr().map_err(ReplayError::Listen)?;
        let inner = Arc::new(Inner {
            store,
            events,
            policy,
            silence,
            address,
            authority,
            upstream,
            table: Mutex::new(Table::new(downloads)),
            passages: RwLock::default(),
            asking: Mutex::default(),
            sound: Mutex::default(),
        });
        let accepting = tokio::spawn(listen_at(listener, Arc::clone(&inner)));
        Ok(Self(Arc::new(Running { inner, accepting })))
    }

    /// In PEM: what a step is to trust.
    pub fn certificate(&self) -> &str {
        self.0.inner.authority.certificate()
    }

    pub fn policy(&self) -> Policy {
        self.0.inner.policy
    }

    /// What the lock holds for a step; `None` where it does not know the step.
    pub fn held(&self, step: &Digest) -> Option<RunDownloads> {
        self.0.inner.table().of_lock(step).cloned()
    }

    /// What a command of this build was given so far.
    pub fn given(&self, command: &Command) -> Option<RunDownloads> {
        self.0.inner.table().given_to(command)
    }

    /// What this build's commands were given: the lock's next state.
    pub fn downloads(&self) -> Downloads {
        self.0.inner.table().all_given()
    }

    /// A command need not be run: what it downloaded stays as the lock has it.
    pub fn keep(&self, command: &Command) {
        self.0.inner.table().keep(command);
    }

    /// A command begins. No URL that shows one of the secrets is recorded.
    pub fn open(&self, command: &Command, secrets: Vec<Arc<Secret>>) -> Result<Session, ReplayError> {
        let mut token = [0; 16];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut token).map_err(|_| ReplayError::Random)?;
        let token = token.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.0.inner.table().begin(command);
        let passage = Arc::new(Passage::new(command.step, secrets));
        let name = Digest::of(token.as_bytes());
        let mut passages = self.0.inner.passages.write().unwrap_or_else(PoisonError::into_inner);
        passages.insert(name, Arc::clone(&passage));
        drop(passages);
        Ok(Session { replay: self.clone(), name, token, passage })
    }

    pub(super) fn close(&self, name: &Digest) {
        self.0.inner.passages.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.inner.address
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0.inner
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replay({:?})", self.policy())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Inner {
    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sound(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else asks for this.
    pub async fn alone_with(&self, key: Key) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            asking.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(asking.entry(key).or_default())
        };
        lock.lock_owned().await
    }

    /// Whose token a request brings.
    fn passage(&self, request: &Request<Incoming>) -> Option<Arc<Passage>> {
        let header = request.headers().get(PROXY_AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = header.split_once(' ')?;
        let login = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        let token = login.strip_prefix(b"step:")?;
        self.passages.read().unwrap_or_else(PoisonError::into_inner).get(&Digest::of(token)).cloned()
    }
}

/// Answers whoever comes, until it is dropped.
pub(super) async fn listen_at(listener: TcpListener, inner: Arc<Inner>) {
    listen::accept(listener, CONNECTIONS, |stream| connection(stream, Arc::clone(&inner), None)).await
}

/// One connection: to the proxy, or within a tunnel to a server that we are for the step.
pub(super) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    inner: Arc<Inner>,
    within: Option<Tunnelled>,
) {
    let service = service_fn(move |request| {
        let (inner, within) = (Arc::clone(&inner), within.clone());
        async move { Ok::<_, Infallible>(answer(inner, request, within).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        // busybox's wget closes its side when it has asked for something over TLS (networking/wget.c).
        .half_close(true)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A client that went away is no fault of ours.
    let _ = Box::pin(served).await;
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>, within: Option<Tunnelled>) -> Reply {
    if let Some(within) = within {
        let passage = Arc::clone(&within.passage);
        return serve::answer(&inner, &passage, request, Some(&within)).await;
    }
    let Some(passage) = inner.passage(&request) else {
        let mut reply = words(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "this proxy is for the steps of a build");
        set(&mut reply, PROXY_AUTHENTICATE, "Basic realm=\"locus-push\"");
        return reply;
    };
    match *request.method() {
        Method::CONNECT => tunnel::open(inner, passage, request),
        _ => serve::answer(&inner, &passage, request, None).await,
    }
}
