//! What the task itself may reach: `access` in locus.toml, each kind with the least that its use takes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::document::Document;
use super::name::{BadName, Kind};
use super::policy::Scope;

/// What the user wrote.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Buckets that are read and written.
    pub s3: Vec<String>,
    /// `RESOURCE_ID/USER`: a database that is logged into by IAM; a cluster's ARN: its Data API.
    pub rds: Vec<String>,
    /// Secrets that the task itself reads, by name or ARN.
    pub secrets: Vec<String>,
    /// Queues that are read and written, by name or ARN.
    pub sqs: Vec<String>,
    /// The user's own policy, in place of all that.
    pub policy: Option<Document>,
}

/// The same, of which AWS refuses nothing for its form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Access {
    Policy(Document),
    To { s3: BTreeSet<String>, rds: BTreeSet<Database>, secrets: BTreeSet<String>, sqs: BTreeSet<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Database {
    /// The ARN of a user of a database, or what of it follows `dbuser:`.
    /// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.IAMPolicy.html>
    User(String),
    /// A cluster's ARN.
    /// <https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/data-api.access.html>
    DataApi(String),
}

/// Why something is not what a task can be given access to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAccess {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error(
        "`{}` names no database: it is the resource id and a user (`cluster-ABC123/loader`), which may log in by IAM, \
         or the ARN of a cluster, whose Data API may be called", .0.escape_debug()
    )]
    Database(String),
    #[error("`{}` is the ARN of something other than {}", .0.escape_debug(), .1)]
    Arn(String, &'static str),
    #[error("`policy` is the whole of a loader's access, and stands beside nothing else")]
    Beside,
}

impl Access {
    pub fn new(settings: AccessSettings) -> Result<Self, BadAccess> {
        let AccessSettings { s3, rds, secrets, sqs, policy } = settings;
        if let Some(policy) = policy {
            let alone = [&s3, &rds, &secrets, &sqs].into_iter().all(Vec::is_empty);
            return if alone { Ok(Self::Policy(policy)) } else { Err(BadAccess::Beside) };
        }
        Ok(Self::To {
            s3: s3.iter().map(|bucket| Ok(Kind::Bucket.check(bucket)?)).collect::<Result<_, BadAccess>>()?,
            rds: rds.iter().map(|text| database(text)).collect::<Result<_, _>>()?,
            secrets: named(Kind::Secret, ":secretsmanager:", &secrets)?,
            sqs: named(Kind::Queue, ":sqs:", &sqs)?,
        })
    }

    /// The policy of the task's role; `None` where it may do nothing.
    pub fn document(&self, scope: &Scope) -> Option<Value> {
        let (s3, rds, secrets, sqs) = match self {
            Self::Policy(document) => return Some(document.fill(&scope.variables())),
            Self::To { s3, rds, secrets, sqs } => (s3, rds, secrets, sqs),
        };
        let mut statements = Vec::new();
        let mut allow = |sid: &str, actions: &[&str], resources: Vec<String>| {
            if !resources.is_empty() {
                statements.push(json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources }));
            }
        };
        let buckets: Vec<String> = s3.iter().map(|bucket| format!("arn:{}:s3:::{bucket}", scope.partition)).collect();
        let objects = buckets.iter().map(|bucket| format!("{bucket}/*")).collect();
        allow("S3Buckets", &["s3:GetBucketLocation", "s3:ListBucket"], buckets);
        let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"];
        allow("S3Objects", &actions, objects);

        let arn = |service: &str, before: &str, text: &String| {
            if text.starts_with("arn:") { text.clone() } else { scope.arn(service, &format!("{before}{text}")) }
        };
        let users = rds.iter().filter_map(|database| match database {
            Database::User(user) => Some(arn("rds-db", "dbuser:", user)),
            Database::DataApi(_) => None,
        });
        allow("RdsLogin", &["rds-db:connect"], users.collect());
        let clusters = rds.iter().filter_map(|database| match database {
            Database::User(_) => None,
            Database::DataApi(arn) => Some(arn.clone()),
        });
        let actions = [
            "rds-data:BatchExecuteStatement",
            "rds-data:BeginTransaction",
            "rds-data:CommitTransaction",
            "rds-data:ExecuteStatement",
            "rds-data:RollbackTransaction",
        ];
        allow("RdsDataApi", &actions, clusters.collect());
        // The six random characters at the end of a secret's ARN, and nothing that only begins with its name.
        let secrets = secrets.iter().map(|text| {
            if text.starts_with("arn:") {
                text.clone()
            } else {
                scope.arn("secretsmanager", &format!("secret:{text}-??????"))
            }
        });
        allow("SecretsOfTask", &["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"], secrets.collect());
        let actions = [
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sqs:ReceiveMessage",
            "sqs:SendMessage",
        ];
        allow("Queues", &actions, sqs.iter().map(|text| arn("sqs", "", text)).collect());
        (!statements.is_empty()).then(|| json!({ "Version": "2012-10-17", "Statement": statements }))
    }
}

fn named(kind: Kind, service: &str, texts: &[String]) -> Result<BTreeSet<String>, BadAccess> {
    texts.iter().map(|text| one_named(kind, service, text)).collect()
}

/// By its name, or by the ARN of its service.
pub(super) fn one_named(kind: Kind, service: &str, text: &str) -> Result<String, BadAccess> {
    match text.starts_with("arn:") {
        true if text.contains(service) => Ok(text.to_owned()),
        true => Err(BadAccess::Arn(text.to_owned(), kind.phrase())),
        false => Ok(kind.check(text)?),
    }
}

fn database(text: &str) -> Result<Database, BadAccess> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        ["arn", _, "rds", _, _, "cluster", _] => return Ok(Database::DataApi(text.to_owned())),
        ["arn", _, "rds-db", _, _, "dbuser", user] if is_user(user) => return Ok(Database::User(text.to_owned())),
        [user] if is_user(user) => return Ok(Database::User(text.to_owned())),
        _ => {}
    }
    Err(BadAccess::Database(text.chars().take(300).collect()))
}

/// `cluster-ABC/user`: the resource id of a cluster, an instance or a proxy, which is not its name.
fn is_user(text: &str) -> bool {
    let Some((resource, user)) = text.split_once('/') else { return false };
    let id = ["cluster-", "db-", "prx-"].iter().find_map(|kind| resource.strip_prefix(kind));
    let is_id = id.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    is_id && !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::super::testing::scope;
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|&text| text.to_owned()).collect()
    }

    fn lines(settings: AccessSettings, scope: &Scope) -> Vec<String> {
        let document = Access::new(settings).unwrap().document(scope).unwrap_or_else(|| json!({ "Statement": [] }));
        let statements = document["Statement"].as_array().unwrap().iter();
        statements.map(|one| format!("{} {} on {}", one["Sid"], one["Action"], one["Resource"])).collect()
    }

    #[test]
    fn each_kind_of_access_is_the_least_that_its_use_takes() {
        let cluster = "arn:aws:rds:eu-west-1:123456789012:cluster:places";
        let settings = AccessSettings {
            rds: texts(&["cluster-ABC123/loader", cluster]),
            secrets: texts(&["API"]),
            sqs: texts(&["jobs.fifo"]),
            ..AccessSettings::default()
        };
        assert_eq!(
            lines(settings, &scope()),
            [
                r#""RdsLogin" ["rds-db:connect"] on ["arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC123/loader"]"#,
                r#""RdsDataApi" ["rds-data:BatchExecuteStatement","rds-data:BeginTransaction","rds-data:CommitTransaction","rds-data:ExecuteStatement","rds-data:RollbackTransaction"] on ["arn:aws:rds:eu-west-1:123456789012:cluster:places"]"#,
                r#""SecretsOfTask" ["secretsmanager:DescribeSecret","secretsmanager:GetSecretValue"] on ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:API-??????"]"#,
                r#""Queues" ["sqs:ChangeMessageVisibility","sqs:DeleteMessage","sqs:GetQueueAttributes","sqs:GetQueueUrl","sqs:ReceiveMessage","sqs:SendMessage"] on ["arn:aws:sqs:eu-west-1:123456789012:jobs.fifo"]"#,
            ]
        );
    }

    #[test]
    fn buckets_are_named_in_their_partition_and_nothing_is_nothing() {
        let china = Scope { partition: "aws-cn".into(), ..scope() };
        let settings = AccessSettings { s3: texts(&["demo-data"]), ..AccessSettings::default() };
        assert_eq!(
            lines(settings, &china),
            [
                r#""S3Buckets" ["s3:GetBucketLocation","s3:ListBucket"] on ["arn:aws-cn:s3:::demo-data"]"#,
                r#""S3Objects" ["s3:GetObject","s3:PutObject","s3:DeleteObject","s3:AbortMultipartUpload"] on ["arn:aws-cn:s3:::demo-data/*"]"#,
            ]
        );
        assert_eq!(Access::new(AccessSettings::default()).unwrap().document(&scope()), None);
    }

    #[test]
    fn a_policy_of_ones_own_is_filled_in_and_stands_alone() {
        let text = json!({ "Statement": [{ "Resource": "arn:aws:s3:::b-$AWSACCOUNT-$REGION" }] });
        let policy = Document::new(text, &Scope::VARIABLES, |_| None).unwrap();
        let of = |s3: &[&str]| {
            Access::new(AccessSettings { s3: texts(s3), policy: Some(policy.clone()), ..AccessSettings::default() })
        };
        assert_eq!(
            of(&[]).unwrap().document(&scope()),
            Some(json!({ "Statement": [{ "Resource": "arn:aws:s3:::b-123456789012-eu-west-1" }] }))
        );
        assert_eq!(of(&["demo-data"]), Err(BadAccess::Beside));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let rds = |text: &str| Access::new(AccessSettings { rds: texts(&[text]), ..AccessSettings::default() });
        for text in ["places", "places/loader", "cluster-ABC/", "arn:aws:rds:eu-west-1:1:db:x", "cluster-/u"] {
            assert!(matches!(rds(text), Err(BadAccess::Database(_))), "{text}");
        }
        let sqs =
            Access::new(AccessSettings { sqs: texts(&["arn:aws:sns:eu-west-1:1:t"]), ..AccessSettings::default() });
        assert_eq!(
            sqs.unwrap_err().to_string(),
            "`arn:aws:sns:eu-west-1:1:t` is the ARN of something other than a queue"
        );
    }
}
