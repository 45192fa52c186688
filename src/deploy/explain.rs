//! Why a task stopped, and what to do about it.

use super::outcome::Outcome;
use crate::aws::{Container, Task};

/// What ECS says of a stopped task, in our words where they are known.
pub(super) fn explain(task: &Task, container: &str, wrong_architecture: bool) -> Outcome {
    let container = task.containers.iter().find(|c| c.name == container).or(task.containers.first());
    let container_exit_code = container.and_then(|container| container.exit_code);
    let reason = reason(task, container);
    // What a person or Spot ended is told so, whatever code the container made of it.
    let ended_by = match task.stop_code.as_deref() {
        Some("UserInitiated") => Some(BY_A_USER),
        Some("SpotInterruption") => Some(BY_SPOT),
        Some("InfrastructureHealth" | "TerminationNotice") => Some(BY_HEALTH),
        Some("ServiceSchedulerInitiated") => Some(BY_SERVICE),
        _ => None,
    };
    let hint = match container_exit_code {
        _ if wrong_architecture => Some(WRONG_ARCHITECTURE),
        _ if ended_by.is_some() => ended_by,
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
        runs_on: false,
    }
}

/// The task's own reason first: the container's alone does not say why it never ran (copilot-cli#1893). Of the other
/// containers, those that have something to say, by name.
fn reason(task: &Task, main: Option<&Container>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut add = |said: &str, whose: Option<&str>| {
        if !said.is_empty() && !parts.iter().any(|before| before.contains(said)) {
            parts.push(whose.map_or(said.to_owned(), |name| format!("{name}: {said}")));
        }
    };
    add(task.stopped_reason.as_deref().unwrap_or(""), None);
    add(main.and_then(|container| container.reason.as_deref()).unwrap_or(""), None);
    for other in &task.containers {
        add(other.reason.as_deref().unwrap_or(""), Some(&other.name));
    }
    if parts.is_empty() && task.stop_code.is_none() {
        parts.push("no reason given".to_owned());
    }
    parts.join("; ")
}

const WRONG_ARCHITECTURE: &str =
    "the image is for another architecture than the task: build it with --platform linux/amd64";
const KILLED: &str = "the container was killed (137): most often for want of memory; give the loader more (memory = …)";
const NO_WAY: &str = "there is no way from the task to AWS: in a public subnet it needs a public IP and a route to an \
     internet gateway, in a private one NAT or VPC endpoints; and the security group must let it out";
const NO_IMAGE: &str = "the image is not in the repository any more: push it again";
const MAY_NOT_PULL: &str = "the execution role may not pull the image: it needs ecr:BatchGetImage and ecr:GetDownloadUrlForLayer on the \
     repository, and ecr:GetAuthorizationToken; a policy of the repository or of a VPC endpoint may forbid it too";
const BY_A_USER: &str = "somebody stopped it (ecs:StopTask): CloudTrail says who";
const BY_SPOT: &str = "Fargate Spot took its capacity back, with two minutes' notice: run it again, or without --spot";
const BY_HEALTH: &str = "what it ran on failed or was taken out of service, which is AWS's doing: run it again";
const BY_SERVICE: &str = "it belongs to an ECS service, which stopped it: the service's events say why";
const NO_SECRET: &str = "the secret is not there any more: look at its ARN, its region and its version";
const NO_KEY: &str = "the secret has no such JSON key: look at the name after `:` in `secrets`";
const NOT_JSON: &str = "the secret is not JSON: name it without a JSON key, or store JSON in it";
const NO_SPACE: &str = "the image is larger than the task's disk: give it more (ephemeral_storage = 21 to 200)";
const NO_GROUP: &str = "the log group is not there any more: run the whole road again, which makes it";
const NO_SPOT: &str = "let the cluster use it: `aws ecs put-cluster-capacity-providers --cluster NAME --capacity-providers FARGATE \
     FARGATE_SPOT --default-capacity-provider-strategy '[]'`; a cluster that locus-push makes may from the start";

/// Words of ECS's → what to do. The first that fits; the more particular ones come first.
const ADVICE: [(&[&str], &str); 38] = [
    (&["OutOfMemory"], "the container needed more memory than it has: give the loader more (memory = …)"),
    (&["did not contain json key"], NO_KEY),
    (&["unable to retrieve json key"], NO_KEY),
    (&["retrieve secret", "invalid character"], NOT_JSON),
    (&["retrieved secret", "cannot unmarshal"], NOT_JSON),
    (
        &["unable to pull secrets", "secret", "AccessDenied"],
        "the execution role may not read the secret (secretsmanager:GetSecretValue, and kms:Decrypt where it has a \
         customer's key)",
    ),
    (
        &["unable to pull secrets", "ssm", "AccessDenied"],
        "the execution role may not read the parameter (ssm:GetParameters, and kms:Decrypt where it has a customer's key)",
    ),
    (&["registry auth", "AccessDenied"], "the execution role may not log in to ECR (ecr:GetAuthorizationToken)"),
    (&["unable to pull secrets", "secret", "ResourceNotFoundException"], NO_SECRET),
    (&["unable to pull secrets", "can't find the specified secret"], NO_SECRET),
    (
        &["unable to pull secrets", "marked for deletion"],
        "the secret is scheduled for deletion: `aws secretsmanager restore-secret` brings it back",
    ),
    (&["unable to retrieve secret arn:"], NO_SECRET),
    (&["ResourceInitializationError", "log group does not exist"], NO_GROUP),
    (
        &["ResourceInitializationError", "logger", "AccessDenied"],
        "the execution role may not write the log (logs:CreateLogStream, logs:PutLogEvents)",
    ),
    (
        &["failed to validate logger args"],
        "the log cannot be written: is the group there, may the execution role write to it, and is there a route to \
         CloudWatch Logs?",
    ),
    (
        &["ResourceInitializationError", "efs"],
        "the EFS file system cannot be mounted: its mount target's security group must let NFS (2049) in from the task's",
    ),
    (&["ResourceInitializationError", "connection issue"], NO_WAY),
    (&["ResourceInitializationError", "timeout"], NO_WAY),
    (&["ResourceInitializationError", "dial tcp"], NO_WAY),
    (&["ResourceInitializationError", "deadline exceeded"], NO_WAY),
    (&["ResourceInitializationError", "context deadli"], NO_WAY),
    (&["ResourceInitializationError", "send request failed"], NO_WAY),
    (&["ResourceInitializationError", "no such host"], NO_WAY),
    (&["does not contain descriptor matching platform"], WRONG_ARCHITECTURE),
    (&["exec format error"], WRONG_ARCHITECTURE),
    (&["CannotPull", "no space left"], NO_SPACE),
    (
        &["CannotPull", "toomanyrequests"],
        "the registry asks for fewer pulls (Docker Hub's limit): the task should run the image by its ECR name",
    ),
    (&["CannotPull", "403 Forbidden"], MAY_NOT_PULL),
    (&["CannotPull", "pull access denied"], MAY_NOT_PULL),
    (&["CannotPull", "not authorized"], MAY_NOT_PULL),
    (&["CannotPull", "not found"], NO_IMAGE),
    (&["No such image"], NO_IMAGE),
    (
        &["CannotPull"],
        "the image could not be pulled: there must be a route to ECR and S3 (a public IP in a public subnet, NAT or VPC \
         endpoints in a private one), and the execution role must be allowed to pull",
    ),
    (
        &["CannotStartContainerError"],
        "the container's command could not be started: look at ENTRYPOINT, CMD and --command, and at the file's mode",
    ),
    (
        &["unable to assume the role"],
        "ECS may not take the role: look at its trust policy (ecs-tasks.amazonaws.com); a new role takes up to a minute",
    ),
    (&["Cluster not found"], "the cluster is not there: the whole road makes it, or --cluster names another"),
    (&["capacity provider", "not associated with the cluster"], NO_SPOT),
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
            ..Task::default()
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

    /// Each as somebody has seen it.
    const SEEN: &[(&str, &str, &str)] = &[
        (
            "Essential container in task exited",
            "OutOfMemoryError: Container killed due to memory usage",
            "more memory than it has",
        ),
        // aws/containers-roadmap#1590
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): retrieved secret from Secrets Manager did not contain json key url",
            "",
            "no such JSON key",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): invalid character 's' looking for beginning of value",
            "",
            "is not JSON",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-west-1:1:secret:DB-AbCdEf from secrets manager: AccessDeniedException: User: arn:aws:sts::1:assumed-role/r/t is not authorized to perform: secretsmanager:GetSecretValue",
            "",
            "may not read the secret",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret arn:aws:secretsmanager:eu-west-1:1:secret:DB-AbCdEf from secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret.",
            "",
            "not there any more",
        ),
        // umotif-public/terraform-aws-ecs-fargate#50; the message is cut there as well.
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 5 time(s): RequestCanceled: request context canceled caused by: context deadli...",
            "",
            "no way from the task to AWS",
        ),
        // aws/aws-app-mesh-examples#413
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 5 time(s): RequestError: send request failed caused by: Post https://api.ecr....",
            "",
            "no way from the task to AWS",
        ),
        // doctorray117/minecraft-ondemand#74
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 time(s): RequestError: send request failed caused by: Post \"https://api.ecr.us-east-2.amazonaws.com/\": dial tcp 10.0.0.1:443: i/o timeout. Please check your task network configuration.",
            "",
            "no way from the task to AWS",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task and Amazon ECR. Check your task network configuration.",
            "",
            "no way from the task to AWS",
        ),
        (
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.: exit status 1",
            "",
            "the log group is not there any more",
        ),
        (
            "Task failed to start",
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): image Manifest does not contain descriptor matching platform 'linux/amd64'",
            "--platform linux/amd64",
        ),
        (
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref 1.dkr.ecr.eu-west-1.amazonaws.com/r@sha256:1: not found",
            "",
            "push it again",
        ),
        // aws/aws-cdk#14457
        (
            "Task failed to start",
            "CannotPullContainerError: inspect image has been retried 1 time(s): failed to resolve ref \"1.dkr.ecr.eu-west-1.amazonaws.com/r:x\": unexpected status code [manifests x]: 403 Forbidden",
            "may not pull the image",
        ),
        // aws/amazon-ecs-agent#1128
        (
            "Task failed to start",
            "CannotPullContainerError: API error (500): Get https://1.dkr.ecr.us-east-1.amazonaws.com/v2/: net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            "a route to ECR and S3",
        ),
        (
            "Task failed to start",
            "CannotPullContainerError: ref pull has been retried 1 time(s): failed to extract layer sha256:1: write /usr/lib/x: no space left on device: unknown",
            "ephemeral_storage",
        ),
        (
            "Task failed to start",
            "CannotPullContainerError: inspect image has been retried 5 time(s): httpReadSeeker: failed open: unexpected status code 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit.",
            "fewer pulls",
        ),
        (
            "Task failed to start",
            "CannotStartContainerError: ResourceInitializationError: failed to create new container runtime task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"nod\": executable file not found in $PATH: unknown",
            "could not be started",
        ),
        (
            "ECS was unable to assume the role 'arn:aws:iam::1:role/r' that was provided for this task.",
            "",
            "trust policy",
        ),
        (
            "Capacity is unavailable at this time. Please try again later or in a different availability zone",
            "",
            "another zone",
        ),
    ];

    #[test]
    fn ecs_words_are_answered_with_what_to_do() {
        for (reason, of_container, words) in SEEN {
            let hint = explain(&task("TaskFailedToStart", None, reason, of_container), "loader", false).hint;
            assert!(hint.as_deref().is_some_and(|hint| hint.contains(words)), "{reason} {of_container}: {hint:?}");
        }
    }

    #[test]
    fn what_somebody_else_ended_is_told_whatever_the_code() {
        for (stop_code, code, reason, words) in [
            ("SpotInterruption", Some(143), "Your Spot Task was interrupted.", "took its capacity back"),
            ("SpotInterruption", Some(0), "Your Spot Task was interrupted.", "took its capacity back"),
            ("UserInitiated", Some(137), "Task stopped by user", "somebody stopped it"),
            (
                "ServiceSchedulerInitiated",
                Some(0),
                "Scaling activity initiated by (deployment ecs-svc/1)",
                "ECS service",
            ),
            ("InfrastructureHealth", None, "Task was stopped: host failed", "AWS's doing"),
        ] {
            let hint = explain(&task(stop_code, code, reason, ""), "loader", false).hint;
            assert!(hint.as_deref().is_some_and(|hint| hint.contains(words)), "{reason}: {hint:?}");
        }
    }

    #[test]
    fn each_container_that_has_a_reason_is_heard() {
        let mut task = task("TaskFailedToStart", None, "Task failed to start", "");
        let sidecar = Container { name: "agent".into(), exit_code: None, reason: Some("CannotPull: x".into()) };
        task.containers.insert(0, sidecar);
        assert_eq!(explain(&task, "loader", false).reason, "Task failed to start; agent: CannotPull: x");
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
