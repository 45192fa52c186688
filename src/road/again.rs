//! What was deployed before, without a build: run again, looked at, its log read.

use crate::deploy::{self, Job, Known, Limits, LogWish, Network, Outcome, Pace, Start, Status};
use crate::event::Events;

use super::{RoadError, Session, connect};

/// Runs the revision that `known` means; its ARN, and how each of its tasks ended.
pub async fn run(
    session: &Session,
    known: &Known,
    network: Network,
    start: &Start,
    limits: Limits,
    events: &Events,
) -> Result<(String, Vec<Outcome>), RoadError> {
    let cloud = connect(session).await?;
    let job = Job::find(&cloud, known, network).await?;
    let outcomes = deploy::run(&cloud, &job, start, limits, &Pace::default(), events).await?;
    Ok((job.task_definition().to_owned(), outcomes))
}

/// Emits the log of one task; how it ended, where it was followed.
pub async fn logs(
    session: &Session,
    known: &Known,
    wish: &LogWish,
    limits: Limits,
    events: &Events,
) -> Result<Option<Outcome>, RoadError> {
    let cloud = connect(session).await?;
    Ok(deploy::logs(&cloud, known, wish, limits, &Pace::default(), events).await?)
}

/// What a deployed loader is at: its revision, its schedule, what runs and how what ran last ended. Reads only.
pub async fn status(session: &Session, known: &Known) -> Result<Status, RoadError> {
    let cloud = connect(session).await?;
    Ok(deploy::status(&cloud, known).await?)
}
