//! What the road would do, as far as that can be known before a build.

use std::collections::BTreeMap;

use super::change::{Action, Change, RoleKind, arn_to_be, difference, kept};
use super::error::DeployError;
use super::fields::Field;
use super::ground::Ground;
use super::loader::Loader;
use super::present::Present;
use super::schedule;
use super::secret_spec::SecretSource;
use super::task_definition::{differences, render};
use crate::image::Platform;

/// What stands where the image's digest will be.
const AFTER_BUILD: &str = "(known after build)";

/// What the road would do for one loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub account: String,
    pub region: String,
    pub changes: Vec<Change>,
    /// What stays other than the loader asks for, each as a sentence.
    pub kept: Vec<String>,
}

/// The changes that the road would make, were the image the one that runs now; where anything else of the task
/// definition changes, the image may too.
pub fn plan(loader: &Loader, present: &Present, platform: &Platform) -> Result<Plan, DeployError> {
    let mut changes = difference(loader, present)?;
    let ground = expected(loader, present);
    let image = present
        .latest
        .as_ref()
        .and_then(|latest| latest.image_of(loader.container()))
        .filter(|image| image.strip_prefix(&ground.repository_uri).is_some_and(|rest| rest.starts_with("@sha256:")))
        .unwrap_or(AFTER_BUILD);
    let wanted = render(loader, &ground, &present.scope, image, platform)?;
    let mut fields = differences(loader, present.latest.as_ref(), &wanted);
    let registers = !fields.is_empty() || present.latest.is_none();
    if registers {
        if image != AFTER_BUILD {
            fields.push(Field::new("image", Some(image.to_owned()), Some(AFTER_BUILD.to_owned())));
        }
        let why = match &present.latest {
            None => "there is none".to_owned(),
            Some(latest) => format!("{} runs another task", latest.name()),
        };
        changes.push(Change { action: Action::Register, name: loader.name.clone(), why, fields, adopts: false });
    }
    if let Some(keep) = loader.keep_revisions {
        let leaving = present.old.leaving(keep, usize::from(registers)).map(|old| Change {
            action: Action::Deregister,
            name: old.name().to_owned(),
            why: format!("{keep} revisions are kept"),
            fields: Vec::new(),
            adopts: false,
        });
        changes.extend(leaving);
    }
    changes.extend(schedule::changes(loader, present));
    let (account, region) = (present.scope.account.clone(), present.scope.region.clone());
    Ok(Plan { account, region, changes, kept: kept(loader, present) })
}

/// The ground as it will be. What only the cloud can say has words in its place.
fn expected(loader: &Loader, present: &Present) -> Ground {
    let scope = &present.scope;
    let repository_uri = present.repository_uri().map_or_else(
        || format!("{}.dkr.ecr.{}.{}/{}", scope.account, scope.region, scope.domain(), loader.repository),
        str::to_owned,
    );
    let mut secrets = BTreeMap::new();
    for spec in &loader.secrets {
        let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
        let found = present.secrets.get(&spec.variable).and_then(|secret| secret.found.as_ref());
        let arn = found.map_or_else(|| arn_to_be(name), |found| found.arn.clone());
        secrets.insert(spec.variable.clone(), spec.value_from(&arn));
    }
    Ground {
        repository_uri,
        cluster: loader.cluster.clone(),
        log_group: loader.log_group.clone(),
        execution_role_arn: present.role_arn(RoleKind::Execution, loader),
        task_role_arn: present.role_arn(RoleKind::Task, loader),
        schedule_role_arn: loader.schedule.as_ref().map(|_| present.role_arn(RoleKind::Schedule, loader)),
        secrets,
        new_role: false,
    }
}
