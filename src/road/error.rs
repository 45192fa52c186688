//! Why the road ended early: each room's own error, for the screen to find words for.

use crate::aws::ConnectError;
use crate::build::{BuildError, Unstartable};
use crate::deploy::{Check, DeployError};
use crate::dockerfile::ParseErrors;
use crate::dockerfile::lint::BadOptions;
use crate::graph::PlanError;
use crate::image::{BadReference, LayoutError};
use crate::registry::{PullError, PushError, ServeError, SetupError};
use crate::replay::ReplayError;
use crate::store::StoreError;

use super::{DiffError, OutputError, VerifyError};

/// Why the road was not walked to its end: the error of the room in which it stopped.
#[derive(Debug, thiserror::Error)]
pub enum RoadError {
    #[error("{0}")]
    Parse(#[from] ParseErrors),
    #[error(transparent)]
    Checks(#[from] BadOptions),
    /// What is wrong is only warned of, but the file says `# check=error=true`.
    #[error("{0}")]
    Violations(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Unstartable(#[from] Unstartable),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    /// In a box: it is large.
    Push(Box<PushError>),
    #[error(transparent)]
    Registry(#[from] SetupError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Diff(#[from] DiffError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot stand between RUN and the network: {0}")]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Nothing was built, as it could only have failed after it.
    #[error("nothing was built, for it could only fail: {}", words(.0))]
    Preflight(Vec<Check>),
    #[error(transparent)]
    Reference(#[from] BadReference),
    #[error("AWSACCOUNT says {believed}, and the credentials are those of {who} in {found}")]
    OtherAccount { believed: String, found: String, who: String },
    #[error("REPOSITORYURI says {believed}, and the repository is {found}")]
    OtherRepository { believed: String, found: String },
    #[error("--cache-to {place}: {source}")]
    Cache { place: String, source: Box<RoadError> },
    #[error("cannot start the embedded registry: {0}")]
    Serve(#[from] ServeError),
    #[error("there is no {name} in {context}")]
    NoDockerfile { name: String, context: String },
    #[error("what {context} holds is no archive and so a Dockerfile, and -f names another")]
    TwoDockerfiles { context: String },
    #[error("interrupted")]
    Interrupted,
}

impl From<PushError> for RoadError {
    fn from(error: PushError) -> Self {
        Self::Push(Box::new(error))
    }
}

fn words(checks: &[Check]) -> String {
    checks.iter().map(|check| format!("{}: {}", check.name, check.says)).collect::<Vec<_>>().join("; ")
}
