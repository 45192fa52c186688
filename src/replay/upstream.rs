//! The way out: to the servers that steps ask, by this machine's own proxy where it has one.
//!
//! A RUN without a lock shares the host's network, so where it may lead is no question here: what a step asks of the
//! proxy it could ask itself. Redirects are the step's to follow.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use hyper::client::conn::http1 as client;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Response, Url};
use tokio::net::TcpStream;

use super::address::without_secrets;

const CONNECT: Duration = Duration::from_secs(15);

/// The most header lines of an answer.
const HEADERS: usize = 100;

/// What connections are made with.
#[derive(Clone, Debug, Default)]
pub struct Outward {
    /// `--add-host`: the step would find these names in its `/etc/hosts`.
    pub hosts: Vec<(String, IpAddr)>,
    /// Authorities beside the system's, each a bundle in PEM.
    pub authorities: Vec<Vec<u8>>,
    /// The proxy variables that the step was to have; without any, this machine's are used.
    pub proxies: Vec<(String, String)>,
}

pub(super) struct Upstream {
    outward: Outward,
    /// To this machine and to names that the user gave addresses, past any proxy; and to all others. Made when they are
    /// needed: reading the system's roots takes a while.
    near: OnceLock<Result<Client, String>>,
    far: OnceLock<Result<Client, String>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("there is no way to ask {host}: {why}")]
    Setup { host: String, why: String },
    #[error("{host} does not answer: {why}")]
    Broken { host: String, why: String },
    #[error("{host} sent nothing for {} s", .silence.as_secs())]
    Stalled { host: String, silence: Duration },
}

/// The step asks for what it would serve itself, and does not.
pub(super) fn nobody(url: &Url) -> UpstreamError {
    let why = "nobody listens there in this RUN's own network".to_owned();
    UpstreamError::Broken { host: url.host_str().unwrap_or_default().to_owned(), why }
}

/// Asks a server at the other end of a connection.
pub(super) async fn ask_over(
    stream: TcpStream,
    method: hyper::Method,
    url: &Url,
    mut headers: HeaderMap,
    body: Option<reqwest::Body>,
    silence: Duration,
) -> Result<Response, UpstreamError> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let broken = |why: String| UpstreamError::Broken { host: host.clone(), why };
    let asking = async {
        let (mut server, connection) =
            client::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
        // It ends with the answer's body, or with whoever does not want that.
        tokio::spawn(connection);
        let named = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        headers.insert(HOST, named.parse().map_err(|_| broken("its name is no name of a host".to_owned()))?);
        let mut request = Request::new(body.unwrap_or_default());
        *request.method_mut() = method;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", url.path());
        *request.uri_mut() = path.parse().map_err(|_| broken("its path is no path of HTTP".to_owned()))?;
        *request.headers_mut() = headers;
        server.send_request(request).await.map_err(|error| broken(error.to_string()))
    };
    match tokio::time::timeout(silence, asking).await {
        Ok(answer) => Ok(answer?.map(reqwest::Body::wrap).into()),
        Err(_) => Err(UpstreamError::Stalled { host: host.clone(), silence }),
    }
}

impl Upstream {
    pub fn new(outward: Outward) -> Self {
        // Another room may have installed it already, and that it is the same is the house's rule.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { outward, near: OnceLock::new(), far: OnceLock::new() }
    }

    /// Asks, and waits for the answer's head.
    pub async fn ask(
        &self,
        method: hyper::Method,
        url: &Url,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
        silence: Duration,
    ) -> Result<Response, UpstreamError> {
        let host = || url.host_str().unwrap_or_default().to_owned();
        let client = self.client(url).map_err(|why| UpstreamError::Setup { host: host(), why })?;
        let mut request = client.request(method, url.clone()).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        match tokio::time::timeout(silence, request.send()).await {
            Ok(answer) => answer.map_err(|error| UpstreamError::Broken { host: host(), why: deepest(&error, url) }),
            Err(_) => Err(UpstreamError::Stalled { host: host(), silence }),
        }
    }

    /// A connection for bytes that are no HTTP.
    pub async fn connect(&self, host: &str, port: u16) -> std::io::Result<tokio::net::TcpStream> {
        let own = self.outward.hosts.iter().find(|(name, _)| name == host);
        let connecting = async {
            match own {
                Some((_, address)) => tokio::net::TcpStream::connect((*address, port)).await,
                None => tokio::net::TcpStream::connect((host, port)).await,
            }
        };
        let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
        tokio::time::timeout(CONNECT, connecting).await.map_err(late)?
    }

    fn client(&self, url: &Url) -> Result<&Client, String> {
        let host = url.host_str().unwrap_or_default();
        let given = self.outward.hosts.iter().any(|(name, _)| name == host);
        let made = match given || is_this_machine(url) {
            true => self.near.get_or_init(|| self.make(|builder| Ok(builder.no_proxy()))),
            false => self.far.get_or_init(|| self.make(|builder| self.proxied(builder))),
        };
        made.as_ref().map_err(Clone::clone)
    }

    fn make(&self, proxied: impl Fn(ClientBuilder) -> reqwest::Result<ClientBuilder>) -> Result<Client, String> {
        let authorities = || -> reqwest::Result<Vec<Certificate>> {
            let bundles = self.outward.authorities.iter().map(|pem| Certificate::from_pem_bundle(pem));
            Ok(bundles.collect::<reqwest::Result<Vec<_>>>()?.concat())
        };
        let builder = || -> reqwest::Result<ClientBuilder> {
            let names = self.outward.hosts.iter();
            let builder = names.fold(shared(), |builder, (name, ip)| builder.resolve(name, SocketAddr::new(*ip, 0)));
            proxied(builder)
        };
        let with_system = builder().and_then(|builder| builder.tls_certs_merge(authorities()?).build());
        // Without any roots on this machine clear text works still, and what the user trusts.
        let made = with_system.or_else(|_| builder()?.tls_certs_only(authorities()?).build());
        made.map_err(|error| error.to_string())
    }

    /// The step's own proxies, as `curl` reads them: lower case first.
    fn proxied(&self, builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        let find =
            |name: &str| self.outward.proxies.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let set =
            |name: &str| find(name).or_else(|| find(&name.to_ascii_uppercase())).filter(|value| !value.is_empty());
        if self.outward.proxies.is_empty() {
            return Ok(builder);
        }
        let except = set("no_proxy").and_then(NoProxy::from_string);
        let mut builder = builder.no_proxy();
        if let Some(proxy) = set("http_proxy").or(set("all_proxy")) {
            builder = builder.proxy(Proxy::http(proxy)?.no_proxy(except.clone()));
        }
        if let Some(proxy) = set("https_proxy").or(set("all_proxy")) {
            builder = builder.proxy(Proxy::https(proxy)?.no_proxy(except));
        }
        Ok(builder)
    }
}

fn shared() -> ClientBuilder {
    Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .http1_max_headers(HEADERS)
        .http2_max_header_list_size(64 << 10)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
}

/// The headers that go on, on either side: those of the connection stay (RFC 9110, 7.6.1).
pub(super) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    const OWN: [HeaderName; 8] =
        [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HOST];
    let named: Vec<&str> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .collect();
    let stays = |name: &HeaderName| {
        OWN.contains(name)
            || ["keep-alive", "proxy-connection"].contains(&name.as_str())
            || named.iter().any(|other| other.trim().eq_ignore_ascii_case(name.as_str()))
    };
    headers.iter().filter(|(name, _)| !stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The same for a question whose whole answer is wanted, whatever part the asker wants or has.
pub(super) fn whole(headers: &HeaderMap) -> HeaderMap {
    let mut headers = passed_on(headers);
    for name in ["range", "if-range", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since"] {
        headers.remove(name);
    }
    headers.remove(CONTENT_LENGTH);
    headers
}

pub(super) fn is_this_machine(url: &Url) -> bool {
    match address(url) {
        Some(address) => address.is_loopback(),
        None => url.host_str().is_some_and(|host| host == "localhost" || host.ends_with(".localhost")),
    }
}

/// The link's neighbours, of which a machine in a cloud gets its credentials (169.254.169.254, fd00:ec2::254).
pub(super) fn is_neighbour(url: &Url) -> bool {
    match address(url) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2],
        None => url.host_str() == Some("metadata.google.internal"),
    }
}

fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The innermost error's words: those around it show the URL, signature included.
pub(super) fn deepest(error: &reqwest::Error, url: &Url) -> String {
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = if deepest.is::<reqwest::Error>() { "the request failed".to_owned() } else { deepest.to_string() };
    let text: String = text.chars().take(300).flat_map(char::escape_debug).collect();
    text.replace(url.as_str(), &without_secrets(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_connection_and_of_proxies_stay_on_their_side() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("proxy-authorization", "Basic hunter2"),
            ("connection", "close, x-own"),
            ("x-own", "1"),
            ("keep-alive", "1"),
            ("authorization", "Basic mine"),
            ("range", "bytes=0-1"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let names = |headers: HeaderMap| headers.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(passed_on(&headers)), ["authorization", "range"]);
        assert_eq!(names(whole(&headers)), ["authorization"]);
    }

    #[test]
    fn this_machine_and_its_neighbours_are_known_in_every_spelling() {
        let is = |url: &str, of: fn(&Url) -> bool| of(&url.parse().unwrap());
        for url in
            ["http://localhost/", "http://127.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://a.localhost"]
        {
            assert!(is(url, is_this_machine) && !is(url, is_neighbour), "{url}");
        }
        for url in ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://0xa9fea9fe/"] {
            assert!(is(url, is_neighbour) && !is(url, is_this_machine), "{url}");
        }
        assert!(!is("http://deb.debian.org/", is_this_machine) && !is("http://10.0.0.1/", is_neighbour));
    }
}
