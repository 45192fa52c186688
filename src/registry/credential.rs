//! Who we are to a registry. A credential is found by the exact host that is asked, and goes to no other.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures_util::future::BoxFuture;
use reqwest::header::HeaderValue;

use super::ecr::{ECR_PUBLIC, EcrHost};
use crate::secret::Secret;

/// What is shown to a registry or its token server.
#[derive(Debug)]
pub enum Credential {
    Basic {
        username: String,
        password: Secret,
    },
    /// `user:password` in base64 already, as ECR's `GetAuthorizationToken` gives it.
    EncodedBasic(Secret),
    /// Changed for an access token at the registry's token server.
    IdentityToken(Secret),
}

/// Asks for a credential anew: it is called before the first request that needs one, and again when the registry
/// no longer takes what it gave.
pub type CredentialSource = Arc<dyn Fn() -> BoxFuture<'static, Result<Credential, CredentialError>> + Send + Sync>;

/// Asks AWS for a credential for the registry of an account in a region.
pub type EcrLogin = Arc<dyn Fn(EcrHost) -> BoxFuture<'static, Result<Credential, CredentialError>> + Send + Sync>;

/// Which credential each registry gets: one handed in for exactly this host, else AWS's own for the hosts of ECR, else
/// what `docker login` left.
#[derive(Clone, Default)]
pub struct Credentials {
    sources: BTreeMap<String, CredentialSource>,
    ecr: Option<EcrLogin>,
    ecr_public: Option<CredentialSource>,
    docker_config: Option<PathBuf>,
}

/// Why a credential could not be had. It holds no part of one.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("cannot get the credential for {registry}: {why}")]
    Source { registry: String, why: String },
    #[error("cannot read the credentials in {}: {why}", path.display())]
    DockerConfig { path: PathBuf, why: String },
}

/// The largest `config.json` that is read, in bytes.
const CONFIG_LIMIT: u64 = 4 << 20;

impl Credentials {
    /// No credential for anybody.
    pub fn none() -> Self {
        Self::default()
    }

    /// What `docker login` left: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, with its helpers.
    pub fn of_docker() -> Self {
        let folder = env::var_os("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".docker")));
        Self { docker_config: folder.map(|folder| folder.join("config.json")), ..Self::default() }
    }

    /// The same, from a file that the caller names.
    pub fn of_docker_config(path: impl Into<PathBuf>) -> Self {
        Self { docker_config: Some(path.into()), ..Self::default() }
    }

    /// Has a source of its own for one registry, by exact host.
    pub fn with_source(mut self, registry: &str, source: CredentialSource) -> Self {
        self.sources.insert(registry.to_owned(), source);
        self
    }

    /// Asks AWS for the registries of ECR.
    pub fn with_ecr(mut self, login: EcrLogin) -> Self {
        self.ecr = Some(login);
        self
    }

    /// Asks AWS for ECR Public, which answers strangers too, fewer times a second.
    pub fn with_ecr_public(mut self, login: CredentialSource) -> Self {
        self.ecr_public = Some(login);
        self
    }

    /// The credential for exactly this registry. `None`: it is asked as anybody would.
    pub(super) async fn of(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        if let Some(source) = self.sources.get(registry) {
            return source().await.map(Some);
        }
        if let (Some(login), Ok(host)) = (&self.ecr, registry.parse()) {
            return match login(host).await {
                Ok(found) => Ok(Some(found)),
                // Whoever has no keys may have a login; whoever has neither is told of the keys.
                Err(error) => match self.of_docker_login(registry).await {
                    Ok(Some(found)) => Ok(Some(found)),
                    _ => Err(error),
                },
            };
        }
        if let Some(login) = self.ecr_public.as_ref().filter(|_| registry == ECR_PUBLIC)
            && let Ok(found) = login().await
        {
            return Ok(Some(found));
        }
        self.of_docker_login(registry).await
    }

    async fn of_docker_login(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        let Some(path) = self.docker_config.clone() else { return Ok(None) };
        let registry = registry.to_owned();
        // A helper is a program that may ask a keyring, or a person.
        tokio::task::spawn_blocking(move || of_docker(&path, &registry))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("sources", &self.sources.keys())
            .field("ecr", &self.ecr.is_some())
            .field("ecr_public", &self.ecr_public.is_some())
            .field("docker_config", &self.docker_config)
            .finish()
    }
}

impl Credential {
    /// The `Authorization` header that says it, marked so that nothing prints it. An identity token has none.
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let encoded = match self {
            Self::Basic { username, password } => {
                let mut pair = zeroize::Zeroizing::new(username.clone().into_bytes());
                pair.push(b':');
                pair.extend_from_slice(password.expose());
                zeroize::Zeroizing::new(STANDARD.encode(&*pair))
            }
            Self::EncodedBasic(token) => zeroize::Zeroizing::new(token.expose_str()?.trim().to_owned()),
            Self::IdentityToken(_) => return None,
        };
        let mut header = HeaderValue::from_str(&format!("Basic {}", *encoded)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

fn of_docker(path: &Path, registry: &str) -> Result<Option<Credential>, CredentialError> {
    let bad = |why: String| CredentialError::DockerConfig { path: path.to_owned(), why };
    let mut text = zeroize::Zeroizing::new(Vec::new());
    match File::open(path) {
        Ok(file) => file.take(CONFIG_LIMIT).read_to_end(&mut text).map_err(|error| bad(error.to_string()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    // Docker Hub's key is a URL, by which alone a helper knows it.
    let names: &[&str] = match registry {
        "docker.io" => &["https://index.docker.io/v1/", "docker.io"],
        registry => &[registry],
    };
    for name in names {
        match docker_credential::get_credential_from_reader(Cursor::new(&**text), name) {
            // What some helpers answer instead of saying that they know of none.
            Ok(DockerCredential::UsernamePassword(username, password))
                if username.is_empty() && password.is_empty() => {}
            Ok(DockerCredential::UsernamePassword(username, password)) => {
                return Ok(Some(Credential::Basic { username, password: Secret::new(password) }));
            }
            Ok(DockerCredential::IdentityToken(token)) => {
                return Ok(Some(Credential::IdentityToken(Secret::new(token))));
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(bad(words(&error))),
        }
    }
    Ok(None)
}

fn is_absent(error: &CredentialRetrievalError) -> bool {
    match error {
        CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound => true,
        // What every helper prints, on stdout, for a host that it does not know (docker-credential-helpers,
        // credentials/error.go).
        CredentialRetrievalError::HelperFailure { stdout, stderr, .. } => {
            [stdout, stderr].iter().any(|text| text.contains("credentials not found"))
        }
        _ => false,
    }
}

/// The error without a helper's output, which may hold a credential.
fn words(error: &CredentialRetrievalError) -> String {
    match error {
        CredentialRetrievalError::HelperFailure { helper, .. } => format!("`{helper} get` failed"),
        CredentialRetrievalError::HelperCommunicationError => "its credential helper cannot be started".to_owned(),
        CredentialRetrievalError::MalformedHelperResponse => {
            "its credential helper answered something else than a credential".to_owned()
        }
        CredentialRetrievalError::CredentialMismatchError => {
            "`auth` says another user or password than `username` and `password`".to_owned()
        }
        CredentialRetrievalError::CredentialDecodingError => "`auth` is not `user:password` in base64".to_owned(),
        CredentialRetrievalError::ConfigReadError => "it is not JSON of the form that `docker login` writes".to_owned(),
        CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound => {
            "there is none".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn basic(config: &str, registry: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let found = Credentials::of_docker_config(file.path()).of(registry).await.unwrap();
        found.map(|credential| credential.basic().unwrap().to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn docker_login_is_understood_per_host() {
        let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnB3"},"r.test:5000":{"auth":"dTpw"}}}"#;
        assert_eq!(basic(config, "docker.io").await.as_deref(), Some("Basic aHViOnB3"));
        assert_eq!(basic(config, "r.test:5000").await.as_deref(), Some("Basic dTpw"));
        for other in ["r.test", "r.test:5001", "evil.r.test:5000", "index.docker.io.evil.com"] {
            assert_eq!(basic(config, other).await, None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_registry_that_is_not_named_gets_no_default() {
        assert_eq!(basic(r#"{"auths":{"":{"auth":"dTpw"}}}"#, "r.test").await, None);
        let nobody = Credentials::of_docker_config("/nonexistent/config.json");
        assert!(nobody.of("r.test").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_source_serves_its_own_host_alone() {
        let source: CredentialSource =
            Arc::new(|| Box::pin(async { Ok(Credential::EncodedBasic(Secret::new("QVdTOnQ="))) }));
        let credentials = Credentials::none().with_source("1.test", source);
        let header = credentials.of("1.test").await.unwrap().unwrap().basic().unwrap();
        assert_eq!((header.to_str().unwrap(), header.is_sensitive()), ("Basic QVdTOnQ=", true));
        assert!(credentials.of("1.test.evil.com").await.unwrap().is_none());
        assert!(!format!("{credentials:?} {header:?}").contains("QVdT"));
    }

    #[tokio::test]
    async fn the_hosts_of_ecr_are_asked_for_at_aws_and_those_without_keys_may_have_a_login() {
        const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let keys: EcrLogin = Arc::new(|host| {
            assert_eq!((host.account.as_str(), host.region.as_str()), ("123456789012", "eu-west-1"));
            Box::pin(async { Ok(Credential::EncodedBasic(Secret::new("QVdTOnQ="))) })
        });
        let none: EcrLogin = Arc::new(|host| {
            let why = format!("no keys for {}", host.region);
            Box::pin(async move { Err(CredentialError::Source { registry: HOST.to_owned(), why }) })
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(r#"{{"auths":{{"{HOST}":{{"auth":"dTpw"}}}}}}"#)).unwrap();
        let shown = async |credentials: Credentials, host: &str| {
            let found = credentials.of(host).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(found.map(|found| found.basic().unwrap().to_str().unwrap().to_owned()))
        };
        let docker = || Credentials::of_docker_config(file.path());
        assert_eq!(shown(docker().with_ecr(keys.clone()), HOST).await, Ok(Some("Basic QVdTOnQ=".to_owned())));
        assert_eq!(shown(docker().with_ecr(none.clone()), HOST).await, Ok(Some("Basic dTpw".to_owned())));
        let error = shown(Credentials::none().with_ecr(none), HOST).await.unwrap_err();
        assert!(error.ends_with("no keys for eu-west-1"), "{error}");
        assert_eq!(shown(docker().with_ecr(keys), &format!("{HOST}.evil.com")).await, Ok(None));
    }

    #[tokio::test]
    async fn ecr_public_is_asked_with_keys_or_a_login_or_as_anybody_would() {
        fn keys(found: bool) -> CredentialSource {
            let none = || CredentialError::Source { registry: ECR_PUBLIC.to_owned(), why: "no keys".to_owned() };
            let found = move || found.then(|| Credential::EncodedBasic(Secret::new("QVdTOnQ="))).ok_or_else(none);
            Arc::new(move || Box::pin(std::future::ready(found())))
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(r#"{{"auths":{{"{ECR_PUBLIC}":{{"auth":"dTpw"}}}}}}"#)).unwrap();
        let docker = || Credentials::of_docker_config(file.path());
        let shown = async |credentials: Credentials, host: &str| {
            let found = credentials.of(host).await.unwrap();
            found.map(|found| found.basic().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(shown(docker().with_ecr_public(keys(true)), ECR_PUBLIC).await.as_deref(), Some("Basic QVdTOnQ="));
        assert_eq!(shown(docker().with_ecr_public(keys(false)), ECR_PUBLIC).await.as_deref(), Some("Basic dTpw"));
        assert_eq!(shown(Credentials::none().with_ecr_public(keys(false)), ECR_PUBLIC).await, None);
        for other in ["public.ecr.aws.evil.com", "public.ecr.aws:443", "PUBLIC.ecr.aws", "ecr.aws"] {
            assert_eq!(shown(docker().with_ecr_public(keys(true)), other).await, None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_damaged_config_is_told_without_its_contents() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"auths":{"r.test":{"auth":"hunter2!"}}}"#).unwrap();
        let error = Credentials::of_docker_config(file.path()).of("r.test").await.unwrap_err().to_string();
        assert!(error.contains("base64") && !error.contains("hunter2"), "{error}");
    }
}
