//! What the store keeps, and how it gets smaller.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::event::Event;
use crate::store::{Item, Lock, Prune, Shelf};

use super::{House, HouseOptions, RoadError};

/// What the store keeps.
#[derive(Debug)]
pub struct Usage {
    pub items: Vec<Item>,
    /// What was read and is not what it is called; none where nothing was read.
    pub damaged: Option<Vec<(Shelf, PathBuf)>>,
}

/// What is kept; `verify` reads all of it.
pub fn usage(verify: bool, options: &HouseOptions) -> Result<Usage, RoadError> {
    let house = House::open(options, None)?;
    let items = house.store.items(house.workshop.as_ref(), false)?;
    let damaged = if verify { Some(house.store.damaged(None)?) } else { None };
    Ok(Usage { items, damaged })
}

/// Removes what is chosen, when nobody uses the store; gives what went. With `dry_run` nothing goes.
pub fn prune(prune: Prune, dry_run: bool, options: &HouseOptions) -> Result<Vec<Item>, RoadError> {
    let (house, alone) = House::alone(options)?;
    let items = house.store.items(house.workshop.as_ref(), true)?;
    let chosen = prune.choose(items, SystemTime::now());
    if !dry_run {
        remove(&house, &chosen, &alone, options)?;
    }
    Ok(chosen)
}

fn remove(house: &House, chosen: &[Item], alone: &Lock, options: &HouseOptions) -> Result<(), RoadError> {
    for item in chosen {
        // What was removed until now is removed.
        if *options.interrupt.borrow() {
            return Err(RoadError::Interrupted);
        }
        match house.store.discard(item, house.workshop.as_ref(), alone) {
            Ok(()) => {}
            // The other things still go; and it stays what it is, a leftover.
            Err(error) => options.events.emit(Event::Warning { message: error.to_string(), hint: None }),
        }
    }
    Ok(())
}
