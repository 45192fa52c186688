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
    /// With its retention.
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
    CreatePolicy(RoleKind),
    ReplacePolicy(RoleKind),
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
            Self::CreatePolicy(_) | Self::ReplacePolicy(_) | Self::DeletePolicy(_) => "policy",
        }
    }

    pub fn outcome(&self) -> CloudOutcome {
        match self {
            Self::CreateRepository
            | Self::CreateCluster
            | Self::CreateLogGroup
            | Self::CreateSecret { .. }
            | Self::CreateRole(_)
            | Self::CreatePolicy(_) => CloudOutcome::Created,
            Self::SetRetention | Self::UpdateSecret { .. } | Self::ReplacePolicy(_) | Self::DeletePolicy(_) => {
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
    match &present.log_group {
        None => change(Action::CreateLogGroup, &loader.log_group, missing()),
        Some(group) if group.ours && group.retention_days != Some(loader.log_retention_days) => {
            let (is, wanted) =
                (group.retention_days.map_or("for ever".to_owned(), days), days(loader.log_retention_days));
            change(Action::SetRetention, &loader.log_group, format!("it keeps its lines {is}; {wanted} are wanted"));
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

/// What stays other than the loader asks for, because it is not ours to change: each as a sentence.
pub fn kept(loader: &Loader, present: &Present) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(group) = &present.log_group
        && !group.ours
        && group.retention_days != Some(loader.log_retention_days)
    {
        let is = group.retention_days.map_or("for ever".to_owned(), |days| format!("{days} days"));
        let (name, wanted) = (&loader.log_group, loader.log_retention_days);
        all.push(format!(
            "the log group {name} was not made by locus-push and keeps its lines {is}, not {wanted} days"
        ));
    }
    if let Some(role) = &present.task_role
        && !role.ours
        && !loader.s3.is_empty()
    {
        let buckets: Vec<&str> = loader.s3.iter().map(String::as_str).collect();
        let (name, buckets) = (&loader.task_role, buckets.join(", "));
        all.push(format!(
            "the role {name} was not made by locus-push: whether it reaches {buckets} is its owner's to say"
        ));
    }
    if loader.update_secrets {
        let valueless = |spec: &&SecretSpec| present.secrets.get(&spec.variable).is_some_and(|s| s.value.is_none());
        for spec in loader.secrets.iter().filter(valueless) {
            all.push(format!("the secret {} is used as it is: there is no value for it here", spec.variable));
        }
    }
    all
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
        let looked = match &places[..] {
            [one] => format!("{one} is not set"),
            many => format!("neither {} is set", many.join(" nor ")),
        };
        return Err(DeployError::NoSecretValue { name: name.clone(), variable, looked });
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
            Wanted::Known(_) | Wanted::KnownLater => vec![made, (Action::CreatePolicy(kind), policy_name, missing())],
        };
    };
    // What we did not make is used as it is.
    if !is.ours {
        return Vec::new();
    }
    let change = match (&is.policy, wanted) {
        (Some(is), Wanted::Known(wanted)) if *is == wanted => None,
        (Some(_), Wanted::Known(_)) => {
            Some((Action::ReplacePolicy(kind), "it allows something other than what the loader needs".to_owned()))
        }
        (Some(_), Wanted::KnownLater) => Some((Action::ReplacePolicy(kind), "it has to allow a new secret".to_owned())),
        (Some(_), Wanted::Nothing) => {
            Some((Action::DeletePolicy(kind), "the loader asks for no access any more".to_owned()))
        }
        (None, Wanted::Known(_) | Wanted::KnownLater) => Some((Action::CreatePolicy(kind), missing())),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Description;
    use super::super::policy::Scope;
    use super::super::present::{PresentLogGroup, PresentSecret};
    use super::super::testing::{ARN, loader, os_opendata};
    use super::*;
    use crate::aws::{Cluster, Repository, SecretFound};
    use crate::secret::Secret;

    fn nothing() -> Present {
        let value = Some(Secret::new("sqlite:///x"));
        Present {
            scope: Scope { partition: "aws".into(), region: "eu-west-1".into(), account: "123456789012".into() },
            repository: None,
            cluster: None,
            log_group: None,
            secrets: BTreeMap::from([("DBCONNECTION".into(), PresentSecret { found: None, value, differs: false })]),
            execution_role: None,
            task_role: None,
        }
    }

    /// What a run of ours leaves behind.
    fn everything() -> Present {
        let found = SecretFound { arn: ARN.into(), kms_key: None, deleted: false };
        let nothing = nothing();
        let policy = policy::execution(
            &nothing.scope,
            "locus_data_loaders",
            "os_opendata",
            &BTreeSet::from([ARN.into()]),
            &BTreeSet::new(),
        );
        let role = |policy| Some(PresentRole { arn: "arn:aws:iam::123456789012:role/r".into(), policy, ours: true });
        Present {
            repository: Some(Repository { uri: "u".into(), arn: "a".into(), account: "123456789012".into() }),
            cluster: Some(Cluster { arn: "a".into(), status: "ACTIVE".into() }),
            log_group: Some(PresentLogGroup { retention_days: Some(30), ours: true }),
            secrets: BTreeMap::from([(
                "DBCONNECTION".into(),
                PresentSecret { found: Some(found), value: None, differs: false },
            )]),
            execution_role: role(Some(policy)),
            task_role: role(None),
            ..nothing
        }
    }

    #[track_caller]
    fn check(loader: &Loader, present: &Present, wanted: &[&str]) {
        let changes = difference(loader, present).unwrap();
        let said: Vec<_> = changes.iter().map(|c| format!("{:?} {}: {}", c.action, c.name, c.why)).collect();
        assert_eq!(said, wanted);
    }

    #[test]
    fn where_there_is_nothing_everything_is_made_in_the_order_in_which_it_can_be() {
        check(
            &os_opendata(),
            &nothing(),
            &[
                "CreateRepository locus_data_loaders: there is none",
                "CreateCluster os_opendata_cluster: there is none",
                "CreateLogGroup os_opendata: there is none",
                "CreateSecret { variable: \"DBCONNECTION\" } DBCONNECTION: there is none",
                "CreateRole(Execution) os_opendata-task-execution-role: there is none",
                "CreatePolicy(Execution) os_opendata-iam-policy-task-execution-role: there is none",
                "CreateRole(Task) os_opendata-task-role: there is none",
            ],
        );
    }

    #[test]
    fn where_everything_is_nothing_is_changed() {
        check(&os_opendata(), &everything(), &[]);
    }

    #[test]
    fn what_we_did_not_make_is_used_as_it_is() {
        let mut present = everything();
        present.log_group = Some(PresentLogGroup { retention_days: None, ours: false });
        for role in [&mut present.execution_role, &mut present.task_role] {
            *role = Some(PresentRole { arn: "r".into(), policy: None, ours: false });
        }
        check(&loader(|d| d.s3 = vec!["demo-data".into()]), &present, &[]);
    }

    #[test]
    fn what_stays_other_than_it_was_asked_for_is_said() {
        let mut present = everything();
        assert_eq!(kept(&os_opendata(), &present), Vec::<String>::new());
        present.log_group = Some(PresentLogGroup { retention_days: None, ours: false });
        present.task_role = Some(PresentRole { arn: "r".into(), policy: None, ours: false });
        let asking = loader(|d| {
            d.s3 = vec!["demo-data".into()];
            d.update_secrets = true;
        });
        assert_eq!(
            kept(&asking, &present),
            [
                "the log group os_opendata was not made by locus-push and keeps its lines for ever, not 30 days",
                "the role os_opendata-task-role was not made by locus-push: whether it reaches demo-data is its \
                 owner's to say",
                "the secret DBCONNECTION is used as it is: there is no value for it here",
            ]
        );
    }

    #[test]
    fn what_we_made_is_kept_as_the_loader_wants_it() {
        let mut present = everything();
        present.log_group = Some(PresentLogGroup { retention_days: Some(7), ours: true });
        if let Some(role) = &mut present.execution_role {
            role.policy = Some(serde_json::json!({ "Statement": [] }));
        }
        check(
            &loader(|d| d.s3 = vec!["demo-data".into()]),
            &present,
            &[
                "SetRetention os_opendata: it keeps its lines 7 days; 30 days are wanted",
                "ReplacePolicy(Execution) os_opendata-iam-policy-task-execution-role: it allows something other than \
                 what the loader needs",
                "CreatePolicy(Task) os_opendata-iam-policy-task-role: there is none",
            ],
        );
    }

    #[test]
    fn access_that_is_no_longer_asked_for_is_taken_back() {
        let mut present = everything();
        let buckets = BTreeSet::from(["demo-data".to_owned()]);
        if let Some(role) = &mut present.task_role {
            role.policy = policy::task(&present.scope, &buckets);
        }
        check(
            &os_opendata(),
            &present,
            &["DeletePolicy(Task) os_opendata-iam-policy-task-role: the loader asks for no access any more"],
        );
    }

    #[test]
    fn a_new_secret_has_to_be_allowed() {
        let mut present = everything();
        present.secrets = nothing().secrets;
        check(
            &os_opendata(),
            &present,
            &[
                "CreateSecret { variable: \"DBCONNECTION\" } DBCONNECTION: there is none",
                "ReplacePolicy(Execution) os_opendata-iam-policy-task-execution-role: it has to allow a new secret",
            ],
        );
    }

    #[test]
    fn a_secret_that_exists_is_written_only_when_that_was_asked_for_and_it_differs() {
        let mut present = everything();
        if let Some(secret) = present.secrets.get_mut("DBCONNECTION") {
            secret.differs = true;
        }
        check(
            &loader(|d: &mut Description| d.update_secrets = true),
            &present,
            &["UpdateSecret { variable: \"DBCONNECTION\" } DBCONNECTION: its value is not the one given here"],
        );
    }

    #[test]
    fn a_value_that_is_nowhere_is_said_before_anything_is_changed() {
        let mut present = nothing();
        present.secrets.values_mut().for_each(|secret| secret.value = None);
        let error = difference(&os_opendata(), &present).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the secret DBCONNECTION is not in Secrets Manager, and its value is not here: neither the variable \
             DBCONNECTION nor the variable DB_CONNECTION_STRING is set"
        );
        assert!(error.hint().unwrap().starts_with("export DBCONNECTION, or say where the value comes from"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn one_secret_in_two_variables_is_made_once() {
        let twice = loader(|d| {
            d.secrets = ["A", "B"].map(|v| super::super::SecretSpec::parse(v, "db").unwrap()).to_vec();
        });
        let mut present = everything();
        let secret = || PresentSecret { found: None, value: Some(Secret::new("x")), differs: false };
        present.secrets = BTreeMap::from([("A".into(), secret()), ("B".into(), secret())]);
        let changes = difference(&twice, &present).unwrap();
        assert_eq!(changes.iter().filter(|change| change.action.kind() == "secret").count(), 1);
    }
}
