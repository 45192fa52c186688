//! The road from a Dockerfile to a finished task; and its shorter stretches.
//!
//! What can go wrong without anything being changed comes first: the text, the plan, the cloud looked at, the base
//! images, the build. Only an image that exists changes the cloud.

mod again;
mod amazon;
mod build;
mod check;
mod diff;
mod doctor;
mod down;
mod downloads;
mod each;
mod error;
mod house;
mod local;
mod lock;
mod materials;
mod output;
mod preflight;
mod shared;
mod start;
mod turns;
mod upkeep;
mod verify;

pub use again::{logs, run, status};
pub use build::{Recipe, build, push_layout, recipe_graph};
pub use check::{Checked, check, outline, targets};
pub use diff::{Compared, DiffError, Differences, ImageAt, diff};
pub use doctor::{Diagnosis, diagnose, reach};
pub use down::{Down, down};
pub use each::{Each, each};
pub use error::RoadError;
pub use house::{House, HouseOptions};
pub use local::ship_locally;
pub use lock::lock;
pub use materials::{DockerfileAt, DockerfileText, Gathered, Materials, Wanted, gather};
pub use output::{Output, OutputError, Outputs, Target};
pub use preflight::{Preflight, preflight};
pub use shared::{CacheFrom, CacheFromPlace, CacheTo, CacheToPlace, Caches, Mode};
pub use turns::Turns;
pub use upkeep::{Usage, prune, usage};
pub use verify::{Again, Elsewhere, Verified, VerifyError, verify};

use crate::aws::{Cloud, CloudOptions};
use crate::build::Built;
use crate::deploy::{self, Change, Field, Job, Limits, Loader, Outcome, Pace, Plan, Schedule, Start};
use crate::event::{Event, Events};
use crate::image::Reference;
use crate::registry::{Pushed, Pusher};

/// One loader's whole road; or what it would do, which [`plan`] tells.
pub struct Order {
    pub recipe: Recipe,
    pub loader: Loader,
    pub session: Session,
    /// Whether what could only fail is looked for before the build.
    pub preflight: bool,
    /// `REPOSITORYURI`: where the user believes the image to go.
    pub repository_uri: Option<Reference>,
}

/// Who calls AWS, and in which account they believe to be: `AWSACCOUNT`.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub cloud: CloudOptions,
    pub account: Option<String>,
}

/// An image that is where it should be, and what became of its tasks.
#[derive(Debug)]
pub struct Shipped {
    /// By digest.
    pub image: Reference,
    /// The ARN of the revision that runs it; none on this machine.
    pub task_definition: Option<String>,
    /// Of each task; none where nothing was to be run.
    pub outcomes: Vec<Outcome>,
}

/// From the Dockerfile's text to the task's exit code.
pub async fn ship(order: Order, start: &Start, limits: Limits, options: &HouseOptions) -> Result<Shipped, RoadError> {
    let Deployed { cloud, job, image, arn } = place(order, options).await?;
    let outcomes = deploy::run(&cloud, &job, start, limits, &Pace::default(), &options.events).await?;
    Ok(Shipped { image, task_definition: Some(arn), outcomes })
}

/// The road without the run.
pub async fn deploy(order: Order, options: &HouseOptions) -> Result<Shipped, RoadError> {
    let schedule = order.loader.schedule().cloned();
    let Deployed { image, arn, job, .. } = place(order, options).await?;
    if let Some(schedule) = schedule {
        options.events.emit(Event::Note(by_itself(job.name(), &schedule)));
    }
    Ok(Shipped { image, task_definition: Some(arn), outcomes: Vec::new() })
}

/// How a loader that has a schedule is run.
fn by_itself(name: &str, schedule: &Schedule) -> String {
    let Schedule { expression, timezone, enabled, .. } = schedule;
    let now = format!("`locus-push run {name}` runs it now");
    match enabled {
        true => format!("{name} is run by its schedule, {expression} in {timezone}; {now}"),
        false => format!("the schedule of {name} is switched off; {now}"),
    }
}

/// Something that can be run.
struct Deployed {
    cloud: Cloud,
    job: Job,
    image: Reference,
    arn: String,
}

async fn place(order: Order, options: &HouseOptions) -> Result<Deployed, RoadError> {
    let Order { recipe, loader, session, preflight, repository_uri } = order;
    let (pace, events) = (Pace::default(), &options.events);
    let graph = recipe_graph(&recipe, events)?;
    deploy::cpu_architecture(&recipe.options.platform)?;

    let _turn = options.turns.to_build(&options.interrupt).await?;
    let cloud = connect(&session).await?;
    let present = deploy::look(&cloud, &loader).await?;
    let changes = deploy::difference(&loader, &present)?;
    let (scheduled, later) = (present.scheduled().clone(), deploy::schedule_changes(&loader, &present));
    said(&later, &[], events);
    said(&changes, &deploy::kept(&loader, &present), events);

    let house = House::open(options, Some(&cloud))?;
    let refusing =
        async { if preflight { preflight::refuse(&cloud, &loader, &present, &changes, events).await } else { Ok(()) } };
    let looking = async { tokio::try_join!(early_pusher(present.repository_uri(), &house), refusing) };
    let (early, ()) = house.unless_interrupted(looking).await?;
    let built = house.build(&recipe, graph, &early).await?;
    start::check_built(&built, &house).await?;

    let tags = loader.tags(&present, &built.image.digest());
    // What is made stays made: the next run finds it there.
    let placing = async {
        let ground = {
            let _alone = options.turns.to_change_the_cloud().await;
            deploy::apply(&cloud, &loader, present, &changes, &pace, events).await?
        };
        let destination = destination(&ground.repository_uri, repository_uri.as_ref())?;
        let pushed = push(&built, early, &destination, &tags, &house).await?;
        house.export(&built, &recipe.caches).await?;
        let (platform, digest) = (built.image.config.platform(), built.image.digest());
        let revision = deploy::register(&cloud, &loader, &ground, &digest, &platform, &pace, events).await?;
        deploy::schedule(&cloud, &loader, &scheduled, &later, &ground, &pace, events).await?;
        Ok((ground, pushed, revision))
    };
    let (ground, pushed, revision) = house.unless_interrupted(placing).await?;
    let arn = revision.arn.clone();
    let network = loader.network().clone();
    let job = Job::new(loader.name(), revision, &ground.cluster, &cloud.region, network, ground.new_role);
    Ok(Deployed { cloud, job, image: pushed.reference, arn })
}

async fn connect(session: &Session) -> Result<Cloud, RoadError> {
    let cloud = Cloud::connect(&session.cloud).await?;
    check_account(&cloud, session.account.as_deref())?;
    Ok(cloud)
}

/// What is somebody else's and stays as it is; and what of it changes, and is lost, because that was asked for.
fn said(changes: &[Change], kept: &[String], events: &Events) {
    for kept in kept {
        events.emit(Event::Note(kept.clone()));
    }
    for change in changes.iter().filter(|change| change.adopts) {
        let fields = change.fields.iter().map(Field::to_string).collect::<Vec<_>>().join("; ");
        let (kind, name) = (change.action.kind(), &change.name);
        let message = format!("the {kind} {name} was not made by locus-push and is adopted: {fields}");
        events.emit(Event::Warning { message, hint: None });
    }
}

/// What [`ship`] would create or change, and why, as far as it can be known before the build. Reads only.
pub async fn plan(order: Order, events: &Events) -> Result<Plan, RoadError> {
    let Order { recipe, loader, session, preflight: _, repository_uri } = order;
    recipe_graph(&recipe, events)?;
    let cloud = connect(&session).await?;
    let present = deploy::look(&cloud, &loader).await?;
    if let Some(uri) = present.repository_uri() {
        destination(uri, repository_uri.as_ref())?;
    }
    Ok(deploy::plan(&loader, &present, &recipe.options.platform)?)
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
    tags: &[String],
    house: &House,
) -> Result<Pushed, RoadError> {
    let pusher = early.unwrap_or_else(|| house.pusher(destination.clone()));
    Ok(pusher.finish(&built.image, &house::base_blobs(built), tags).await?)
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
