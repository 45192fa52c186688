//! The road from a Dockerfile to a finished task; and its shorter stretches.
//!
//! What can go wrong without anything being changed comes first: the text, the plan, the cloud looked at, the base
//! images, the build. Only an image that exists changes the cloud.

mod amazon;
mod build;
mod check;
mod diff;
mod doctor;
mod downloads;
mod error;
mod house;
mod local;
mod lock;
mod materials;
mod output;
mod shared;
mod start;
mod upkeep;
mod verify;

pub use build::{Recipe, build, push_layout, recipe_graph};
pub use check::{Checked, check, outline, targets};
pub use diff::{Compared, DiffError, Differences, ImageAt, diff};
pub use doctor::{Diagnosis, diagnose};
pub use error::RoadError;
pub use house::{House, HouseOptions};
pub use local::ship_locally;
pub use lock::lock;
pub use materials::{DockerfileAt, DockerfileText, Gathered, Materials, Wanted, gather};
pub use output::{Output, OutputError, Outputs, Target};
pub use shared::{CacheFrom, CacheTo, CacheToPlace, Caches, Mode};
pub use upkeep::{Usage, prune, usage};
pub use verify::{Again, Elsewhere, Verified, VerifyError, verify};

use crate::aws::{Cloud, CloudOptions};
use crate::build::Built;
use crate::deploy::{self, Limits, Loader, Outcome, Pace};
use crate::event::Event;
use crate::image::Reference;
use crate::registry::{Pushed, Pusher};

/// One loader's whole road.
pub struct Order {
    pub recipe: Recipe,
    pub loader: Loader,
    pub cloud: CloudOptions,
    /// The account that the user believes to be in: `AWSACCOUNT`.
    pub account: Option<String>,
    /// `REPOSITORYURI`: where the user believes the image to go.
    pub repository_uri: Option<Reference>,
    pub limits: Limits,
}

/// A task that came to its end, and the image that it ran.
#[derive(Debug)]
pub struct Shipped {
    /// By digest.
    pub image: Reference,
    pub outcome: Outcome,
}

/// From the Dockerfile's text to the task's exit code.
pub async fn ship(order: Order, options: &HouseOptions) -> Result<Shipped, RoadError> {
    let Order { recipe, loader, cloud, account, repository_uri, limits } = order;
    let (pace, events) = (Pace::default(), &options.events);
    let graph = recipe_graph(&recipe, events)?;
    deploy::cpu_architecture(&recipe.options.platform)?;

    let cloud = Cloud::connect(&cloud).await?;
    check_account(&cloud, account.as_deref())?;
    let present = deploy::look(&cloud, &loader).await?;
    let changes = deploy::difference(&loader, &present)?;
    for kept in deploy::kept(&loader, &present) {
        events.emit(Event::Note(kept));
    }

    let house = House::open(options, Some(&cloud))?;
    let early = early_pusher(present.repository_uri(), &house).await?;
    let built = house.build(&recipe, graph, &early).await?;
    start::check_built(&built, &house).await?;

    // What is made stays made: the next run finds it there.
    let placing = async {
        let ground = deploy::apply(&cloud, &loader, present, &changes, &pace, events).await?;
        let destination = destination(&ground.repository_uri, repository_uri.as_ref())?;
        let pushed = push(&built, early, &destination, &loader, &house).await?;
        house.export(&built, &recipe.caches).await?;
        let (platform, digest) = (built.image.config.platform(), built.image.digest());
        let revision = deploy::register(&cloud, &loader, &ground, &digest, &platform, &pace, events).await?;
        Ok((ground, pushed, revision))
    };
    let (ground, pushed, revision) = house.unless_interrupted(placing).await?;
    let outcome = deploy::run(&cloud, &loader, &ground, &revision.arn, limits, &pace, events).await?;
    Ok(Shipped { image: pushed.reference, outcome })
}

/// Where the repository is there already, whether we may push to it is asked before the build, and layers go out
/// while later steps still run.
async fn early_pusher(repository: Option<&str>, house: &House) -> Result<Option<Pusher>, RoadError> {
    let Some(uri) = repository else { return Ok(None) };
    let destination: Reference = uri.parse()?;
    house.registry.may_push(&destination).await?;
    Ok(Some(house.pusher(destination)))
}

async fn push(
    built: &Built,
    early: Option<Pusher>,
    destination: &Reference,
    loader: &Loader,
    house: &House,
) -> Result<Pushed, RoadError> {
    let pusher = early.unwrap_or_else(|| house.pusher(destination.clone()));
    let name = loader.name();
    let mut tags = vec![name.to_owned(), format!("{name}.{}", built.image.digest().short())];
    tags.extend(loader.tags().iter().cloned());
    Ok(pusher.finish(&built.image, &house::base_blobs(built), &tags).await?)
}

fn destination(uri: &str, believed: Option<&Reference>) -> Result<Reference, RoadError> {
    let destination: Reference = uri.parse()?;
    match believed {
        Some(believed)
            if (believed.registry(), believed.repository()) != (destination.registry(), destination.repository()) =>
        {
            Err(RoadError::OtherRepository { believed: believed.to_string(), found: uri.to_owned() })
        }
        _ => Ok(destination),
    }
}

fn check_account(cloud: &Cloud, believed: Option<&str>) -> Result<(), RoadError> {
    match believed {
        Some(believed) if believed != cloud.caller.account => Err(RoadError::OtherAccount {
            believed: believed.to_owned(),
            found: cloud.caller.account.clone(),
            who: cloud.caller.arn.clone(),
        }),
        _ => Ok(()),
    }
}
