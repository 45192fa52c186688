//! What can go wrong with a registry: what was asked, what came, and what to do.

use std::path::PathBuf;

use reqwest::{StatusCode, Url};

use super::credential::CredentialError;
use super::reach::PRIVATE;
use super::said::Said;
use crate::image::{BadReference, ConfigError, Digest, LayoutError, ManifestError, MediaType, Platform, Reference};
use crate::store::StoreError;

/// A client could not be made from what the user gave.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot read the CA file {}: {source}", path.display())]
    CaFile { path: PathBuf, source: std::io::Error },
    #[error("the CA file {} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
}

/// One exchange with a registry came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("cannot connect to {url}: {why}")]
    Connect { url: String, why: String },
    #[error("the TLS connection to {url} failed: {why}")]
    Tls { url: String, why: String },
    /// A container of little more than a program, as a rule.
    #[error("no certificate authority is trusted here, so that {url} cannot be spoken to: {why}")]
    Roots { url: String, why: String },
    #[error("the connection to {url} broke: {why}")]
    Broken { url: String, why: String },
    #[error("{url} sent nothing for {seconds} s")]
    Stalled { url: String, seconds: u64 },
    #[error("{url} answered more than {limit} bytes where a short document belongs")]
    TooLong { url: String, limit: usize },
    #[error("{url} answered {status}{said}")]
    Answer { url: String, status: StatusCode, said: Said },
    #[error("{url} asks to wait {seconds} s before the next request")]
    WaitTooLong { url: String, seconds: u64 },
    #[error("{url} sends its token request to {realm}, {why}")]
    Realm { url: String, realm: String, why: &'static str },
    #[error("{url} wants to know who asks in a way that is not understood: `{}`", challenge.escape_debug())]
    Challenge { url: String, challenge: String },
    #[error("the token server {url} answered {what}")]
    Token { url: String, what: String },
    #[error("{url} redirects to {target}, {why}")]
    Redirect { url: String, target: String, why: &'static str },
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl ExchangeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connect { .. } => {
                "is the address right and the network up? `--registry-endpoint HOST=URL` names another address, \
                 HTTPS_PROXY a proxy"
            }
            Self::Tls { url, .. } => {
                return Some(format!(
                    "a company's own certificate authority is named with `--ca-file FILE` or SSL_CERT_FILE; who \
                     issued the certificate is shown by: openssl s_client -connect {}",
                    host_and_port(url)
                ));
            }
            Self::Roots { .. } => {
                "the package ca-certificates has the public ones; SSL_CERT_FILE or `--ca-file FILE` names a file of them"
            }
            Self::Answer { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                "`docker login` leaves a credential that is used; for ECR, the AWS credentials are"
            }
            Self::Answer { status: StatusCode::TOO_MANY_REQUESTS, .. } | Self::WaitTooLong { .. } => {
                "log in for a larger allowance, or name a mirror with `--registry-endpoint HOST=URL`"
            }
            Self::Answer { status: StatusCode::INSUFFICIENT_STORAGE, .. } => {
                "the registry has no room; for one of ours, `locus-push cache prune --all` makes some, and LOCUS_PUSH_HOME \
                 may name another place"
            }
            Self::Realm { .. } => {
                "a credential and its token request stay with the registry's own host; name the registry by the host \
                 that its token server is on"
            }
            Self::Redirect { why: PRIVATE, .. } => {
                "`--allow-private HOST` lets registries send us there, if you trust this one to"
            }
            Self::Credential(_) => "`docker login` writes it anew",
            Self::Broken { .. }
            | Self::Stalled { .. }
            | Self::TooLong { .. }
            | Self::Answer { .. }
            | Self::Challenge { .. }
            | Self::Token { .. }
            | Self::Redirect { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// A base image, or a part of one, could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("no image `{reference}` (asked {asked}{said})")]
    NoImage { reference: Box<Reference>, asked: String, said: Said },
    #[error("no image `{reference}` for {wanted}; it is there for {}", list(offered))]
    NoSuchPlatform { reference: Box<Reference>, wanted: Platform, offered: Vec<Platform> },
    #[error("`{reference}` is not an image that can be built on: {source}")]
    Manifest { reference: Box<Reference>, source: ManifestError },
    #[error("`{reference}` is not an image that can be built on: {source}")]
    Config { reference: Box<Reference>, source: ConfigError },
    #[error(
        "`{reference}` is not an image that can be built on: its config tells of {diff_ids} layers, its manifest of {layers}"
    )]
    LayerCount { reference: Box<Reference>, diff_ids: usize, layers: usize },
    #[error("`{reference}` is an index of indexes of indexes, without an end that is an image")]
    Nested { reference: Box<Reference> },
    /// Encrypted, foreign, or of a kind that is not known.
    #[error(
        "`{reference}` is not an image that can be built on: its layer {digest} is of the type `{}`",
        media_type.as_str().escape_debug()
    )]
    LayerType { reference: Box<Reference>, digest: Digest, media_type: MediaType },
    /// The registry answered with bytes whose digest is not the one asked for.
    #[error("{asked_of} answered with bytes of the digest {got}, not {asked}")]
    DigestMismatch { asked_of: String, asked: Digest, got: Digest },
    #[error("the blob {digest} from {asked_of} has {got} bytes; its manifest says {promised}")]
    Size { asked_of: String, digest: Digest, promised: u64, got: u64 },
    #[error("the blob {digest} of `{reference}` is not in its registry (asked {asked})")]
    NoBlob { reference: Box<Reference>, digest: Digest, asked: String },
    #[error("while pulling `{reference}`: {source}")]
    Exchange { reference: Box<Reference>, source: ExchangeError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PullError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoImage { reference, .. } if reference.registry() == "docker.io" => Some(format!(
                "check the name and the tag at https://hub.docker.com/r/{}/tags; a private image needs `docker login`",
                reference.repository()
            )),
            Self::NoImage { reference, .. } => Some(format!(
                "check the name and the tag; a private image needs `docker login {}`",
                reference.registry()
            )),
            Self::NoSuchPlatform { .. } => {
                Some("choose one of these with `--platform`, or another base image".to_owned())
            }
            Self::DigestMismatch { .. } | Self::Size { .. } => {
                Some("something between here and the registry changes what passes; nothing of it was kept".to_owned())
            }
            Self::Exchange { source, .. } => source.hint(),
            Self::Manifest { .. }
            | Self::Config { .. }
            | Self::LayerCount { .. }
            | Self::Nested { .. }
            | Self::LayerType { .. }
            | Self::NoBlob { .. }
            | Self::Store(_) => None,
        }
    }
}

/// What a registry knew of us that did not let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// No credential was found to show it.
    Nobody,
    /// The credential that it was shown is not enough.
    NotTaken,
    /// It says no without asking who we are, or knows it.
    Somebody,
}

impl Known {
    fn hint(self, repository: &str) -> String {
        let host = repository.split('/').next().unwrap_or_default();
        let login = format!("`docker login {host}`, or `skopeo login --authfile ~/.docker/config.json {host}`");
        match self {
            Self::Nobody => format!("no login for {host} was found: {login}, leaves one that is used"),
            Self::NotTaken => {
                format!(
                    "the login that was found for {host} does not do: {login}, as a user who may push, writes another"
                )
            }
            Self::Somebody => {
                "who pushes needs the right to upload there: for ECR, ecr:InitiateLayerUpload and its companions; \
                 elsewhere, log in as a user who may push"
                    .to_owned()
            }
        }
    }
}

/// The image could not be brought to its registry.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("not allowed to push to `{repository}`{said}")]
    Denied { repository: String, said: Said, known: Known },
    #[error("there is no repository `{repository}`{said}")]
    NoRepository { repository: String, said: Said },
    #[error(
        "the tag `{tag}` of `{repository}` cannot be moved: it is {}, this image is {ours}",
        there.map_or("another image".to_owned(), |digest| digest.to_string())
    )]
    TagTaken { repository: String, tag: String, there: Option<Digest>, ours: Digest },
    #[error(transparent)]
    BadTag(#[from] BadReference),
    #[error("{url} wants the upload at {location}, which is on another host")]
    UploadElsewhere { url: String, location: String },
    #[error("{url} took an upload without saying where to send it")]
    NoLocation { url: String },
    #[error("the blob {digest} is damaged: its bytes have another digest")]
    Damaged { digest: Digest },
    #[error("the blob {digest} has {got} bytes; its manifest says {promised}")]
    WrongSize { digest: Digest, promised: u64, got: u64 },
    #[error("cannot read the blob {digest}: {source}")]
    Unread { digest: Digest, source: std::io::Error },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the registry already has a manifest {asked} whose digest it says is {got}")]
    OtherManifest { asked: Digest, got: Digest },
    #[error("while fetching a layer of the base: {0}")]
    Base(#[from] Box<PullError>),
    #[error("while pushing to `{repository}`: {source}")]
    Exchange { repository: String, source: ExchangeError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PushError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { repository, known, .. } => Some(known.hint(repository)),
            Self::NoRepository { .. } => Some("create the repository first, or check its name".to_owned()),
            Self::TagTaken { .. } => {
                Some("the image is there by digest; use another tag, or a repository whose tags can move".to_owned())
            }
            Self::Damaged { .. } | Self::WrongSize { .. } => {
                Some("make the image again: a layer of a build is made or fetched anew".to_owned())
            }
            Self::Base(error) => error.hint(),
            Self::Exchange { source, .. } => source.hint(),
            Self::BadTag(_)
            | Self::UploadElsewhere { .. }
            | Self::NoLocation { .. }
            | Self::OtherManifest { .. }
            | Self::Unread { .. }
            | Self::Layout(_)
            | Self::Store(_) => None,
        }
    }
}

fn host_and_port(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(|| "HOST:443".to_owned(), |(host, port)| format!("{host}:{port}"))
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform that is named".to_owned();
    }
    platforms.iter().map(|platform| platform.to_string()).collect::<Vec<_>>().join(", ")
}
