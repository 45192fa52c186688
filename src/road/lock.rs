//! What a Dockerfile takes from outside, pinned.

use crate::build::{self, Pinning, Pins, RunOptions};
use crate::registry::Pusher;
use crate::replay::Policy;

use super::house::plan;
use super::{House, HouseOptions, Recipe, RoadError, recipe_graph};

/// Asks what each name means that the target needs, but for those that the recipe's own pins tell. Nothing is built,
/// unless what RUN downloads is to be recorded as well.
pub async fn lock(recipe: &Recipe, record: bool, options: &HouseOptions) -> Result<Pins, RoadError> {
    let graph = recipe_graph(recipe, &options.events)?;
    let house = House::open(options, None)?;
    let plan = plan(recipe, graph.clone());
    let pins = house.unless_interrupted(async { Ok(build::resolve(&plan, &house.workshop).await?) }).await?;
    if !record {
        return Ok(pins);
    }
    let held = recipe.pinning.pins.runs.clone().unwrap_or_default();
    let replay = house.replay(recipe, Policy::Record, held).await?;
    let recipe = Recipe {
        pinning: Pinning { pins: pins.clone(), only: None },
        run: RunOptions { downloads: Some(replay.clone()), ..recipe.run.clone() },
        ..recipe.clone()
    };
    house.build(&recipe, graph, &None::<Pusher>).await?;
    Ok(Pins { runs: Some(replay.downloads()), ..pins })
}
