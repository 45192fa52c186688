//! The task definition, rendered and compared: no revision without a reason.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{DeployError, During};
use super::ground::Ground;
use super::loader::Loader;
use super::pace::Pace;
use super::run::NOT_YET;
use super::tags;
use crate::aws::{AwsError, Cloud, ContainerDefinition, Kind, Revision, TaskDefinition};
use crate::event::{CloudOutcome, Event, Events};
use crate::image::{Digest, Platform};

/// Sees to it that the latest revision runs this image in this way, and returns it.
///
/// Registering always makes a revision, also of what is there already, so the fields are compared first. A hash of them
/// in a tag would be shorter and wrong: the console copies tags to the revision that a person edits.
pub async fn register(
    cloud: &Cloud,
    loader: &Loader,
    ground: &Ground,
    image: &Digest,
    platform: &Platform,
    pace: &Pace,
    events: &Events,
) -> Result<Revision, DeployError> {
    let wanted = render(loader, ground, &cloud.region, image, platform)?;
    let doing = || format!("registering the task definition {}", wanted.family);
    let emit = |outcome, arn: &str| {
        let name = arn.rsplit('/').next().unwrap_or(arn).to_owned();
        events.emit(Event::Cloud { outcome, kind: "task definition", name });
    };
    if let Some(latest) = cloud.ecs.latest(&wanted.family).await.during(doing)? {
        let differences = wanted.differences(&latest.definition);
        if differences.is_empty() {
            emit(CloudOutcome::Unchanged, &latest.arn);
            return Ok(latest);
        }
        let fields: Vec<_> = differences.into_iter().map(|difference| difference.field).collect();
        events.emit(Event::Note(format!("the task definition changes in {}", fields.join(", "))));
    }
    let tags = tags::of(loader);
    let worth = |error: &AwsError| {
        let young = ground.new_role && is_role_lag(error);
        if young {
            events.emit(Event::Note(NOT_YET.to_owned()));
        }
        young
    };
    let made = pace.role_lag.retry(worth, || cloud.ecs.register(&wanted, &tags)).await.during(doing)?;
    emit(CloudOutcome::Registered, &made.arn);
    Ok(made)
}

/// Fargate's word for the CPU that an image is for: the task's `runtimePlatform` is the image's own.
pub fn cpu_architecture(platform: &Platform) -> Result<&'static str, DeployError> {
    match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => Ok("X86_64"),
        ("linux", "arm64") => Ok("ARM64"),
        _ => Err(DeployError::Platform(platform.clone())),
    }
}

/// The task definition that a loader wants.
pub(super) fn render(
    loader: &Loader,
    ground: &Ground,
    region: &str,
    image: &Digest,
    platform: &Platform,
) -> Result<TaskDefinition, DeployError> {
    let architecture = cpu_architecture(platform)?;
    let mut environment = loader.environment.clone();
    // The loaders of the page read it; a user's own value, plain or secret, wins.
    if !ground.secrets.contains_key("AWSREGION") {
        environment.entry("AWSREGION".to_owned()).or_insert_with(|| region.to_owned());
    }
    let log_options = [
        ("awslogs-group", ground.log_group.as_str()),
        ("awslogs-region", region),
        ("awslogs-stream-prefix", &loader.name),
        // The default has become to drop lines under pressure (2025-06-25); a loader's log must be whole.
        ("mode", "blocking"),
    ];
    let memory = loader.size.memory();
    Ok(TaskDefinition {
        family: loader.name.clone(),
        execution_role: Some(ground.execution_role_arn.clone()),
        task_role: Some(ground.task_role_arn.clone()),
        cpu: loader.size.cpu().to_string(),
        memory: memory.to_string(),
        ephemeral_storage_gib: loader
            .ephemeral_storage
            .map(|disk| i32::try_from(disk.gib()).expect("at most 200 GiB are offered")),
        architecture: architecture.to_owned(),
        container: ContainerDefinition {
            name: loader.name.clone(),
            image: format!("{}@{image}", ground.repository_uri),
            // On Fargate the task's memory is the limit; the emulators want one of the container's too: getmoto/moto#7272
            memory_reservation: Some(i32::try_from(memory).expect("at most 122880 MiB are offered")),
            environment,
            secrets: ground.secrets.clone(),
            log_driver: "awslogs".to_owned(),
            log_options: log_options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>(),
        },
        beyond: BTreeSet::new(),
    })
}

/// ECS does not see a role that is seconds old: terraform-aws-ecs#414
fn is_role_lag(error: &AwsError) -> bool {
    (error.kind == Kind::Denied && error.message.contains("iam:PassRole"))
        || error.message.contains("Role is not valid")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Played, Script, ground, loader, os_opendata, recorded};
    use super::*;

    /// What the server makes of ours: its defaults filled in, its facts added, in an order of its own.
    fn described() -> Value {
        json!({
            "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/os_opendata:3",
            "family": "os_opendata",
            "revision": 3,
            "status": "ACTIVE",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "compatibilities": ["EC2", "FARGATE"],
            "requiresAttributes": [{ "name": "com.amazonaws.ecs.capability.docker-remote-api.1.19" }],
            "registeredAt": 1_700_000_000,
            "registeredBy": "arn:aws:iam::123456789012:user/ann",
            "cpu": "256",
            "memory": "512",
            "executionRoleArn": ground().execution_role_arn,
            "taskRoleArn": ground().task_role_arn,
            "runtimePlatform": { "cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX" },
            "volumes": [],
            "placementConstraints": [],
            "pidMode": "",
            "containerDefinitions": [{
                "name": "os_opendata",
                "image": format!("{}@{}", ground().repository_uri, image()),
                "cpu": 0,
                "memoryReservation": 512,
                "essential": true,
                "portMappings": [],
                "mountPoints": [],
                "volumesFrom": [],
                "systemControls": [],
                "environment": [
                    { "name": "FILTER", "value": "Test Loader" },
                    { "name": "AWSREGION", "value": "eu-west-1" },
                ],
                "secrets": [{ "name": "DBCONNECTION", "valueFrom": ground().secrets["DBCONNECTION"] }],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-stream-prefix": "os_opendata",
                        "awslogs-group": "os_opendata",
                        "mode": "blocking",
                        "awslogs-region": "eu-west-1",
                    },
                    "secretOptions": [],
                },
            }],
        })
    }

    fn image() -> Digest {
        Digest::of(b"image")
    }

    fn wanted() -> Loader {
        loader(|d| drop(d.environment.insert("FILTER".into(), "Test Loader".into())))
    }

    async fn registered(described: Value, loader: &Loader) -> (Revision, Played, Vec<Event>) {
        let made = json!({ "taskDefinition": { "taskDefinitionArn": "arn:…/os_opendata:4" } });
        let script = Script::default()
            .answer("DescribeTaskDefinition", json!({ "taskDefinition": described, "tags": [] }))
            .answer("RegisterTaskDefinition", made);
        let played = script.play().await;
        let (events, seen) = recorded();
        let platform = Platform::linux_amd64();
        let pace = Pace::hurried();
        let revision = register(&played.cloud, loader, &ground(), &image(), &platform, &pace, &events).await.unwrap();
        let seen = seen.lock().unwrap().clone();
        (revision, played, seen)
    }

    #[tokio::test]
    async fn what_the_server_filled_in_makes_no_revision() {
        let (revision, played, seen) = registered(described(), &wanted()).await;
        assert!(revision.arn.ends_with("os_opendata:3"));
        assert_eq!(played.asked_for("RegisterTaskDefinition"), Vec::<Value>::new());
        assert!(matches!(&seen[..], [Event::Cloud { outcome: CloudOutcome::Unchanged, .. }]), "{seen:?}");
    }

    #[tokio::test]
    async fn each_field_that_differs_makes_a_revision_and_is_named() {
        let change: [(&str, Value, &str); 14] = [
            ("/cpu", json!("512"), "cpu"),
            ("/memory", json!("1024"), "memory"),
            ("/taskRoleArn", json!("arn:other"), "taskRoleArn"),
            ("/executionRoleArn", Value::Null, "executionRoleArn"),
            ("/runtimePlatform/cpuArchitecture", json!("ARM64"), "cpuArchitecture"),
            ("/ephemeralStorage", json!({ "sizeInGiB": 40 }), "ephemeralStorage"),
            ("/volumes", json!([{ "name": "v" }]), "other fields"),
            ("/networkMode", json!("bridge"), "other fields"),
            ("/containerDefinitions/0/image", json!("r:latest"), "image"),
            ("/containerDefinitions/0/command", json!(["sh"]), "other fields"),
            ("/containerDefinitions/0/user", json!("0"), "other fields"),
            ("/containerDefinitions/0/environment", json!([]), "environment AWSREGION, environment FILTER"),
            ("/containerDefinitions/0/secrets", json!([]), "secrets DBCONNECTION"),
            ("/containerDefinitions/0/logConfiguration/options/mode", json!("non-blocking"), "logConfiguration mode"),
        ];
        for (at, value, field) in change {
            let mut other = described();
            let (parent, key) = at.rsplit_once('/').unwrap();
            other.pointer_mut(parent).unwrap()[key] = value;
            let (revision, played, seen) = registered(other, &wanted()).await;
            assert!(revision.arn.ends_with("os_opendata:4"), "{at}");
            assert_eq!(played.asked_for("RegisterTaskDefinition").len(), 1, "{at}");
            assert_eq!(seen[0], Event::Note(format!("the task definition changes in {field}")), "{at}");
        }
    }

    #[tokio::test]
    async fn what_is_registered_is_all_that_fargate_needs() {
        let loader = loader(|d| d.ephemeral_storage = Some(40));
        let (_, played, _) = registered(described(), &loader).await;
        let asked = played.asked_for("RegisterTaskDefinition").remove(0);
        assert_eq!(asked["requiresCompatibilities"], json!(["FARGATE"]));
        assert_eq!(asked["networkMode"], "awsvpc");
        assert_eq!(asked["ephemeralStorage"], json!({ "sizeInGiB": 40 }));
        assert_eq!(asked["runtimePlatform"], json!({ "cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX" }));
        let container = &asked["containerDefinitions"][0];
        assert_eq!(container["image"], format!("{}@{}", ground().repository_uri, image()));
        assert_eq!(container["environment"], json!([{ "name": "AWSREGION", "value": "eu-west-1" }]));
        assert_eq!(container["logConfiguration"]["options"]["mode"], "blocking");
        assert_eq!(
            asked["tags"],
            json!([
                { "key": "managed-by", "value": "locus-push" },
                { "key": "locus-push:loader", "value": "os_opendata" },
            ])
        );
    }

    #[tokio::test]
    async fn a_role_of_this_run_is_waited_for() {
        let denied = "User: ann is not authorized to perform: iam:PassRole on resource: r";
        let script = || {
            Script::default()
                .error("DescribeTaskDefinition", 400, "ClientException", "Unable to describe task definition.")
                .error("RegisterTaskDefinition", 400, "ClientException", "Role is not valid")
                .error("RegisterTaskDefinition", 400, "AccessDeniedException", denied)
                .answer("RegisterTaskDefinition", json!({ "taskDefinition": { "taskDefinitionArn": "t:1" } }))
        };
        for (new_role, calls, done) in [(true, 3, true), (false, 1, false)] {
            let played = script().play().await;
            let ground = Ground { new_role, ..ground() };
            let (platform, pace) = (Platform::linux_amd64(), Pace::hurried());
            let (events, _) = recorded();
            let result = register(&played.cloud, &os_opendata(), &ground, &image(), &platform, &pace, &events).await;
            assert_eq!(result.is_ok(), done);
            assert_eq!(played.asked_for("RegisterTaskDefinition").len(), calls);
        }
    }

    #[test]
    fn an_image_for_another_machine_is_refused() {
        let platform = Platform::new("linux", "s390x", None);
        let error = render(&os_opendata(), &ground(), "eu-west-1", &image(), &platform).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an image for linux/s390x does not run on Fargate, which has linux/amd64 and linux/arm64"
        );
    }
}
