//! What can be known before anything is built: line by line OK, NG or unknown, each with how to mend it. Reads only.
//!
//! A call that the road itself makes, and may not, is NG; one that is made for this alone, and may not be, is unknown.

mod check;
mod endpoints;
mod groups;
mod identity;
mod network;
mod permission;
mod push;
mod roles;
mod route;
mod secrets;

use std::collections::BTreeSet;

pub use check::{Check, Verdict};
pub use identity::{identity, stranger};

use self::endpoints::Service;
use self::network::Wish;
use super::change::{Change, RoleKind, difference};
use super::error::DeployError;
use super::loader::Loader;
use super::present::{Present, PresentRole, look_at_each};
use crate::aws::Cloud;

/// A role that was looked at.
type Found<'a> = Result<Option<&'a PresentRole>, &'a DeployError>;

/// Everything that a task of the loader stands on.
pub async fn preflight(cloud: &Cloud, loader: &Loader) -> Vec<Check> {
    let (parts, network) = tokio::join!(look_at_each(cloud, loader), network(cloud, loader));
    let (registry, secrets) =
        tokio::join!(push::login(cloud, &parts.repository), secrets::judge(cloud, loader, &parts.secrets));
    let mut checks = vec![push::repository(loader, &parts.repository), registry];
    checks.push(made("cluster", &loader.cluster, &parts.cluster));
    checks.push(made("log group", &loader.log_group, &parts.log_group));
    if let Err(error) = &parts.schedule {
        checks.push(Check::ng("schedule", error.to_string(), error.hint()).stopping());
    }
    if let Err(error) = &parts.revisions {
        checks.push(Check::ng("task definition", error.to_string(), error.hint()).stopping());
    }
    let roles = |execution: Found<'_>, task: Found<'_>, changes: &[Change]| {
        [
            roles::judge(RoleKind::Execution, &loader.execution_role, execution, changes),
            roles::judge(RoleKind::Task, &loader.task_role, task, changes),
        ]
    };
    let told =
        roles(parts.execution_role.as_ref().map(Option::as_ref), parts.task_role.as_ref().map(Option::as_ref), &[]);
    match parts.whole() {
        Ok(present) => {
            // A secret that has no value is told in a line of its own.
            let changes = difference(loader, &present).unwrap_or_default();
            checks.extend(roles(Ok(present.execution_role.as_ref()), Ok(present.task_role.as_ref()), &changes));
            checks.extend(secrets);
            checks.extend(after(cloud, loader, &present, &changes).await);
        }
        Err(_) => {
            checks.extend(told);
            checks.extend(secrets);
            checks.push(Check::unknown("permissions", "what is to be made is not known, see above", None));
        }
    }
    checks.extend(network);
    checks
}

/// What the road does not find out by itself before it builds. No secret is read for it.
pub async fn before_build(cloud: &Cloud, loader: &Loader, present: &Present, changes: &[Change]) -> Vec<Check> {
    let (mut checks, network) = tokio::join!(after(cloud, loader, present, changes), network(cloud, loader));
    checks.extend(network);
    checks
}

/// What only happens once the image is built.
async fn after(cloud: &Cloud, loader: &Loader, present: &Present, changes: &[Change]) -> Vec<Check> {
    let (mut checks, permissions, roles) = tokio::join!(
        push::tags(cloud, loader, present),
        permission::of_caller(cloud, loader, present, changes),
        roles::allow(cloud, loader, present),
    );
    checks.extend(roles);
    checks.extend(permissions);
    checks
}

async fn network(cloud: &Cloud, loader: &Loader) -> Vec<Check> {
    let seen = network::look(cloud, &loader.network).await;
    let wish = Wish {
        region: &cloud.region,
        network: &loader.network,
        services: &services(loader),
        is_amazons: cloud.ec2.is_amazons(),
    };
    network::judge(&wish, &seen)
}

/// What Fargate asks before the loader runs.
fn services(loader: &Loader) -> BTreeSet<Service> {
    let mut all = BTreeSet::from([Service::EcrApi, Service::EcrDkr, Service::S3, Service::Logs]);
    let others = loader.template.as_ref();
    if !loader.secrets.is_empty() || others.is_some_and(|template| !template.other_secrets.is_empty()) {
        all.insert(Service::SecretsManager);
    }
    if others.is_some_and(|template| !template.parameters.is_empty()) {
        all.insert(Service::Ssm);
    }
    all
}

fn made<T>(kind: &str, name: &str, found: &Result<Option<T>, DeployError>) -> Check {
    match found {
        Err(error) => Check::ng(kind, error.to_string(), error.hint()).stopping(),
        Ok(None) => Check::ok(kind, format!("there is no {name} yet, and it is made")),
        Ok(Some(_)) => Check::ok(kind, name),
    }
}
