//! The one dialer: TLS, proxies, time limits, and which addresses may be reached over which line.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Request, Response, Url};

use super::endpoint::{address, is_loopback};
use super::error::{ExchangeError, SetupError};

/// The longest wait for an answer's head, and for each piece of its body.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

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
    /// To where a registry sent us: never to this machine, nor to its link-local neighbours.
    Away,
}

pub(super) struct Http {
    authorities: Vec<Certificate>,
    lines: [OnceLock<Result<Client, String>>; 3],
}

impl Http {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, SetupError> {
        // Another room may have installed it already, and that it is the same is the house's rule.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = ca_file.map(read_authorities).transpose()?.unwrap_or_default();
        Ok(Self { authorities, lines: Default::default() })
    }

    /// The client of a line, made when it is first needed: reading the system's roots takes a while, and a machine
    /// that has none may still speak to itself in clear text.
    pub(super) fn client(&self, line: Line, url: &Url) -> Result<&Client, ExchangeError> {
        let made = self.lines[line as usize].get_or_init(|| self.make(line).map_err(|error| deepest(&error)));
        made.as_ref().map_err(|why| ExchangeError::Tls { url: shown(url), why: why.clone() })
    }

    fn make(&self, line: Line) -> reqwest::Result<Client> {
        let builder = match line {
            Line::Near => match shared().no_proxy().tls_certs_merge(self.authorities.clone()).build() {
                // No roots at all: clear text still works, TLS fails when it is met.
                Err(_) => return shared().no_proxy().tls_certs_only(self.authorities.clone()).build(),
                made => return made,
            },
            Line::Far => shared(),
            Line::Away => shared().dns_resolver(Arc::new(Outward)),
        };
        builder.tls_certs_merge(self.authorities.clone()).build()
    }

    /// Sends once and waits for the answer's head.
    pub(super) async fn send(&self, line: Line, request: Request) -> Result<Response, ExchangeError> {
        let url = request.url().clone();
        let client = self.client(line, &url)?;
        match tokio::time::timeout(SILENCE, client.execute(request)).await {
            Ok(answer) => answer.map_err(|error| broken(&url, &error)),
            Err(_) => Err(ExchangeError::Stalled { url: shown(&url), seconds: SILENCE.as_secs() }),
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

/// Whether an address is one that a registry has no business to send us to: this machine, or the link-local
/// neighbours that cloud machines get their credentials from (169.254.169.254, fd00:ec2::254).
pub(super) fn is_inward(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.segments()[..2] == [0xfd00, 0xec2]
        }
    }
}

/// Whether a URL names such an address by its digits or as `localhost`.
pub(super) fn names_inward(url: &Url) -> bool {
    is_loopback(url) || address(url).is_some_and(is_inward)
}

/// Resolves names, leaving out inward addresses. It is asked by the connector itself, so that no second answer of
/// the name server can come between check and connection (DNS rebinding).
struct Outward;

impl Resolve for Outward {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            // No URL on this line names `localhost`; a proxy's may.
            let kept: Vec<SocketAddr> =
                found.filter(|found| name.as_str() == "localhost" || !is_inward(found.ip())).collect();
            if kept.is_empty() {
                return Err("the name stands for addresses of this machine or of its link only".into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
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
    use super::*;

    #[test]
    fn inward_addresses_are_known_in_every_spelling() {
        for url in [
            "http://169.254.169.254/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://localhost/",
        ] {
            assert!(names_inward(&url.parse().unwrap()), "{url}");
        }
        for url in ["http://10.0.0.1/", "http://s3.eu-west-1.amazonaws.com/", "http://[2001:db8::1]/"] {
            assert!(!names_inward(&url.parse().unwrap()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_this_machine_is_not_reached_by_redirect() {
        let own = gethostname();
        let found = Outward.resolve(own.parse().unwrap()).await;
        let inward = tokio::net::lookup_host((own.as_str(), 0)).await.map(|mut all| all.all(|a| is_inward(a.ip())));
        assert_eq!(found.is_err(), inward.unwrap_or(true));
    }

    fn gethostname() -> String {
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
    }

    #[test]
    fn an_error_shows_no_signature() {
        let url = "https://u:p@s3.test/x?X-Amz-Signature=abc#f".parse().unwrap();
        assert_eq!((shown(&url), origin(&url)), ("https://s3.test/x".into(), "https://s3.test".into()));
    }
}
