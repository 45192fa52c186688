//! Why a build ended, and at which instruction.

use std::io;

use crate::dockerfile::Span;
use crate::dockerfile::ignore::IgnoreErrors;
use crate::graph::PlanError;
use crate::image::{Digest, LayoutError};
use crate::layer::{LayerPath, PackError, PathError, TarError, ViewError, WriteError};
use crate::sandbox::{Exit, NoEmulation, NoRung, RunError};
use crate::store::StoreError;

use super::{AgentError, FetchError, GitError};

/// A build that ended early. What was built before it is in the build cache.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct BuildError {
    /// The instruction, where it was one.
    pub span: Option<Span>,
    /// In a box: it is large, and rare.
    #[source]
    pub problem: Box<Problem>,
    /// The last lines that a RUN wrote, raw.
    pub last_lines: Vec<Vec<u8>>,
    pub hint: Option<String>,
}

/// What went wrong in a build; [`BuildError`] says where in the Dockerfile.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("cannot get the base image: {0}")]
    Base(#[source] FetchError),
    #[error("cannot get a layer of the base image: {0}")]
    BaseLayer(#[source] FetchError),
    #[error("the base image {image} is for {offered}, not {wanted}")]
    WrongPlatform { image: String, offered: String, wanted: String },
    #[error("the base image {image} says that it has {diff_ids} layers and has {layers}")]
    LayersDisagree { image: String, layers: usize, diff_ids: usize },
    #[error("the layer {blob} of a base image is of the type `{media_type}`, which cannot be read")]
    LayerType { blob: String, media_type: String },
    #[error("the layer {blob} of a base image holds {got}, not {wanted} as the image says")]
    DiffId { blob: String, wanted: String, got: String },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("cannot read the context {}: {source}", path.display())]
    Context { path: std::path::PathBuf, source: io::Error },
    #[error("the Dockerfile {name}: {why}")]
    Dockerfile { name: String, why: String },
    #[error(".dockerignore file {file}: {why}")]
    Ignore { file: String, why: String },
    #[error(".dockerignore: {}", .faults.first().problem)]
    IgnoreLines { file: std::path::PathBuf, text: String, faults: Box<IgnoreErrors> },
    #[error("{verb}: {path} not found in {place}")]
    NotFound { verb: &'static str, path: String, place: String },
    #[error("cannot copy to {0}: it is not a directory")]
    NotADirectory(LayerPath),
    #[error("cannot replace the directory {0} with a file")]
    IsADirectory(LayerPath),
    #[error("cannot get {url}: {source}")]
    Download {
        url: String,
        #[source]
        source: FetchError,
    },
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{url} has the digest {got}, not {wanted} as --checksum says")]
    Checksum { url: String, wanted: Digest, got: Digest },
    #[error("{url} has the digest {got}, not {wanted} as the lock file says")]
    Moved { url: String, wanted: Digest, got: Digest },
    #[error("the lock file {lock} needs to be updated but --locked was passed: {what} is not in it")]
    NotLocked { what: String, lock: String },
    #[error("the context {}: {source}", path.display())]
    Layout {
        path: std::path::PathBuf,
        #[source]
        source: LayoutError,
    },
    #[error("cannot unpack {path}: {why}")]
    Unpack { path: String, why: String },
    #[error("no user `{}` in the image's /etc/passwd", .0.escape_debug())]
    NoSuchUser(String),
    #[error("no group `{}` in the image's /etc/group", .0.escape_debug())]
    NoSuchGroup(String),
    #[error("the image's {file} cannot be read: {why}")]
    Accounts { file: &'static str, why: &'static str },
    #[error("the pattern `{0}` is not one: {1}")]
    Pattern(String, String),
    #[error("{0}")]
    View(#[from] ViewError),
    #[error("{0}")]
    Path(#[from] PathError),
    #[error("{0}")]
    Pack(#[from] PackError),
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0}")]
    Tar(#[from] TarError),
    #[error("secret {0}: not found")]
    SecretNotFound(String),
    #[error("no SSH key `{0}` forwarded from the client")]
    NoAgent(String),
    #[error("ssh {id}: {source}")]
    Agent {
        id: String,
        #[source]
        source: AgentError,
    },
    #[error("network.host is not allowed")]
    HostNetwork,
    #[error("--locked was passed, and this RUN has the host's network, where nothing holds it to what is locked")]
    HostNetworkLocked,
    #[error("security.insecure is not allowed")]
    Insecure,
    #[error("RUN cannot be executed here: {0}")]
    NoRung(#[from] NoRung),
    #[error(transparent)]
    NoEmulation(#[from] NoEmulation),
    #[error("RUN failed: {0}")]
    Run(#[from] RunError),
    #[error("RUN failed with {}", exit_words(*.0))]
    Exit(Exit),
    #[error("{doing}: {why}")]
    Inside { doing: &'static str, why: String },
    #[error(
        "the lock file {lock} needs to be updated but --locked was passed: RUN downloads {first}{}, which it does not hold",
        and_others(*.others)
    )]
    NotHeld { lock: String, first: String, others: usize },
    #[error("{} was {} when it was locked, and is {} now", .0.url, .0.recorded, .0.now)]
    DownloadMoved(crate::replay::Moved),
    #[error("interrupted")]
    Interrupted,
    #[error("a worker of ours ended without an answer")]
    Worker,
}

fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(9) => "signal 9 (killed: out of memory?)".to_owned(),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more)") }
}

impl BuildError {
    /// The part of the instruction that is at fault, as it is written there, unless a variable stands in its place.
    pub fn word(&self) -> Option<&str> {
        match &*self.problem {
            Problem::Plan(plan) => plan.word(),
            Problem::NotFound { path, .. } => Some(path.trim_start_matches('/')),
            Problem::Download { url, .. } | Problem::Checksum { url, .. } | Problem::Moved { url, .. } => Some(url),
            Problem::Unpack { path, .. } => Some(path),
            Problem::NoSuchUser(name) | Problem::NoSuchGroup(name) => Some(name),
            Problem::Pattern(pattern, _) => Some(pattern),
            Problem::SecretNotFound(id) | Problem::NoAgent(id) => Some(id),
            // It is about all of the instruction, or about none.
            _ => None,
        }
    }

    /// Whether something that the store kept may be at fault, where it was damaged: not what people wrote, and not what
    /// their commands did.
    pub fn may_be_damage(&self) -> bool {
        match &*self.problem {
            Problem::Store(StoreError::Full { .. }) => false,
            Problem::Store(_) | Problem::DiffId { .. } | Problem::Inside { .. } | Problem::Accounts { .. } => true,
            Problem::Base(_) | Problem::BaseLayer(_) | Problem::Layout { .. } => true,
            Problem::View(_) | Problem::Path(_) | Problem::Pack(_) | Problem::Write(_) | Problem::Tar(_) => true,
            _ => false,
        }
    }

    /// Says what to do, before what a deeper place has said.
    pub(super) fn first_hint(mut self, hint: Option<String>) -> Self {
        self.hint = match (hint, self.hint) {
            (Some(first), Some(then)) => Some(format!("{first}\n{then}")),
            (first, then) => first.or(then),
        };
        self
    }

    /// Names the instruction, unless a deeper place has named one.
    pub(super) fn at(mut self, span: Option<Span>) -> Self {
        self.span = self.span.or(span);
        self
    }
}

impl<P: Into<Problem>> From<P> for BuildError {
    fn from(problem: P) -> Self {
        let problem = problem.into();
        let (span, hint) = match &problem {
            Problem::Plan(plan) => (plan.span, plan.hint.clone()),
            Problem::SecretNotFound(id) => {
                let hint = "gives it; on the whole road, where --secret is the task's, --build-secret does";
                (None, Some(format!("--secret id={id},src=FILE or --secret id={id},env=VARIABLE {hint}")))
            }
            Problem::NoAgent(id) => {
                (None, Some(format!("--ssh {id} gives it the agent at SSH_AUTH_SOCK, --ssh {id}=FILE a key")))
            }
            Problem::Agent { source: AgentError::Tool { .. }, .. } => {
                (None, Some("its package is openssh-client on Debian and Ubuntu, openssh-clients on Fedora".to_owned()))
            }
            Problem::Agent { source: AgentError::Key { .. }, .. } => (
                None,
                Some(
                    "a key with a passphrase is for an agent: ssh-add it there, and give --ssh the agent's socket"
                        .to_owned(),
                ),
            ),
            Problem::Moved { .. } => {
                (None, Some("`locus-push lock --update DOCKERFILE` takes what is there now".to_owned()))
            }
            Problem::NotLocked { .. } => (None, Some("`locus-push lock DOCKERFILE` adds it".to_owned())),
            Problem::Insecure => (None, Some("--allow security.insecure allows it".to_owned())),
            Problem::NotHeld { .. } => (None, Some("`locus-push lock --run DOCKERFILE` records it".to_owned())),
            Problem::DownloadMoved(_) => {
                (None, Some("`locus-push lock --run --update DOCKERFILE` takes what is there now".to_owned()))
            }
            Problem::Git(error) => (None, error.hint()),
            Problem::NoEmulation(error) => (None, error.hint()),
            Problem::HostNetwork => (None, Some("--allow network.host allows it".to_owned())),
            Problem::HostNetworkLocked => (None, Some("without --network=host it is held to its records".to_owned())),
            Problem::Base(fetch) | Problem::BaseLayer(fetch) | Problem::Download { source: fetch, .. } => {
                (None, fetch.hint.clone())
            }
            _ => (None, None),
        };
        Self { span, problem: Box::new(problem), last_lines: Vec::new(), hint }
    }
}
