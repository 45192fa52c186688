//! The difference between what is wanted and what is there, as a list of changes with their reasons. No cloud in sight.
//!
//! `plan` prints the list and the road makes it: there is no other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::error::DeployError;
use super::fields::{Field, differences};
use super::loader::Loader;
use super::policy::{self, Scope};
use super::present::{Present, PresentLogGroup, PresentRepository, PresentRole};
use super::schedule;
use super::secret_spec::{SecretSource, SecretSpec};
use super::tags::MANAGED;
use crate::aws::Mutability;
use crate::event::CloudOutcome;

/// One thing to be made or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub action: Action,
    /// What it is called in the cloud.
    pub name: String,
    pub why: String,
    /// What of it becomes another.
    pub fields: Vec<Field>,
    /// It is somebody else's, and changed because that was asked for.
    pub adopts: bool,
}

/// What is done to one thing in the cloud, or to one task definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    CreateRepository,
    /// Whether its tags may be moved.
    SetMutability,
    CreateLifecycle,
    ReplaceLifecycle,
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
    /// Who may take it.
    ReplaceTrust(RoleKind),
    CreatePolicy(RoleKind),
    ReplacePolicy(RoleKind),
    DeletePolicy(RoleKind),
    /// Makes ours what somebody else made.
    Adopt(Adopted),
    /// A revision of the task definition.
    Register,
    Deregister,
    CreateScheduleGroup,
    CreateSchedule,
    ReplaceSchedule,
    Remove(Removal),
}

/// What is taken away. It is called by the change's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Of our group.
    Schedule,
    ScheduleGroup,
    /// It is stopped, and gone when it has stopped.
    Task {
        cluster: String,
        arn: String,
    },
    /// Tags of one image, and with the last one the image.
    ImageTags {
        repository: String,
        tags: BTreeSet<String>,
    },
    /// Inline.
    Policy {
        role: String,
    },
    /// A policy of somebody's is attached to the role, and stays.
    Attachment {
        role: String,
    },
    Role,
    /// With its lines.
    LogGroup,
    Secret,
    Revision {
        arn: String,
        active: bool,
    },
    Cluster,
    /// With its images.
    Repository,
}

/// What can be made ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    Repository,
    LogGroup,
    Role(RoleKind),
    ScheduleGroup,
}

/// Which of a loader's three roles is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// What Fargate starts the task with.
    Execution,
    /// What the task itself acts as.
    Task,
    /// What Scheduler runs the task as.
    Schedule,
}

impl Action {
    /// The kind of thing, as people call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateRepository | Self::SetMutability | Self::Adopt(Adopted::Repository) => "repository",
            Self::CreateLifecycle | Self::ReplaceLifecycle => "lifecycle policy",
            Self::CreateCluster => "cluster",
            Self::CreateLogGroup | Self::SetRetention | Self::Adopt(Adopted::LogGroup) => "log group",
            Self::CreateSecret { .. } | Self::UpdateSecret { .. } => "secret",
            Self::CreateRole(_) | Self::ReplaceTrust(_) | Self::Adopt(Adopted::Role(_)) => "role",
            Self::CreatePolicy(_) | Self::ReplacePolicy(_) | Self::DeletePolicy(_) => "policy",
            Self::Register | Self::Deregister => "task definition",
            Self::CreateScheduleGroup | Self::Adopt(Adopted::ScheduleGroup) => "schedule group",
            Self::CreateSchedule | Self::ReplaceSchedule => "schedule",
            Self::Remove(removal) => removal.kind(),
        }
    }

    pub fn outcome(&self) -> CloudOutcome {
        match self {
            Self::CreateRepository
            | Self::CreateLifecycle
            | Self::CreateCluster
            | Self::CreateLogGroup
            | Self::CreateSecret { .. }
            | Self::CreateRole(_)
            | Self::CreatePolicy(_)
            | Self::CreateScheduleGroup
            | Self::CreateSchedule => CloudOutcome::Created,
            Self::SetMutability
            | Self::ReplaceLifecycle
            | Self::SetRetention
            | Self::UpdateSecret { .. }
            | Self::ReplaceTrust(_)
            | Self::ReplacePolicy(_)
            | Self::ReplaceSchedule
            | Self::Adopt(_) => CloudOutcome::Changed,
            Self::Register => CloudOutcome::Registered,
            Self::DeletePolicy(_) | Self::Deregister | Self::Remove(_) => CloudOutcome::Removed,
        }
    }
}

impl Removal {
    fn kind(&self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::ScheduleGroup => "schedule group",
            Self::Task { .. } => "task",
            Self::ImageTags { .. } => "image tags",
            Self::Policy { .. } => "policy",
            Self::Attachment { .. } => "attached policy",
            Self::Role => "role",
            Self::LogGroup => "log group",
            Self::Secret => "secret",
            Self::Revision { .. } => "task definition",
            Self::Cluster => "cluster",
            Self::Repository => "repository",
        }
    }
}

/// What is to be done, in the order in which it can be done; task definition and schedule are not among it. An error is one that
/// nothing has been done before.
pub fn difference(loader: &Loader, present: &Present) -> Result<Vec<Change>, DeployError> {
    let mut changes = Changes::default();
    repository(loader, present, &mut changes);
    if present.cluster.is_none() {
        changes.missing(Action::CreateCluster, &loader.cluster, Vec::new());
    }
    log_group(loader, present, &mut changes);
    let mut named = BTreeSet::new();
    for spec in &loader.secrets {
        if let Some((action, why, fields)) = secret(spec, present)? {
            let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
            // Two variables may hold one secret.
            if named.insert(name) {
                changes.add(action, name, why, fields, false);
            }
        }
    }
    for kind in RoleKind::of_loader(loader) {
        role(loader, present, *kind, &mut changes);
    }
    Ok(changes.0)
}

/// What stays other than the loader asks for, because it is not ours to change: each as a sentence.
pub fn kept(loader: &Loader, present: &Present) -> Vec<String> {
    let mut all = Vec::new();
    let adopt = "--adopt changes it";
    if let Some(PresentRepository { found, lifecycle, ours: false }) = &present.repository
        && !loader.adopt
    {
        let name = &loader.repository;
        if let Some(wanted) = loader.mutability.as_ref().filter(|wanted| **wanted != found.mutability) {
            let (is, wanted) = (mutability(&found.mutability), mutability(wanted));
            all.push(format!(
                "the repository {name} was not made by locus-push, and its tags are {is}, not {wanted}; {adopt}"
            ));
        }
        if loader.lifecycle.as_ref().is_some_and(|wanted| *lifecycle != Some(wanted.document())) {
            all.push(format!(
                "the repository {name} was not made by locus-push, and has {} lifecycle policy; {adopt}",
                if lifecycle.is_some() { "another" } else { "no" }
            ));
        }
    }
    if let Some(group) = &present.log_group
        && !(group.ours || loader.adopt)
        && group.retention_days != Some(loader.log_retention_days)
    {
        let (is, wanted) = (retention(group.retention_days), retention(Some(loader.log_retention_days)));
        let name = &loader.log_group;
        all.push(format!(
            "the log group {name} was not made by locus-push and keeps its lines {is}, not {wanted}; {adopt}"
        ));
    }
    if let Some(role) = &present.task_role
        && !(role.ours || loader.adopt)
        && let Wanted::Known(_) | Wanted::KnownLater(_) = RoleKind::Task.policy(loader, present)
    {
        let name = &loader.task_role;
        all.push(format!(
            "the role {name} was not made by locus-push: whether it may do what `access` asks for is its owner's to \
             say; {adopt}"
        ));
    }
    if loader.execution_policy_document.is_some()
        && present.execution_role.as_ref().is_some_and(|role| !(role.ours || loader.adopt))
    {
        let name = &loader.execution_role;
        all.push(format!(
            "the role {name} was not made by locus-push, and `execution_policy` is not put into it; {adopt}"
        ));
    }
    all.extend(schedule::kept(loader, present));
    if loader.update_secrets {
        let valueless = |spec: &&SecretSpec| present.secrets.get(&spec.variable).is_some_and(|s| s.value.is_none());
        for spec in loader.secrets.iter().filter(valueless) {
            all.push(format!("the secret {} is used as it is: there is no value for it here", spec.variable));
        }
    }
    all
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, action: Action, name: &str, why: impl Into<String>, fields: Vec<Field>, adopts: bool) {
        self.0.push(Change { action, name: name.to_owned(), why: why.into(), fields, adopts });
    }

    fn missing(&mut self, action: Action, name: &str, fields: Vec<Field>) {
        self.add(action, name, "there is none", fields, false);
    }

    /// Of what was changed though it is not ours, that it is from now on.
    fn adopt(&mut self, what: Adopted, name: &str) {
        let (key, value) = MANAGED;
        let tag = Field::new(&format!("tag {key}"), None, Some(value.to_owned()));
        self.add(Action::Adopt(what), name, "locus-push keeps it as it is wanted from now on", vec![tag], true);
    }
}

fn repository(loader: &Loader, present: &Present, changes: &mut Changes) {
    let name = &loader.repository;
    let policy = |is: &Value, wanted: &Value| differences(is, wanted);
    let Some(PresentRepository { found, lifecycle, ours }) = &present.repository else {
        let wanted = loader.mutability.as_ref().unwrap_or(&Mutability::Mutable);
        let field = Field::new("image_tag_mutability", None, Some(mutability(wanted)));
        changes.missing(Action::CreateRepository, name, vec![field]);
        if let Some(wanted) = &loader.lifecycle {
            changes.missing(Action::CreateLifecycle, name, policy(&Value::Null, &wanted.document()));
        }
        return;
    };
    if !ours && !loader.adopt {
        return;
    }
    let before = changes.0.len();
    if let Some(wanted) = loader.mutability.as_ref().filter(|wanted| **wanted != found.mutability) {
        let field = Field::new("image_tag_mutability", Some(mutability(&found.mutability)), Some(mutability(wanted)));
        changes.add(Action::SetMutability, name, "its tags are to be moved otherwise", vec![field], !ours);
    }
    if let Some(wanted) = loader.lifecycle.as_ref().map(|wanted| wanted.document())
        && *lifecycle != Some(wanted.clone())
    {
        let (action, why) = match lifecycle {
            Some(_) => (Action::ReplaceLifecycle, "it is not the one that is wanted"),
            None => (Action::CreateLifecycle, "there is none"),
        };
        let fields = policy(lifecycle.as_ref().unwrap_or(&Value::Null), &wanted);
        changes.add(action, name, why, fields, !ours);
    }
    if !ours && changes.0.len() > before {
        changes.adopt(Adopted::Repository, name);
    }
}

fn log_group(loader: &Loader, present: &Present, changes: &mut Changes) {
    let (name, wanted) = (&loader.log_group, Some(loader.log_retention_days));
    let field = |is| vec![Field::new("retention", is, Some(retention(wanted)))];
    match &present.log_group {
        None => changes.missing(Action::CreateLogGroup, name, field(None)),
        Some(PresentLogGroup { retention_days, ours, arn: _ })
            if (*ours || loader.adopt) && *retention_days != wanted =>
        {
            let (is, days) = (retention(*retention_days), retention(wanted));
            let why = format!("it keeps its lines {is}; {days} are wanted");
            changes.add(Action::SetRetention, name, why, field(Some(is)), !ours);
            if !ours {
                changes.adopt(Adopted::LogGroup, name);
            }
        }
        Some(_) => {}
    }
}

fn secret(spec: &SecretSpec, present: &Present) -> Result<Option<(Action, String, Vec<Field>)>, DeployError> {
    let variable = spec.variable.clone();
    let Some(is) = present.secrets.get(&variable) else { return Err(DeployError::NoSuchSecret(variable)) };
    // Never the value itself.
    let field =
        |is: Option<&str>| vec![Field::new("value", is.map(str::to_owned), Some("(the one given here)".into()))];
    if is.found.is_some() {
        let why = "its value is not the one given here".to_owned();
        return Ok(is.differs.then_some((Action::UpdateSecret { variable }, why, field(Some("(another)")))));
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
    Ok(Some((Action::CreateSecret { variable }, "there is none".to_owned(), field(None))))
}

fn role(loader: &Loader, present: &Present, kind: RoleKind, changes: &mut Changes) {
    let (name, policy_name, is) = kind.of(loader, present);
    let (wanted, trust) = (kind.policy(loader, present), kind.trust(loader, &present.scope));
    let Some(is) = is else {
        changes.missing(Action::CreateRole(kind), name, differences(&Value::Null, &json!({ "trust": trust })));
        if let Wanted::Known(wanted) | Wanted::KnownLater(wanted) = wanted {
            changes.missing(Action::CreatePolicy(kind), policy_name, differences(&Value::Null, &wanted));
        }
        return;
    };
    // What we did not make is used as it is.
    if !is.ours && !loader.adopt {
        return;
    }
    let before = changes.0.len();
    if is.trust != trust {
        let fields = differences(&json!({ "trust": is.trust }), &json!({ "trust": trust }));
        changes.add(Action::ReplaceTrust(kind), name, "others may take it than should", fields, !is.ours);
    }
    let fields = |wanted: &Value| differences(is.policy.as_ref().unwrap_or(&Value::Null), wanted);
    let change = match (&is.policy, &wanted) {
        (Some(is), Wanted::Known(wanted)) if is == wanted => None,
        (Some(_), Wanted::Known(wanted)) => {
            Some((Action::ReplacePolicy(kind), "it allows something other than what the loader needs", fields(wanted)))
        }
        (Some(_), Wanted::KnownLater(wanted)) => {
            Some((Action::ReplacePolicy(kind), "it has to allow a new secret", fields(wanted)))
        }
        (Some(_), Wanted::Nothing) => {
            Some((Action::DeletePolicy(kind), "the loader asks for no access any more", fields(&Value::Null)))
        }
        (None, Wanted::Known(wanted) | Wanted::KnownLater(wanted)) => {
            Some((Action::CreatePolicy(kind), "there is none", fields(wanted)))
        }
        (None, Wanted::Nothing) => None,
    };
    if let Some((action, why, fields)) = change {
        changes.add(action, policy_name, why, fields, !is.ours);
    }
    if !is.ours && changes.0.len() > before {
        changes.adopt(Adopted::Role(kind), name);
    }
}

fn retention(days: Option<u32>) -> String {
    days.map_or("for ever".to_owned(), |days| format!("{days} days"))
}

fn mutability(is: &Mutability) -> String {
    match is {
        Mutability::Mutable => "MUTABLE".to_owned(),
        Mutability::Immutable => "IMMUTABLE".to_owned(),
        Mutability::ImmutableExcept(patterns) => {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            format!("IMMUTABLE but for {}", patterns.join(", "))
        }
        Mutability::Other(word) => word.clone(),
    }
}

/// A role's inline policy, as it should be.
enum Wanted {
    Nothing,
    Known(Value),
    /// It names the ARN of a secret that is yet to be made, for which words stand in.
    KnownLater(Value),
}

/// What stands where the ARN of a secret will be that is yet to be made.
pub(super) fn arn_to_be(name: &str) -> String {
    format!("(ARN of the new secret {name})")
}

impl RoleKind {
    /// Those that a loader needs; the last is that of a schedule, which hands over the others.
    pub(super) fn of_loader(loader: &Loader) -> &'static [Self] {
        match loader.schedule {
            Some(_) => &[Self::Execution, Self::Task, Self::Schedule],
            None => &[Self::Execution, Self::Task],
        }
    }

    /// Who may take it.
    pub(super) fn trust(self, loader: &Loader, scope: &Scope) -> Value {
        match self {
            Self::Execution | Self::Task => loader.trust(scope),
            Self::Schedule => policy::schedule_trust(scope),
        }
    }

    /// The role's name, its policy's name, and the role as it is.
    pub(super) fn of<'l, 'p>(
        self,
        loader: &'l Loader,
        present: &'p Present,
    ) -> (&'l str, &'l str, Option<&'p PresentRole>) {
        match self {
            Self::Execution => (&loader.execution_role, &loader.execution_policy, present.execution_role.as_ref()),
            Self::Task => (&loader.task_role, &loader.task_policy, present.task_role.as_ref()),
            Self::Schedule => (&loader.schedule_role, &loader.schedule_policy, present.schedule_role.as_ref()),
        }
    }

    /// What the role should allow, where that is anything.
    pub(super) fn document(self, loader: &Loader, present: &Present) -> Option<Value> {
        match self.policy(loader, present) {
            Wanted::Known(document) | Wanted::KnownLater(document) => Some(document),
            Wanted::Nothing => None,
        }
    }

    fn policy(self, loader: &Loader, present: &Present) -> Wanted {
        match self {
            Self::Task => loader.task_document(&present.scope).map_or(Wanted::Nothing, Wanted::Known),
            Self::Schedule => {
                let roles = [Self::Execution, Self::Task].map(|kind| present.role_arn(kind, loader));
                let document = schedule::policy(loader, &present.scope, roles.into());
                document.map_or(Wanted::Nothing, Wanted::Known)
            }
            Self::Execution => {
                let (mut arns, mut keys, mut later) = (BTreeMap::new(), BTreeSet::new(), false);
                for spec in &loader.secrets {
                    let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
                    let found = present.secrets.get(&spec.variable).and_then(|secret| secret.found.as_ref());
                    later |= found.is_none();
                    keys.extend(found.and_then(|found| found.kms_key.clone()));
                    let arn = found.map_or_else(|| arn_to_be(name), |found| found.arn.clone());
                    arns.insert(spec.variable.clone(), arn);
                }
                let document = loader.execution_document(&present.scope, &arns, &keys);
                if later { Wanted::KnownLater(document) } else { Wanted::Known(document) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::present::PresentSecret;
    use super::super::revisions::OldRevisions;
    use super::super::testing::{ARN, loader, os_opendata, scope};
    use super::super::{Description, Lifecycle, Scheduled};
    use super::*;
    use crate::aws::{Cluster, Repository, SecretFound};
    use crate::secret::Secret;

    fn nothing() -> Present {
        let value = Some(Secret::new("sqlite:///x"));
        Present {
            scope: scope(),
            repository: None,
            cluster: None,
            log_group: None,
            secrets: BTreeMap::from([("DBCONNECTION".into(), PresentSecret { found: None, value, differs: false })]),
            execution_role: None,
            task_role: None,
            schedule_role: None,
            scheduled: Scheduled::default(),
            latest: None,
            old: OldRevisions::default(),
        }
    }

    fn repository() -> PresentRepository {
        let found = Repository {
            uri: "u".into(),
            arn: "a".into(),
            account: "123456789012".into(),
            mutability: Mutability::Mutable,
        };
        PresentRepository { found, lifecycle: None, ours: true }
    }

    fn group(retention_days: Option<u32>, ours: bool) -> Option<PresentLogGroup> {
        Some(PresentLogGroup { arn: "a".into(), retention_days, ours })
    }

    fn role(policy: Option<Value>, ours: bool) -> Option<PresentRole> {
        let arn = "arn:aws:iam::123456789012:role/r".into();
        Some(PresentRole { arn, trust: policy::trust(&nothing().scope), policy, ours })
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
            &BTreeSet::new(),
        );
        Present {
            repository: Some(repository()),
            cluster: Some(Cluster { arn: "a".into(), status: "ACTIVE".into() }),
            log_group: group(Some(30), true),
            secrets: BTreeMap::from([(
                "DBCONNECTION".into(),
                PresentSecret { found: Some(found), value: None, differs: false },
            )]),
            execution_role: role(Some(policy), true),
            task_role: role(None, true),
            ..nothing
        }
    }

    fn with_bucket() -> Loader {
        loader(|d| d.access.s3 = vec!["demo-data".into()])
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
        present.log_group = group(None, false);
        for is in [&mut present.execution_role, &mut present.task_role] {
            *is = role(None, false);
        }
        check(&with_bucket(), &present, &[]);
    }

    #[test]
    fn what_stays_other_than_it_was_asked_for_is_said() {
        let mut present = everything();
        assert_eq!(kept(&os_opendata(), &present), Vec::<String>::new());
        present.log_group = group(None, false);
        present.task_role = role(None, false);
        let asking = loader(|d| {
            d.access.s3 = vec!["demo-data".into()];
            d.update_secrets = true;
        });
        assert_eq!(
            kept(&asking, &present),
            [
                "the log group os_opendata was not made by locus-push and keeps its lines for ever, not 30 days; \
                 --adopt changes it",
                "the role os_opendata-task-role was not made by locus-push: whether it may do what `access` asks for \
                 is its owner's to say; --adopt changes it",
                "the secret DBCONNECTION is used as it is: there is no value for it here",
            ]
        );
    }

    #[test]
    fn what_we_made_is_kept_as_the_loader_wants_it() {
        let mut present = everything();
        present.log_group = group(Some(7), true);
        if let Some(role) = &mut present.execution_role {
            role.policy = Some(serde_json::json!({ "Statement": [] }));
        }
        check(
            &with_bucket(),
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
    fn what_is_adopted_is_told_with_what_goes_and_is_ours_from_then_on() {
        let adopting = loader(|d| {
            d.adopt = true;
            d.mutability = Some(Mutability::Immutable);
            d.lifecycle = Some(Lifecycle::Rules { untagged_days: Some(1), keep: None, loaders: vec![] });
        });
        let mut present = everything();
        present.repository = Some(PresentRepository { ours: false, ..repository() });
        present.log_group = group(None, false);
        let broad = serde_json::json!({ "Statement": [
            { "Sid": "All", "Effect": "Allow", "Action": "ecr:*", "Resource": "*" },
        ] });
        present.execution_role = role(Some(broad), false);
        let ec2 = serde_json::json!({ "Statement": { "Principal": { "Service": "ec2.amazonaws.com" } } });
        present.task_role = role(None, false).map(|role| PresentRole { trust: ec2, ..role });
        check(
            &adopting,
            &present,
            &[
                "SetMutability locus_data_loaders: its tags are to be moved otherwise",
                "CreateLifecycle locus_data_loaders: there is none",
                "Adopt(Repository) locus_data_loaders: locus-push keeps it as it is wanted from now on",
                "SetRetention os_opendata: it keeps its lines for ever; 30 days are wanted",
                "Adopt(LogGroup) os_opendata: locus-push keeps it as it is wanted from now on",
                "ReplacePolicy(Execution) os_opendata-iam-policy-task-execution-role: it allows something other than \
                 what the loader needs",
                "Adopt(Role(Execution)) os_opendata-task-execution-role: locus-push keeps it as it is wanted from now \
                 on",
                "ReplaceTrust(Task) os_opendata-task-role: others may take it than should",
                "Adopt(Role(Task)) os_opendata-task-role: locus-push keeps it as it is wanted from now on",
            ],
        );
        let changes = difference(&adopting, &present).unwrap();
        assert!(changes.iter().all(|change| change.adopts));
        let goes: Vec<String> = changes.iter().flat_map(|change| &change.fields).map(Field::to_string).collect();
        for words in
            ["Statement All Action: ecr:* -> nothing", "retention: for ever -> 30 days", "tag managed-by: locus-push"]
        {
            assert!(goes.iter().any(|said| said == words), "{words}: {goes:#?}");
        }
        assert_eq!(kept(&adopting, &present), Vec::<String>::new());
        let asking = loader(|d| {
            d.mutability = Some(Mutability::Immutable);
            d.lifecycle = Some(Lifecycle::Policy(Value::Null));
        });
        let kept = kept(&asking, &present).join("\n");
        assert!(kept.contains("its tags are MUTABLE, not IMMUTABLE; --adopt changes it"), "{kept}");
        assert!(kept.contains("has no lifecycle policy; --adopt changes it"), "{kept}");
    }

    #[test]
    fn access_that_is_no_longer_asked_for_is_taken_back() {
        let mut present = everything();
        if let Some(role) = &mut present.task_role {
            role.policy = with_bucket().task_document(&present.scope);
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
