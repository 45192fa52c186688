//! The authority that the steps of one store trust, and the certificates that it gives the hosts they speak to.
//!
//! It is made once a store, so that the layer in which a step finds it is the same in each build; its key never leaves
//! the store's folder, which is its owner's alone. No image holds the certificate: see `build::trust`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::secret::Secret;
use crate::store::{Store, StoreError};

/// What is kept in the store: the certificate, then the key, both in PEM.
const FILE: &str = "replay.pem";

/// How many hosts' certificates are kept; a step that speaks to more has them made again.
const HOSTS: usize = 1000;

const NAME: &str = "locus-push: downloads of RUN";

/// Why there is no authority that a RUN could trust.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("a certificate of ours is refused: {0}")]
    Tls(#[from] rustls::Error),
}

pub(super) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    /// One key for all hosts: it speaks for this process alone.
    key: KeyPair,
    hosts: Mutex<BTreeMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    pub fn of(store: &Store) -> Result<Self, AuthorityError> {
        let own = || match store.own_file(FILE) {
            Ok(Some(text)) => read(&text),
            _ => None,
        };
        let (certificate, key) = match own() {
            Some(known) => known,
            None => {
                let _alone = store.lock("replay")?;
                // Another process may have made it meanwhile.
                match own() {
                    Some(known) => known,
                    None => make(store)?,
                }
            }
        };
        Ok(Self {
            certificate,
            issuer: Issuer::new(params()?, key),
            key: KeyPair::generate()?,
            hosts: Mutex::default(),
        })
    }

    /// In PEM, for those who are to trust it.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// How we are the host of this name, or this address.
    pub fn host(&self, host: &str) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(host) {
            return Ok(Arc::clone(known));
        }
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        // Python since 3.13 wants it (VERIFY_X509_STRICT).
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let chain: Vec<CertificateDer<'static>> = vec![params.signed_by(&self.key, &self.issuer)?.der().clone()];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        if hosts.len() >= HOSTS {
            hosts.clear();
        }
        Ok(Arc::clone(hosts.entry(host.to_owned()).or_insert(Arc::new(config))))
    }
}

fn make(store: &Store) -> Result<(String, KeyPair), AuthorityError> {
    let key = KeyPair::generate()?;
    let certificate = params()?.self_signed(&key)?.pem();
    store.keep_own_file(FILE, &Secret::new(format!("{certificate}{}", key.serialize_pem())))?;
    Ok((certificate, key))
}

/// A file that somebody cut or edited is as good as none.
fn read(text: &Secret) -> Option<(String, KeyPair)> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = text.expose_str()?;
    let (certificate, key) = text.split_at(text.find(END)? + END.len());
    Some((format!("{certificate}\n"), KeyPair::from_pem(key.trim()).ok()?))
}

/// The authority's own; valid on any day that a step may believe in.
fn params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_authority_and_a_damaged_one_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let first = Authority::of(&store).unwrap().certificate().to_owned();
        assert_eq!(Authority::of(&store).unwrap().certificate(), first);
        assert!(!first.contains("PRIVATE"));
        store.keep_own_file(FILE, &Secret::new("-----BEGIN")).unwrap();
        assert_ne!(Authority::of(&store).unwrap().certificate(), first);
    }

    #[test]
    fn a_host_has_one_certificate_and_nonsense_has_none() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::of(&Store::open(home.path()).unwrap()).unwrap();
        let host = authority.host("deb.debian.org").unwrap();
        assert!(Arc::ptr_eq(&host, &authority.host("deb.debian.org").unwrap()));
        assert!(authority.host("127.0.0.1").is_ok() && authority.host("::1").is_ok());
        assert!(authority.host("nön\0sense").is_err());
    }
}
