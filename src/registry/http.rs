//! The one dialer: TLS, proxies, time limits, and which addresses may be reached over which line.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Request, Response, Url};

use super::endpoint::{address, is_loopback};
use super::error::{ExchangeError, SetupError};
use super::reach::{self, Lookup, Outward, PrivateHosts};

const CONNECT: Duration = Duration::from_secs(15);

/// The most header lines of an answer; registries send about twenty.
const HEADERS: usize = 100;

/// Which way a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// To this machine, past any proxy.
    Near,
    /// To an address that the user named, by whatever proxy the environment sets.
    Far,
    /// To where a registry sent us: never to this machine, nor to its link-local neighbours; into private networks
    /// where the registry is in one itself.
    Away { private: bool },
}

pub(super) struct Http {
    authorities: Vec<Certificate>,
    allowed: PrivateHosts,
    silence: Duration,
    lookup: Lookup,
    lines: [OnceLock<Result<Client, String>>; 5],
    /// Which names stand for private addresses.
    private: Mutex<BTreeMap<String, bool>>,
}

impl Http {
    pub(super) fn new(ca_file: Option<&Path>, allowed: PrivateHosts, silence: Duration) -> Result<Self, SetupError> {
        // Another room may have installed it already, and that it is the same is the house's rule.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = ca_file.map(read_authorities).transpose()?.unwrap_or_default();
        let (lines, private) = (Default::default(), Mutex::default());
        Ok(Self { authorities, allowed, silence, lookup: reach::system, lines, private })
    }

    /// The longest wait for an answer's head, and for each piece of its body.
    pub(super) fn silence(&self) -> Duration {
        self.silence
    }

    /// Why a place that a registry at `from` names may not be gone to, as far as its text tells.
    pub(super) async fn refusal(&self, to: &Url, from: &Url) -> Option<&'static str> {
        reach::refusal_of(to, self.is_private(from).await, &self.allowed)
    }

    /// Whether a host that the user named is in a private network, as this machine is. It is looked up once: a name server that changes
    /// its mind does not change what the registry is.
    pub(super) async fn is_private(&self, url: &Url) -> bool {
        if is_loopback(url) {
            return true;
        }
        if let Some(address) = address(url) {
            return reach::is_private(address);
        }
        let Some(name) = url.host_str().map(str::to_owned) else { return false };
        let known = || self.private.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&name) {
            return *known;
        }
        let found = (self.lookup)(name.clone()).await.unwrap_or_default();
        let private = found.iter().any(|found| reach::is_private(found.ip()));
        known().insert(name, private);
        private
    }

    /// The client of a line, made when it is first needed: reading the system's roots takes a while, and a machine
    /// that has none may still speak to itself in clear text, for which none are read.
    pub(super) fn client(&self, line: Line, url: &Url) -> Result<&Client, ExchangeError> {
        let clear = url.scheme() == "http";
        let place = match line {
            Line::Near if clear => 4,
            Line::Near => 0,
            Line::Far => 1,
            Line::Away { private } => 2 + usize::from(private),
        };
        let made = self.lines[place].get_or_init(|| self.make(line, clear).map_err(|error| deepest(&error)));
        // All that can be missing to make one is something to trust.
        made.as_ref().map_err(|why| ExchangeError::Roots { url: shown(url), why: why.clone() })
    }

    /// A redirection is followed by hand, so that a client meets no other scheme than the one it is made for.
    fn make(&self, line: Line, clear: bool) -> reqwest::Result<Client> {
        let builder = match line {
            Line::Near if clear => return shared().no_proxy().tls_certs_only(self.authorities.clone()).build(),
            Line::Near => shared().no_proxy(),
            Line::Far => shared(),
            Line::Away { private } => {
                let proxies = reach::proxies(|name| env::var(name).ok());
                let (allowed, lookup) = (self.allowed.clone(), self.lookup);
                shared().dns_resolver(Arc::new(Outward { private, allowed, proxies, lookup }))
            }
        };
        builder.tls_certs_merge(self.authorities.clone()).build()
    }

    /// Sends once and waits for the answer's head.
    pub(super) async fn send(&self, line: Line, request: Request) -> Result<Response, ExchangeError> {
        let url = request.url().clone();
        let client = self.client(line, &url)?;
        match tokio::time::timeout(self.silence, client.execute(request)).await {
            Ok(answer) => answer.map_err(|error| broken(&url, &error)),
            Err(_) => Err(ExchangeError::Stalled { url: shown(&url), seconds: self.silence.as_secs() }),
        }
    }
}

fn shared() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("locus-push/", env!("CARGO_PKG_VERSION")))
        // Followed by hand, so that no credential goes along by accident.
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .http1_max_headers(HEADERS)
        .http2_max_header_list_size(64 << 10)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
}

fn read_authorities(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let pem = std::fs::read(path).map_err(|source| SetupError::CaFile { path: path.to_owned(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(SetupError::NoCertificate { path: path.to_owned() }),
    }
}

/// The line to an address that the user named.
pub(super) fn line_to(url: &Url) -> Line {
    if is_loopback(url) { Line::Near } else { Line::Far }
}

/// A URL as errors show it: where signatures and tokens are, it ends.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails for URLs without a host only, which have no user either.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.as_str().trim_end_matches('/').to_owned()
}

/// A URL as errors show it when somebody else chose it: its origin alone.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// What kind of failure the client met.
pub(super) fn broken(url: &Url, error: &reqwest::Error) -> ExchangeError {
    let (url, why) = (shown(url), deepest(error));
    if mentions_tls(error) {
        ExchangeError::Tls { url, why }
    } else if error.is_connect() || error.is_dns() {
        ExchangeError::Connect { url, why }
    } else {
        ExchangeError::Broken { url, why }
    }
}

/// The innermost error's words: those around it say "error sending request" and the URL, signature included.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = if deepest.is::<reqwest::Error>() { "the request failed".to_owned() } else { deepest.to_string() };
    text.chars().take(300).flat_map(char::escape_debug).collect()
}

fn mentions_tls(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        // An io::Error that carries another one skips it when asked for its source.
        let carried = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        if error.is::<rustls::Error>() || carried.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        next = match carried {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;

    use super::*;

    /// Looks up a name that stands for a machine of the internet when it is first asked, and for this one then.
    fn rebound(_: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let address = if ASKED.fetch_add(1, Ordering::Relaxed) == 0 { [192, 0, 2, 1] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
    }

    #[tokio::test]
    async fn e3_a_name_that_comes_to_stand_for_this_machine_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut http = Http::new(None, PrivateHosts::default(), Duration::from_secs(5)).unwrap();
        http.lookup = rebound;
        let url: Url = format!("http://rebound.test:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
        let from = "http://192.0.2.7/".parse().unwrap();
        assert_eq!(http.refusal(&url, &from).await, None);
        let inside = "http://10.0.0.1/".parse().unwrap();
        assert_eq!(http.refusal(&inside, &from).await, Some(reach::PRIVATE));
        assert_eq!(http.refusal(&inside, &"http://10.9.9.9/".parse().unwrap()).await, None);
        assert!(!http.is_private(&url).await, "the first answer is of the internet");
        let request = || Request::new(reqwest::Method::GET, url.clone());
        let error = http.send(Line::Away { private: false }, request()).await.unwrap_err();
        assert!(matches!(&error, ExchangeError::Connect { why, .. } if why.contains(reach::INWARD)), "{error}");
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "nothing reached this machine");
    }

    #[test]
    fn an_error_shows_no_signature() {
        let url = "https://u:p@s3.test/x?X-Amz-Signature=abc#f".parse().unwrap();
        assert_eq!((shown(&url), origin(&url)), ("https://s3.test/x".into(), "https://s3.test".into()));
    }
}
