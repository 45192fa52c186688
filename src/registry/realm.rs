//! Which token servers are trusted with a registry's credential.

use reqwest::Url;

use super::challenge::Challenge;
use super::endpoint::{Endpoint, Endpoints, is_loopback, same_origin};
use super::error::ExchangeError;
use super::http;

/// The token servers that are not on their registry's own host.
const TOKEN_SERVERS: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// The token server that the challenge names, if we know it for this registry's: the registry's own host, or the
/// one that it is known to use. Any other host would get a credential that is not meant for it
/// (go-containerregistry#2193), or make us its messenger to where only we can go.
pub(super) fn trusted(endpoint: &Endpoint, challenge: &Challenge) -> Result<Url, ExchangeError> {
    let text = challenge.parameter("realm").unwrap_or_default();
    let refuse = |why| ExchangeError::Realm {
        url: endpoint.to_string(),
        realm: Url::parse(text).map_or_else(|_| format!("`{}`", text.escape_debug()), |url| http::origin(&url)),
        why,
    };
    let realm: Url = text.parse().map_err(|_| refuse("which is no URL"))?;
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(refuse("with a credential in the address"));
    }
    let base = endpoint.base();
    if realm.scheme() != "https" && !(is_loopback(&realm) && endpoint.is_loopback()) {
        return Err(refuse("which is not protected by TLS"));
    }
    // Over TLS the certificate speaks for the host; in clear text another port may be another user's.
    let same_host = realm.scheme() == "https" && base.scheme() == "https" && realm.host() == base.host();
    let named = Endpoints::default().of(endpoint.registry());
    let own = same_host || same_origin(&realm, base) || same_origin(&realm, named.base());
    let known = TOKEN_SERVERS.iter().any(|(registry, server)| {
        endpoint.registry() == *registry
            && realm.host_str() == Some(server)
            && realm.port_or_known_default() == Some(443)
    });
    if own || known { Ok(realm) } else { Err(refuse("which is not its token server as far as we know")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(endpoints: &str, registry: &str, realm: &str) -> bool {
        let mut all = Endpoints::default();
        all.add_list(endpoints).unwrap();
        let challenge = &Challenge::read(&format!("Bearer realm=\"{realm}\""))[0];
        trusted(&all.of(registry), challenge).is_ok()
    }

    #[test]
    fn a_token_is_asked_for_at_the_registrys_own_host_or_the_known_one() {
        assert!(realm("", "docker.io", "https://auth.docker.io/token"));
        assert!(realm("", "ghcr.io", "https://ghcr.io/token"));
        assert!(realm("", "r.test:5000", "https://r.test/token"));
        assert!(realm("", "127.0.0.1:5000", "http://127.0.0.1:5000/token"));
        assert!(realm("docker.io=https://mirror.test", "docker.io", "https://mirror.test/token"));
        assert!(realm("docker.io=https://mirror.test", "docker.io", "https://auth.docker.io/token"));
    }

    #[test]
    fn a_token_is_asked_for_nowhere_else() {
        for (registry, url) in [
            ("r.test", "https://evil.com/token"),
            ("r.test", "https://auth.docker.io/token"),
            ("docker.io", "https://auth.docker.io.evil.com/token"),
            ("docker.io", "https://auth.docker.io:8443/token"),
            ("docker.io", "https://evil@auth.docker.io/token"),
            ("docker.io", "https://auth.docker.io@evil.com/token"),
            ("docker.io", "http://auth.docker.io/token"),
            ("r.test", "http://r.test/token"),
            ("r.test", "http://169.254.169.254/latest"),
            ("r.test", "https://169.254.169.254/latest"),
            ("r.test", "http://127.1/"),
            ("r.test", "http://[::1]/"),
            ("r.test", "http://0x7f.1/"),
            ("r.test", "https://[fd00:ec2::254]/"),
            ("127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            ("127.0.0.1:5000", "http://169.254.169.254/latest"),
            ("r.test", "file:///etc/passwd"),
            ("r.test", ""),
        ] {
            assert!(!realm("", registry, url), "{registry} {url}");
        }
    }
}
