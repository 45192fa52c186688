//! The task definition, rendered and compared: no revision without a reason.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::{DeployError, During};
use super::fields::Field;
use super::ground::Ground;
use super::loader::Loader;
use super::normal;
use super::pace::Pace;
use super::policy::Scope;
use super::revisions;
use super::run::NOT_YET;
use super::tags;
use super::template;
use crate::aws::{AwsError, Cloud, Kind, Revision};
use crate::event::{CloudOutcome, Event, Events};
use crate::image::{Digest, Platform};

/// Sees to it that the latest revision runs this image in this way, and returns it; too old ones go.
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
    let image = format!("{}@{image}", ground.repository_uri);
    let wanted = render(loader, ground, &Scope::of(cloud), &image, platform)?;
    let doing = || format!("registering the task definition {}", loader.name);
    let latest = cloud.ecs.revision(&loader.name).await.during(doing)?;
    let changed = differences(loader, latest.as_ref(), &wanted);
    let revision = match latest {
        Some(latest) if changed.is_empty() => {
            emit(events, CloudOutcome::Unchanged, latest.name());
            latest
        }
        latest => {
            if latest.is_some() {
                let fields: Vec<_> = changed.into_iter().map(|field| field.name).collect();
                events.emit(Event::Note(format!("the task definition changes in {}", fields.join(", "))));
            }
            let worth = |error: &AwsError| {
                let young = ground.new_role && is_role_lag(error);
                if young {
                    events.emit(Event::Note(NOT_YET.to_owned()));
                }
                young
            };
            let made = pace.role_lag.retry(worth, || cloud.ecs.register(&wanted)).await.during(doing)?;
            emit(events, CloudOutcome::Registered, made.name());
            made
        }
    };
    deregister(cloud, loader, events).await;
    Ok(revision)
}

/// The task is registered by now: that an old revision stays is no reason not to run it.
async fn deregister(cloud: &Cloud, loader: &Loader, events: &Events) {
    let Some(keep) = loader.keep_revisions else { return };
    let gone = async {
        for old in revisions::old(cloud, loader).await?.leaving(keep, 0) {
            cloud.ecs.deregister(&old.arn).await?;
            emit(events, CloudOutcome::Removed, old.name());
        }
        Ok::<_, AwsError>(())
    };
    if let Err(error) = gone.await {
        let message = format!("an old revision of the task definition stays: {error}");
        events.emit(Event::Warning { message, hint: error.hint() });
    }
}

fn emit(events: &Events, outcome: CloudOutcome, name: &str) {
    events.emit(Event::Cloud { outcome, kind: "task definition", name: name.to_owned() });
}

/// Fargate's word for the CPU that an image is for: the task's `runtimePlatform` is the image's own.
pub fn cpu_architecture(platform: &Platform) -> Result<&'static str, DeployError> {
    match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => Ok("X86_64"),
        ("linux", "arm64") => Ok("ARM64"),
        _ => Err(DeployError::Platform(platform.clone())),
    }
}

/// The fields in which the wanted definition would run another task than the latest revision does: all of them, where
/// there is none.
pub(super) fn differences(loader: &Loader, latest: Option<&Revision>, wanted: &Value) -> Vec<Field> {
    normal::differences(latest.map_or(&Value::Null, |latest| &latest.definition), wanted, loader.container())
}

/// The task definition that a loader wants, as `--cli-input-json` has it.
pub(super) fn render(
    loader: &Loader,
    ground: &Ground,
    scope: &Scope,
    image: &str,
    platform: &Platform,
) -> Result<Value, DeployError> {
    let architecture = cpu_architecture(platform)?;
    let stated = loader.template.as_ref().and_then(|template| template.architecture.as_deref());
    if let Some(stated) = stated.filter(|stated| *stated != architecture) {
        return Err(DeployError::Architecture { stated: stated.to_owned(), platform: platform.clone() });
    }
    let (secrets, name, region) = (&ground.secrets, &loader.name, &scope.region);
    let mut environment = loader.environment.clone();
    let in_template = |name| loader.template.as_ref().is_some_and(|template| template.variables.contains(name));
    // The loaders of the page read it; a user's own value, plain or secret, wins.
    if !secrets.contains_key("AWSREGION") && !in_template("AWSREGION") {
        environment.entry("AWSREGION".to_owned()).or_insert_with(|| region.to_owned());
    }
    let environment = environment.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    let named = secrets.iter().map(|(name, from)| json!({ "name": name, "valueFrom": from }));
    let tags = tags::of(loader);
    let tags = tags.iter().map(|(key, value)| json!({ "key": key, "value": value }));
    let memory = loader.size.memory();
    let mut all = json!({
        "family": name,
        "executionRoleArn": ground.execution_role_arn,
        "taskRoleArn": ground.task_role_arn,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": loader.size.cpu().to_string(),
        "memory": memory.to_string(),
        "runtimePlatform": { "cpuArchitecture": architecture, "operatingSystemFamily": "LINUX" },
        "tags": tags.collect::<Vec<_>>(),
    });
    // Of the 20 GiB that come with each task nothing may be said.
    all["ephemeralStorage"] = loader.ephemeral_storage.map_or(Value::Null, |disk| json!({ "sizeInGiB": disk.gib() }));
    let own = json!({
        "name": loader.container(),
        "image": image,
        "essential": true,
        // On Fargate the task's memory is the limit; the emulators want one of the container's too: getmoto/moto#7272
        "memoryReservation": memory,
        "environment": environment.collect::<Vec<_>>(),
        "secrets": named.collect::<Vec<_>>(),
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": ground.log_group,
                "awslogs-region": region,
                "awslogs-stream-prefix": name,
                // The default has become to drop lines under pressure (2025-06-25); a loader's log must be whole.
                "mode": "blocking",
            },
        },
    });
    let Some(template) = &loader.template else {
        all["containerDefinitions"] = json!([own]);
        template::without_nulls(&mut all);
        return Ok(all);
    };
    let mut ours: BTreeMap<&str, String> = scope.variables();
    ours.extend([
        ("DOCKERNAME", name.clone()),
        ("IMAGE", image.to_owned()),
        ("REPOSITORYURI", ground.repository_uri.clone()),
        ("EXECUTIONROLEARN", ground.execution_role_arn.clone()),
        ("TASKROLEARN", ground.task_role_arn.clone()),
        ("LOGGROUP", ground.log_group.clone()),
    ]);
    ours.extend(loader.dbconnection(secrets).map(|arn| ("SECRETSRESOURCEARN", arn)));
    Ok(template.render(&ours, all, own))
}

/// ECS does not see a role that is seconds old: terraform-aws-ecs#414
fn is_role_lag(error: &AwsError) -> bool {
    (error.kind == Kind::Denied && error.message.contains("iam:PassRole"))
        || error.message.contains("Role is not valid")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Played, Script, ground, loader, os_opendata, recorded, scope};
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
            .answer("RegisterTaskDefinition", made)
            .answer("ListTaskDefinitions", json!({ "taskDefinitionArns": [] }));
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
            ("/runtimePlatform/cpuArchitecture", json!("ARM64"), "runtimePlatform cpuArchitecture"),
            ("/ephemeralStorage", json!({ "sizeInGiB": 40 }), "ephemeralStorage sizeInGiB"),
            ("/volumes", json!([{ "name": "v" }]), "volumes v"),
            ("/networkMode", json!("bridge"), "networkMode"),
            ("/containerDefinitions/0/image", json!("r:latest"), "image"),
            ("/containerDefinitions/0/command", json!(["sh"]), "command"),
            ("/containerDefinitions/0/user", json!("0"), "user"),
            ("/containerDefinitions/0/environment", json!([]), "environment AWSREGION, environment FILTER"),
            ("/containerDefinitions/0/secrets", json!([]), "secrets DBCONNECTION"),
            (
                "/containerDefinitions/0/logConfiguration/options/mode",
                json!("non-blocking"),
                "logConfiguration options mode",
            ),
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
                .answer("ListTaskDefinitions", json!({ "taskDefinitionArns": [] }))
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
        let error = render(&os_opendata(), &ground(), &scope(), "i", &platform).unwrap_err();
        assert_eq!(
            error.to_string(),
            "an image for linux/s390x does not run on Fargate, which has linux/amd64 and linux/arm64"
        );
    }
}
