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

/// Words of ECS's → what to do. The first that fits; the more particular ones come first.
const ADVICE: [(&[&str], &str); 14] = [
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
    (
        &["ResourceInitializationError"],
        "there is no way from the task to AWS: in a public subnet it needs a public IP and a route to an internet \
         gateway, in a private one NAT or VPC endpoints; and the security group must let it out",
    ),
    (&["does not contain descriptor matching platform"], WRONG_ARCHITECTURE),
    (&["CannotPullContainerError", "not found"], "the image is not in the repository any more: push it again"),
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
