//! One loader as its user described it, with every default filled in and every name checked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::access::{Access, AccessSettings, BadAccess};
use super::document::Document;
use super::lifecycle::Lifecycle;
use super::name::{BadName, Kind};
use super::policy::{self, Scope};
use super::present::Present;
use super::schedule::Schedule;
use super::secret_spec::{BadSecret, SecretSource, SecretSpec};
use super::size::{BadSize, EphemeralStorage, Size};
use super::template::{BadTemplate, Template};
use crate::aws::Mutability;
use crate::image::Digest;

/// What the user wrote, variables expanded; `None` is the default.
#[derive(Clone, Debug, Default)]
pub struct Description {
    pub name: String,
    pub repository: Option<String>,
    /// Image tags besides `<name>` and `<name>.<digest>`.
    pub tags: Vec<String>,
    pub cluster: Option<String>,
    pub log_group: Option<String>,
    pub log_retention_days: Option<u32>,
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub assign_public_ip: Option<bool>,
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
    pub ephemeral_storage: Option<u32>,
    pub environment: BTreeMap<String, String>,
    pub secrets: Vec<SecretSpec>,
    /// The variable `SECRETSRESOURCEARN`: the ARN of the secret `DBCONNECTION`.
    pub secrets_resource_arn: Option<String>,
    /// Writes a secret that exists, where its value differs.
    pub update_secrets: bool,
    /// What the task itself reaches.
    pub access: AccessSettings,
    pub execution_role: Option<String>,
    pub task_role: Option<String>,
    /// Who may take its roles, in place of our own words.
    pub trust: Option<Document>,
    /// What the execution role allows, in place of the least that Fargate needs.
    pub execution_policy: Option<Document>,
    /// The task definition, in the AWS CLI's own form; what else is said here comes before what it says.
    pub task_definition: Option<Document>,
    /// How the repository's tags may be moved; where nothing is said, one that is there stays as it is.
    pub mutability: Option<Mutability>,
    /// Which images the repository forgets by itself; where nothing is said, that is nobody's to change.
    pub lifecycle: Option<Lifecycle>,
    /// How many revisions of the task definition stay ACTIVE; 0 is all of them.
    pub keep_revisions: Option<u32>,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
    /// Changes what locus-push did not make.
    pub adopt: bool,
}

/// A loader that AWS will not refuse for its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Loader {
    pub(super) name: String,
    pub(super) repository: String,
    pub(super) tags: Vec<String>,
    pub(super) cluster: String,
    pub(super) log_group: String,
    pub(super) log_retention_days: u32,
    pub(super) network: Network,
    pub(super) size: Size,
    pub(super) ephemeral_storage: Option<EphemeralStorage>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) secrets: Vec<SecretSpec>,
    pub(super) update_secrets: bool,
    pub(super) access: Access,
    pub(super) trust: Option<Document>,
    pub(super) execution_policy_document: Option<Document>,
    pub(super) template: Option<Template>,
    pub(super) execution_role: String,
    pub(super) execution_policy: String,
    pub(super) task_role: String,
    pub(super) task_policy: String,
    pub(super) mutability: Option<Mutability>,
    pub(super) lifecycle: Option<Lifecycle>,
    pub(super) keep_revisions: Option<usize>,
    pub(super) schedule: Option<Schedule>,
    /// Made and named only where there is a schedule; from before, it may be there without one.
    pub(super) schedule_role: String,
    pub(super) schedule_policy: String,
    pub(super) adopt: bool,
}

/// Where the task's network interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub assign_public_ip: bool,
}

/// Why a [`Description`] is of no loader that AWS would take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    Size(#[from] BadSize),
    #[error(transparent)]
    Secret(#[from] BadSecret),
    #[error(transparent)]
    Access(#[from] BadAccess),
    #[error("the task definition: {0}")]
    Template(#[from] BadTemplate),
    #[error("the trust policy does not let ecs-tasks.amazonaws.com take the role: no task would start")]
    Trust,
    #[error("loader {0} has no subnet: a Fargate task stands in one to sixteen")]
    NoSubnet(String),
    #[error("loader {name} has {count} {what}; Fargate takes at most {most}")]
    TooMany { name: String, count: usize, what: &'static str, most: usize },
    #[error("{0} days is not a retention that CloudWatch Logs has; it has {list}", list = RETENTIONS.map(|d| d.to_string()).join(", "))]
    Retention(u32),
    #[error("{0} is set twice: in the environment and as a secret")]
    SetTwice(String),
    #[error("the secret {0} is named twice")]
    SecretTwice(String),
    #[error("a value is given for the secret {0}, of which only a JSON key is used: the other keys cannot be guessed")]
    ValueOfKey(String),
    #[error(
        "`{}` is no pattern of tags: it is 1–128 ASCII letters, digits, `.`, `_`, `-` or `*`, at most two of those",
        .0.escape_debug()
    )]
    TagPattern(String),
    #[error("{0} patterns of tags that may be moved; ECR takes one to five")]
    TagPatterns(usize),
    #[error(
        "of the images {images} are kept and of the revisions {revisions}: the oldest would have no image any more"
    )]
    Keep { images: u32, revisions: u32 },
}

/// One repository for all loaders, told apart by their tags.
pub const REPOSITORY: &str = "locus_data_loaders";

/// As many revisions can be gone back to.
const REVISIONS: u32 = 10;

/// `PutRetentionPolicy`'s `retentionInDays`.
const RETENTIONS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

impl Loader {
    pub fn new(description: Description) -> Result<Self, LoaderError> {
        let name = Kind::Loader.check(&description.name)?;
        let named = |kind: Kind, given: Option<String>, default: &str| match given {
            Some(given) => kind.check(&given),
            None => kind.check(&default.replace("{}", &name)),
        };
        let template = description.task_definition.map(|document| Template::new(document, &name)).transpose()?;
        let of_template = template.as_ref();
        let secrets = with_templates(description.secrets, of_template);
        let secrets = resolved(secrets, description.secrets_resource_arn)?;
        let environment = description.environment;
        for variable in environment.keys() {
            Kind::Variable.check(variable)?;
        }
        let mut variables = BTreeSet::new();
        for secret in &secrets {
            let variable = &secret.variable;
            let in_template = of_template.is_some_and(|template| template.variables.contains(variable));
            if environment.contains_key(variable) || in_template {
                return Err(LoaderError::SetTwice(variable.clone()));
            }
            let (SecretSource::Named { json_key, .. } | SecretSource::Arn { json_key, .. }) = &secret.source;
            if json_key.is_some() && secret.value.is_some() {
                return Err(LoaderError::ValueOfKey(variable.clone()));
            }
            if !variables.insert(variable) {
                return Err(LoaderError::SecretTwice(variable.clone()));
            }
        }
        let retention = description.log_retention_days.unwrap_or(30);
        if !RETENTIONS.contains(&retention) {
            return Err(LoaderError::Retention(retention));
        }
        let keep = description.keep_revisions.unwrap_or(REVISIONS);
        if let Some(images) = description.lifecycle.as_ref().and_then(Lifecycle::kept)
            && (keep == 0 || keep > images)
        {
            return Err(LoaderError::Keep { images, revisions: keep });
        }
        if let Some(Mutability::ImmutableExcept(patterns)) = &description.mutability {
            check_patterns(patterns)?;
        }
        if description
            .trust
            .as_ref()
            .is_some_and(|trust| !policy::lets_in(&trust.fill(&BTreeMap::new()), policy::TASKS))
        {
            return Err(LoaderError::Trust);
        }
        if description.schedule.is_some() {
            Kind::Schedule.check(&name)?;
        }
        let default = Size::default();
        let cpu = description.cpu.or(of_template.and_then(|template| template.cpu)).unwrap_or(default.cpu());
        let memory = description.memory.or(of_template.and_then(|template| template.memory));
        let disk = description.ephemeral_storage.or(of_template.and_then(|template| template.ephemeral_storage));
        let said = |given: Option<String>, of: fn(&Template) -> &Option<String>| {
            given.or_else(|| of_template.and_then(|template| of(template).clone()))
        };
        let log_group = named(Kind::LogGroup, said(description.log_group, |template| &template.log_group), "{}")?;
        if let Some(template) = of_template {
            template.check_log_group(&log_group, &name)?;
        }
        let execution_role = said(description.execution_role, |template| &template.execution_role);
        let task_role = said(description.task_role, |template| &template.task_role);
        Ok(Self {
            repository: named(Kind::Repository, description.repository, REPOSITORY)?,
            cluster: named(Kind::Cluster, description.cluster, "{}_cluster")?,
            log_group,
            log_retention_days: retention,
            network: network(&name, description.subnets, description.security_groups, description.assign_public_ip)?,
            size: Size::new(cpu, memory.unwrap_or(default.memory()))?,
            ephemeral_storage: disk.map(EphemeralStorage::new).transpose()?.flatten(),
            tags: checked(Kind::ImageTag, description.tags)?,
            environment,
            secrets,
            update_secrets: description.update_secrets,
            access: Access::new(description.access)?,
            trust: description.trust,
            execution_policy_document: description.execution_policy,
            execution_role: named(Kind::Role, execution_role, "{}-task-execution-role")?,
            execution_policy: named(Kind::Policy, None, "{}-iam-policy-task-execution-role")?,
            task_role: named(Kind::Role, task_role, "{}-task-role")?,
            task_policy: named(Kind::Policy, None, "{}-iam-policy-task-role")?,
            mutability: description.mutability,
            lifecycle: description.lifecycle,
            keep_revisions: (keep > 0).then_some(keep as usize),
            schedule: description.schedule,
            schedule_role: schedule_role(&name),
            schedule_policy: format!("{name}-iam-policy-schedule-role"),
            adopt: description.adopt,
            template,
            name,
        })
    }

    /// The loader's name: that of its task definition, its container and its log streams.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    pub fn log_group(&self) -> &str {
        &self.log_group
    }

    /// What the image is tagged in the repository: `<name>.<digest>`, which never moves; `<name>`, where a tag may be
    /// moved; and what the user asked for.
    pub fn tags(&self, present: &Present, digest: &Digest) -> Vec<String> {
        let mut tags = vec![format!("{}.{}", self.name, digest.short())];
        if may_move(present.mutability(self), &self.name) {
            tags.insert(0, self.name.clone());
        }
        tags.extend(self.tags.iter().cloned());
        tags
    }

    /// When it runs by itself.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    /// Its container's name, in the task definition.
    pub(super) fn container(&self) -> &str {
        self.template.as_ref().map_or(&self.name, |template| &template.container)
    }

    /// Who may take its roles.
    pub(super) fn trust(&self, scope: &Scope) -> Value {
        match &self.trust {
            Some(document) => document.fill(&self.variables(scope)),
            None => policy::trust(scope),
        }
    }

    /// What the execution role must allow, with these secrets by variable, and the customers' keys that they are locked
    /// with.
    pub(super) fn execution_document(
        &self,
        scope: &Scope,
        secrets: &BTreeMap<String, String>,
        keys: &BTreeSet<String>,
    ) -> Value {
        if let Some(document) = &self.execution_policy_document {
            let mut variables = self.variables(scope);
            variables.extend(self.dbconnection(secrets).map(|arn| ("SECRETSRESOURCEARN", arn)));
            return document.fill(&variables);
        }
        let mut arns: BTreeSet<String> = secrets.values().cloned().collect();
        let mut parameters = BTreeSet::new();
        if let Some(template) = &self.template {
            arns.extend(template.other_secrets.iter().cloned());
            parameters = template.parameter_arns(scope);
        }
        policy::execution(scope, &self.repository, &self.log_group, &arns, &parameters, keys)
    }

    /// What the task itself may do; `None` where it was given nothing.
    pub(super) fn task_document(&self, scope: &Scope) -> Option<Value> {
        self.access.document(scope)
    }

    /// What a policy of the user's may name.
    fn variables(&self, scope: &Scope) -> BTreeMap<&'static str, String> {
        let mut variables = scope.variables();
        variables.insert("DOCKERNAME", self.name.clone());
        variables
    }

    /// Where the secret is that the page of commands exports the ARN of, among these by variable.
    pub(super) fn dbconnection(&self, secrets: &BTreeMap<String, String>) -> Option<String> {
        let is = |spec: &&SecretSpec| match &spec.source {
            SecretSource::Named { name, .. } => name == "DBCONNECTION",
            SecretSource::Arn { .. } => spec.variable == "DBCONNECTION",
        };
        let arn = secrets.get(&self.secrets.iter().find(is)?.variable)?;
        // Without the JSON key that one variable is given of it.
        Some(arn.split(':').take(7).collect::<Vec<_>>().join(":"))
    }

    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    pub fn secrets(&self) -> &[SecretSpec] {
        &self.secrets
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn network(&self) -> &Network {
        &self.network
    }
}

/// The role that Scheduler takes for a loader.
pub(super) fn schedule_role(name: &str) -> String {
    format!("{name}-schedule-role")
}

/// The names that a policy of the user's may have, and need not be set.
pub fn policy_variables() -> Vec<&'static str> {
    Scope::VARIABLES.into_iter().chain(["DOCKERNAME", "SECRETSRESOURCEARN"]).collect()
}

/// The secrets, and those of the template that none of them takes the place of.
fn with_templates(mut secrets: Vec<SecretSpec>, template: Option<&Template>) -> Vec<SecretSpec> {
    for spec in template.into_iter().flat_map(|template| &template.secrets) {
        if secrets.iter().all(|other| other.variable != spec.variable) {
            secrets.push(spec.clone());
        }
    }
    secrets
}

fn network(
    name: &str,
    subnets: Vec<String>,
    groups: Vec<String>,
    public: Option<bool>,
) -> Result<Network, LoaderError> {
    let subnets: Vec<String> = checked(Kind::Subnet, subnets)?;
    let security_groups: Vec<String> = checked(Kind::SecurityGroup, groups)?;
    if subnets.is_empty() {
        return Err(LoaderError::NoSubnet(name.to_owned()));
    }
    // The limits are those of `AwsVpcConfiguration`.
    for (count, what, most) in [(subnets.len(), "subnets", 16), (security_groups.len(), "security groups", 5)] {
        if count > most {
            return Err(LoaderError::TooMany { name: name.to_owned(), count, what, most });
        }
    }
    Ok(Network { subnets, security_groups, assign_public_ip: public.unwrap_or(true) })
}

impl Network {
    /// Where the tasks of the loader `name` stand; in public, where nobody says otherwise.
    pub fn new(
        name: &str,
        subnets: Vec<String>,
        groups: Vec<String>,
        public: Option<bool>,
    ) -> Result<Self, LoaderError> {
        network(name, subnets, groups, public)
    }
}

/// `ImageTagMutabilityExclusionFilter`.
fn check_patterns(patterns: &BTreeSet<String>) -> Result<(), LoaderError> {
    let of = |c: char| c.is_ascii_alphanumeric() || "._-*".contains(c);
    for pattern in patterns {
        if !(1..=128).contains(&pattern.len()) || !pattern.chars().all(of) || pattern.matches('*').count() > 2 {
            return Err(LoaderError::TagPattern(pattern.chars().take(200).collect()));
        }
    }
    match patterns.len() {
        1..=5 => Ok(()),
        count => Err(LoaderError::TagPatterns(count)),
    }
}

pub(super) fn may_move(mutability: &Mutability, tag: &str) -> bool {
    match mutability {
        Mutability::Mutable => true,
        Mutability::ImmutableExcept(patterns) => patterns.iter().any(|pattern| fits(pattern, tag)),
        Mutability::Immutable | Mutability::Other(_) => false,
    }
}

/// `*` stands for any text.
fn fits(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == tag,
        Some((before, after)) => tag
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|from| rest.get(from..).is_some_and(|rest| fits(after, rest)))),
    }
}

fn checked<C: FromIterator<String>>(kind: Kind, texts: Vec<String>) -> Result<C, BadName> {
    texts.iter().map(|text| kind.check(text)).collect()
}

/// The secrets, `DBCONNECTION` by its ARN where the user has exported that.
fn resolved(mut secrets: Vec<SecretSpec>, arn: Option<String>) -> Result<Vec<SecretSpec>, BadSecret> {
    let Some(arn) = arn else { return Ok(secrets) };
    let SecretSource::Arn { arn, json_key: of_arn } = arn.parse()? else {
        return Err(BadSecret::Arn { arn, why: "it does not begin with arn:" });
    };
    for secret in &mut secrets {
        if let SecretSource::Named { name, json_key } = &secret.source
            && name == "DBCONNECTION"
        {
            let json_key = json_key.clone().or(of_arn.clone());
            secret.source = SecretSource::Arn { arn: arn.clone(), json_key };
        }
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:DBCONNECTION-AbCdEf";

    fn os_opendata() -> Description {
        Description {
            name: "os_opendata".into(),
            subnets: vec!["subnet-1".into(), "subnet-2".into()],
            security_groups: vec!["sg-1".into()],
            secrets: vec![SecretSpec::named("DBCONNECTION").unwrap()],
            ..Description::default()
        }
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut Description)) -> String {
        let mut description = os_opendata();
        change(&mut description);
        Loader::new(description).unwrap_err().to_string()
    }

    #[test]
    fn the_names_are_those_that_the_page_of_commands_made() {
        let loader = Loader::new(os_opendata()).unwrap();
        assert_eq!(loader.repository, "locus_data_loaders");
        assert_eq!(loader.cluster, "os_opendata_cluster");
        assert_eq!(loader.log_group, "os_opendata");
        assert_eq!(loader.execution_role, "os_opendata-task-execution-role");
        assert_eq!(loader.execution_policy, "os_opendata-iam-policy-task-execution-role");
        assert_eq!(loader.task_role, "os_opendata-task-role");
        assert_eq!((loader.size.cpu(), loader.size.memory(), loader.log_retention_days), (256, 512, 30));
        assert!(loader.network.assign_public_ip);
    }

    #[test]
    fn an_exported_arn_is_where_dbconnection_is() {
        let description = Description { secrets_resource_arn: Some(ARN.into()), ..os_opendata() };
        let loader = Loader::new(description).unwrap();
        assert_eq!(*loader.secrets[0].source(), SecretSource::Arn { arn: ARN.into(), json_key: None });
    }

    #[test]
    fn a_tag_is_moved_only_where_the_repository_lets_it() {
        let except = |pattern: &str| Mutability::ImmutableExcept([pattern.to_owned()].into());
        for (mutability, moves) in [
            (Mutability::Mutable, true),
            (Mutability::Immutable, false),
            (except("os_opendata"), true),
            (except("os*"), true),
            (except("*data"), true),
            (except("latest*"), false),
            (except("os_opendata.*"), false),
        ] {
            assert_eq!(may_move(&mutability, "os_opendata"), moves, "{mutability:?}");
        }
    }

    #[test]
    fn what_aws_would_refuse_later_is_refused_now() {
        assert_eq!(
            refused(|d| d.subnets.clear()),
            "loader os_opendata has no subnet: a Fargate task stands in one to sixteen"
        );
        assert!(refused(|d| d.memory = Some(3072)).starts_with("Fargate has no memory = 3072 with cpu = 256"));
        assert!(refused(|d| d.log_retention_days = Some(31)).starts_with("31 days is not a retention"));
        assert_eq!(
            refused(|d| drop(d.environment.insert("DBCONNECTION".into(), "x".into()))),
            "DBCONNECTION is set twice: in the environment and as a secret"
        );
        assert_eq!(refused(|d| d.secrets.push(d.secrets[0].clone())), "the secret DBCONNECTION is named twice");
        assert_eq!(
            refused(|d| d.security_groups = (0..6).map(|n| format!("sg-{n}")).collect()),
            "loader os_opendata has 6 security groups; Fargate takes at most 5"
        );
        assert_eq!(
            refused(|d| d.lifecycle = Some(Lifecycle::Rules { untagged_days: None, keep: Some(5), loaders: vec![] })),
            "of the images 5 are kept and of the revisions 10: the oldest would have no image any more"
        );
        let patterns = |all: &[&str]| Some(Mutability::ImmutableExcept(all.iter().map(|&p| p.to_owned()).collect()));
        assert!(refused(|d| d.mutability = patterns(&["a b"])).starts_with("`a b` is no pattern of tags"));
        assert!(refused(|d| d.mutability = patterns(&[])).starts_with("0 patterns"));
        assert!(refused(|d| d.name = "n".repeat(45)).contains("cannot be the name of an IAM role"));
        assert!(
            refused(|d| d.secrets_resource_arn = Some("DBCONNECTION".into())).contains("is not the ARN of a secret")
        );
    }
}
