//! What of a loader runs, and what ran last.

use super::error::{DeployError, During};
use super::explain::explain;
use super::job::Known;
use super::outcome::Outcome;
use super::schedule;
use crate::aws::{AwsError, Cloud, Revision, Schedule, Task, Wanted};

/// A loader's task definition and its tasks.
#[derive(Clone, Debug)]
pub struct Status {
    pub name: String,
    pub cluster: String,
    pub revision: Revision,
    /// The youngest first.
    pub running: Vec<Task>,
    /// Those that stopped within the last hour or so, the last first.
    pub stopped: Vec<Seen>,
    /// The schedule by which it runs; or why that is not known.
    pub schedule: Result<Option<Schedule>, AwsError>,
}

/// A task that stopped, and why.
#[derive(Clone, Debug)]
pub struct Seen {
    pub task: Task,
    pub outcome: Outcome,
}

/// So many of those that stopped are told.
const STOPPED: usize = 5;

/// Looks, and changes nothing.
pub async fn status(cloud: &Cloud, known: &Known) -> Result<Status, DeployError> {
    let revision = known.revision(cloud).await?.ok_or_else(|| known.missing())?;
    let doing = || format!("looking at the tasks of {}", known.name());
    let mut tasks = Vec::new();
    for wanted in [Wanted::Running, Wanted::Stopped] {
        tasks.extend(cloud.ecs.tasks(&known.cluster, known.name(), wanted).await.during(doing)?);
    }
    let (mut stopped, mut running): (Vec<Task>, Vec<Task>) =
        tasks.into_iter().partition(|task| task.status == "STOPPED");
    running.sort_by_key(|task| std::cmp::Reverse(task.created));
    stopped.sort_by_key(|task| std::cmp::Reverse(task.stopped.or(task.created)));
    stopped.truncate(STOPPED);
    let container = &revision.essentials.container;
    let stopped = stopped.into_iter().map(|task| Seen { outcome: explain(&task, container, false), task }).collect();
    // Who may look at tasks need not be allowed to look at schedules.
    let schedule = schedule::look_for(cloud, known.name()).await.map(|found| found.schedule);
    Ok(Status { name: known.name().to_owned(), cluster: known.cluster.clone(), revision, running, stopped, schedule })
}
