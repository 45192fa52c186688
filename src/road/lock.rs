//! What a Dockerfile takes from outside, pinned.

use crate::build::{self, Pins};

use super::house::plan;
use super::{House, HouseOptions, Recipe, RoadError, recipe_graph};

/// Asks what each name means that the target needs, but for those that the recipe's own pins tell. Nothing is built.
pub async fn lock(recipe: &Recipe, options: &HouseOptions) -> Result<Pins, RoadError> {
    let graph = recipe_graph(recipe, &options.events)?;
    let house = House::open(options, None)?;
    let plan = plan(recipe, graph);
    house.unless_interrupted(async { Ok(build::resolve(&plan, &house.workshop).await?) }).await
}
