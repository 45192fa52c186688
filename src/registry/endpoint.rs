//! Which URL a registry's host is reached at.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// The addresses that the user gave in place of a registry's own: `docker.io=http://127.0.0.1:5000`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(BTreeMap<String, Url>);

/// Where one registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    registry: String,
    base: Url,
    given: bool,
}

/// A text that is not `HOST=URL`, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a registry endpoint of the form HOST=URL: {why}", text.escape_debug())]
pub struct BadEndpoint {
    text: String,
    why: &'static str,
}

impl Endpoints {
    /// Adds `HOST=URL`. One that is there for the same host gives way, so add the weaker sources first.
    pub fn add(&mut self, text: &str) -> Result<(), BadEndpoint> {
        let bad = |why| BadEndpoint { text: without_password(text), why };
        let (host, url) = text.split_once('=').ok_or_else(|| bad("there is no `=`"))?;
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        };
        // The reference's own grammar decides what a registry host is.
        match format!("{host}/x").parse::<crate::image::Reference>() {
            Ok(reference) if reference.registry() == host => {}
            _ => return Err(bad("what stands before the `=` is not a registry's host name")),
        }
        let url: Url = url.parse().map_err(|_| bad("what stands behind the `=` is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("the URL is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a URL with a password in it would be seen; credentials come from `docker login` or AWS"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("the URL has a query or a fragment"));
        }
        self.0.insert(host.to_owned(), url);
        Ok(())
    }

    /// Adds a comma-separated list, as `LOCUS_REGISTRY_ENDPOINTS` holds it.
    pub fn add_list(&mut self, text: &str) -> Result<(), BadEndpoint> {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).try_for_each(|entry| self.add(entry))
    }

    /// Where this registry is reached: as the user said; else loopback by plain http, all others by https.
    pub fn of(&self, registry: &str) -> Endpoint {
        if let Some(base) = self.0.get(registry) {
            return Endpoint { registry: registry.to_owned(), base: base.clone(), given: true };
        }
        let (scheme, host) = match registry {
            "docker.io" => ("https", "registry-1.docker.io"),
            host if names_loopback(host) => ("http", host),
            host => ("https", host),
        };
        let base = format!("{scheme}://{host}/").parse().expect("a reference's registry is a host that a URL can have");
        Endpoint { registry: registry.to_owned(), base, given: false }
    }
}

impl Endpoint {
    /// The registry's name, as references have it.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Whether the user gave this address.
    pub fn is_given(&self) -> bool {
        self.given
    }

    /// Whether the named registry's credential may go here. An address in clear text that is not on this machine
    /// gets none, whoever gave it.
    pub fn may_have_credential(&self) -> bool {
        self.base.scheme() == "https" || self.is_loopback()
    }

    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// The URL of a path below `/v2/`. The path is of the registry API: it is made of checked names only.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// An address that this registry named for itself, made absolute; `None` when it is on another host.
    ///
    /// A registry that is reached by an address of the user's may speak of itself by its own name.
    pub(super) fn own(&self, from: &Url, location: &str) -> Option<Url> {
        let mut url = from.join(location).ok()?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        if same_origin(&url, &self.base) {
            return Some(url);
        }
        let named = Endpoints::default().of(&self.registry);
        if !self.given || !same_origin(&url, &named.base) {
            return None;
        }
        url.set_scheme(self.base.scheme()).ok()?;
        url.set_host(self.base.host_str()).ok()?;
        url.set_port(self.base.port()).ok()?;
        Some(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.as_str().trim_end_matches('/'))
    }
}

/// Scheme, host and port: what a credential is bound to.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether the URL's host is this machine, by address or by the name that is reserved for it (RFC 6761).
pub(super) fn is_loopback(url: &Url) -> bool {
    match address(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => url.host_str() == Some("localhost"),
    }
}

/// The URL's host where it is an address. `Url` has read `0x7f.1` and its like by then.
pub(super) fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn names_loopback(registry: &str) -> bool {
    format!("http://{registry}/").parse().is_ok_and(|url| is_loopback(&url))
}

fn without_password(text: &str) -> String {
    let text = match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}…{}", &text[..start + 3], &text[end..]),
        _ => text.to_owned(),
    };
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_plain_and_all_others_are_tls() {
        for (registry, wanted) in [
            ("docker.io", "https://registry-1.docker.io"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("127.1.2.3", "http://127.1.2.3"),
            ("localhost:5000", "http://localhost:5000"),
            ("[::1]:5000", "http://[::1]:5000"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000"),
            ("localhost.evil.com", "https://localhost.evil.com"),
            ("127.0.0.1.evil.com", "https://127.0.0.1.evil.com"),
            ("ghcr.io", "https://ghcr.io"),
        ] {
            assert_eq!(Endpoints::default().of(registry).to_string(), wanted, "{registry}");
        }
    }

    #[test]
    fn the_user_may_send_a_registry_elsewhere() {
        let mut endpoints = Endpoints::default();
        endpoints.add_list("docker.io=http://127.0.0.1:5000, ghcr.io=https://mirror.test/ghcr").unwrap();
        endpoints.add("index.docker.io=http://10.0.0.9:5000").unwrap();
        assert_eq!(
            endpoints.of("docker.io").url("library/a/tags/list").as_str(),
            "http://10.0.0.9:5000/v2/library/a/tags/list"
        );
        assert_eq!(endpoints.of("ghcr.io").url("").as_str(), "https://mirror.test/ghcr/v2/");
        assert_eq!(endpoints.of("quay.io").to_string(), "https://quay.io");
    }

    #[test]
    fn a_credential_goes_nowhere_in_clear_text() {
        let mut endpoints = Endpoints::default();
        endpoints
            .add_list("a.io=http://127.0.0.1:1,b.io=http://10.0.0.1:1,c.io=https://d.io,e.io=http://0x7f.1")
            .unwrap();
        let may = |registry| endpoints.of(registry).may_have_credential();
        assert_eq!(["a.io", "b.io", "c.io", "e.io", "f.io"].map(may), [true, false, true, true, true]);
    }

    #[test]
    fn what_is_not_an_endpoint_says_why() {
        for (text, why) in [
            ("docker.io", "no `=`"),
            ("a b=http://x", "not a registry's host"),
            ("docker.io/x=http://x", "not a registry's host"),
            ("docker.io=x", "not a URL"),
            ("docker.io=ftp://x", "neither http nor https"),
            ("docker.io=http://u:hunter2@x", "password"),
            ("docker.io=http://x?y", "query"),
        ] {
            let error = Endpoints::default().add(text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_location_is_the_registrys_own_or_nothing() {
        let mut endpoints = Endpoints::default();
        endpoints.add("r.test=http://127.0.0.1:5000").unwrap();
        let endpoint = endpoints.of("r.test");
        let from = endpoint.url("a/blobs/uploads/");
        for (location, wanted) in [
            ("/v2/x?y=1", Some("http://127.0.0.1:5000/v2/x?y=1")),
            ("http://127.0.0.1:5000/x", Some("http://127.0.0.1:5000/x")),
            ("https://r.test/x", Some("http://127.0.0.1:5000/x")),
            ("http://127.0.0.1:5001/x", None),
            ("//evil.com/x", None),
            ("http://r.test.evil.com/x", None),
            ("http://u@127.0.0.1:5000/x", None),
            ("http://169.254.169.254/x", None),
        ] {
            assert_eq!(endpoint.own(&from, location).as_ref().map(Url::as_str), wanted, "{location}");
        }
    }
}
