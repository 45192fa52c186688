//! Who may come in, and how they are heard: the login, the certificate, and the rule of where neither is needed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::reply::Refusal;
use crate::image::Digest;
use crate::registry::endpoint::is_loopback;
use crate::secret::Secret;

/// One user's name and password, of which only a digest is kept.
#[derive(Clone)]
pub struct Login(Digest);

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<ServerConfig>);

/// Why a user and a password do not make a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLogin {
    #[error("a user's name is not empty and has no `:` (RFC 7617)")]
    User,
    #[error("the password is empty")]
    Password,
}

/// Why a certificate and a key do not make a TLS server.
#[derive(Debug, thiserror::Error)]
pub enum BadIdentity {
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    #[error("there is no private key in PEM form")]
    NoKey,
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// What is missing before others than this machine may be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacks {
    pub tls: bool,
    pub login: bool,
}

pub(super) struct Door {
    login: Option<Login>,
    loopback_names_only: bool,
}

impl Login {
    pub fn new(user: &str, password: &Secret) -> Result<Self, BadLogin> {
        if user.is_empty() || user.contains(':') {
            return Err(BadLogin::User);
        }
        if password.expose().is_empty() {
            return Err(BadLogin::Password);
        }
        let pair = zeroize::Zeroizing::new([user.as_bytes(), b":", password.expose()].concat());
        Ok(Self(Digest::of(&pair)))
    }

    /// Whether a header says this user and this password. Digests are compared, and all of their bytes, so that the
    /// time that it takes tells nothing.
    fn admits(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, encoded)) = authorization.and_then(|header| header.split_once(' ')) else { return false };
        let Ok(pair) = STANDARD.decode(encoded.trim()).map(zeroize::Zeroizing::new) else { return false };
        let given = Digest::of(&pair);
        let differing = self.0.as_bytes().iter().zip(given.as_bytes()).fold(0, |sum, (own, other)| sum | (own ^ other));
        scheme.eq_ignore_ascii_case("basic") && differing == 0
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Identity {
    /// The certificate first, then those that lead to an authority that the clients trust.
    pub fn from_pem(certificates: &[u8], key: &Secret) -> Result<Self, BadIdentity> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(BadIdentity::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| BadIdentity::NoKey)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.login, self.tls) {
            (true, true) => "without a login and TLS whoever reaches it may read, write and overhear all",
            (true, false) => "without a login whoever reaches it may read and write all",
            (false, _) => "without TLS the password is sent in clear text",
        })
    }
}

impl Door {
    /// The door of a registry at an address; `Err` where it would stand open.
    pub(super) fn new(
        address: SocketAddr,
        login: Option<Login>,
        tls: Option<&Identity>,
        insecure: bool,
    ) -> Result<Self, Lacks> {
        let lacks = Lacks { tls: tls.is_none(), login: login.is_none() };
        let loopback = address.ip().is_loopback();
        if !loopback && !insecure && (lacks.tls || lacks.login) {
            return Err(lacks);
        }
        Ok(Self { loopback_names_only: loopback && lacks.tls && lacks.login, login })
    }

    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if self.loopback_names_only && !names_loopback(header(HOST).unwrap_or_default()) {
            let why = "this registry is asked by loopback names only";
            return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "UNSUPPORTED", why));
        }
        match &self.login {
            Some(login) if !login.admits(header(AUTHORIZATION)) => {
                Err(Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a user and a password are needed"))
            }
            _ => Ok(()),
        }
    }
}

/// A page in a browser may have its own name stand for 127.0.0.1 (DNS rebinding); the name shows in `Host`.
fn names_loopback(host: &str) -> bool {
    format!("http://{host}/").parse().is_ok_and(|url| is_loopback(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login::new("user", &Secret::new("se:cret")).unwrap()
    }

    #[test]
    fn one_user_with_one_password_is_let_in() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (header, wanted) in [
            (Some(basic("user:se:cret")), true),
            (Some(basic("user:se:cret").replace("Basic", "basic")), true),
            (Some(basic("user:secret")), false),
            (Some(basic("user")), false),
            (Some(basic("")), false),
            (Some(basic("User:se:cret")), false),
            (Some(basic("user:se:cret").replace("Basic", "Bearer")), false),
            (Some("Basic !".to_owned()), false),
            (Some("Basic".to_owned()), false),
            (None, false),
        ] {
            assert_eq!(login().admits(header.as_deref()), wanted, "{header:?}");
        }
        assert!(!format!("{:?}", login()).contains("sha256"));
    }

    #[test]
    fn a_login_that_anybody_would_guess_is_none() {
        let made = |user, password: &str| Login::new(user, &Secret::new(password)).err();
        assert_eq!(made("", "x"), Some(BadLogin::User));
        assert_eq!(made("a:b", "x"), Some(BadLogin::User));
        assert_eq!(made("a", ""), Some(BadLogin::Password));
    }

    #[test]
    fn beyond_this_machine_a_door_has_both_or_is_meant_to_stand_open() {
        let refused = |address: &str, login: Option<Login>, insecure| {
            Door::new(address.parse().unwrap(), login, None, insecure).err().map(|lacks| (lacks.tls, lacks.login))
        };
        assert_eq!(refused("127.0.0.1:5000", None, false), None);
        assert_eq!(refused("[::1]:5000", Some(login()), false), None);
        assert_eq!(refused("0.0.0.0:5000", None, false), Some((true, true)));
        assert_eq!(refused("[::]:5000", Some(login()), false), Some((true, false)));
        assert_eq!(refused("10.0.0.1:5000", None, true), None);
    }

    #[test]
    fn what_is_no_certificate_and_what_is_no_key_are_told_apart() {
        let made = |certificate: &str, key: &str| {
            Identity::from_pem(certificate.as_bytes(), &Secret::new(key)).unwrap_err().to_string()
        };
        assert_eq!(made("", ""), "there is no certificate in PEM form");
        let certificate = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";
        assert_eq!(made(certificate, certificate), "there is no private key in PEM form");
    }
}
