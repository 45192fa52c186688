//! Why a deployment did not come about.

use std::path::PathBuf;

use crate::aws::{AwsError, EcsFailure};
use crate::store::StoreError;

use super::each::BadLedger;
use super::explain;
use super::secret_spec::UnreadableSecret;
use super::size::BadSize;

/// Why a loader is not deployed, or its task not run. What was made before stays made.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error("{doing}: {source}")]
    Aws { doing: String, source: AwsError },
    #[error(transparent)]
    Secret(#[from] UnreadableSecret),
    /// Said before anything is changed.
    #[error("the secret {name} is not in Secrets Manager, and its value is not here: {looked}")]
    NoSecretValue { name: String, variable: String, looked: String },
    /// Without a cloud, values come from this machine alone.
    #[error("the secret {variable} has no value here")]
    NoLocalSecret { variable: String },
    #[error("the image has neither ENTRYPOINT nor CMD: there is nothing to run")]
    NoCommand,
    #[error("there is no secret {0}")]
    NoSuchSecret(String),
    #[error("the secret {0} is scheduled for deletion")]
    SecretDeleted(String),
    #[error("the repository {uri} is in account {found}, and this is account {caller}")]
    ForeignRepository { uri: String, found: String, caller: String },
    #[error("the cluster {name} is {status}")]
    Cluster { name: String, status: String },
    #[error("the role {role} may not be taken by {who}: its trust policy does not name {service}")]
    Trust { role: String, who: &'static str, service: &'static str },
    /// It was there a moment ago.
    #[error("the {kind} {name} was taken away while it was needed")]
    Vanished { kind: &'static str, name: String },
    #[error("an image for {0} does not run on Fargate, which has linux/amd64 and linux/arm64")]
    Platform(crate::image::Platform),
    #[error("there is no task definition {name}{}", .revision.map(|revision| format!(":{revision}")).unwrap_or_default())]
    NoTaskDefinition { name: String, revision: Option<u32> },
    #[error("the cluster {cluster} has no task {task} that ECS or the log remembers")]
    NoSuchTask { cluster: String, task: String },
    #[error("{name} has no {which} that ECS or the log remembers")]
    NoTask { name: String, which: &'static str },
    #[error("the log of {name} is not in CloudWatch Logs of this region")]
    NoLog { name: String },
    #[error(transparent)]
    Size(#[from] BadSize),
    #[error("ECS does not know the task {task} any more")]
    Lost { task: String },
    #[error("interrupted before the task was started")]
    Interrupted,
    #[error("interrupted before everything was removed")]
    RemovalInterrupted,
    #[error("{name} has {} that {}: {}", if .tasks.len() == 1 { "a task" } else { "tasks" }, if .tasks.len() == 1 { "runs" } else { "run" }, .tasks.join(", "))]
    StillRuns { name: String, tasks: Vec<String> },
    #[error("the task definition is for {stated}, and the image for {platform}")]
    Architecture { stated: String, platform: crate::image::Platform },
    #[error("the time limit (--timeout) was reached before the task was started")]
    TimedOut,
    #[error("another locus-push goes through the same lines")]
    EachHeld,
    #[error("what an earlier run of these lines left in {} cannot be read: {why}", path.display())]
    EachMemory { path: PathBuf, why: BadLedger },
    #[error("how far the lines are could not be remembered: {0}")]
    Store(#[from] StoreError),
    /// RunTask answered, and started nothing.
    #[error("the task was not started: {}", words(.0))]
    NotStarted(Vec<EcsFailure>),
    /// RunTask was refused: the task never started either.
    #[error("the task was not started: {0}")]
    Refused(AwsError),
}

impl DeployError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(source) => explain::advice(&source.message).map(str::to_owned).or_else(|| source.hint()),
            Self::Aws { source, .. } => source.hint(),
            Self::RemovalInterrupted => Some("the same command goes on from there".to_owned()),
            Self::StillRuns { .. } => {
                Some("wait for the end, or stop what runs with --stop; nothing was removed".to_owned())
            }
            Self::Secret(_) | Self::Interrupted | Self::TimedOut | Self::Size(_) | Self::Store(_) => None,
            Self::EachHeld => Some("wait for its end, or interrupt it and run the same command: it goes on".to_owned()),
            Self::EachMemory { .. } => Some("--restart begins anew; tasks that were started before are not looked for".to_owned()),
            Self::NoTaskDefinition { .. } => {
                Some("`locus-push deploy DOCKERFILE` registers one; is it in this region and this account?".to_owned())
            }
            Self::NoSuchTask { .. } | Self::NoTask { .. } => Some(
                "a stopped task is remembered for an hour, its log for longer; is this the cluster (--cluster), the region \
                 and the account?"
                    .to_owned(),
            ),
            Self::NoLog { .. } => Some("its task definition says where it goes (logConfiguration)".to_owned()),
            Self::NoSecretValue { variable, .. } => Some(format!(
                "export {variable}, or say where the value comes from: --secret {variable}=env:NAME, file:PATH or stdin; \
                 nothing was changed"
            )),
            Self::NoLocalSecret { variable } => {
                Some(format!("export {variable}, which --local reads in place of Secrets Manager"))
            }
            Self::NoCommand => Some("end the Dockerfile with a CMD".to_owned()),
            Self::NoSuchSecret(_) => Some("is it in this region and this account? Nothing was changed".to_owned()),
            Self::SecretDeleted(name) => Some(format!(
                "bring it back with `aws secretsmanager restore-secret --secret-id {name}`, or name another; nothing was changed"
            )),
            Self::ForeignRepository { .. } => {
                Some("use the profile of that account (--profile), or another repository".to_owned())
            }
            Self::Cluster { .. } => Some("wait until it is ACTIVE or gone, or name another with --cluster".to_owned()),
            Self::Trust { role, service, .. } => Some(format!(
                "let {service} take it (iam:UpdateAssumeRolePolicy), or delete {role}, which is then made \
                 anew; nothing was changed"
            )),
            Self::Vanished { .. } => Some("run the same command again".to_owned()),
            Self::Lost { .. } => Some("a stopped task is forgotten after an hour; its log remains".to_owned()),
            Self::Architecture { .. } => {
                Some("build with --platform linux/amd64 for X86_64, linux/arm64 for ARM64".to_owned())
            }
            Self::Platform(_) => Some("build with --platform linux/amd64".to_owned()),
            Self::NotStarted(failures) => {
                failures.iter().find_map(|failure| explain::advice(&failure.reason)).map(str::to_owned)
            }
        }
    }

    /// The exit code that the command line promises.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotStarted(_) | Self::Refused(_) | Self::NoCommand => 125,
            Self::Interrupted | Self::RemovalInterrupted => 130,
            Self::TimedOut => 124,
            Self::Secret(_)
            | Self::NoSecretValue { .. }
            | Self::NoLocalSecret { .. }
            | Self::Size(_)
            | Self::StillRuns { .. }
            | Self::Platform(_)
            | Self::EachHeld
            | Self::EachMemory { .. }
            | Self::Store(_)
            | Self::Architecture { .. } => 2,
            Self::Aws { .. }
            | Self::NoSuchSecret(_)
            | Self::NoTaskDefinition { .. }
            | Self::NoSuchTask { .. }
            | Self::NoTask { .. }
            | Self::NoLog { .. }
            | Self::SecretDeleted(_)
            | Self::ForeignRepository { .. }
            | Self::Trust { .. }
            | Self::Lost { .. }
            | Self::Vanished { .. }
            | Self::Cluster { .. } => 4,
        }
    }
}

/// `.during("…")` says what was being done when a call failed.
pub(super) trait During<T> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T, DeployError>;
}

impl<T> During<T> for Result<T, AwsError> {
    fn during(self, doing: impl FnOnce() -> String) -> Result<T, DeployError> {
        self.map_err(|source| DeployError::Aws { doing: doing(), source })
    }
}

pub(super) fn words(failures: &[EcsFailure]) -> String {
    if failures.is_empty() {
        return "RunTask named neither a task nor a reason".to_owned();
    }
    let one = |failure: &EcsFailure| {
        let detail = failure.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{}{detail}", failure.reason).escape_debug().to_string()
    };
    failures.iter().map(one).collect::<Vec<_>>().join("; ")
}
