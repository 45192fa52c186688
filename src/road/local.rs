//! The same road with nothing but this machine: an embedded registry, and the task in the sandbox.

use crate::build::{self, Root};
use crate::deploy::{Description, Limits, LocalTask, REPOSITORY, local_secrets, run_local};
use crate::event::Event;
use crate::image::Reference;
use crate::registry::{Server, ServerOptions};

use super::house::base_blobs;
use super::{House, HouseOptions, Recipe, RoadError, Shipped, recipe_graph};

/// Builds, pushes to a registry of our own on loopback, runs the image with the loader's environment and secrets.
pub async fn ship_locally(
    recipe: &Recipe,
    task: &Description,
    limits: Limits,
    options: &HouseOptions,
) -> Result<Shipped, RoadError> {
    let graph = recipe_graph(recipe, &options.events)?;
    let secrets = local_secrets(&task.secrets)?;

    // The task runs here: it is a part of this turn.
    let _turn = options.turns.to_build(&options.interrupt).await?;
    let house = House::open(options, None)?;
    // The task is to run here, whatever the build needs.
    let emulator = house.workshop.emulation(&recipe.options.platform)?.emulator();
    let data = house.store.root().join("registry");
    let server = Server::start(house.store.clone(), &data, ServerOptions::at(([127, 0, 0, 1], 0).into())).await?;
    // As in the cloud: a loader's name may have capitals, a repository's may not.
    let repository = task.repository.as_deref().unwrap_or(REPOSITORY);
    let destination: Reference = format!("{}/{repository}", server.address()).parse()?;
    let pusher = Some(house.pusher(destination).of_whole_layers());
    let built = house.build(recipe, graph, &pusher).await?;
    let pushed = match pusher {
        Some(pusher) => pusher.finish(&built.image, &base_blobs(&built), std::slice::from_ref(&task.name)).await?,
        None => return Err(RoadError::Interrupted),
    };

    house.unless_interrupted(house.export(&built, &recipe.caches)).await?;

    let Root { layers, config, user, home, folder } = build::root(&built, &house.workshop).await?;
    let sandbox = house.workshop.sandbox()?.clone();
    let environment = task.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let task = LocalTask { name: task.name.clone(), layers, config, environment, secrets, user, home, emulator };
    let outcome = run_local(sandbox.clone(), task, limits, &options.events).await;
    let removed = tokio::task::spawn_blocking(move || sandbox.remove(folder.path())).await;
    if !matches!(removed, Ok(Ok(()))) {
        let message = "what the task wrote could not be removed from our folder".to_owned();
        options.events.emit(Event::Warning { message, hint: None });
    }
    Ok(Shipped { image: pushed.reference, task_definition: None, outcomes: vec![outcome?] })
}
