//! The documents that we make of the roles: who may take them, and the least that Fargate must be allowed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::aws::{Caller, Cloud};

/// Where an ARN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub partition: String,
    pub region: String,
    pub account: String,
}

impl Scope {
    pub fn of(cloud: &Cloud) -> Self {
        let Caller { partition, account, .. } = &*cloud.caller;
        Self { partition: partition.clone(), region: cloud.region.clone(), account: account.clone() }
    }

    /// What a document of the user's may name of it, besides the variable that names the loader.
    pub const VARIABLES: [&'static str; 3] = ["AWSACCOUNT", "REGION", "AWSREGION"];

    pub fn variables(&self) -> BTreeMap<&'static str, String> {
        let values = [&self.account, &self.region, &self.region].map(String::clone);
        Self::VARIABLES.into_iter().zip(values).collect()
    }

    /// Where the services of this partition answer.
    pub fn domain(&self) -> &'static str {
        if self.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    pub fn arn(&self, service: &str, resource: &str) -> String {
        let Self { partition, region, account } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

/// Who takes the roles of a task.
pub(super) const TASKS: &str = "ecs-tasks.amazonaws.com";

/// Who takes the role of a schedule.
pub(super) const SCHEDULER: &str = "scheduler.amazonaws.com";

/// ECS tasks of this account and region, and nobody whom ECS could be talked into serving.
/// <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html>
pub(super) fn trust(scope: &Scope) -> Value {
    let arns = json!({ "aws:SourceArn": scope.arn("ecs", "*") });
    trust_of(TASKS, json!({ "StringEquals": { "aws:SourceAccount": scope.account }, "ArnLike": arns }))
}

/// Scheduler, for schedules of this account.
/// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html>
pub(super) fn schedule_trust(scope: &Scope) -> Value {
    trust_of(SCHEDULER, json!({ "StringEquals": { "aws:SourceAccount": scope.account } }))
}

fn trust_of(service: &str, condition: Value) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": service },
            "Action": "sts:AssumeRole",
            "Condition": condition,
        }],
    })
}

/// What Fargate needs to start the task: this repository, this log group, these secrets.
pub(super) fn execution(
    scope: &Scope,
    repository: &str,
    log_group: &str,
    secrets: &BTreeSet<String>,
    parameters: &BTreeSet<String>,
    kms_keys: &BTreeSet<String>,
) -> Value {
    let mut statements = vec![
        json!({
            "Sid": "EcrAuth",
            "Effect": "Allow",
            // Takes no resource.
            "Action": "ecr:GetAuthorizationToken",
            "Resource": "*",
        }),
        json!({
            "Sid": "EcrPull",
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
            "Resource": scope.arn("ecr", &format!("repository/{repository}")),
        }),
        json!({
            "Sid": "Logs",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": scope.arn("logs", &format!("log-group:{log_group}:*")),
        }),
    ];
    if !secrets.is_empty() {
        statements.push(json!({
            "Sid": "Secrets",
            "Effect": "Allow",
            "Action": "secretsmanager:GetSecretValue",
            "Resource": secrets,
        }));
    }
    if !parameters.is_empty() {
        statements.push(json!({
            "Sid": "Parameters",
            "Effect": "Allow",
            "Action": "ssm:GetParameters",
            "Resource": parameters,
        }));
    }
    // AWS's own key needs no permission, a customer's does.
    if !kms_keys.is_empty() {
        let keys: BTreeSet<String> = kms_keys.iter().map(|key| key_arn(scope, key)).collect();
        statements.push(json!({ "Sid": "Kms", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": keys }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// What a schedule needs to run the task: this family in this cluster, with these roles; and a queue for what was in vain.
/// <https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-templated.html>
pub(super) fn schedule(
    scope: &Scope,
    family: &str,
    cluster: &str,
    roles: &BTreeSet<String>,
    queue: Option<&str>,
) -> Value {
    let family = scope.arn("ecs", &format!("task-definition/{family}"));
    let mut statements = vec![
        json!({
            "Sid": "RunTask",
            "Effect": "Allow",
            "Action": "ecs:RunTask",
            // A family without a number is its latest revision.
            "Resource": [family, format!("{family}:*")],
            "Condition": { "ArnEquals": { "ecs:cluster": scope.arn("ecs", &format!("cluster/{cluster}")) } },
        }),
        json!({
            "Sid": "TagTask",
            "Effect": "Allow",
            "Action": "ecs:TagResource",
            "Resource": scope.arn("ecs", &format!("task/{cluster}/*")),
            "Condition": { "StringEquals": { "ecs:CreateAction": "RunTask" } },
        }),
        json!({
            "Sid": "PassRoles",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": roles,
            "Condition": { "StringEquals": { "iam:PassedToService": TASKS } },
        }),
    ];
    if let Some(queue) = queue {
        statements.push(json!({
            "Sid": "DeadLetters",
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": queue,
        }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Whether a trust policy allows a service to take the role, as far as that is said without conditions.
pub(super) fn lets_in(trust: &Value, service: &str) -> bool {
    let any = |value: &Value, wanted: &[&str]| match value {
        Value::String(one) => wanted.contains(&one.as_str()),
        Value::Array(many) => many.iter().filter_map(Value::as_str).any(|one| wanted.contains(&one)),
        _ => false,
    };
    let allows = |statement: &Value| {
        statement["Effect"] == "Allow"
            && any(&statement["Principal"]["Service"], &[service])
            && any(&statement["Action"], &["sts:AssumeRole", "sts:*", "*"])
    };
    match &trust["Statement"] {
        Value::Array(statements) => statements.iter().any(allows),
        statement => allows(statement),
    }
}

/// A key is described by its ARN, or by its id alone.
fn key_arn(scope: &Scope, key: &str) -> String {
    if key.starts_with("arn:") { key.to_owned() } else { scope.arn("kms", &format!("key/{key}")) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::scope;
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn text(document: &Value) -> String {
        String::from_utf8(crate::image::canonical_json(document).unwrap()).unwrap()
    }

    #[test]
    fn only_tasks_of_this_account_and_region_take_the_role() {
        assert_eq!(
            text(&trust(&scope())),
            r#"{"Statement":[{"Action":"sts:AssumeRole","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:ecs:eu-west-1:123456789012:*"},"StringEquals":{"aws:SourceAccount":"123456789012"}},"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"}}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn the_execution_role_reads_what_the_task_is_made_of_and_nothing_else() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:DBCONNECTION-AbCdEf";
        assert_eq!(
            text(&execution(&scope(), "locus_data_loaders", "os_opendata", &set(&[arn]), &set(&[]), &set(&["k-1"]))),
            r#"{"Statement":[{"Action":"ecr:GetAuthorizationToken","Effect":"Allow","Resource":"*","Sid":"EcrAuth"},{"Action":["ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:BatchGetImage"],"Effect":"Allow","Resource":"arn:aws:ecr:eu-west-1:123456789012:repository/locus_data_loaders","Sid":"EcrPull"},{"Action":["logs:CreateLogStream","logs:PutLogEvents"],"Effect":"Allow","Resource":"arn:aws:logs:eu-west-1:123456789012:log-group:os_opendata:*","Sid":"Logs"},{"Action":"secretsmanager:GetSecretValue","Effect":"Allow","Resource":["arn:aws:secretsmanager:eu-west-1:123456789012:secret:DBCONNECTION-AbCdEf"],"Sid":"Secrets"},{"Action":"kms:Decrypt","Effect":"Allow","Resource":["arn:aws:kms:eu-west-1:123456789012:key/k-1"],"Sid":"Kms"}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn without_secrets_nothing_is_said_of_secrets() {
        let document = text(&execution(&scope(), "r", "l", &set(&[]), &set(&[]), &set(&[])));
        assert!(!document.contains("secretsmanager") && !document.contains("kms"), "{document}");
    }

    #[test]
    fn a_schedule_runs_its_family_in_its_cluster_and_hands_over_its_roles_alone() {
        let roles = set(&["arn:aws:iam::123456789012:role/a", "arn:aws:iam::123456789012:role/b"]);
        let queue = "arn:aws:sqs:eu-west-1:123456789012:late";
        assert_eq!(
            text(&schedule(&scope(), "os_opendata", "c", &roles, Some(queue))),
            r#"{"Statement":[{"Action":"ecs:RunTask","Condition":{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:eu-west-1:123456789012:cluster/c"}},"Effect":"Allow","Resource":["arn:aws:ecs:eu-west-1:123456789012:task-definition/os_opendata","arn:aws:ecs:eu-west-1:123456789012:task-definition/os_opendata:*"],"Sid":"RunTask"},{"Action":"ecs:TagResource","Condition":{"StringEquals":{"ecs:CreateAction":"RunTask"}},"Effect":"Allow","Resource":"arn:aws:ecs:eu-west-1:123456789012:task/c/*","Sid":"TagTask"},{"Action":"iam:PassRole","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}},"Effect":"Allow","Resource":["arn:aws:iam::123456789012:role/a","arn:aws:iam::123456789012:role/b"],"Sid":"PassRoles"},{"Action":"sqs:SendMessage","Effect":"Allow","Resource":"arn:aws:sqs:eu-west-1:123456789012:late","Sid":"DeadLetters"}],"Version":"2012-10-17"}"#
        );
        assert_eq!(
            text(&schedule_trust(&scope())),
            r#"{"Statement":[{"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"}},"Effect":"Allow","Principal":{"Service":"scheduler.amazonaws.com"}}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn a_trust_policy_is_read_in_each_of_its_forms() {
        for (document, good) in [
            (trust(&scope()), true),
            (
                json!({"Statement": {"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]}, "Action": ["sts:AssumeRole"]}}),
                true,
            ),
            (
                json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}),
                false,
            ),
            (
                json!({"Statement": [{"Effect": "Deny", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}),
                false,
            ),
            (json!({}), false),
        ] {
            assert_eq!(lets_in(&document, TASKS), good, "{document}");
        }
    }
}
