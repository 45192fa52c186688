//! What was deployed before, once for each line of a file.

use std::path::Path;

use crate::deploy::{self, EachWish, Ended, Inputs, Job, Known, Limits, Lines, Network, Pace, Start};
use crate::event::Events;
use crate::store::Store;

use super::{RoadError, Session, connect};

/// The lines, and how they are gone through; `home` remembers how far they are.
pub struct Each<'a> {
    pub inputs: &'a Inputs,
    pub wish: EachWish,
    pub home: &'a Path,
}

/// Runs the revision that `known` means for each line; its ARN, and what became of the lines.
pub async fn each(
    session: &Session,
    (known, network): (&Known, Network),
    start: &Start,
    each: &Each<'_>,
    limits: Limits,
    events: &Events,
) -> Result<(String, Ended), RoadError> {
    let Each { inputs, wish, home } = each;
    let store = Store::open(home)?;
    let cloud = connect(session).await?;
    let job = Job::find(&cloud, known, network).await?;
    let lines = Lines { inputs, wish: *wish, store: &store };
    let ended = deploy::each(&cloud, &job, start, lines, limits, &Pace::default(), events).await?;
    Ok((job.task_definition().to_owned(), ended))
}
