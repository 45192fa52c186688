//! One loader as its user described it, with every default filled in and every name checked.

use std::collections::{BTreeMap, BTreeSet};

use super::name::{BadName, Kind};
use super::secret_spec::{BadSecret, SecretSource, SecretSpec};
use super::size::{BadSize, EphemeralStorage, Size};

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
    /// S3 buckets that the task itself reads and writes.
    pub s3: Vec<String>,
    pub execution_role: Option<String>,
    pub task_role: Option<String>,
}

/// A loader that AWS will not refuse for its form.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub(super) s3: BTreeSet<String>,
    pub(super) execution_role: String,
    pub(super) execution_policy: String,
    pub(super) task_role: String,
    pub(super) task_policy: String,
}

/// Where the task's network interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub assign_public_ip: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(transparent)]
    Size(#[from] BadSize),
    #[error(transparent)]
    Secret(#[from] BadSecret),
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
}

/// One repository for all loaders, told apart by their tags.
pub const REPOSITORY: &str = "locus_data_loaders";

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
        let secrets = resolved(description.secrets, description.secrets_resource_arn)?;
        let environment = description.environment;
        for variable in environment.keys() {
            Kind::Variable.check(variable)?;
        }
        let mut variables = BTreeSet::new();
        for secret in &secrets {
            let variable = &secret.variable;
            if environment.contains_key(variable) {
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
        let default = Size::default();
        Ok(Self {
            repository: named(Kind::Repository, description.repository, REPOSITORY)?,
            cluster: named(Kind::Cluster, description.cluster, "{}_cluster")?,
            log_group: named(Kind::LogGroup, description.log_group, "{}")?,
            log_retention_days: retention,
            network: network(&name, description.subnets, description.security_groups, description.assign_public_ip)?,
            size: Size::new(description.cpu.unwrap_or(default.cpu()), description.memory.unwrap_or(default.memory()))?,
            ephemeral_storage: description.ephemeral_storage.map(EphemeralStorage::new).transpose()?.flatten(),
            tags: checked(Kind::ImageTag, description.tags)?,
            environment,
            secrets,
            update_secrets: description.update_secrets,
            s3: checked(Kind::Bucket, description.s3)?,
            execution_role: named(Kind::Role, description.execution_role, "{}-task-execution-role")?,
            execution_policy: named(Kind::Policy, None, "{}-iam-policy-task-execution-role")?,
            task_role: named(Kind::Role, description.task_role, "{}-task-role")?,
            task_policy: named(Kind::Policy, None, "{}-iam-policy-task-role")?,
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

    /// The image's tags besides `<name>` and `<name>.<digest>`.
    pub fn tags(&self) -> &[String] {
        &self.tags
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
        assert!(refused(|d| d.name = "n".repeat(45)).contains("cannot be the name of an IAM role"));
        assert!(
            refused(|d| d.secrets_resource_arn = Some("DBCONNECTION".into())).contains("is not the ARN of a secret")
        );
    }
}
