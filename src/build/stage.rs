//! Stages, each as soon as what it needs is there; steps in their order, each looked up in the build cache before it is
//! done.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::event::{Event, LayerSize, Why};
use crate::graph::{self, Action, Base, Copy, CopyFrom, Graph, Ground, Key, Origin, Part, SourceDate, Stage, Step};
use crate::image::{Descriptor, Digest, Image, ImageConfig, Platform, Reference};
use crate::layer::{Content, Kind, Times, Tree, View};
use crate::replay::Outcome;

use super::archive::{keep_archive, open_archives};
use super::context::Listing;
use super::copy::place;
use super::downloads::{Gate, Keys, Recorded};
use super::draft::{Draft, Parents};
use super::emulation;
use super::foresight::Foreseen;
use super::key::Keyed;
use super::memory::Memory;
use super::mounts::Sources;
use super::packed::Wrapping;
use super::paths::Paths;
use super::pick::{Known, Picked, digest, pick};
use super::reasons::{Place, Reasons};
use super::run::RunOrder;
use super::shared::{self, CacheMounts, Did, Doing, Imports};
use super::snapshot::{Layer, Snapshot};
use super::workshop::{Workshop, blocking, layer_path, open};
use super::{BuildError, Context, Download, Epochs, GitAccess, Pinning, Problem, RunOptions, Sink, Source};

/// How long the other stages may take to end after one has failed.
const CLEARING: Duration = Duration::from_secs(5);

/// What is to be built, and how.
pub struct Plan {
    pub graph: Graph,
    /// What the Dockerfile is called.
    pub shown: String,
    pub context: Context,
    pub epochs: Epochs,
    pub no_cache: NoCache,
    /// Why each step is done is told.
    pub explain: bool,
    pub run: RunOptions,
    pub pinning: Pinning,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// What caches elsewhere know of the steps.
    pub imports: Imports,
    /// The image's config carries what a cache would say of its layers.
    pub inline: bool,
    /// The layers of all stages travel, and not those of the image alone.
    pub all_travel: bool,
}

/// Which steps take nothing from the build cache; what they make goes into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    #[default]
    None,
    All,
    /// Those of the stages with these names.
    Stages(BTreeSet<String>),
}

/// A finished image: the layers that were made are in the store, those of its base and of caches perhaps not.
#[derive(Clone, Debug)]
pub struct Built {
    pub image: Image,
    pub snapshot: Snapshot,
    /// The steps of all stages, by their keys.
    pub steps: BTreeMap<Digest, Did>,
    /// Those of all RUNs.
    pub mounts: CacheMounts,
    /// The caches that it could take from.
    pub imports: Imports,
}

/// What a step gave; the build cache's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StepRecord {
    pub diff_id: Digest,
    pub blob: Descriptor,
    /// The bytes of the uncompressed tar; what was kept before they were recorded has none.
    #[serde(default)]
    pub tar_size: Option<u64>,
}

/// A stage that is done.
#[derive(Clone)]
struct Done {
    snapshot: Snapshot,
    ground: Ground,
}

/// Builds the graph's target.
pub async fn build<S, K>(plan: &Plan, workshop: Arc<Workshop<S>>, sink: &K) -> Result<Built, BuildError>
where
    S: Source + 'static,
    K: Sink,
{
    workshop.pin(plan.pinning.clone());
    if plan.imports.is_empty() {
        can_run(&plan.graph, &workshop)?;
    }
    let run = Run::of(plan, workshop, sink).await?;
    emulation::tell(&run.graph, &run.workshop)?;
    let (memory, reasons) = (Arc::clone(&run.memory), Arc::clone(&run.reasons));
    let built = match run.all().await {
        Ok(()) => run.finish(),
        Err(error) => Err(error),
    };
    // What was read is remembered, whatever became of it.
    memory.keep(built.is_ok())?;
    reasons.keep()?;
    built
}

/// Where no RUN can be executed, that is news to get before anything is fetched. A store in which some RUN was executed
/// may have the results of these too, so that none need be.
fn can_run<S: Source>(graph: &Graph, workshop: &Workshop<S>) -> Result<(), BuildError> {
    let run = graph.needed().into_iter().find_map(|stage| stage.runs().next());
    match run {
        Some(run) if !workshop.store.has_layers() => workshop.sandbox().map(drop).map_err(|error| error.at(Some(run))),
        _ => Ok(()),
    }
}

/// Finds the date that the build was asked to take from somewhere.
pub(super) async fn dated<S: Source>(
    graph: &mut Graph,
    plan: &Plan,
    access: &GitAccess,
    workshop: &Workshop<S>,
) -> Result<Epochs, BuildError> {
    let source_date = match graph.source_date()? {
        SourceDate::Unset => return Ok(plan.epochs),
        SourceDate::None => None,
        SourceDate::Context => plan.context.date(),
        SourceDate::Git(git) => Some(workshop.checkout(&git, access).await?.committed),
        SourceDate::Seconds(seconds) => Some(seconds),
        SourceDate::Url(url) => match workshop.fetch_url(&url).await? {
            Download { last_modified: Some(seconds), .. } => Some(seconds),
            Download { digest, .. } => workshop.newest_in(digest).await?,
        },
    };
    graph.set_source_date(source_date);
    Ok(Epochs { source_date, ..plan.epochs })
}

/// Looks up every base before anything is built: one that does not exist is no news to get after 20 minutes. The
/// triggers of a base may need further stages, and those further bases.
pub(super) async fn bases<S: Source>(graph: &mut Graph, workshop: &Workshop<S>) -> Result<Images, BuildError> {
    let images = Images::default();
    let mut seen = BTreeSet::new();
    loop {
        let new: Vec<Stage> = graph.needed().into_iter().filter(|stage| seen.insert(stage.number)).cloned().collect();
        if new.is_empty() {
            return Ok(images);
        }
        for stage in new {
            let known = match &stage.base {
                Base::Image(reference) => {
                    let image = images.of(reference, &stage.platform, workshop).await;
                    image.map_err(|error| error.first_hint(stage_meant(graph, reference)))
                }
                Base::Origin(Origin::Layout { path, image }) => workshop.layout(path, image, &stage.platform).await,
                Base::Scratch | Base::Stage(_) | Base::Origin(_) => continue,
            };
            let (_, config) = known.map_err(|e| e.at(Some(stage.span)))?;
            graph.trigger(stage.number, &config.config.on_build)?;
        }
    }
}

/// The images from outside, each looked up once a build.
#[derive(Default)]
pub(super) struct Images(Once<(Reference, Platform), (Snapshot, ImageConfig)>);

/// What is made once a build, by whoever asks first; the others wait for it.
type Once<K, V> = Mutex<BTreeMap<K, Arc<OnceCell<V>>>>;

impl Images {
    pub async fn of<S: Source>(
        &self,
        reference: &Reference,
        platform: &Platform,
        workshop: &Workshop<S>,
    ) -> Result<(Snapshot, ImageConfig), BuildError> {
        let name = (reference.clone(), platform.clone());
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default());
        Ok(cell.get_or_try_init(|| workshop.image(reference, platform)).await?.clone())
    }
}

/// What to do where there is no such image: perhaps a stage was meant.
fn stage_meant(graph: &Graph, image: &Reference) -> Option<String> {
    graph.stage_like(image).map(|stage| format!("did you mean the stage `{stage}`?"))
}

/// A source that is not looked for in the context.
pub(super) fn is_elsewhere(source: &graph::Source) -> bool {
    match source {
        graph::Source::Inline { .. } | graph::Source::Url { .. } | graph::Source::Git(_) => true,
        graph::Source::Path { .. } | graph::Source::Parents { .. } => false,
    }
}

/// The stages whose layers are layers of the image.
fn spine(graph: &Graph) -> BTreeSet<usize> {
    let mut spine = BTreeSet::from([graph.target()]);
    let mut number = graph.target();
    while let Base::Stage(below) = graph.stage(number).base {
        spine.insert(below);
        number = below;
    }
    spine
}

fn anew(graph: &Graph, no_cache: &NoCache) -> Result<BTreeSet<usize>, BuildError> {
    match no_cache {
        NoCache::None => Ok(BTreeSet::new()),
        NoCache::All => Ok((0..graph.stages()).collect()),
        NoCache::Stages(names) => {
            Ok(names.iter().map(|name| graph.named("--no-cache-filter: stage", name)).collect::<Result<_, _>>()?)
        }
    }
}

pub(super) struct Run<'a, S, K> {
    pub graph: Graph,
    pub epochs: Epochs,
    pub options: &'a RunOptions,
    access: GitAccess,
    context: &'a Context,
    annotations: &'a BTreeMap<String, String>,
    pub imports: &'a Imports,
    inline: bool,
    doing: Doing,
    /// The cache mounts that were met so far.
    mounts: Mutex<CacheMounts>,
    /// The stages that take nothing from the build cache.
    anew: BTreeSet<usize>,
    pub workshop: Arc<Workshop<S>>,
    sink: &'a K,
    spine: BTreeSet<usize>,
    all_travel: bool,
    stages: Vec<OnceCell<Done>>,
    images: Images,
    /// The context and the named ones that are no images, once something needed them.
    listings: Once<Option<Origin>, Arc<Listing>>,
    /// What is known of the files of the context.
    memory: Arc<Memory>,
    /// What the keys of the steps were made of.
    reasons: Arc<Reasons>,
    explain: bool,
    /// The steps of this build, so that what two stages have in common is done once; with the keys that they are kept by.
    steps: Once<Digest, (Digest, Layer)>,
    /// A stage has failed: nothing is begun any more.
    over: AtomicBool,
}

impl<'a, S: Source + 'static, K: Sink> Run<'a, S, K> {
    /// What there is to do, once it is known what everything stands on.
    async fn of(plan: &'a Plan, workshop: Arc<Workshop<S>>, sink: &'a K) -> Result<Self, BuildError> {
        let mut graph = plan.graph.clone();
        let access = GitAccess { secrets: plan.run.secrets.clone(), agent: plan.run.default_agent() };
        let epochs = dated(&mut graph, plan, &access, &workshop).await?;
        let images = bases(&mut graph, &workshop).await?;
        let dockerfile = plan.context.dockerfile().map(|path| path.as_os_str().as_encoded_bytes());
        let reasons = Reasons::of(&workshop.store, dockerfile.unwrap_or(plan.shown.as_bytes()), &graph);
        Ok(Self {
            memory: Arc::new(Memory::of(&workshop.store, plan.context.directory(), workshop.threads)),
            reasons: Arc::new(reasons),
            explain: plan.explain,
            spine: spine(&graph),
            all_travel: plan.all_travel,
            anew: anew(&graph, &plan.no_cache)?,
            stages: (0..graph.stages()).map(|_| OnceCell::new()).collect(),
            graph,
            epochs,
            options: &plan.run,
            access,
            context: &plan.context,
            annotations: &plan.annotations,
            imports: &plan.imports,
            inline: plan.inline,
            doing: Doing::default(),
            mounts: Mutex::default(),
            workshop,
            sink,
            images,
            listings: Mutex::default(),
            steps: Mutex::default(),
            over: AtomicBool::new(false),
        })
    }

    /// All needed stages at once; each waits for those that it needs.
    async fn all(&self) -> Result<(), BuildError> {
        let mut running: FuturesUnordered<_> =
            self.graph.needed().into_iter().map(|stage| self.done(stage.number)).collect();
        while let Some(done) = running.next().await {
            let Err(error) = done else { continue };
            self.over.store(true, Ordering::Relaxed);
            self.workshop.stopper.stop();
            let clearing = async { while running.next().await.is_some() {} };
            // What waits for the network is dropped; the sandbox has been told to end.
            let _ = tokio::time::timeout(CLEARING, clearing).await;
            return Err(error);
        }
        Ok(())
    }

    /// A stage, built when it is first asked for.
    fn done(&self, number: usize) -> Pin<Box<dyn Future<Output = Result<&Done, BuildError>> + '_>> {
        Box::pin(async move {
            let stage = self.graph.stage(number);
            for &needed in &stage.needs {
                self.done(needed).await?;
            }
            self.stages[number].get_or_try_init(|| self.stage(stage)).await
        })
    }

    /// The stage's name for the screen; nothing where there is one stage and it has no name.
    fn shown(&self, stage: &Stage) -> String {
        let alone = stage.name.is_none() && self.graph.needed().len() == 1;
        if alone { String::new() } else { stage.label() }
    }

    /// A stage that is built: it is in the `needs` of the one that asks.
    fn built(&self, number: usize) -> Result<&Done, BuildError> {
        Ok(self.stages[number].get().ok_or(Problem::Worker)?)
    }

    async fn stage(&self, stage: &Stage) -> Result<Done, BuildError> {
        if self.over.load(Ordering::Relaxed) {
            return Err(Problem::Interrupted.into());
        }
        let (snapshot, ground) = self.stands_on(stage).await?;
        let base_created = ground.config.created.clone();
        let created = self.epochs.created(base_created.as_deref());
        let graph::StagePlan { steps, mut ground } = self.graph.steps(stage, ground)?;
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner).add(&steps, self.namespace());
        let foreseen = Foreseen::of(&steps);
        let climbing = self.climb(stage, &steps, snapshot, &foreseen);
        let snapshot = self.looking_ahead(&steps, &foreseen, climbing).await?;
        ground.config.history.extend(steps.iter().map(|step| step.history(&created)));
        ground.config.created = Some(created);
        ground.config.rootfs.diff_ids = snapshot.layers.iter().map(|layer| layer.diff_id).collect();
        Ok(Done { snapshot, ground })
    }

    /// The steps of a stage, one on the other.
    async fn climb(
        &self,
        stage: &Stage,
        steps: &[Step],
        mut snapshot: Snapshot,
        foreseen: &Foreseen,
    ) -> Result<Snapshot, BuildError> {
        let mut first = true;
        for (number, step) in (1..).zip(steps) {
            if self.over.load(Ordering::Relaxed) {
                return Err(Problem::Interrupted.into());
            }
            if step.has_layer() {
                let at = At { stage, number, of: steps.len(), first, foreseen };
                first = false;
                let layer = self.step(step, &snapshot, at).await.map_err(|e| e.at(step.span))?;
                // What is elsewhere may be there already, and is not ours to send.
                if self.spine.contains(&stage.number) && layer.from.is_none() {
                    self.sink.layer(&layer.blob);
                }
                snapshot = snapshot.with(layer);
            }
        }
        Ok(snapshot)
    }

    /// What a stage begins with.
    async fn stands_on(&self, stage: &Stage) -> Result<(Snapshot, Ground), BuildError> {
        Ok(match &stage.base {
            Base::Scratch => (Snapshot::default(), Ground::default()),
            Base::Stage(number) => {
                let done = self.built(*number)?.clone();
                (done.snapshot, done.ground)
            }
            Base::Image(reference) => {
                let image = self.images.of(reference, &stage.platform, &self.workshop).await;
                let (snapshot, config) = image.map_err(|e| e.at(Some(stage.span)))?;
                (snapshot, Ground::of(config))
            }
            Base::Origin(Origin::Layout { path, image }) => {
                let image = self.workshop.layout(path, image, &stage.platform).await;
                let (snapshot, config) = image.map_err(|e| e.at(Some(stage.span)))?;
                (snapshot, Ground::of(config))
            }
            Base::Origin(origin) => {
                let listing = self.listing(Some(origin)).await.map_err(|e| e.at(Some(stage.span)))?;
                let layer = self.pack_copied(listing.tree(), self.wrapping_of(stage)?).await?;
                (Snapshot::default().with(layer), Ground::default())
            }
        })
    }

    /// One step: done by another stage, from the cache, else done and kept there.
    async fn step(&self, step: &Step, below: &Snapshot, at: At<'_>) -> Result<Layer, BuildError> {
        let At { stage, number, .. } = at;
        let of_image = self.spine.contains(&stage.number);
        let key = self.key(step, below);
        let platform = &self.graph.options().platform;
        let recorded = Recorded::of(step, (stage.number, number), platform, self.options)?;
        // What a command downloads is looked at with the rest.
        let early = if recorded.is_none() { self.early_key(&step.action, &key).await? } else { None };
        if let Some(early) = &early
            && let Some(layer) = self.recorded(early, stage).await
        {
            // What its files are is not known, and `reasons` keeps what it was made of when they last were.
            self.tell(step, at, Some(&layer));
            let layer = self.fit(early, layer, stage).await?;
            self.doing.did(*early, &layer, of_image, true);
            return Ok(layer);
        }
        let (keyed, ()) = tokio::join!(self.keyed(step, key, at.foreseen.take(number - 1)), self.foresee(step, below));
        let mut keyed = keyed?;
        let key = keyed.key.finish();
        let keys = recorded.as_ref().map_or_else(|| Keys::only(key), |recorded| recorded.keys(key));
        if let Some(recorded) = &recorded {
            recorded.key(keyed.key.part(Part::Downloads));
        }
        let (of_key, paths) = (keyed.key.clone(), keyed.paths(step));
        let label = stage.label();
        let place = at.place(&label);
        let did = |key: &Digest, layer: &Layer| -> Result<(), BuildError> {
            self.doing.did(*key, layer, of_image, early.is_none());
            self.reasons.did(place, &of_key, &paths)?;
            let Some(early) = &early else { return Ok(()) };
            self.doing.did(*early, layer, of_image, true);
            // What only a cache says is asked of it again.
            if self.own_record(key).is_some() { self.keep_record(early, layer) } else { Ok(()) }
        };
        let cell = {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(steps.entry(*keys.plain()).or_default())
        };
        let known = match cell.get() {
            Some(made) => Some(made.clone()),
            None => self.first_recorded(&keys.known, stage).await,
        };
        if let Some((key, layer)) = known {
            self.tell(step, at, Some(&layer));
            recorded.iter().for_each(Recorded::cached);
            let layer = self.fit(&key, layer, stage).await?;
            did(&key, &layer)?;
            return Ok(layer);
        }
        let make = || async {
            at.foreseen.missed();
            self.tell(step, at, None);
            self.explain(at, place, &of_key, &paths)?;
            let began = Instant::now();
            let gate = recorded.as_ref().map(|recorded| recorded.open(self.options)).transpose()?;
            let Keyed { files, sources, .. } = keyed;
            let (layer, outcome) = self.make(step, files, sources, below, stage, gate).await?;
            let key = recorded.as_ref().map_or(key, |recorded| recorded.kept_as(&keys, &outcome));
            self.keep_record(&key, &layer)?;
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let stage = self.shown(stage);
            self.workshop.events.emit(Event::StepDone { stage, number, millis, layer: layer_size(&layer) });
            Ok::<_, BuildError>((key, layer))
        };
        let (key, layer) = cell.get_or_try_init(make).await?;
        // By another stage, it may be, whose layers stay.
        let layer = self.fit(key, layer.clone(), stage).await?;
        did(key, &layer)?;
        Ok(layer)
    }

    /// Whether the layers of a stage leave this machine.
    fn travels(&self, stage: &Stage) -> bool {
        self.all_travel || self.spine.contains(&stage.number)
    }

    /// What a layer of a stage is kept in. What the image gets is shown to where it goes while it is made.
    fn wrapping_of(&self, stage: &Stage) -> Result<Wrapping, BuildError> {
        if !self.travels(stage) {
            return self.workshop.unwrapped();
        }
        let mut blob = self.workshop.store.blob_file()?;
        if self.spine.contains(&stage.number) {
            self.sink.growing(blob.growing()?);
        }
        Ok(Wrapping { packing: self.workshop.packing, blob })
    }

    /// A layer as the stage needs it, which was made for this one or for another.
    async fn fit(&self, key: &Digest, layer: Layer, stage: &Stage) -> Result<Layer, BuildError> {
        if !self.travels(stage) {
            return Ok(layer);
        }
        let fit = self.workshop.to_travel(layer.clone(), || self.wrapping_of(stage)).await?;
        if fit != layer {
            self.keep_record(key, &fit)?;
        }
        Ok(fit)
    }

    /// Tells of a step that begins, or whose layer was kept.
    fn tell(&self, step: &Step, at: At<'_>, cached: Option<&Layer>) {
        let At { stage, number, of, .. } = at;
        let (stage, text) = (self.shown(stage), step.text.clone());
        self.workshop.events.emit(match cached.map(layer_size) {
            Some(layer) => Event::Cached { stage, number, of, text, layer },
            None => Event::Step { stage, number, of, text },
        });
    }

    /// Tells why a step is done.
    fn explain(&self, at: At<'_>, place: Place<'_>, key: &Key, paths: &[(Part, Arc<Paths>)]) -> Result<(), BuildError> {
        let At { stage, number, of, .. } = at;
        let why = match self.anew.contains(&stage.number) {
            true => Why::NoCache,
            false => self.reasons.why(place, key, paths),
        };
        let (stage, asked) = (self.shown(stage), self.explain);
        self.workshop.events.emit(Event::Explained { stage, number, of, why, asked });
        Ok(())
    }

    /// The first of these keys that a layer is known by.
    async fn first_recorded(&self, keys: &[Digest], stage: &Stage) -> Option<(Digest, Layer)> {
        for key in keys {
            if let Some(layer) = self.recorded(key, stage).await {
                return Some((*key, layer));
            }
        }
        None
    }

    /// The layer of a step that an earlier build did, or another machine's.
    async fn recorded(&self, key: &Digest, stage: &Stage) -> Option<Layer> {
        if self.anew.contains(&stage.number) {
            return None;
        }
        if let Some(layer) = self.own_record(key) {
            return Some(layer);
        }
        match self.imports.layer(key, &self.workshop).await {
            // An image needs its layers whole.
            None if !self.spine.contains(&stage.number) => self.imports.known_alone(key),
            layer => layer,
        }
    }

    /// The layer of a step that was done here.
    fn own_record(&self, key: &Digest) -> Option<Layer> {
        let store = &self.workshop.store;
        let StepRecord { diff_id, blob, tar_size } = store.step(key)?;
        (store.blob_size(&blob.digest) == Some(blob.size)).then_some(Layer { diff_id, blob, from: None, tar_size })
    }

    fn keep_record(&self, key: &Digest, layer: &Layer) -> Result<(), BuildError> {
        let Layer { diff_id, blob, tar_size, from: _ } = layer.clone();
        Ok(self.workshop.store.keep_step(key, &StepRecord { diff_id, blob, tar_size })?)
    }

    async fn make(
        &self,
        step: &Step,
        files: Option<Files>,
        sources: Sources,
        below: &Snapshot,
        stage: &Stage,
        gate: Option<Gate>,
    ) -> Result<(Layer, Outcome), BuildError> {
        let into = self.wrapping_of(stage)?;
        let layer = match &step.action {
            Action::Run(run) => {
                let epoch = self.epochs.layers().0;
                let (network, insecure) = (self.options.network_of(run)?, self.options.security_of(run)?);
                self.tell_devices(run);
                let ready = self.mounts(run, sources).await?;
                let emulator = self.workshop.emulation(self.graph.platform(stage))?.emulator();
                let (options, stage) = (self.options, self.shown(stage));
                let order = RunOrder { run, options, network, insecure, emulator, stage, gate };
                return self.workshop.run(order, into, ready, below, epoch).await;
            }
            Action::Copy(copy) => self.copy(copy, files, below, into).await,
            Action::Workdir { path, user } => self.workdir(path, user, below, into).await,
            // Only steps with a layer come here.
            Action::Config => self.pack(Tree::default(), into).await,
        }?;
        Ok((layer, Outcome::default()))
    }

    /// BuildKit does without a device that is not required, and says so.
    fn tell_devices(&self, run: &graph::Run) {
        for device in &run.devices {
            let message = format!("RUN --device={device}: there is no such device here, and it is not required");
            self.workshop.events.emit(Event::Warning { message, hint: None });
        }
    }

    /// Finds what a COPY names and what it holds.
    pub(super) async fn pick(&self, copy: &Copy) -> Result<Files, BuildError> {
        let from: From = match (self.layers_named(&copy.from).await?, &copy.from) {
            (Some((snapshot, place)), _) => self.view_of(snapshot, place).await?,
            (None, CopyFrom::Origin(origin, _)) => From::Context(self.listing(Some(origin)).await?),
            (None, _) if copy.sources.iter().all(is_elsewhere) => From::Context(Arc::default()),
            (None, _) => From::Context(self.listing(None).await?),
        };
        let arrived = self.workshop.arrive(copy, &self.access).await?;
        let of_context = (copy.from == CopyFrom::Context).then(|| self.context.clone());
        let (store, copy, memory) = (self.workshop.store.clone(), copy.clone(), Arc::clone(&self.memory));
        let picked = blocking(move || {
            let (picked, snapshot) = match from {
                From::Context(listing) => (pick(&copy, &*listing, &arrived, "the context")?, None),
                From::Layers { view, snapshot, place } => (pick(&copy, &*view, &arrived, &place)?, Some(snapshot)),
            };
            let known = if snapshot.is_some() { Known::ByPlace } else { Known::ByContent };
            let (digest, paths) = digest(&picked, known, &memory, &|content| open(&store, content))?;
            Ok(Files { picked, digest, paths: Arc::new(paths), snapshot })
        })
        .await;
        picked.map_err(|error| match (&*error.problem, of_context) {
            (Problem::NotFound { path, .. }, Some(context)) if context.leaves_out(path) => {
                let hint = format!("{path} is there, and .dockerignore leaves it out");
                BuildError { hint: Some(hint), ..error }
            }
            (Problem::NotFound { path, .. }, Some(context)) => {
                let hint = context.beside_dockerfile(path).map(|there| {
                    format!("{there} is there: COPY reads from the context, and not from the Dockerfile's folder")
                });
                error.first_hint(hint)
            }
            _ => error,
        })
    }

    /// The layers that files are taken out of, and the words for them; `None` where it is no layers that hold them.
    pub(super) async fn layers_named(&self, from: &CopyFrom) -> Result<Option<(Snapshot, String)>, BuildError> {
        Ok(match from {
            CopyFrom::Context => None,
            CopyFrom::Stage(number) => {
                let label = self.graph.stage(*number).label();
                Some((self.built(*number)?.snapshot.clone(), format!("the stage {label}")))
            }
            CopyFrom::Image(reference, platform) => {
                let image = self.images.of(reference, platform, &self.workshop).await;
                let (snapshot, _) = image.map_err(|e| e.first_hint(stage_meant(&self.graph, reference)))?;
                Some((snapshot, format!("the image {reference}")))
            }
            CopyFrom::Origin(Origin::Layout { path, image }, platform) => {
                let (snapshot, _) = self.workshop.layout(path, image, platform).await?;
                Some((snapshot, format!("the image {}", path.display())))
            }
            CopyFrom::Origin(..) => None,
        })
    }

    async fn view_of(&self, snapshot: Snapshot, place: String) -> Result<From, BuildError> {
        self.workshop.index_all(&snapshot).await?;
        Ok(From::Layers { view: self.workshop.view(&snapshot)?, snapshot, place })
    }

    async fn copy(
        &self,
        copy: &Copy,
        files: Option<Files>,
        below: &Snapshot,
        into: Wrapping,
    ) -> Result<Layer, BuildError> {
        let Some(Files { mut picked, snapshot, .. }) = files else { return self.pack(Tree::default(), into).await };
        if let Some(snapshot) = &snapshot {
            self.workshop.tars(&holders(&picked, snapshot)).await?;
        }
        let owner = match &copy.chown {
            Some(chown) => Some(self.workshop.accounts(below).await?.owner(chown)?),
            None => None,
        };
        let view = self.below(below, copy.link).await?;
        let (workshop, copy) = (Arc::clone(&self.workshop), copy.clone());
        let tree = blocking(move || {
            if copy.unpack {
                let keep = |tar: Box<dyn std::io::Read>| keep_archive(&workshop.store, tar);
                open_archives(&mut picked, &|content| workshop.open(content), &keep)?;
            }
            let mut draft = Draft::over(view);
            place(&copy, &picked, owner, &mut draft)?;
            Ok(draft.finish())
        })
        .await?;
        self.pack_copied(tree, into).await
    }

    async fn workdir(&self, path: &str, user: &str, below: &Snapshot, into: Wrapping) -> Result<Layer, BuildError> {
        let owner = match user {
            "" | "0" | "root" => (0, 0),
            user => {
                let ids = self.workshop.accounts(below).await?.person(user)?.ids;
                (ids.uid, ids.gid)
            }
        };
        let mut draft = Draft::over(self.below(below, false).await?);
        let directory = draft.follow(layer_path(path)?.as_bytes())?;
        draft.make_directories(&directory, Parents { mode: 0o755, owner })?;
        self.pack(draft.finish(), into).await
    }

    /// What a layer is laid over; nothing for COPY --link.
    async fn below(&self, below: &Snapshot, link: bool) -> Result<Arc<View>, BuildError> {
        if link {
            return Ok(Arc::new(View::default()));
        }
        self.workshop.index_all(below).await?;
        self.workshop.view(below)
    }

    async fn pack(&self, tree: Tree<Content>, into: Wrapping) -> Result<Layer, BuildError> {
        self.workshop.pack(tree, Times::Constant(self.epochs.layers()), into).await
    }

    /// What COPY and ADD bring may keep its time.
    async fn pack_copied(&self, mut tree: Tree<Content>, into: Wrapping) -> Result<Layer, BuildError> {
        tree.entries.values_mut().for_each(|entry| entry.mtime = self.epochs.copied(entry.mtime));
        self.workshop.pack(tree, Times::Keep, into).await
    }

    /// The context, or a named one.
    async fn listing(&self, origin: Option<&Origin>) -> Result<Arc<Listing>, BuildError> {
        let cell = {
            let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(listings.entry(origin.cloned()).or_default())
        };
        let list = || async {
            let listing = match origin {
                Some(origin) => {
                    let preserve = self.context.preserve_modes();
                    Arc::new(self.workshop.listing_of(origin, preserve, &self.access).await?)
                }
                None => {
                    let context = self.context.clone();
                    blocking(move || context.list()).await?
                }
            };
            if listing.private > 0 {
                self.workshop.events.emit(Event::Warning {
                    message: format!(
                        "of the context's files {} may be read by their owner alone, and so it will be in the image",
                        listing.private
                    ),
                    hint: Some("check out with umask 022, or use COPY --chmod".to_owned()),
                });
            }
            Ok::<_, BuildError>(listing)
        };
        Ok(Arc::clone(cell.get_or_try_init(list).await?))
    }

    fn finish(self) -> Result<Built, BuildError> {
        let Done { snapshot, mut ground } = self.built(self.graph.target())?.clone();
        // What the base's own build did says nothing of this one.
        ground.config.other.remove(shared::FIELD);
        let steps = self.doing.all();
        if self.inline {
            shared::inline(&steps).put_into(&mut ground.config);
        }
        let layers: Vec<Descriptor> = snapshot.layers.iter().map(|layer| layer.blob.clone()).collect();
        let image = Image::new(ground.config, layers, self.annotations.clone());
        self.workshop.store.keep_blob(&image.config_json)?;
        self.workshop.store.keep_blob(&image.manifest.to_json())?;
        let bytes = snapshot.layers.iter().map(|layer| layer.blob.size).sum();
        let (digest, layers) = (image.digest(), snapshot.layers.len());
        self.workshop.events.emit(Event::Built { digest, layers, bytes });
        let mounts = self.mounts.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Built { image, snapshot, steps, mounts, imports: self.imports.clone() })
    }
}

fn layer_size(layer: &Layer) -> LayerSize {
    LayerSize { digest: layer.blob.digest, bytes: layer.blob.size, unpacked: layer.tar_size }
}

/// Which step of a stage is at hand.
#[derive(Clone, Copy)]
struct At<'a> {
    stage: &'a Stage,
    number: usize,
    of: usize,
    /// No step of this stage made a layer before it.
    first: bool,
    foreseen: &'a Foreseen,
}

impl<'a> At<'a> {
    fn place(self, stage: &'a str) -> Place<'a> {
        Place { stage, number: self.number, first: self.first }
    }
}

/// Where a COPY looks.
enum From {
    Context(Arc<Listing>),
    Layers { view: Arc<View>, snapshot: Snapshot, place: String },
}

/// The layers that files are read out of, of all that an image has.
pub(super) fn holders(picked: &[Picked], snapshot: &Snapshot) -> Vec<Layer> {
    let found = picked
        .iter()
        .flat_map(|Picked { root, below, .. }| std::iter::once(root).chain(below.iter().map(|(_, found)| found)));
    let held: BTreeSet<Digest> = found
        .filter_map(|found| match &found.entry.kind {
            Kind::File { content: Content::InTar(place), .. } => Some(place.diff_id),
            _ => None,
        })
        .collect();
    snapshot.layers.iter().filter(|layer| held.contains(&layer.diff_id)).cloned().collect()
}

/// What a COPY found.
pub(super) struct Files {
    pub picked: Vec<Picked>,
    pub digest: Digest,
    pub paths: Arc<Paths>,
    /// The layers that the files are read out of, when they are not the context's.
    pub snapshot: Option<Snapshot>,
}

#[cfg(test)]
mod tests;
