//! The task definition, rendered and compared: no revision without a reason.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{DeployError, During};
use super::ground::Ground;
use super::loader::Loader;
use super::pace::Pace;
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
    if let Some(latest) = cloud.ecs.latest(&wanted.family).await.during(doing)?
        && wanted.differences(&latest.definition).is_empty()
    {
        emit(CloudOutcome::Unchanged, &latest.arn);
        return Ok(latest);
    }
    let tags = tags::of(loader);
    let worth = |error: &AwsError| ground.new_role && is_role_lag(error);
    let made = pace.role_lag.retry(worth, || cloud.ecs.register(&wanted, &tags)).await.during(doing)?;
    emit(CloudOutcome::Registered, &made.arn);
    Ok(made)
}

/// The task definition that a loader wants.
pub(super) fn render(
    loader: &Loader,
    ground: &Ground,
    region: &str,
    image: &Digest,
    platform: &Platform,
) -> Result<TaskDefinition, DeployError> {
    let architecture = match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => "X86_64",
        ("linux", "arm64") => "ARM64",
        _ => return Err(DeployError::Platform(platform.clone())),
    };
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
