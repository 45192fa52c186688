//! What is taken away.

use tokio::time::{Instant, sleep};

use super::change::Removal;
use super::pace::Pace;
use super::schedule::GROUP;
use crate::aws::{self, AwsError, Cloud};

/// Takes one thing away.
pub(super) async fn remove(cloud: &Cloud, removal: &Removal, name: &str, pace: &Pace) -> Result<(), AwsError> {
    let Cloud { ecr, ecs, iam, logs, scheduler, secrets, .. } = cloud;
    let done = match removal {
        Removal::Schedule => scheduler.delete(GROUP, name).await,
        Removal::ScheduleGroup => scheduler.delete_group(name).await,
        Removal::Task { cluster, arn } => stop(cloud, cluster, arn, pace).await,
        Removal::ImageTags { repository, tags } => ecr.untag(repository, tags).await,
        Removal::Policy { role } => iam.delete_role_policy(role, name).await,
        Removal::Attachment { role } => iam.detach(role, name).await,
        Removal::Role => iam.delete_role(name).await,
        Removal::LogGroup => logs.delete_group(name).await,
        Removal::Secret => secrets.delete(name).await,
        Removal::Revision { arn, active } => {
            if *active {
                ecs.deregister(arn).await?;
            }
            ecs.delete_revision(arn).await
        }
        // A task that has stopped is its cluster's for some seconds more.
        Removal::Cluster => {
            let worth = |error: &AwsError| error.code.as_deref() == Some("ClusterContainsTasksException");
            pace.role_lag.retry(worth, || ecs.delete_cluster(name)).await
        }
        Removal::Repository => ecr.delete_repository(name).await,
    };
    match done {
        Err(error) if error.kind == aws::Kind::NotFound => Ok(()),
        done => done,
    }
}

/// Until it has stopped, or has had the time to.
async fn stop(cloud: &Cloud, cluster: &str, arn: &str, pace: &Pace) -> Result<(), AwsError> {
    cloud.ecs.stop(cluster, arn, "its loader is removed (locus-push down)").await?;
    let (begun, mut step) = (Instant::now(), pace.status.first);
    while begun.elapsed() < pace.stop {
        match cloud.ecs.task(cluster, arn).await? {
            Some(task) if task.status != "STOPPED" => sleep(step).await,
            _ => return Ok(()),
        }
        step = pace.status.after(step);
    }
    Ok(())
}
