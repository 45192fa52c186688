//! The changes made, one after the other, and the ground that the task then stands on.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Action, Adopted, Change, RoleKind};
use super::error::{DeployError, During};
use super::ground::Ground;
use super::loader::Loader;
use super::pace::Pace;
use super::present::Present;
use super::schedule;
use super::secret_spec::SecretSource;
use super::tags;
use crate::aws::{AwsError, Cloud, Kind, Mutability, Repository};
use crate::event::{CloudOutcome, Event, Events};

/// Makes `changes`, which `difference` found between `loader` and `present`.
///
/// Somebody else may be doing the same at this moment: that a thing is there already is then no error, and it is used.
pub async fn apply(
    cloud: &Cloud,
    loader: &Loader,
    present: Present,
    changes: &[Change],
    pace: &Pace,
    events: &Events,
) -> Result<Ground, DeployError> {
    emit_existing(loader, changes, events);
    let mut work = Work::new(cloud, loader, present, pace);
    for change in changes {
        let (kind, name) = (change.action.kind(), &change.name);
        let outcome = work.make(change).await.during(|| format!("making the {kind} {name} what it should be"))?;
        events.emit(Event::Cloud { outcome, kind, name: name.clone() });
    }
    work.ground()
}

/// What was there and stays as it is.
fn emit_existing(loader: &Loader, changes: &[Change], events: &Events) {
    let changed: BTreeSet<(&str, &str)> = changes.iter().map(|c| (c.action.kind(), c.name.as_str())).collect();
    let secrets = loader.secrets.iter().map(|spec| {
        let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
        ("secret", name)
    });
    let things = [("repository", &loader.repository), ("cluster", &loader.cluster), ("log group", &loader.log_group)]
        .into_iter()
        .chain(secrets)
        .chain([("role", &loader.execution_role), ("role", &loader.task_role)])
        .chain(loader.schedule.as_ref().map(|_| ("role", &loader.schedule_role)));
    for (kind, name) in things {
        if !changed.contains(&(kind, name.as_str())) {
            events.emit(Event::Cloud { outcome: CloudOutcome::Exists, kind, name: name.clone() });
        }
    }
}

/// What is known so far.
struct Work<'a> {
    cloud: &'a Cloud,
    loader: &'a Loader,
    pace: &'a Pace,
    present: Present,
    /// Name → ARN and customer's key, of the secrets that were made.
    made: BTreeMap<String, (String, Option<String>)>,
    role_arns: BTreeMap<&'static str, String>,
    repository: Option<Repository>,
    new_role: bool,
}

impl<'a> Work<'a> {
    fn new(cloud: &'a Cloud, loader: &'a Loader, mut present: Present, pace: &'a Pace) -> Self {
        let mut role_arns = BTreeMap::new();
        for kind in RoleKind::of_loader(loader) {
            if let (_, _, Some(role)) = kind.of(loader, &present) {
                role_arns.insert(kind.word(), role.arn.clone());
            }
        }
        let repository = present.repository.take().map(|repository| repository.found);
        Self { cloud, loader, pace, present, made: BTreeMap::new(), role_arns, repository, new_role: false }
    }

    async fn make(&mut self, change: &Change) -> Result<CloudOutcome, AwsError> {
        let (cloud, loader, name) = (self.cloud, self.loader, change.name.as_str());
        let mut outcome = change.action.outcome();
        match &change.action {
            Action::CreateRepository => {
                // Tags are moved (`latest` has to be), and tasks run by digest anyway.
                let mutability = loader.mutability.as_ref().unwrap_or(&Mutability::Mutable);
                self.repository = match cloud.ecr.create_repository(name, mutability, &tags::SHARED).await {
                    Err(error) if error.kind == Kind::AlreadyExists => {
                        outcome = CloudOutcome::Exists;
                        cloud.ecr.repository(name).await?
                    }
                    made => Some(made?),
                };
            }
            Action::SetMutability => {
                if let Some(wanted) = &loader.mutability {
                    cloud.ecr.set_mutability(name, wanted).await?;
                }
            }
            Action::CreateLifecycle | Action::ReplaceLifecycle => {
                if let Some(wanted) = &loader.lifecycle {
                    cloud.ecr.put_lifecycle(name, &wanted.document()).await?;
                }
            }
            Action::CreateCluster => {
                let tags = if name == format!("{}_cluster", loader.name) { tags::of(loader) } else { tags::SHARED };
                self.create_cluster(name, &tags).await?;
            }
            Action::CreateLogGroup => {
                outcome = created_or_there(cloud.logs.create_group(name, &tags::of_log_group(loader)).await)?;
                cloud.logs.set_retention(name, loader.log_retention_days).await?;
            }
            Action::SetRetention => cloud.logs.set_retention(name, loader.log_retention_days).await?,
            Action::CreateSecret { variable } => outcome = self.create_secret(name, variable).await?,
            Action::UpdateSecret { variable } => {
                if let Some(value) = self.present.secrets.get(variable).and_then(|secret| secret.value.as_ref()) {
                    cloud.secrets.put(name, value).await?;
                }
            }
            Action::CreateRole(kind) => outcome = self.create_role(name, *kind).await?,
            Action::CreatePolicy(kind) | Action::ReplacePolicy(kind) => self.put_policy(*kind).await?,
            Action::DeletePolicy(kind) => {
                let (role, policy, _) = kind.of(loader, &self.present);
                cloud.iam.delete_role_policy(role, policy).await?;
            }
            Action::ReplaceTrust(kind) => {
                cloud.iam.set_trust(name, &kind.trust(loader, &self.present.scope)).await?;
            }
            Action::Adopt(what) => self.adopt(*what, name).await?,
            Action::Register
            | Action::Deregister
            | Action::CreateScheduleGroup
            | Action::CreateSchedule
            | Action::ReplaceSchedule
            | Action::Remove(_) => {
                unreachable!("`difference` leaves the task definition to `register`, and its schedule to `schedule`")
            }
        }
        Ok(outcome)
    }

    async fn adopt(&self, what: Adopted, name: &str) -> Result<(), AwsError> {
        let Self { cloud, loader, present, .. } = self;
        match (what, &self.repository, &present.log_group) {
            (Adopted::Repository, Some(found), _) => cloud.ecr.tag(found, &tags::SHARED).await,
            (Adopted::LogGroup, _, Some(found)) => cloud.logs.tag_group(&found.arn, &tags::of_log_group(loader)).await,
            (Adopted::Role(_), ..) => cloud.iam.tag_role(name, &tags::of(loader)).await,
            // `difference` adopts only what it found.
            (Adopted::Repository, None, _) | (Adopted::LogGroup, _, None) | (Adopted::ScheduleGroup, ..) => Ok(()),
        }
    }

    /// In an account that never used ECS, its service-linked role comes into being with the first cluster, and too late
    /// for it: aws/containers-roadmap#2614
    async fn create_cluster(&self, name: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        let first = self.cloud.ecs.create_cluster(name, tags).await;
        match first {
            Err(error) if lacks_service_role(&error) => {
                self.cloud.iam.create_service_linked_role("ecs.amazonaws.com").await?;
                self.pace.role_lag.retry(lacks_service_role, || self.cloud.ecs.create_cluster(name, tags)).await
            }
            done => done,
        }
    }

    async fn create_secret(&mut self, name: &str, variable: &str) -> Result<CloudOutcome, AwsError> {
        let secrets = &self.cloud.secrets;
        let value = self.present.secrets.get(variable).and_then(|secret| secret.value.as_ref());
        let value = value.expect("`difference` asks for a secret only where there is a value");
        let (made, outcome) = match secrets.create(name, value, &tags::SHARED).await {
            Err(error) if error.kind == Kind::AlreadyExists => match secrets.secret(name).await? {
                Some(found) => ((found.arn, found.kms_key), CloudOutcome::Exists),
                None => return Err(error),
            },
            arn => ((arn?, None), CloudOutcome::Created),
        };
        self.made.insert(name.to_owned(), made);
        Ok(outcome)
    }

    async fn create_role(&mut self, name: &str, kind: RoleKind) -> Result<CloudOutcome, AwsError> {
        let iam = &self.cloud.iam;
        let trust = kind.trust(self.loader, &self.present.scope);
        // IAM takes no quotation marks here, nor anything beyond Latin.
        let description = format!("{} role of the loader {}", kind.word(), self.loader.name);
        let (role, outcome) = match iam.create_role(name, &trust, &description, &tags::of(self.loader)).await {
            Err(error) if error.kind == Kind::AlreadyExists => match iam.role(name).await? {
                Some(found) => (found, CloudOutcome::Exists),
                None => return Err(error),
            },
            made => (made?, CloudOutcome::Created),
        };
        self.new_role = true;
        self.role_arns.insert(kind.word(), role.arn);
        Ok(outcome)
    }

    async fn put_policy(&self, kind: RoleKind) -> Result<(), AwsError> {
        let (role, policy, _) = kind.of(self.loader, &self.present);
        let scope = &self.present.scope;
        let document = match kind {
            RoleKind::Task => self.loader.task_document(scope),
            RoleKind::Schedule => {
                let words = [RoleKind::Execution, RoleKind::Task].map(RoleKind::word);
                let roles = words.iter().filter_map(|word| self.role_arns.get(word).cloned());
                schedule::policy(self.loader, scope, roles.collect())
            }
            RoleKind::Execution => {
                let (arns, keys) = self.secrets();
                Some(self.loader.execution_document(scope, &arns, &keys))
            }
        };
        let document = document.expect("`difference` asks for a policy only where there is something to allow");
        self.cloud.iam.put_role_policy(role, policy, &document).await
    }

    /// The ARNs of all secrets by variable, and the customers' keys that they are locked with.
    fn secrets(&self) -> (BTreeMap<String, String>, BTreeSet<String>) {
        let (mut arns, mut keys) = (BTreeMap::new(), BTreeSet::new());
        for spec in &self.loader.secrets {
            let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
            let found = self.present.secrets.get(&spec.variable).and_then(|secret| secret.found.as_ref());
            let found = found.map(|found| (&found.arn, &found.kms_key));
            if let Some((arn, key)) = found.or(self.made.get(name).map(|(arn, key)| (arn, key))) {
                arns.insert(spec.variable.clone(), arn.clone());
                keys.extend(key.clone());
            }
        }
        (arns, keys)
    }

    fn ground(self) -> Result<Ground, DeployError> {
        let Self { loader, present, made, mut role_arns, repository, new_role, .. } = self;
        let mut secrets = BTreeMap::new();
        for spec in &loader.secrets {
            let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
            let found = present.secrets.get(&spec.variable).and_then(|secret| secret.found.as_ref());
            let arn = found.map(|found| &found.arn).or(made.get(name).map(|(arn, _)| arn));
            let arn = arn.ok_or_else(|| DeployError::NoSuchSecret(name.clone()))?;
            secrets.insert(spec.variable.clone(), spec.value_from(arn));
        }
        let mut role = |kind: RoleKind, name: &str| {
            role_arns.remove(kind.word()).ok_or_else(|| DeployError::Vanished { kind: "role", name: name.to_owned() })
        };
        let execution_role_arn = role(RoleKind::Execution, &loader.execution_role)?;
        let task_role_arn = role(RoleKind::Task, &loader.task_role)?;
        let schedule_role_arn =
            loader.schedule.as_ref().map(|_| role(RoleKind::Schedule, &loader.schedule_role)).transpose()?;
        let repository =
            repository.ok_or_else(|| DeployError::Vanished { kind: "repository", name: loader.repository.clone() })?;
        Ok(Ground {
            repository_uri: repository.uri,
            cluster: loader.cluster.clone(),
            log_group: loader.log_group.clone(),
            execution_role_arn,
            task_role_arn,
            schedule_role_arn,
            secrets,
            new_role,
        })
    }
}

impl RoleKind {
    fn word(self) -> &'static str {
        match self {
            Self::Execution => "Execution",
            Self::Task => "Task",
            Self::Schedule => "Schedule",
        }
    }
}

pub(super) fn lacks_service_role(error: &AwsError) -> bool {
    error.message.to_ascii_lowercase().contains("service linked role")
}

fn created_or_there(result: Result<(), AwsError>) -> Result<CloudOutcome, AwsError> {
    match result {
        Ok(()) => Ok(CloudOutcome::Created),
        Err(error) if error.kind == Kind::AlreadyExists => Ok(CloudOutcome::Exists),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::policy;
    use super::super::testing::{ARN, Played, Script, ground, loader, recorded, scope};
    use super::super::{Description, SecretSpec, difference, look};
    use super::*;

    fn role(name: &str, trust: &Value) -> String {
        let encoded: String = trust.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
        format!(
            "<Role><Arn>arn:aws:iam::123456789012:role/{name}</Arn><Path>/</Path><RoleName>{name}</RoleName>\
             <RoleId>R</RoleId><CreateDate>2026-01-01T00:00:00Z</CreateDate>\
             <AssumeRolePolicyDocument>{encoded}</AssumeRolePolicyDocument>\
             <Tags><member><Key>managed-by</Key><Value>locus-push</Value></member></Tags></Role>"
        )
    }

    /// The same, made by somebody else.
    fn foreign_role(name: &str, trust: &Value) -> String {
        role(name, trust).replace("managed-by", "made-by")
    }

    fn repository(account: &str) -> Value {
        json!({
            "repositoryUri": ground().repository_uri, "registryId": account,
            "repositoryArn": "arn:aws:ecr:eu-west-1:123456789012:repository/locus_data_loaders",
        })
    }

    /// All that a run of ours leaves behind.
    fn everything() -> Script {
        let policy = policy::execution(
            &scope(),
            "locus_data_loaders",
            "os_opendata",
            &BTreeSet::from([ARN.to_owned()]),
            &BTreeSet::new(),
            &BTreeSet::new(),
        );
        let encoded: String = policy.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
        let trust = policy::trust(&scope());
        Script::default()
            .answer("DescribeRepositories", json!({ "repositories": [repository("123456789012")] }))
            .answer("DescribeClusters", json!({ "clusters": [{ "clusterArn": "c", "status": "ACTIVE" }] }))
            .answer(
                "DescribeLogGroups",
                json!({ "logGroups": [
                    { "logGroupName": "os_opendata-more" },
                    { "logGroupName": "os_opendata", "retentionInDays": 30 },
                ] }),
            )
            .answer("DescribeSecret", json!({ "ARN": ARN, "Name": "DBCONNECTION" }))
            .answer("DescribeTaskDefinition", json!({ "taskDefinition": { "taskDefinitionArn": "t/os_opendata:1" } }))
            .answer("ListTaskDefinitions", json!({ "taskDefinitionArns": ["t/os_opendata:1"] }))
            .xml("GetRole execution", &role("os_opendata-task-execution-role", &trust))
            .xml("GetRole", &role("os_opendata-task-role", &trust))
            .xml(
                "GetRolePolicy execution",
                &format!("<RoleName>r</RoleName><PolicyName>p</PolicyName><PolicyDocument>{encoded}</PolicyDocument>"),
            )
            .xml_error("GetRole schedule", 404, "NoSuchEntity")
            .xml_error("GetRolePolicy", 404, "NoSuchEntity")
    }

    fn nothing() -> Script {
        Script::default()
            .error("DescribeRepositories", 400, "RepositoryNotFoundException", "")
            .answer("DescribeClusters", json!({ "clusters": [], "failures": [{ "reason": "MISSING" }] }))
            .answer("DescribeLogGroups", json!({ "logGroups": [] }))
            .error("DescribeSecret", 400, "ResourceNotFoundException", "")
            .error("DescribeTaskDefinition", 400, "ClientException", "Unable to describe task definition.")
            .xml_error("GetRole schedule", 404, "NoSuchEntity")
            .xml_error("GetRole", 404, "NoSuchEntity")
    }

    /// A loader whose secret has a value on this machine.
    fn os_opendata(file: &tempfile::NamedTempFile) -> Loader {
        std::fs::write(file.path(), "sqlite:///x").unwrap();
        let value = format!("file:{}", file.path().display());
        loader(|d: &mut Description| {
            d.secrets = vec![SecretSpec::named("DBCONNECTION").unwrap().with_value(&value).unwrap()];
        })
    }

    async fn done(script: Script) -> (Result<Ground, DeployError>, Played, Vec<Event>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let loader = os_opendata(&file);
        let played = script.play().await;
        let (events, seen) = recorded();
        let done = async {
            let present = look(&played.cloud, &loader).await?;
            let changes = difference(&loader, &present)?;
            apply(&played.cloud, &loader, present, &changes, &Pace::hurried(), &events).await
        };
        let ground = done.await;
        let seen = seen.lock().unwrap().clone();
        (ground, played, seen)
    }

    #[tokio::test]
    async fn where_everything_is_only_questions_are_asked() {
        let (ground, played, seen) = done(everything()).await;
        assert_eq!(ground.unwrap(), super::super::testing::ground());
        let writes: Vec<_> = played
            .asked()
            .into_iter()
            .map(|asked| asked.call)
            .filter(|call| !["Describe", "Get", "List"].iter().any(|read| call.starts_with(read)))
            .collect();
        assert_eq!(writes, Vec::<String>::new());
        let exists = |event: &Event| matches!(event, Event::Cloud { outcome: CloudOutcome::Exists, .. });
        assert!(seen.len() == 6 && seen.iter().all(exists), "{seen:?}");
    }

    #[tokio::test]
    async fn where_nothing_is_everything_is_made_and_tagged() {
        let trust = policy::trust(&scope());
        let script = nothing()
            .answer("CreateRepository", json!({ "repository": repository("123456789012") }))
            .error("CreateCluster", 400, "ClientException", "Unable to assume the service linked role.")
            .answer("CreateCluster", json!({ "cluster": {} }))
            .xml("CreateServiceLinkedRole", "")
            .answer("CreateLogGroup", json!({}))
            .answer("PutRetentionPolicy", json!({}))
            .answer("CreateSecret", json!({ "ARN": ARN }))
            .xml("CreateRole execution", &role("os_opendata-task-execution-role", &trust))
            .xml("CreateRole", &role("os_opendata-task-role", &trust))
            .xml("PutRolePolicy", "");
        let (ground, played, seen) = done(script).await;
        assert_eq!(ground.unwrap(), Ground { new_role: true, ..super::super::testing::ground() });
        let made = |event: &Event| matches!(event, Event::Cloud { outcome: CloudOutcome::Created, .. });
        assert!(seen.len() == 7 && seen.iter().all(made), "{seen:?}");
        assert_eq!(played.asked_for("CreateRepository")[0]["imageTagMutability"], "MUTABLE");
        assert_eq!(played.asked_for("CreateLogGroup")[0]["tags"]["managed-by"], "locus-push");
        assert_eq!(played.asked_for("PutRetentionPolicy")[0]["retentionInDays"], 30);
        assert_eq!(played.asked_for("CreateSecret")[0]["SecretString"], "sqlite:///x");
        let policy = played.asked_for("PutRolePolicy")[0].to_string();
        assert!(policy.contains("secret%3ADBCONNECTION-AbCdEf"), "{policy}");
    }

    #[tokio::test]
    async fn what_somebody_else_makes_at_the_same_moment_is_used() {
        let trust = policy::trust(&scope());
        let script = nothing()
            .answer("DescribeRepositories", json!({ "repositories": [repository("123456789012")] }))
            .answer("DescribeSecret", json!({ "ARN": ARN }))
            .xml_error("GetRole", 404, "NoSuchEntity")
            .xml("GetRole", &role("os_opendata-task-role", &trust))
            .error("CreateRepository", 400, "RepositoryAlreadyExistsException", "")
            .answer("CreateCluster", json!({ "cluster": {} }))
            .error("CreateLogGroup", 400, "ResourceAlreadyExistsException", "")
            .answer("PutRetentionPolicy", json!({}))
            .error("CreateSecret", 400, "ResourceExistsException", "")
            .xml_error("CreateRole", 409, "EntityAlreadyExists")
            .xml("PutRolePolicy", "");
        let (ground, _, _) = done(script).await;
        assert_eq!(ground.unwrap().secrets["DBCONNECTION"], ARN);
    }

    #[tokio::test]
    async fn what_cannot_work_is_said_before_anything_is_changed() {
        let ec2 = json!({ "Statement": [{ "Effect": "Allow", "Principal": { "Service": "ec2.amazonaws.com" }, "Action": "sts:AssumeRole" }] });
        let other = |call: &'static str, answer: Value| {
            let mut script = everything();
            script.forget(call);
            script.answer(call, answer)
        };
        let mut trusted_to_ec2 = everything();
        trusted_to_ec2.forget("GetRole");
        for (script, words) in [
            (
                other("DescribeRepositories", json!({ "repositories": [repository("999999999999")] })),
                "the repository 123456789012.dkr.ecr.eu-west-1.amazonaws.com/locus_data_loaders is in account \
                 999999999999, and this is account 123456789012",
            ),
            (
                other("DescribeClusters", json!({ "clusters": [{ "status": "DEPROVISIONING" }] })),
                "the cluster os_opendata_cluster is DEPROVISIONING",
            ),
            (
                other("DescribeSecret", json!({ "ARN": ARN, "DeletedDate": 1_700_000_000 })),
                "the secret DBCONNECTION is scheduled for deletion",
            ),
            (
                trusted_to_ec2.xml("GetRole", &foreign_role("os_opendata-task-role", &ec2)),
                "the role os_opendata-task-role may not be taken by ECS tasks: its trust policy does not name \
                 ecs-tasks.amazonaws.com",
            ),
        ] {
            let (ground, played, _) = done(script).await;
            let error = ground.unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (words, 4));
            assert!(error.hint().is_some(), "{words}");
            let read = |call: &str| ["Describe", "Get", "List"].iter().any(|read| call.starts_with(read));
            assert!(played.asked().iter().all(|asked| read(&asked.call)));
        }
    }
}
