//! What AWS lets things be called. Checked here, because the emulators do not and the cloud says it minutes later.

use std::fmt;

/// A name that AWS would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of {kind}: {}", .text.escape_debug(), .kind.rule())]
pub struct BadName {
    pub kind: Kind,
    pub text: String,
}

/// What is to be named. The rules are those of botocore's service models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Loader,
    Repository,
    Cluster,
    LogGroup,
    Secret,
    Role,
    /// A role's inline policy.
    Policy,
    Variable,
    ImageTag,
    Subnet,
    SecurityGroup,
    Bucket,
    Queue,
    /// With the loader's name.
    Schedule,
}

impl Kind {
    /// The name itself, if AWS takes it.
    pub fn check(self, text: &str) -> Result<String, BadName> {
        if self.takes(text) {
            return Ok(text.to_owned());
        }
        Err(BadName { kind: self, text: text.chars().take(300).collect() })
    }

    fn takes(self, text: &str) -> bool {
        let within = |least: usize, most: usize, others: &[u8]| {
            (least..=most).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
        };
        match self {
            Self::Loader | Self::Cluster => within(1, 255, b"_-"),
            Self::Repository => within(2, 256, b"._-/") && text.split('/').all(is_repository_part),
            Self::LogGroup => within(1, 512, b".-_/#") && !text.starts_with("aws/"),
            Self::Secret => within(1, 512, b"/_+=.@-") && !ends_like_an_arn(text),
            Self::Role => within(1, 64, b"_+=,.@-"),
            Self::Policy => within(1, 128, b"_+=,.@-"),
            Self::Variable => within(1, 255, b"_") && !text.starts_with(|c: char| c.is_ascii_digit()),
            Self::ImageTag => within(1, 128, b"_.-") && !text.starts_with(['.', '-']),
            Self::Subnet => text.strip_prefix("subnet-").is_some_and(is_id),
            Self::SecurityGroup => text.strip_prefix("sg-").is_some_and(is_id),
            Self::Queue => within(1, 80, b"_-.") && !text.trim_end_matches(".fifo").contains('.'),
            // Scheduler takes 64 characters; the role that is named after it has 14 more, and as many at most.
            Self::Schedule => within(1, 50, b"_-"),
            // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
            Self::Bucket => within(3, 63, b".-") && !text.bytes().any(|b| b.is_ascii_uppercase()),
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Loader | Self::Cluster => "it is 1–255 ASCII letters, digits, `_` or `-`",
            Self::Repository => {
                "it is 2–256 lower-case letters and digits, with single `.`, `_`, `__`, `-` or `/` between them"
            }
            Self::LogGroup => "it is 1–512 ASCII letters, digits or `.-_/#`, and does not begin with `aws/`",
            Self::Secret => {
                "it is 1–512 ASCII letters, digits or `/_+=.@-`, and does not end in a hyphen and six characters, \
                 which is how an ARN ends"
            }
            Self::Role => {
                "it is 1–64 ASCII letters, digits or `_+=,.@-`; where the loader's name makes it too long, \
                 give the role a name of its own"
            }
            Self::Policy => "it is 1–128 ASCII letters, digits or `_+=,.@-`; give the loader a shorter name",
            Self::Variable => "it is ASCII letters, digits or `_`, and does not begin with a digit",
            Self::ImageTag => "it is 1–128 ASCII letters, digits or `_.-`, and does not begin with `.` or `-`",
            Self::Subnet => "it is `subnet-` and the digits of its id",
            Self::SecurityGroup => "it is `sg-` and the digits of its id",
            Self::Queue => "it is 1–80 ASCII letters, digits, `_` or `-`, and may end in `.fifo`",
            Self::Schedule => "it is 1–50 ASCII letters, digits, `_` or `-`; give the loader a shorter name",
            Self::Bucket => "it is 3–63 lower-case letters, digits, `.` or `-`, without `s3://` and without a path",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

impl Kind {
    pub(super) fn phrase(self) -> &'static str {
        match self {
            Self::Loader => "a loader (which names its task definition)",
            Self::Repository => "an ECR repository",
            Self::Cluster => "an ECS cluster",
            Self::LogGroup => "a log group",
            Self::Secret => "a secret",
            Self::Role => "an IAM role",
            Self::Policy => "a role's policy",
            Self::Variable => "an environment variable",
            Self::ImageTag => "an image tag",
            Self::Subnet => "a subnet",
            Self::SecurityGroup => "a security group",
            Self::Bucket => "an S3 bucket",
            Self::Queue => "a queue",
            Self::Schedule => "a schedule",
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_repository_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = part.bytes().next().zip(part.bytes().last()).is_some_and(|(first, last)| word(first) && word(last));
    ends && part
        .as_bytes()
        .split(|&b| word(b))
        .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|&b| b == b'-'))
}

/// A secret's ARN is its name, a hyphen and six random characters; a name like that is found by mistake.
fn ends_like_an_arn(text: &str) -> bool {
    text.len() >= 7
        && text.as_bytes()[text.len() - 7] == b'-'
        && text.bytes().rev().take(6).all(|b| b.is_ascii_alphanumeric())
}

fn is_id(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_page_are_taken() {
        for (kind, text) in [
            (Kind::Repository, "locus_data_loaders"),
            (Kind::Repository, "team/a-b.c__d"),
            (Kind::Cluster, "os_opendata_cluster"),
            (Kind::LogGroup, "/ecs/os_opendata"),
            (Kind::Secret, "DBCONNECTION"),
            (Kind::Secret, "prod/db-credential"),
            (Kind::Role, "os_opendata-task-execution-role"),
            (Kind::Subnet, "subnet-00000000000000001"),
            (Kind::Bucket, "demo-data"),
        ] {
            assert_eq!(kind.check(text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_aws_would_refuse_is_refused() {
        let long = format!("{}-task-execution-role", "n".repeat(45));
        for (kind, text) in [
            (Kind::Repository, "Locus"),
            (Kind::Repository, "a"),
            (Kind::Repository, "a/-b"),
            (Kind::Cluster, "a b"),
            (Kind::Cluster, ""),
            (Kind::LogGroup, "aws/x"),
            (Kind::Secret, "db-AbCdEf"),
            (Kind::Secret, "${DB}"),
            (Kind::Role, &long),
            (Kind::Variable, "1A"),
            (Kind::Subnet, "sg-1"),
            (Kind::Subnet, "${SUBNET1}"),
            (Kind::SecurityGroup, ""),
            (Kind::Bucket, "s3://x"),
            (Kind::Queue, "a.b"),
            (Kind::Schedule, &long),
            (Kind::ImageTag, "-x"),
        ] {
            assert!(kind.check(text).is_err(), "{kind}: {text:?}");
        }
    }

    #[test]
    fn the_rule_is_said() {
        assert_eq!(
            Kind::Subnet.check("vpc\u{1b}-1").unwrap_err().to_string(),
            "`vpc\\u{1b}-1` cannot be the name of a subnet: it is `subnet-` and the digits of its id"
        );
    }
}
