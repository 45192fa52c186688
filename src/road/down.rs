//! A loader taken down.

use tokio::sync::watch;

use crate::aws::Cloud;
use crate::deploy::{self, Doomed, Pace, Plan};
use crate::event::Events;

use super::{RoadError, Session, connect};

/// What would be removed of a loader, and the cloud that it is in.
pub struct Down {
    cloud: Cloud,
    found: deploy::Down,
}

/// Looks, and changes nothing.
pub async fn down(session: &Session, doomed: &Doomed) -> Result<Down, RoadError> {
    let cloud = connect(session).await?;
    let found = deploy::down(&cloud, doomed).await?;
    Ok(Down { cloud, found })
}

impl Down {
    pub fn plan(&self) -> &Plan {
        &self.found.plan
    }

    pub async fn take_down(&self, events: &Events, interrupt: &watch::Receiver<bool>) -> Result<(), RoadError> {
        Ok(deploy::take_down(&self.cloud, &self.found, &Pace::default(), events, interrupt).await?)
    }
}
