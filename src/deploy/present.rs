//! What is there: the cloud looked at, and nothing touched.

use std::collections::BTreeMap;

use serde_json::Value;

use super::change::RoleKind;
use super::error::{DeployError, During};
use super::loader::Loader;
use super::name::Kind::Role;
use super::policy::{self, Scope};
use super::revisions::{self, OldRevisions};
use super::schedule::{self, Scheduled};
use super::secret_spec::{SecretSource, SecretSpec};
use super::tags;
use crate::aws::{Cloud, Cluster, Kind, Mutability, Repository, Revision, SecretFound};
use crate::secret::Secret;

/// The parts of the cloud that a loader names, as they are now.
#[derive(Debug)]
pub struct Present {
    pub(super) scope: Scope,
    pub(super) repository: Option<PresentRepository>,
    pub(super) cluster: Option<Cluster>,
    pub(super) log_group: Option<PresentLogGroup>,
    /// By the variable that the task finds the secret in.
    pub(super) secrets: BTreeMap<String, PresentSecret>,
    pub(super) execution_role: Option<PresentRole>,
    pub(super) task_role: Option<PresentRole>,
    pub(super) schedule_role: Option<PresentRole>,
    pub(super) scheduled: Scheduled,
    /// The task definition's latest revision.
    pub(super) latest: Option<Revision>,
    /// Older revisions that may go, the newest first.
    pub(super) old: OldRevisions,
}

#[derive(Debug)]
pub(super) struct PresentRepository {
    pub found: Repository,
    /// Asked for only where one is wanted.
    pub lifecycle: Option<Value>,
    pub ours: bool,
}

#[derive(Debug)]
pub(super) struct PresentLogGroup {
    pub arn: String,
    pub retention_days: Option<u32>,
    /// Made by us, so that we may change it.
    pub ours: bool,
}

#[derive(Debug)]
pub(super) struct PresentSecret {
    pub found: Option<SecretFound>,
    /// What it would be made with, or changed to.
    pub value: Option<Secret>,
    /// It is there with another value than ours. Always false unless it was asked to be updated.
    pub differs: bool,
}

#[derive(Debug)]
pub(super) struct PresentRole {
    pub arn: String,
    /// Who may take it.
    pub trust: Value,
    /// The inline policy of the name that ours has, where it has one.
    pub policy: Option<Value>,
    pub ours: bool,
}

impl Present {
    /// The repository's URI, where it is there.
    pub fn repository_uri(&self) -> Option<&str> {
        self.repository.as_ref().map(|repository| repository.found.uri.as_str())
    }

    /// What of Scheduler's is there.
    pub fn scheduled(&self) -> &Scheduled {
        &self.scheduled
    }

    /// The ARN of a role, or that which it will have.
    pub(super) fn role_arn(&self, kind: RoleKind, loader: &Loader) -> String {
        let (name, _, found) = kind.of(loader, self);
        let Scope { partition, account, .. } = &self.scope;
        found.map_or_else(|| format!("arn:{partition}:iam::{account}:role/{name}"), |role| role.arn.clone())
    }

    /// How tags may be moved once `loader` has what it wants.
    pub(super) fn mutability<'a>(&'a self, loader: &'a Loader) -> &'a Mutability {
        const USUAL: &Mutability = &Mutability::Mutable;
        match (&self.repository, &loader.mutability) {
            (Some(is), Some(wanted)) if is.ours || loader.adopt => wanted,
            (Some(is), _) => &is.found.mutability,
            (None, wanted) => wanted.as_ref().unwrap_or(USUAL),
        }
    }
}

/// What was found of each part, or why nothing was.
#[derive(Debug)]
pub(super) struct Parts {
    scope: Scope,
    pub repository: Result<Option<PresentRepository>, DeployError>,
    pub cluster: Result<Option<Cluster>, DeployError>,
    pub log_group: Result<Option<PresentLogGroup>, DeployError>,
    pub secrets: BTreeMap<String, Result<PresentSecret, DeployError>>,
    pub execution_role: Result<Option<PresentRole>, DeployError>,
    pub task_role: Result<Option<PresentRole>, DeployError>,
    /// With its role.
    pub schedule: Result<(Option<PresentRole>, Scheduled), DeployError>,
    pub revisions: Result<(Option<Revision>, OldRevisions), DeployError>,
}

/// Looks at everything that `loader` names. Reads only.
pub async fn look(cloud: &Cloud, loader: &Loader) -> Result<Present, DeployError> {
    look_at_each(cloud, loader).await.whole()
}

/// The same, each part by itself.
pub(super) async fn look_at_each(cloud: &Cloud, loader: &Loader) -> Parts {
    let (repository, cluster, log_group, secrets, execution_role, task_role, schedule, revisions) = tokio::join!(
        repository(cloud, loader),
        cluster(cloud, loader),
        log_group(cloud, loader),
        secrets(cloud, loader),
        role(cloud, loader, (&loader.execution_role, &loader.execution_policy), TAKEN_BY_TASKS),
        role(cloud, loader, (&loader.task_role, &loader.task_policy), TAKEN_BY_TASKS),
        schedule(cloud, loader),
        revisions(cloud, loader),
    );
    let scope = Scope::of(cloud);
    Parts { scope, repository, cluster, log_group, secrets, execution_role, task_role, schedule, revisions }
}

impl Parts {
    /// All of them, or why one was not found.
    pub fn whole(self) -> Result<Present, DeployError> {
        let Self { scope, repository, cluster, log_group, secrets, execution_role, task_role, schedule, revisions } =
            self;
        let ((schedule_role, scheduled), (latest, old)) = (schedule?, revisions?);
        Ok(Present {
            scope,
            repository: repository?,
            cluster: cluster?,
            log_group: log_group?,
            secrets: secrets
                .into_iter()
                .map(|(name, secret)| Ok((name, secret?)))
                .collect::<Result<_, DeployError>>()?,
            execution_role: execution_role?,
            task_role: task_role?,
            schedule_role,
            scheduled,
            latest,
            old,
        })
    }
}

async fn repository(cloud: &Cloud, loader: &Loader) -> Result<Option<PresentRepository>, DeployError> {
    let name = &loader.repository;
    let doing = || format!("looking at the repository {name}");
    let Some(found) = cloud.ecr.repository(name).await.during(doing)? else { return Ok(None) };
    if found.account != cloud.caller.account {
        let (uri, caller) = (found.uri, cloud.caller.account.clone());
        return Err(DeployError::ForeignRepository { uri, found: found.account, caller });
    }
    let lifecycle = match &loader.lifecycle {
        Some(_) => cloud.ecr.lifecycle(name).await.during(doing)?,
        None => None,
    };
    // Whose it is matters only when there is something to change.
    let drifted = loader.mutability.as_ref().is_some_and(|wanted| *wanted != found.mutability)
        || loader.lifecycle.as_ref().is_some_and(|wanted| lifecycle != Some(wanted.document()));
    let ours = drifted && tags::are_ours(&cloud.ecr.tags(&found).await.during(doing)?);
    Ok(Some(PresentRepository { found, lifecycle, ours }))
}

async fn revisions(cloud: &Cloud, loader: &Loader) -> Result<(Option<Revision>, OldRevisions), DeployError> {
    let doing = || format!("looking at the task definition {}", loader.name);
    let latest = cloud.ecs.revision(&loader.name).await.during(doing)?;
    let old = match &latest {
        Some(_) => revisions::old(cloud, loader).await.during(doing)?,
        None => OldRevisions::default(),
    };
    Ok((latest, old))
}

async fn cluster(cloud: &Cloud, loader: &Loader) -> Result<Option<Cluster>, DeployError> {
    let name = &loader.cluster;
    match cloud.ecs.cluster(name).await.during(|| format!("looking at the cluster {name}"))? {
        Some(found) if !matches!(found.status.as_str(), "ACTIVE" | "PROVISIONING") => {
            Err(DeployError::Cluster { name: name.clone(), status: found.status })
        }
        found => Ok(found),
    }
}

async fn log_group(cloud: &Cloud, loader: &Loader) -> Result<Option<PresentLogGroup>, DeployError> {
    let name = &loader.log_group;
    let doing = || format!("looking at the log group {name}");
    let Some(found) = cloud.logs.group(name).await.during(doing)? else { return Ok(None) };
    let retention_days = found.retention_days;
    // Whose it is matters only when there is something to change.
    let ours = retention_days != Some(loader.log_retention_days)
        && tags::are_ours(&cloud.logs.group_tags(&found).await.during(doing)?);
    Ok(Some(PresentLogGroup { arn: found.arn, retention_days, ours }))
}

async fn secrets(cloud: &Cloud, loader: &Loader) -> BTreeMap<String, Result<PresentSecret, DeployError>> {
    let mut all = BTreeMap::new();
    for spec in &loader.secrets {
        all.insert(spec.variable.clone(), secret(cloud, spec, loader.update_secrets).await);
    }
    all
}

async fn secret(cloud: &Cloud, spec: &SecretSpec, update: bool) -> Result<PresentSecret, DeployError> {
    let (SecretSource::Named { name: id, json_key } | SecretSource::Arn { arn: id, json_key }) = &spec.source;
    let found = match (cloud.secrets.secret(id).await, &spec.source) {
        // To be named in a task is another permission than to be described, and it is the execution role's.
        (Err(error), SecretSource::Arn { arn, .. }) if error.kind == Kind::Denied => {
            Some(SecretFound { arn: arn.clone(), kms_key: None, deleted: false })
        }
        (found, _) => found.during(|| format!("looking at the secret {id}"))?,
    };
    let Some(found) = found else {
        return match (&spec.source, json_key) {
            (SecretSource::Named { .. }, None) => {
                Ok(PresentSecret { found: None, value: spec.value()?, differs: false })
            }
            // Which other keys belong into it, only its owner knows.
            (SecretSource::Named { .. }, Some(_)) | (SecretSource::Arn { .. }, _) => {
                Err(DeployError::NoSuchSecret(id.clone()))
            }
        };
    };
    if found.deleted {
        return Err(DeployError::SecretDeleted(id.clone()));
    }
    let mut present = PresentSecret { found: Some(found), value: None, differs: false };
    if update && json_key.is_none() {
        present.value = spec.value()?;
        if let Some(wanted) = &present.value {
            let is = cloud.secrets.value(id).await.during(|| format!("comparing the secret {id}"))?;
            present.differs = is.is_none_or(|is| is.expose() != wanted.expose());
        }
    }
    Ok(present)
}

async fn schedule(cloud: &Cloud, loader: &Loader) -> Result<(Option<PresentRole>, Scheduled), DeployError> {
    let names = (loader.schedule_role.as_str(), loader.schedule_policy.as_str());
    // A name that is too long for a role has none, and no schedule either.
    let taken_by = loader.schedule.as_ref().map(|_| ("EventBridge Scheduler", policy::SCHEDULER));
    let role = match Role.check(names.0) {
        Ok(_) => role(cloud, loader, names, taken_by).await?,
        Err(_) => None,
    };
    let scheduled = schedule::look(cloud, loader, role.as_ref().map(|role| role.ours)).await?;
    Ok((role, scheduled))
}

/// Who takes a role, in words and in its trust policy; a role that nothing is to take is not looked into.
type TakenBy = (&'static str, &'static str);

const TAKEN_BY_TASKS: Option<TakenBy> = Some(("ECS tasks", policy::TASKS));

async fn role(
    cloud: &Cloud,
    loader: &Loader,
    (name, policy): (&str, &str),
    taken_by: Option<TakenBy>,
) -> Result<Option<PresentRole>, DeployError> {
    let doing = || format!("looking at the role {name}");
    let Some(found) = cloud.iam.role(name).await.during(doing)? else { return Ok(None) };
    let ours = tags::are_ours(&found.tags);
    // ECS takes any role when the task definition is registered, and fails when the task starts.
    if let Some((who, service)) = taken_by.filter(|(_, service)| !policy::lets_in(&found.trust, service))
        && !ours
        && !loader.adopt
    {
        return Err(DeployError::Trust { role: name.to_owned(), who, service });
    }
    let policy = match ours || loader.adopt {
        true => cloud.iam.role_policy(name, policy).await.during(doing)?,
        false => None,
    };
    Ok(Some(PresentRole { arn: found.arn, trust: found.trust, policy, ours }))
}
