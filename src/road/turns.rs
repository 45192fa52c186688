//! Several loaders at once: what they take turns at, and what they share.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, watch};

use super::RoadError;
use crate::registry::Shared;

/// Handed to each of several roads. Cheap to clone.
#[derive(Clone)]
pub struct Turns {
    building: Arc<Semaphore>,
    cloud: Arc<Mutex<()>>,
    pub(super) registry: Shared,
}

/// One of those who may build; until it is dropped.
pub(super) struct Turn {
    _building: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// So many build at once; their tasks run without a turn.
    pub fn of(at_once: usize) -> Self {
        Self {
            building: Arc::new(Semaphore::new(at_once.max(1))),
            cloud: Arc::default(),
            registry: Shared::asking_once(),
        }
    }

    pub(super) async fn to_build(&self, interrupt: &watch::Receiver<bool>) -> Result<Turn, RoadError> {
        let mut interrupt = interrupt.clone();
        tokio::select! {
            biased;
            Ok(_) = interrupt.wait_for(|told| *told) => Err(RoadError::Interrupted),
            // The turns are never closed; and if they were, nobody would take any.
            turn = Arc::clone(&self.building).acquire_owned() => Ok(Turn { _building: turn.ok() }),
        }
    }

    /// What loaders share in the cloud is made by one of them, and found there by the others.
    pub(super) async fn to_change_the_cloud(&self) -> MutexGuard<'_, ()> {
        self.cloud.lock().await
    }
}

/// Alone: nothing to share, and no turn to wait for.
impl Default for Turns {
    fn default() -> Self {
        Self { registry: Shared::default(), ..Self::of(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_ends_the_wait_for_a_turn() {
        let (user, interrupt) = watch::channel(false);
        let turns = Turns::of(1);
        let first = turns.to_build(&interrupt).await;
        let second = async {
            tokio::task::yield_now().await;
            user.send_replace(true);
        };
        let (waited, ()) = tokio::join!(turns.to_build(&interrupt), second);
        assert!(matches!(waited, Err(RoadError::Interrupted)));
        drop(first);
    }
}
