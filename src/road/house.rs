//! What the stretches of the road share: the store, the registry client, the workshop, and how it is interrupted.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::aws::{Cloud, CloudOptions};
use crate::build::{self, Built, Imports, Layer, Plan, Sink, Workshop};
use crate::event::{Event, Events};
use crate::graph::Graph;
use crate::image::{Descriptor, Reference};
use crate::layer::Packing;
use crate::registry::{Endpoints, Options, PrivateHosts, Pusher, Registry};
use crate::sandbox::Stopper;
use crate::store::{Lock, Store, StoreError};

use super::amazon::Amazon;
use super::{Recipe, RoadError, Turns};

/// What a house is made of.
#[derive(Clone)]
pub struct HouseOptions {
    /// Everything on disk lies below it.
    pub home: PathBuf,
    pub endpoints: Endpoints,
    pub allow_private: PrivateHosts,
    pub ca_file: Option<PathBuf>,
    /// Who asks AWS for the tokens of ECR's registries.
    pub cloud: CloudOptions,
    /// How the layers that are built are compressed.
    pub packing: Packing,
    /// What this road shares with others that are walked at the same time.
    pub turns: Turns,
    pub events: Events,
    /// Becomes true when the user wants it to end.
    pub interrupt: watch::Receiver<bool>,
}

impl HouseOptions {
    /// A house by itself: registries and AWS as the user's own files and environment have them, nobody who listens, nobody
    /// who interrupts.
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            endpoints: Endpoints::default(),
            allow_private: PrivateHosts::default(),
            ca_file: None,
            cloud: CloudOptions::default(),
            packing: Packing::default(),
            turns: Turns::default(),
            events: Events::silent(),
            // Nobody holds the other end, and so it never becomes true.
            interrupt: watch::channel(false).1,
        }
    }
}

/// The tools of one road.
pub struct House {
    pub store: Store,
    pub registry: Registry,
    pub workshop: Arc<Workshop<Registry>>,
    amazon: Arc<Amazon>,
    pub(super) ca_file: Option<PathBuf>,
    stopper: Stopper,
    interrupt: watch::Receiver<bool>,
    /// Nobody prunes the store meanwhile.
    _in_use: Option<Lock>,
}

impl House {
    /// Opens the store. The cloud that the task is for is asked for its registry's tokens too.
    pub fn open(options: &HouseOptions, cloud: Option<&Cloud>) -> Result<Self, RoadError> {
        let store = Store::open(&options.home)?;
        let in_use = lock(|| store.try_use(), "another process, which prunes the store", options)?;
        Self::of_store(store, Some(in_use), options, cloud)
    }

    /// Opens the store when nobody uses it; until the lock is dropped, nobody else does.
    pub fn alone(options: &HouseOptions) -> Result<(Self, Lock), RoadError> {
        let store = Store::open(&options.home)?;
        let alone = lock(|| store.try_alone(), "other processes, which use the store", options)?;
        Ok((Self::of_store(store, None, options, None)?, alone))
    }

    fn of_store(
        store: Store,
        in_use: Option<Lock>,
        options: &HouseOptions,
        cloud: Option<&Cloud>,
    ) -> Result<Self, RoadError> {
        let mut registry = Options::new(store.clone(), options.events.clone());
        registry.endpoints = options.endpoints.clone();
        registry.allow_private = options.allow_private.clone();
        registry.ca_file = options.ca_file.clone();
        registry.shared = options.turns.registry.clone();
        let amazon = Amazon::new(options.cloud.clone(), cloud);
        registry.credentials = registry.credentials.with_ecr(amazon.login()).with_ecr_public(amazon.public_login());
        let registry = Registry::new(registry)?;
        let stopper = Stopper::new();
        let mut workshop = Workshop::new(store.clone(), registry.clone(), options.events.clone(), stopper.clone());
        workshop.packing = options.packing;
        let (workshop, ca_file, interrupt) = (Arc::new(workshop), options.ca_file.clone(), options.interrupt.clone());
        Ok(Self { store, registry, workshop, amazon, ca_file, stopper, interrupt, _in_use: in_use })
    }

    /// An image's way to its repository.
    pub(super) fn pusher(&self, destination: Reference) -> Pusher {
        let presence = self.amazon.presence(&destination);
        let pusher = Pusher::new(&self.registry, destination);
        match presence {
            Some(presence) => pusher.with_presence(presence),
            None => pusher,
        }
    }

    /// Does something that is no harm to leave half done.
    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, RoadError>>,
    ) -> Result<T, RoadError> {
        let mut interrupt = self.interrupt.clone();
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            told = interrupt.wait_for(|told| *told) => if told.is_err() { return work.await },
        }
        Err(RoadError::Interrupted)
    }

    /// Builds, until it is done or interrupted; then what runs is ended, and the store is one that the next build can
    /// use. What is found to be damaged, or not what a cache says, is passed over by the next attempt.
    pub(super) async fn build(&self, recipe: &Recipe, graph: Graph, sink: &impl Sink) -> Result<Built, RoadError> {
        let began = SystemTime::now();
        let mut imports = self.unless_interrupted(async { Ok(self.imports(recipe).await) }).await?;
        let (mut mended, mut asked) = (false, false);
        loop {
            let error = match self.build_once(recipe, graph.clone(), imports.clone(), sink).await {
                Err(RoadError::Build(error)) if error.may_be_damage() => error,
                // Nothing was fetched for a build that was found done; better to know now than halfway through a push.
                Ok(built) if imports.were_used() && !asked => {
                    asked = true;
                    let left = async { Ok(self.without_vanished(&built, &recipe.caches).await) };
                    match self.unless_interrupted(left).await? {
                        Some(less) => imports = less,
                        None => return Ok(built),
                    }
                    continue;
                }
                built => return built,
            };
            if imports.were_used() {
                imports = self.less(&imports, &error);
            } else if !mended && self.mended(began)? {
                mended = true;
            } else {
                return Err(error.into());
            }
            self.stopper.resume();
        }
    }

    /// Removes what the build used and is not what it is called; whether there was something.
    fn mended(&self, began: SystemTime) -> Result<bool, RoadError> {
        // Some file systems are late by a tick.
        let damaged = self.store.damaged(began.checked_sub(Duration::from_secs(1)))?;
        for (_, path) in &damaged {
            self.store.forget(path)?;
            let message = format!("the store was damaged: {} is made or fetched again", path.display());
            self.workshop.events.emit(Event::Warning { message, hint: None });
        }
        Ok(!damaged.is_empty())
    }

    async fn build_once(
        &self,
        recipe: &Recipe,
        graph: Graph,
        imports: Imports,
        sink: &impl Sink,
    ) -> Result<Built, RoadError> {
        let mut plan = Plan { imports, ..plan(recipe, graph) };
        if plan.run.downloads.is_none() {
            plan.run.downloads = self.replaying(recipe).await?;
        }
        let building = build::build(&plan, Arc::clone(&self.workshop), sink);
        tokio::pin!(building);
        let mut interrupt = self.interrupt.clone();
        tokio::select! {
            built = &mut building => return Ok(built?),
            told = interrupt.wait_for(|told| *told) => if told.is_err() { return Ok(building.await?) },
        }
        self.stopper.stop();
        // A running step sees the end of its sandbox and clears up; what waits for the network is dropped.
        let clearing = tokio::time::timeout(Duration::from_secs(5), building).await;
        drop(clearing);
        Err(RoadError::Interrupted)
    }
}

pub(super) fn plan(recipe: &Recipe, graph: Graph) -> Plan {
    Plan {
        graph,
        context: recipe.context.clone(),
        epochs: recipe.epochs,
        no_cache: recipe.no_cache.clone(),
        shown: recipe.shown.clone(),
        explain: recipe.explain,
        run: recipe.run.clone(),
        pinning: recipe.pinning.clone(),
        annotations: recipe.annotations.clone(),
        imports: Imports::default(),
        inline: recipe.caches.inline(),
        all_travel: recipe.caches.all(),
    }
}

/// Asks for a lock until there is one, or the user wants it to end.
fn lock(
    ask: impl Fn() -> Result<Option<Lock>, StoreError>,
    who: &str,
    options: &HouseOptions,
) -> Result<Lock, RoadError> {
    const PAUSE: Duration = Duration::from_millis(50);
    if let Some(lock) = ask()? {
        return Ok(lock);
    }
    options.events.emit(Event::Note(format!("waiting for {who}")));
    loop {
        if *options.interrupt.borrow() {
            return Err(RoadError::Interrupted);
        }
        std::thread::sleep(PAUSE);
        if let Some(lock) = ask()? {
            return Ok(lock);
        }
    }
}

/// The layers that come from elsewhere, and where they can be had.
pub(super) fn base_blobs(built: &Built) -> Vec<(Reference, Descriptor)> {
    from_elsewhere(&built.snapshot.layers)
}

pub(super) fn from_elsewhere(layers: &[Layer]) -> Vec<(Reference, Descriptor)> {
    layers.iter().filter_map(|layer| Some((layer.from.clone()?, layer.blob.clone()))).collect()
}
