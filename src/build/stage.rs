//! Stages in their order, steps in theirs; each is looked up in the build cache before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::graph::{self, Action, Base, Copy, CopyFrom, Graph, Ground, Stage, Step};
use crate::image::{Descriptor, Digest, Hasher, Image, ImageConfig, Platform, Reference};
use crate::layer::{Content, Times, Tree, View, pack};

use super::context::Listing;
use super::copy::{Picked, digest, open_archives, pick, place};
use super::draft::{Draft, Parents};
use super::snapshot::{Layer, Snapshot};
use super::workshop::{Workshop, blocking, layer_path, open};
use super::{BuildError, Context, Epochs, Problem, Sink, Source};

/// What is to be built, and how.
pub struct Plan {
    pub graph: Graph,
    pub context: Context,
    pub epochs: Epochs,
    /// Nothing is taken from the build cache; what is made goes into it.
    pub no_cache: bool,
}

/// A finished image: all of its own layers are in the store, those of its base perhaps not.
#[derive(Clone, Debug)]
pub struct Built {
    pub image: Image,
    pub snapshot: Snapshot,
}

/// What a step gave; the build cache's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StepRecord {
    diff_id: Digest,
    blob: Descriptor,
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
    let mut run = Run {
        plan,
        workshop,
        spine: spine(&plan.graph),
        stages: BTreeMap::new(),
        images: BTreeMap::new(),
        listing: None,
    };
    // Every base is looked up before anything is built: one that does not exist is no news to get after 20 minutes.
    for stage in plan.graph.needed() {
        if let Base::Image(reference) = &stage.base {
            run.image(reference, &stage.platform).await.map_err(|e| e.at(Some(stage.span)))?;
        }
    }
    for stage in plan.graph.needed() {
        let done = run.stage(stage, sink).await?;
        run.stages.insert(stage.number, done);
    }
    run.finish()
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

struct Run<'a, S> {
    plan: &'a Plan,
    workshop: Arc<Workshop<S>>,
    spine: BTreeSet<usize>,
    stages: BTreeMap<usize, Done>,
    images: BTreeMap<(Reference, Platform), (Snapshot, ImageConfig)>,
    /// The context, once something needed it.
    listing: Option<Arc<Listing>>,
}

impl<S: Source + 'static> Run<'_, S> {
    async fn stage(&mut self, stage: &Stage, sink: &impl Sink) -> Result<Done, BuildError> {
        let (mut snapshot, ground) = match &stage.base {
            Base::Scratch => (Snapshot::default(), Ground::default()),
            Base::Stage(number) => {
                let done = self.stages[number].clone();
                (done.snapshot, done.ground)
            }
            Base::Image(reference) => {
                let (snapshot, config) =
                    self.image(reference, &stage.platform).await.map_err(|e| e.at(Some(stage.span)))?;
                (snapshot, Ground::of(config))
            }
        };
        let base_created = ground.config.created.clone();
        let created = self.plan.epochs.created(base_created.as_deref());
        let graph::StagePlan { steps, mut ground } = self.plan.graph.steps(stage, ground)?;
        let of = steps.len();
        for (number, step) in steps.iter().enumerate() {
            let number = number + 1;
            if step.has_layer() {
                let layer = self.step(step, &snapshot, stage, number, of).await.map_err(|e| e.at(step.span))?;
                if self.spine.contains(&stage.number) {
                    sink.layer(&layer.blob);
                }
                snapshot = snapshot.with(layer);
            }
            ground.config.history.push(step.history(&created));
        }
        ground.config.created = Some(created);
        ground.config.rootfs.diff_ids = snapshot.layers.iter().map(|layer| layer.diff_id).collect();
        Ok(Done { snapshot, ground })
    }

    /// One step: from the cache, else done and kept there.
    async fn step(
        &mut self,
        step: &Step,
        below: &Snapshot,
        stage: &Stage,
        number: usize,
        of: usize,
    ) -> Result<Layer, BuildError> {
        let workshop = Arc::clone(&self.workshop);
        let told = |cached: bool| {
            let (stage, text) = (stage.label(), step.text.clone());
            match cached {
                true => Event::Cached { stage, number, of, text },
                false => Event::Step { stage, number, of, text },
            }
        };
        let began = Instant::now();
        let mut key = self.key(step, below);
        let files = match &step.action {
            Action::Copy(copy) => {
                let files = self.pick(copy).await?;
                key.field(files.digest.as_bytes());
                Some(files)
            }
            Action::Config | Action::Run(_) | Action::Workdir { .. } => None,
        };
        let key = key.finish();
        let record = workshop.store.step::<StepRecord>(&key).filter(|_| !self.plan.no_cache);
        if let Some(StepRecord { diff_id, blob }) = record
            && workshop.store.blob_size(&blob.digest) == Some(blob.size)
        {
            workshop.events.emit(told(true));
            return Ok(Layer { diff_id, blob, from: None });
        }
        workshop.events.emit(told(false));
        let layer = match &step.action {
            Action::Run(run) => {
                let epoch = self.plan.epochs.layers().0;
                workshop.run(run, below, epoch, &stage.label()).await?
            }
            Action::Copy(copy) => self.copy(copy, files, below).await?,
            Action::Workdir { path, user } => self.workdir(path, user, below).await?,
            // Only steps with a layer come here.
            Action::Config => self.pack(Tree::default()).await?,
        };
        let Layer { diff_id, blob, from: _ } = layer.clone();
        workshop.store.keep_step(&key, &StepRecord { diff_id, blob })?;
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        workshop.events.emit(Event::StepDone { stage: stage.label(), number, millis });
        Ok(layer)
    }

    /// The key of a step, but for the digests of files: everything that its layer is a function of.
    fn key(&self, step: &Step, below: &Snapshot) -> Hasher {
        let mut key = Hasher::default();
        key.field(b"locus-push step 1");
        key.field(env!("CARGO_PKG_VERSION").as_bytes());
        key.field(format!("{:?}", self.workshop.packing).as_bytes());
        key.field(&self.plan.epochs.layers().0.to_le_bytes());
        key.field(self.plan.graph.options().platform.to_string().as_bytes());
        key.field(below.chain().as_bytes());
        step.action.key(&mut key);
        key
    }

    /// Finds what a COPY names and what it holds.
    async fn pick(&mut self, copy: &Copy) -> Result<Files, BuildError> {
        let from: From = match &copy.from {
            CopyFrom::Context => From::Context(self.listing().await?),
            CopyFrom::Stage(number) => {
                let label = self.plan.graph.stage(*number).label();
                self.view_of(self.stages[number].snapshot.clone(), format!("the stage {label}")).await?
            }
            CopyFrom::Image(reference, platform) => {
                let (snapshot, _) = self.image(reference, platform).await?;
                self.view_of(snapshot, format!("the image {reference}")).await?
            }
        };
        let (store, copy) = (self.workshop.store.clone(), copy.clone());
        blocking(move || {
            let (picked, snapshot) = match from {
                From::Context(listing) => (pick(&copy, &*listing, "the context")?, None),
                From::Layers { view, snapshot, place } => (pick(&copy, &*view, &place)?, Some(snapshot)),
            };
            let digest = digest(&picked, &|content| open(&store, content))?;
            Ok(Files { picked, digest, snapshot })
        })
        .await
    }

    async fn view_of(&self, snapshot: Snapshot, place: String) -> Result<From, BuildError> {
        self.workshop.index_all(&snapshot).await?;
        Ok(From::Layers { view: self.workshop.view(&snapshot)?, snapshot, place })
    }

    async fn copy(&mut self, copy: &Copy, files: Option<Files>, below: &Snapshot) -> Result<Layer, BuildError> {
        let Some(Files { mut picked, snapshot, .. }) = files else { return self.pack(Tree::default()).await };
        if let Some(snapshot) = &snapshot {
            self.workshop.tars(snapshot).await?;
        }
        let owner = match &copy.chown {
            Some(chown) => Some(self.workshop.accounts(below).await?.owner(chown)?),
            None => None,
        };
        let view = self.below(below, copy.link).await?;
        let (workshop, copy) = (Arc::clone(&self.workshop), copy.clone());
        let tree = blocking(move || {
            if copy.unpack {
                let keep = |tar: Box<dyn std::io::Read>| workshop.keep_archive(tar);
                open_archives(&mut picked, &|content| workshop.open(content), &keep)?;
            }
            let mut draft = Draft::over(view);
            place(&copy, &picked, owner, &mut draft)?;
            Ok(draft.finish())
        })
        .await?;
        self.pack(tree).await
    }

    async fn workdir(&self, path: &str, user: &str, below: &Snapshot) -> Result<Layer, BuildError> {
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
        self.pack(draft.finish()).await
    }

    /// What a layer is laid over; nothing for COPY --link.
    async fn below(&self, below: &Snapshot, link: bool) -> Result<Arc<View>, BuildError> {
        if link {
            return Ok(Arc::new(View::default()));
        }
        self.workshop.index_all(below).await?;
        self.workshop.view(below)
    }

    async fn pack(&self, tree: Tree<Content>) -> Result<Layer, BuildError> {
        let times = Times::Constant(self.plan.epochs.layers());
        let workshop = Arc::clone(&self.workshop);
        blocking(move || {
            let mut blob = workshop.store.blob_writer()?;
            let tar = |diff_id: &Digest| std::fs::File::open(workshop.store.tar_path(diff_id));
            let packed = pack(&tree, times, workshop.packing, workshop.threads, &tar, &mut blob)?;
            blob.commit(Some(&packed.blob))?;
            workshop.store.keep_tree(&packed.index.diff_id, &packed.index)?;
            Ok(workshop.layer(&packed))
        })
        .await
    }

    /// An image from outside, looked up once a build.
    async fn image(
        &mut self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Snapshot, ImageConfig), BuildError> {
        let name = (reference.clone(), platform.clone());
        if let Some(known) = self.images.get(&name) {
            return Ok(known.clone());
        }
        let base = self.workshop.source.image(reference, platform).await.map_err(Problem::Base)?;
        let (manifest, config) = (base.image.manifest, base.image.config);
        let offered = config.platform();
        if !offered.serves(platform) {
            let (offered, wanted) = (offered.to_string(), platform.to_string());
            return Err(Problem::WrongPlatform { image: reference.to_string(), offered, wanted }.into());
        }
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(Problem::LayersDisagree { image: reference.to_string(), layers, diff_ids }.into());
        }
        self.workshop.events.emit(Event::Base { reference: reference.to_string(), digest: base.digest });
        let layers = manifest.layers.into_iter().zip(&config.rootfs.diff_ids).map(|(blob, diff_id)| Layer {
            diff_id: *diff_id,
            blob,
            from: Some(reference.clone()),
        });
        let known = (Snapshot { layers: layers.collect() }, config);
        self.images.insert(name, known.clone());
        Ok(known)
    }

    async fn listing(&mut self) -> Result<Arc<Listing>, BuildError> {
        if let Some(listing) = &self.listing {
            return Ok(Arc::clone(listing));
        }
        let context = self.plan.context.clone();
        let listing = Arc::new(blocking(move || context.list()).await?);
        if listing.private > 0 {
            self.workshop.events.emit(Event::Warning {
                message: format!(
                    "{} files of the context may be read by their owner alone, and so they will be in the image",
                    listing.private
                ),
                hint: Some("check out with umask 022, or use COPY --chmod".to_owned()),
            });
        }
        self.listing = Some(Arc::clone(&listing));
        Ok(listing)
    }

    fn finish(mut self) -> Result<Built, BuildError> {
        let Done { snapshot, ground } = self.stages.remove(&self.plan.graph.target()).ok_or(Problem::Worker)?;
        let layers: Vec<Descriptor> = snapshot.layers.iter().map(|layer| layer.blob.clone()).collect();
        let image = Image::new(ground.config, layers, BTreeMap::new());
        self.workshop.store.keep_blob(&image.config_json)?;
        self.workshop.store.keep_blob(&image.manifest.to_json())?;
        let bytes = snapshot.layers.iter().map(|layer| layer.blob.size).sum();
        let (digest, layers) = (image.digest(), snapshot.layers.len());
        self.workshop.events.emit(Event::Built { digest, layers, bytes });
        Ok(Built { image, snapshot })
    }
}

/// Where a COPY looks.
enum From {
    Context(Arc<Listing>),
    Layers { view: Arc<View>, snapshot: Snapshot, place: String },
}

/// What a COPY found.
struct Files {
    picked: Vec<Picked>,
    digest: Digest,
    /// The layers that the files are read out of, when they are not the context's.
    snapshot: Option<Snapshot>,
}
