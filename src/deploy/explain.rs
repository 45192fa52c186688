//! Why a task stopped, and what to do about it.

use super::outcome::Outcome;
use crate::aws::{Container, Task};

/// What ECS says of a stopped task, in our words where they are known.
pub(super) fn explain(task: &Task, container: &str, wrong_architecture: bool) -> Outcome {
    let container = task.containers.iter().find(|c| c.name == container).or(task.containers.first());
    let container_exit_code = container.and_then(|container| container.exit_code);
    let reason = reason(task, container);
    let hint = match container_exit_code {
        _ if wrong_architecture => Some(WRONG_ARCHITECTURE),
        Some(0) => None,
        code => advice(&reason).or((code == Some(137)).then_some(KILLED)),
    };
    let exit_code = match (task.stop_code.as_deref(), container_exit_code) {
        (Some("UserInitiated"), _) => 130,
        (Some("TaskFailedToStart"), _) | (_, None) => 125,
        (_, Some(code)) => code,
    };
    Outcome {
        task_arn: task.arn.clone(),
        task_id: task.id().to_owned(),
        exit_code,
        container_exit_code,
        stop_code: task.stop_code.clone(),
        reason,
        hint: hint.map(str::to_owned),
    }
}

/// The task's own reason first: the container's alone does not say why it never ran (copilot-cli#1893).
fn reason(task: &Task, container: Option<&Container>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let told = [task.stopped_reason.as_deref(), container.and_then(|container| container.reason.as_deref())];
    for part in told.into_iter().flatten().filter(|part| !part.is_empty()) {
        if !parts.iter().any(|before| before.contains(part)) {
            parts.push(part);
        }
    }
    if parts.is_empty() {
        parts.push(task.stop_code.as_deref().unwrap_or("no reason given"));
    }
    parts.join("; ")
}

const WRONG_ARCHITECTURE: &str =
    "the image is for another architecture than the task: build it with --platform linux/amd64";
const KILLED: &str = "the container was killed (137): most often for want of memory; give the loader more (memory = …)";
const NO_WAY: &str = "there is no way from the task to AWS: in a public subnet it needs a public IP and a route to an \
     internet gateway, in a private one NAT or VPC endpoints; and the security group must let it out";
const NO_IMAGE: &str = "the image is not in the repository any more: push it again";

/// Words of ECS's → what to do. The first that fits; the more particular ones come first.
const ADVICE: [(&[&str], &str); 18] = [
    (&["OutOfMemory"], "the container needed more memory than it has: give the loader more (memory = …)"),
    (&["did not contain json key"], "the secret has no such JSON key: look at the name after `:` in `secrets`"),
    (
        &["retrieve secret", "invalid character"],
        "the secret is not JSON: name it without a JSON key, or store JSON in it",
    ),
    (
        &["unable to pull secrets", "AccessDenied"],
        "the execution role may not read the secret (secretsmanager:GetSecretValue, and kms:Decrypt where it has a \
         customer's key)",
    ),
    (
        &["unable to pull registry auth", "AccessDenied"],
        "the execution role may not log in to ECR (ecr:GetAuthorizationToken)",
    ),
    (
        &["ResourceInitializationError", "secret", "ResourceNotFoundException"],
        "the secret is not there any more: look at its ARN",
    ),
    (
        &["ResourceInitializationError", "log group does not exist"],
        "the log group is not there any more: run the whole road again, which makes it",
    ),
    (&["ResourceInitializationError", "connection issue"], NO_WAY),
    (&["ResourceInitializationError", "timeout"], NO_WAY),
    (&["ResourceInitializationError", "dial tcp"], NO_WAY),
    (&["ResourceInitializationError", "deadline exceeded"], NO_WAY),
    (&["No such image"], NO_IMAGE),
    (&["does not contain descriptor matching platform"], WRONG_ARCHITECTURE),
    (&["CannotPullContainerError", "not found"], NO_IMAGE),
    (
        &["CannotPullContainerError", "no space left"],
        "the image is larger than the task's disk: give it more (ephemeral_storage = 21 to 200)",
    ),
    (
        &["CannotPullContainer"],
        "the image could not be pulled: the execution role must be allowed to (ecr:BatchGetImage, \
         ecr:GetDownloadUrlForLayer), and there must be a route to ECR and S3",
    ),
    (
        &["unable to assume the role"],
        "ECS may not take the role: look at its trust policy (ecs-tasks.amazonaws.com); a new role takes up to a minute",
    ),
    (
        &["Capacity is unavailable"],
        "Fargate has no room in these subnets' zones: name a subnet of another zone as well, or try later",
    ),
];

pub(super) fn advice(reason: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(words, _)| words.iter().all(|word| reason.contains(word))).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(stop_code: &str, exit_code: Option<i32>, reason: &str, of_container: &str) -> Task {
        Task {
            arn: "arn:aws:ecs:eu-west-1:1:task/c/0123".into(),
            status: "STOPPED".into(),
            stop_code: Some(stop_code.into()),
            stopped_reason: Some(reason.into()),
            containers: vec![Container {
                name: "loader".into(),
                exit_code,
                reason: Some(of_container.into()).filter(|reason: &String| !reason.is_empty()),
            }],
        }
    }

    #[test]
    fn the_exit_code_is_the_containers_where_it_ran() {
        for (stop_code, code, wanted) in [
            ("EssentialContainerExited", Some(0), 0),
            ("EssentialContainerExited", Some(7), 7),
            ("EssentialContainerExited", Some(137), 137),
            ("TaskFailedToStart", None, 125),
            ("TaskFailedToStart", Some(1), 125),
            ("SpotInterruption", None, 125),
            ("UserInitiated", Some(143), 130),
            ("UserInitiated", None, 130),
        ] {
            let outcome = explain(&task(stop_code, code, "r", ""), "loader", false);
            assert_eq!(outcome.exit_code, wanted, "{stop_code} {code:?}");
        }
    }

    #[test]
    fn ecs_words_are_answered_with_what_to_do() {
        for (reason, of_container, words) in [
            (
                "Essential container in task exited",
                "OutOfMemoryError: Container killed due to memory usage",
                "more memory than it has",
            ),
            (
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: retrieved secret from Secrets Manager did not contain json key url",
                "",
                "no such JSON key",
            ),
            (
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: invalid character 's' looking for beginning of value",
                "",
                "is not JSON",
            ),
            (
                "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret from asm: AccessDeniedException: not authorized",
                "",
                "may not read the secret",
            ),
            (
                "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR",
                "",
                "no way from the task to AWS",
            ),
            (
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: The specified log group does not exist.: log group does not exist",
                "",
                "the log group is not there any more",
            ),
            (
                "Task failed to start",
                "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'",
                "--platform linux/amd64",
            ),
            (
                "Task failed to start",
                "CannotPullContainerError: pull image manifest: r@sha256:1: not found",
                "push it again",
            ),
            (
                "Task failed to start",
                "CannotPullContainerError: ref pull: write: no space left on device",
                "ephemeral_storage",
            ),
            ("Task failed to start", "CannotPullContainerError: dial tcp: i/o timeout", "could not be pulled"),
            ("ECS was unable to assume the role 'arn:aws:iam::1:role/r'", "", "trust policy"),
        ] {
            let hint = explain(&task("TaskFailedToStart", None, reason, of_container), "loader", false).hint;
            assert!(hint.as_deref().is_some_and(|hint| hint.contains(words)), "{reason} {of_container}: {hint:?}");
        }
    }

    #[test]
    fn both_reasons_are_told_and_none_twice() {
        let outcome =
            explain(&task("TaskFailedToStart", None, "Task failed to start", "CannotPull: x"), "loader", false);
        assert_eq!(outcome.reason, "Task failed to start; CannotPull: x");
        let same = explain(&task("TaskFailedToStart", None, "CannotPull: x", "CannotPull: x"), "loader", false);
        assert_eq!(same.reason, "CannotPull: x");
    }

    #[test]
    fn a_kill_without_a_word_is_most_often_memory() {
        let outcome =
            explain(&task("EssentialContainerExited", Some(137), "Essential container in task exited", ""), "x", false);
        assert_eq!((outcome.exit_code, outcome.hint.as_deref()), (137, Some(KILLED)));
    }

    #[test]
    fn success_needs_no_advice() {
        assert_eq!(explain(&task("EssentialContainerExited", Some(0), "OutOfMemory", ""), "loader", false).hint, None);
    }
}
