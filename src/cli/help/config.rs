//! The keys of locus.toml.

use super::table;

const TOP: &[(&str, &str)] = &[
    ("profile", "the AWS profile"),
    ("region", "the AWS region"),
    ("ca_file", "a PEM file of certificates to trust too"),
    ("registry_endpoints", "{ HOST = \"URL\" }: where a registry's traffic goes"),
    (
        "image_tag_mutability",
        "MUTABLE, IMMUTABLE or IMMUTABLE_WITH_EXCLUSION, of the repository; where tags are immutable, <name> is not pushed",
    ),
    ("image_tag_mutability_exclusions", "[\"latest*\"]: the tags that may move all the same"),
    ("lifecycle", "{ untagged_days = 1, keep = 20 }, or ECR's own policy in a file"),
    ("loaders", "[loaders.NAME]: a table for each loader"),
];

const BOTH: &[(&str, &str)] = &[
    ("repository", "the ECR repository [locus_data_loaders]"),
    ("cluster", "the ECS cluster [<name>_cluster]"),
    ("subnets", "[\"${SUBNET1}\"]: where the task stands"),
    ("security_groups", "[\"${SECURITYGROUP}\"]"),
    ("assign_public_ip", "true or false [true]"),
    ("log_group", "the log group [<name>]"),
    ("log_retention_days", "how long its lines are kept"),
    ("keep_revisions", "how many revisions of ours stay registered [10]; 0: all"),
    ("tags", "[\"latest\"]: further tags of the image"),
    ("timeout", "\"30m\": when a task is stopped"),
    ("capacity_provider", "FARGATE or FARGATE_SPOT"),
    ("platform", "what the image runs on [linux/amd64]"),
    ("timezone", "of schedules: \"Europe/Berlin\" [UTC]"),
];

const LOADER: &[(&str, &str)] = &[
    ("dockerfile", "its Dockerfile"),
    ("context", "the folder that COPY and ADD read from [.]"),
    ("target", "the stage that is built [the last]"),
    ("build_args", "{ NODE = \"20\" }"),
    ("labels", "{ team = \"data\" }"),
    ("cpu", "CPU units; 1024 are one vCPU [256]"),
    ("memory", "MiB [512]"),
    ("ephemeral_storage", "GiB of disk, 21 to 200"),
    ("environment", "{ FILTER = \"Test Loader\" }: the task's variables"),
    ("secrets", "[\"DBCONNECTION\"], or { DB = \"arn:…\" }, { DB = \"name:json-key\" }"),
    ("access", "what the task's own role may do: see below"),
    ("execution_role", "a role that is there already, by name or ARN"),
    ("task_role", "the same, of the task itself"),
    ("trust", "a file: the roles' trust policy"),
    ("execution_policy", "a file: the execution role's policy"),
    ("task_definition", "a file: the AWS CLI's own JSON; the image is put in by digest"),
    ("schedule", "\"rate(1 day)\", \"cron(…)\" or \"at(…)\"; or a table: see below"),
];

const ACCESS: &[(&str, &str)] = &[
    ("s3", "[\"bucket\"]"),
    ("rds", "[\"RESOURCE_ID/USER\"], or a cluster's ARN"),
    ("secrets", "[\"name\"]: what it reads itself"),
    ("sqs", "[\"queue\"]"),
    ("policy", "a file: the policy as IAM takes it"),
];

const SCHEDULE: &[(&str, &str)] = &[
    ("expression", "\"rate(1 day)\", \"cron(…)\" or \"at(…)\""),
    ("timezone", "the same, of this schedule"),
    ("retries", "how often a start that failed is tried again"),
    ("max_age", "\"1h\": what could not be started for so long is left out"),
    ("dead_letter_queue", "the SQS queue that is told of what was left out"),
    ("enabled", "true or false [true]"),
];

const LIFECYCLE: &[(&str, &str)] = &[
    ("untagged_days", "after so many days an image without a tag goes"),
    ("keep", "so many images of each loader stay, that of its newest push always"),
];

pub(super) fn page() -> String {
    format!(
        "locus.toml is found here, else in a parent up to the git root; --config FILE names another. `locus-push init`\n\
         writes one. ${{NAME}} in a value is a variable's, $$ is a $. Flags beat variables, variables beat the file.\n\n\
         At the top:\n{}\nAt the top, for all loaders, or in a loader's table:\n{}\nIn [loaders.NAME]:\n{}\n\
         In access:\n{}\nIn schedule:\n{}\nIn lifecycle:\n{}\n\
         In the files that these name, $VARS are the environment's, and what the road knows: IMAGE, EXECUTIONROLEARN,\n\
         TASKROLEARN, LOGGROUP, SECRETSRESOURCEARN, …\n",
        table(TOP),
        table(BOTH),
        table(LOADER),
        table(ACCESS),
        table(SCHEDULE),
        table(LIFECYCLE)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::locus_toml::LocusToml;

    /// The keys that the reader takes in a table, as it tells whoever writes another.
    #[track_caller]
    fn check(table: &str, described: &[&[(&str, &str)]]) {
        let text = format!("{table}\nxxxxxxxxxxxxxxxx = 1\n");
        let failure = LocusToml::parse("locus.toml", "/w".into(), &text).expect_err("nobody knows that key");
        let hint = failure.hints.first().and_then(|hint| hint.strip_prefix("the keys here are "));
        let read: BTreeSet<&str> = hint.expect("the keys are told").split(", ").collect();
        let described: BTreeSet<&str> = described.iter().flat_map(|rows| rows.iter().map(|(key, _)| *key)).collect();
        assert_eq!(read, described, "in `{table}`: left is what the reader takes, right what the page says");
    }

    #[test]
    fn each_key_that_is_read_is_on_the_page_and_no_other() {
        check("", &[TOP, BOTH]);
        check("[loaders.a]", &[LOADER, BOTH]);
        check("[loaders.a.access]", &[ACCESS]);
        check("[loaders.a.schedule]", &[SCHEDULE]);
        check("[lifecycle]", &[LIFECYCLE]);
    }
}
