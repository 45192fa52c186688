//! The difference between what is wanted and what is there, as a list of changes with their reasons. No cloud in sight.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::DeployError;
use super::loader::Loader;
use super::policy;
use super::present::{Present, PresentRole};
use super::secret_spec::{SecretSource, SecretSpec};
use crate::event::CloudOutcome;

/// One thing to be made or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub action: Action,
    /// What it is called in the cloud.
    pub name: String,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    CreateRepository,
    CreateCluster,
    CreateLogGroup,
    SetRetention,
    /// The secret that the task finds in this variable.
    CreateSecret {
        variable: String,
    },
    UpdateSecret {
        variable: String,
    },
    CreateRole(RoleKind),
    PutPolicy(RoleKind),
    DeletePolicy(RoleKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// What Fargate starts the task with.
    Execution,
    /// What the task itself acts as.
    Task,
}

impl Action {
    /// The kind of thing, as people call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateRepository => "repository",
            Self::CreateCluster => "cluster",
            Self::CreateLogGroup | Self::SetRetention => "log group",
            Self::CreateSecret { .. } | Self::UpdateSecret { .. } => "secret",
            Self::CreateRole(_) => "role",
            Self::PutPolicy(_) | Self::DeletePolicy(_) => "policy",
        }
    }

    pub fn outcome(&self) -> CloudOutcome {
        match self {
            Self::CreateRepository
            | Self::CreateCluster
            | Self::CreateLogGroup
            | Self::CreateSecret { .. }
            | Self::CreateRole(_) => CloudOutcome::Created,
            Self::SetRetention | Self::UpdateSecret { .. } | Self::PutPolicy(_) | Self::DeletePolicy(_) => {
                CloudOutcome::Changed
            }
        }
    }
}

/// What is to be done, in the order in which it can be done. An error is one that nothing has been done before.
pub fn difference(loader: &Loader, present: &Present) -> Result<Vec<Change>, DeployError> {
    let mut changes = Vec::new();
    let mut change = |action: Action, name: &str, why: String| {
        changes.push(Change { action, name: name.to_owned(), why });
    };
    let missing = || "there is none".to_owned();
    if present.repository.is_none() {
        change(Action::CreateRepository, &loader.repository, missing());
    }
    if present.cluster.is_none() {
        change(Action::CreateCluster, &loader.cluster, missing());
    }
    let days = |days: u32| format!("{days} days");
    let retention = |why: &str| format!("{why}; {} are wanted", days(loader.log_retention_days));
    match &present.log_group {
        None => {
            change(Action::CreateLogGroup, &loader.log_group, missing());
            change(Action::SetRetention, &loader.log_group, retention("a new one keeps its lines for ever"));
        }
        Some(group) if group.ours && group.retention_days != Some(loader.log_retention_days) => {
            let is = group.retention_days.map_or("for ever".to_owned(), days);
            change(Action::SetRetention, &loader.log_group, retention(&format!("it keeps its lines {is}")));
        }
        Some(_) => {}
    }
    let mut named = BTreeSet::new();
    for spec in &loader.secrets {
        if let Some((action, why)) = secret(spec, present)? {
            let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
            // Two variables may hold one secret.
            if named.insert(name) {
                change(action, name, why);
            }
        }
    }
    for kind in [RoleKind::Execution, RoleKind::Task] {
        for (action, name, why) in role(loader, present, kind) {
            change(action, name, why);
        }
    }
    Ok(changes)
}

fn secret(spec: &SecretSpec, present: &Present) -> Result<Option<(Action, String)>, DeployError> {
    let variable = spec.variable.clone();
    let Some(is) = present.secrets.get(&variable) else { return Err(DeployError::NoSuchSecret(variable)) };
    if is.found.is_some() {
        let why = "its value is not the one given here".to_owned();
        return Ok(is.differs.then_some((Action::UpdateSecret { variable }, why)));
    }
    if is.value.is_none() {
        let SecretSource::Named { name, .. } = &spec.source else {
            return Err(DeployError::NoSuchSecret(variable));
        };
        let places: Vec<String> = spec.places().iter().map(ToString::to_string).collect();
        return Err(DeployError::NoSecretValue { name: name.clone(), variable, looked: places.join(" nor ") });
    }
    Ok(Some((Action::CreateSecret { variable }, "there is none".to_owned())))
}

fn role<'a>(loader: &'a Loader, present: &Present, kind: RoleKind) -> Vec<(Action, &'a str, String)> {
    let (name, policy_name, is) = kind.of(loader, present);
    let wanted = kind.policy(loader, present);
    let missing = || "there is none".to_owned();
    let Some(is) = is else {
        let made = (Action::CreateRole(kind), name, missing());
        return match wanted {
            Wanted::Nothing => vec![made],
            Wanted::Known(_) | Wanted::KnownLater => vec![made, (Action::PutPolicy(kind), policy_name, missing())],
        };
    };
    // What we did not make is used as it is.
    if !is.ours {
        return Vec::new();
    }
    let change = match (&is.policy, wanted) {
        (Some(is), Wanted::Known(wanted)) if *is == wanted => None,
        (Some(_), Wanted::Known(_)) => {
            Some((Action::PutPolicy(kind), "it allows something other than what the loader needs".to_owned()))
        }
        (Some(_), Wanted::KnownLater) => Some((Action::PutPolicy(kind), "it has to allow a new secret".to_owned())),
        (Some(_), Wanted::Nothing) => {
            Some((Action::DeletePolicy(kind), "the loader asks for no access any more".to_owned()))
        }
        (None, Wanted::Known(_) | Wanted::KnownLater) => Some((Action::PutPolicy(kind), missing())),
        (None, Wanted::Nothing) => None,
    };
    change.map(|(action, why)| (action, policy_name, why)).into_iter().collect()
}

/// A role's inline policy, as it should be.
enum Wanted {
    Nothing,
    Known(Value),
    /// It names the ARN of a secret that is yet to be made.
    KnownLater,
}

impl RoleKind {
    /// The role's name, its policy's name, and the role as it is.
    pub(super) fn of<'l, 'p>(
        self,
        loader: &'l Loader,
        present: &'p Present,
    ) -> (&'l str, &'l str, Option<&'p PresentRole>) {
        match self {
            Self::Execution => (&loader.execution_role, &loader.execution_policy, present.execution_role.as_ref()),
            Self::Task => (&loader.task_role, &loader.task_policy, present.task_role.as_ref()),
        }
    }

    fn policy(self, loader: &Loader, present: &Present) -> Wanted {
        match self {
            Self::Task => policy::task(&present.scope, &loader.s3).map_or(Wanted::Nothing, Wanted::Known),
            Self::Execution => {
                let found: Option<Vec<_>> = present.secrets.values().map(|secret| secret.found.as_ref()).collect();
                let Some(found) = found else { return Wanted::KnownLater };
                let arns = found.iter().map(|secret| secret.arn.clone()).collect();
                let keys = found.iter().filter_map(|secret| secret.kms_key.clone()).collect();
                Wanted::Known(policy::execution(&present.scope, &loader.repository, &loader.log_group, &arns, &keys))
            }
        }
    }
}
