//! Images out: what is missing of them, then the manifest by its digest, then the tags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, try_join, try_join_all};
use futures_util::stream::FuturesUnordered;
use reqwest::{Method, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::ahead::Ahead;
use super::client::Registry;
use super::error::PushError;
use super::outgoing::Origin;
use super::pull::manifest_question;
use super::upload::{Opened, Target};
use crate::build::Sink;
use crate::event::{BlobOutcome, Direction, Event};
use crate::image::{Descriptor, Digest, Image, Layout, Reference, Written};
use crate::store::Growing;

/// How many blobs go out at a time.
const UPLOADS: usize = 6;

/// How many blobs are asked about at a time.
const QUESTIONS: usize = 16;

/// How long is waited for a faster way to ask.
const FASTER: Duration = Duration::from_secs(5);

const NEVER_CLOSED: &str = "the semaphore is never closed";

/// A faster way to ask which of these blobs a repository has, where there is one; `None` when it cannot say.
pub type Presence = Arc<dyn Fn(Vec<Digest>) -> BoxFuture<'static, Option<BTreeSet<Digest>>> + Send + Sync>;

/// One image on its way to one repository. Made within a tokio runtime; layers go out while the build still runs.
/// Dropped before it is finished, it stops.
pub struct Pusher {
    work: Arc<Work>,
    presence: Option<Presence>,
    /// Where the layers are, if they are not in the store.
    layout: Option<Arc<Layout>>,
    written: Option<Written>,
    looks_at_each: bool,
    whole_layers: bool,
    runtime: Handle,
    under_way: Mutex<BTreeMap<Digest, JoinHandle<Result<BlobOutcome, PushError>>>>,
    /// The layers that are being made.
    ahead: Mutex<Vec<Ahead>>,
}

pub(super) struct Work {
    pub registry: Registry,
    destination: Reference,
    pub target: Target,
    keeps_base: bool,
    questions: Semaphore,
    pub uploads: Semaphore,
}

/// An image whose blobs are all there, and which has no name yet.
pub struct Brought {
    work: Arc<Work>,
    written: Written,
    digest: Digest,
    already_there: bool,
    /// And what each of them stands for now.
    tags: Vec<(Reference, Option<Option<Digest>>)>,
    sent: BTreeMap<Digest, u64>,
}

/// The image is where it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// By digest.
    pub reference: Reference,
    /// The registry had the manifest before.
    pub already_there: bool,
    /// How many blobs were sent.
    pub uploaded: usize,
    /// How many bytes of blobs were sent.
    pub bytes: u64,
}

impl Sink for Pusher {
    fn growing(&self, layer: Growing) {
        if !self.whole_layers {
            self.ahead().push(Ahead::begin(&self.work, layer, &self.runtime));
        }
    }

    fn layer(&self, layer: &Descriptor) {
        self.begin(layer, Origin::Store, false);
    }
}

impl Pusher {
    pub fn new(registry: &Registry, destination: Reference) -> Self {
        let target = Target::new(registry.endpoint(&destination), &destination);
        let (questions, uploads) = (Semaphore::new(QUESTIONS), Semaphore::new(UPLOADS));
        let registry = registry.clone();
        Self {
            work: Arc::new(Work { registry, destination, target, keeps_base: false, questions, uploads }),
            presence: None,
            layout: None,
            written: None,
            looks_at_each: false,
            whole_layers: false,
            runtime: Handle::current(),
            under_way: Mutex::default(),
            ahead: Mutex::default(),
        }
    }

    /// Asks for many blobs at once where it can.
    pub fn with_presence(mut self, presence: Presence) -> Self {
        self.presence = Some(presence);
        self
    }

    /// Keeps the layers that are fetched for the push alone, as somebody else will want them too. To be said before
    /// the first layer.
    pub fn keeping_base_layers(mut self) -> Self {
        if let Some(work) = Arc::get_mut(&mut self.work) {
            work.keeps_base = true;
        }
        self
    }

    /// Asks for each blob even where the manifest is there: what a registry has lost is sent again.
    pub fn looking_at_each_blob(mut self) -> Self {
        self.looks_at_each = true;
        self
    }

    /// Sends no layer before it is whole: the registry has what is in the store, and would get it twice.
    pub fn of_whole_layers(mut self) -> Self {
        self.whole_layers = true;
        self
    }

    /// Takes the layers from a layout, where they are and as they are; and the manifest too, if it is given as it was
    /// written there.
    pub fn from_layout(mut self, layout: Layout, written: Option<Written>) -> Self {
        self.layout = Some(Arc::new(layout));
        self.written = written;
        self
    }

    /// Brings what is missing, then the manifest by its digest, then the tags. `base` names the layers that come
    /// from elsewhere, and where they can be had.
    pub async fn finish(
        self,
        image: &Image,
        base: &[(Reference, Descriptor)],
        tags: &[String],
    ) -> Result<Pushed, PushError> {
        self.bring(image, base, tags).await?.name().await
    }

    /// Brings what is missing, all but the manifest: nobody can see an image there yet.
    pub async fn bring(
        self,
        image: &Image,
        base: &[(Reference, Descriptor)],
        tags: &[String],
    ) -> Result<Brought, PushError> {
        let work = self.work.clone();
        let written = self.written.clone().unwrap_or_else(|| image.manifest.written());
        let digest = Digest::of(&written.json);
        let tags: Vec<Reference> = tags.iter().map(|tag| work.destination.tagged(tag)).collect::<Result<_, _>>()?;
        let tagged = try_join_all(tags.iter().map(|tag| work.digest_at(tag)));
        let (already_there, tagged) = try_join(work.has_manifest(&digest), tagged).await?;
        let mut sent = BTreeMap::new();
        if already_there && !self.looks_at_each {
            // Whoever has the manifest has its blobs.
            self.stop();
        } else {
            sent = self.bring_blobs(image, base).await?;
        }
        Ok(Brought { work, written, digest, already_there, tags: tags.into_iter().zip(tagged).collect(), sent })
    }

    /// Every blob that the manifest names, once. Returns those that had to be sent, with their sizes.
    async fn bring_blobs(
        &self,
        image: &Image,
        base: &[(Reference, Descriptor)],
    ) -> Result<BTreeMap<Digest, u64>, PushError> {
        self.work.registry.0.options.store.keep_blob(&image.config_json)?;
        let blobs: BTreeMap<Digest, &Descriptor> =
            image.manifest.layers.iter().chain([&image.manifest.config]).map(|blob| (blob.digest, blob)).collect();
        let layers = || image.manifest.layers.iter().map(|layer| layer.digest);
        let mut origins: BTreeMap<Digest, Origin> = BTreeMap::new();
        if let Some(layout) = &self.layout {
            origins.extend(layers().map(|layer| (layer, Origin::Layout(layout.clone()))));
        }
        origins.extend(base.iter().map(|(from, blob)| (blob.digest, Origin::Registry(from.clone()))));
        let present = self.present_among(blobs.keys()).await;
        for (digest, blob) in &blobs {
            self.begin(blob, origins.remove(digest).unwrap_or(Origin::Store), present.contains(digest));
        }
        let mut tasks: FuturesUnordered<_> = std::mem::take(&mut *self.under_way())
            .into_iter()
            .map(|(digest, task)| async move { (digest, Task(task).outcome().await) })
            .collect();
        let mut sent = BTreeMap::new();
        // Whichever fails first ends it: the others stop when they are dropped.
        while let Some((digest, outcome)) = tasks.next().await {
            if let (BlobOutcome::Sent, Some(blob)) = (outcome?, blobs.get(&digest)) {
                sent.insert(digest, blob.size);
            }
        }
        Ok(sent)
    }

    /// Those that are there for sure; of the others, each is asked for by itself.
    async fn present_among(&self, blobs: impl Iterator<Item = &Digest>) -> BTreeSet<Digest> {
        let unknown: Vec<Digest> = {
            let under_way = self.under_way();
            blobs.filter(|digest| !under_way.contains_key(digest)).copied().collect()
        };
        let Some(presence) = self.presence.as_ref().filter(|_| !unknown.is_empty()) else { return BTreeSet::new() };
        tokio::time::timeout(FASTER, presence(unknown)).await.ok().flatten().unwrap_or_default()
    }

    /// Starts a blob on its way, unless it is on it.
    fn begin(&self, blob: &Descriptor, origin: Origin, present: bool) {
        self.under_way().entry(blob.digest).or_insert_with(|| {
            let (work, blob) = (self.work.clone(), blob.clone());
            let ahead = {
                let mut ahead = self.ahead();
                ahead.iter().position(|ahead| ahead.is(&blob.digest)).map(|at| ahead.swap_remove(at))
            };
            self.runtime.spawn(async move { work.bring(&blob, &origin, present, ahead).await })
        });
    }

    fn stop(&self) {
        self.under_way().values().for_each(JoinHandle::abort);
        self.ahead().clear();
    }

    /// As the map below.
    fn ahead(&self) -> std::sync::MutexGuard<'_, Vec<Ahead>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that died while it held the lock left a whole map.
    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, JoinHandle<Result<BlobOutcome, PushError>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Brought {
    /// The manifest by its digest, then the tags.
    pub async fn name(self) -> Result<Pushed, PushError> {
        let Self { work, written, digest, already_there, tags, sent } = self;
        let reference = work.destination.at(digest);
        if !already_there {
            work.put_manifest(&reference, &written, &digest).await?;
        }
        for (tag, there) in tags {
            work.tag(&tag, there.flatten(), &written, &digest).await?;
        }
        work.registry.0.options.events.emit(Event::Pushed { reference: reference.to_string(), already_there });
        Ok(Pushed { reference, already_there, uploaded: sent.len(), bytes: sent.values().sum() })
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A blob on its way that stops when it is no longer waited for.
struct Task(JoinHandle<Result<BlobOutcome, PushError>>);

impl Task {
    async fn outcome(mut self) -> Result<BlobOutcome, PushError> {
        (&mut self.0).await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Work {
    /// Sees to it that the repository has the blob, by the cheapest way there is.
    async fn bring(
        &self,
        blob: &Descriptor,
        origin: &Origin,
        present: bool,
        ahead: Option<Ahead>,
    ) -> Result<BlobOutcome, PushError> {
        let outcome = if present || self.has_blob(&blob.digest).await? {
            if let Some(ahead) = ahead {
                ahead.take_back(self).await;
            }
            BlobOutcome::AlreadyThere
        } else if let Some(ahead) = ahead
            && ahead.arrives(self, &blob.digest).await
        {
            BlobOutcome::Sent
        } else {
            let _turn = self.uploads.acquire().await.expect(NEVER_CLOSED);
            self.mount_or_send(blob, origin).await.inspect_err(|error| self.forget_damaged(error, origin))?
        };
        let (digest, bytes) = (blob.digest, blob.size);
        self.registry.0.options.events.emit(Event::Blob { direction: Direction::Push, digest, bytes, outcome });
        Ok(outcome)
    }

    pub(super) async fn has_blob(&self, digest: &Digest) -> Result<bool, PushError> {
        let _turn = self.questions.acquire().await.expect(NEVER_CLOSED);
        self.registry.has_blob(&self.target, digest).await
    }

    async fn mount_or_send(&self, blob: &Descriptor, origin: &Origin) -> Result<BlobOutcome, PushError> {
        let Origin::Registry(from) = origin else {
            self.registry.upload(&self.target, blob, origin, None).await?;
            return Ok(BlobOutcome::Sent);
        };
        let mut opened = None;
        if from.registry() == self.destination.registry() && from.repository() != self.destination.repository() {
            match self.registry.open_upload(&self.target, Some((&blob.digest, from))).await {
                Ok(Opened::Mounted) => return Ok(BlobOutcome::Mounted),
                Ok(Opened::At(location)) => opened = Some(location),
                // Who may not read there may still send it.
                Err(PushError::Denied { .. } | PushError::Exchange { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if self.keeps_base {
            self.registry.pull_blob(from, blob).await.map_err(Box::new)?;
        }
        // Somebody may be fetching it for its files, and then it is had once.
        let _alone = self.registry.alone_with(&blob.digest).await;
        let here = self.registry.0.options.store.blob_size(&blob.digest) == Some(blob.size);
        let origin = if here { &Origin::Store } else { origin };
        self.registry.upload(&self.target, blob, origin, opened).await?;
        Ok(BlobOutcome::Sent)
    }

    /// A blob of the store that is not what it should be is made or fetched anew by the next build.
    fn forget_damaged(&self, error: &PushError, origin: &Origin) {
        if let (
            PushError::Damaged { digest } | PushError::WrongSize { digest, .. },
            Origin::Store | Origin::Registry(_),
        ) = (error, origin)
        {
            self.registry.0.options.store.forget_blob(digest);
        }
    }

    async fn has_manifest(&self, digest: &Digest) -> Result<bool, PushError> {
        match self.digest_at(&self.destination.at(*digest)).await? {
            Some(Some(got)) if got != *digest => Err(PushError::OtherManifest { asked: *digest, got }),
            found => Ok(found.is_some()),
        }
    }

    /// `None`: the registry has nothing under this reference. `Some(None)`: it has, and does not say which.
    async fn digest_at(&self, reference: &Reference) -> Result<Option<Option<Digest>>, PushError> {
        let question = manifest_question(&self.target.endpoint, reference, &self.target.scope, Method::HEAD);
        let answer = self.registry.ask(&question).await.map_err(|source| self.target.failed(source))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.header("docker-content-digest").and_then(|text| text.parse().ok()))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.registry.refused(&self.target, answer)),
        }
    }

    /// Lets a tag stand for the manifest. One that does already is left alone: ECR's immutable tags refuse even the
    /// same digest (moby/buildkit#3776).
    async fn tag(
        &self,
        tag: &Reference,
        mut there: Option<Digest>,
        manifest: &Written,
        ours: &Digest,
    ) -> Result<(), PushError> {
        if there == Some(*ours) {
            return Ok(());
        }
        match self.put_manifest(tag, manifest, ours).await {
            Err(PushError::Exchange { source: super::ExchangeError::Answer { said, .. }, .. })
                if said.code() == "TAG_INVALID" && said.message().contains("immutable") => {}
            result => return result,
        }
        // It may be we who moved it, with an answer that was lost.
        there = self.digest_at(tag).await?.flatten().or(there);
        if there == Some(*ours) {
            return Ok(());
        }
        let (repository, tag) = (self.target.name.clone(), tag.tag().unwrap_or_default().to_owned());
        Err(PushError::TagTaken { repository, tag, there, ours: *ours })
    }

    async fn put_manifest(&self, at: &Reference, manifest: &Written, digest: &Digest) -> Result<(), PushError> {
        let question = manifest_question(&self.target.endpoint, at, &self.target.scope, Method::PUT)
            .document(manifest.media_type.as_str(), manifest.json.clone());
        let answer = self.registry.ask(&question).await.map_err(|source| self.target.failed(source))?;
        if !answer.status().is_success() {
            return Err(self.registry.refused(&self.target, answer));
        }
        // What was kept is what we sent, or all that follows by digest would be of something else.
        match answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok()) {
            Some(got) if got != *digest => Err(PushError::OtherManifest { asked: *digest, got }),
            _ => Ok(()),
        }
    }
}

impl Registry {
    /// Whether we may push to the reference's repository, asked before anything is built.
    pub async fn may_push(&self, destination: &Reference) -> Result<(), PushError> {
        let target = Target::new(self.endpoint(destination), destination);
        match self.open_upload(&target, None).await? {
            Opened::At(location) => self.cancel_upload(&target, location).await,
            Opened::Mounted => {}
        }
        Ok(())
    }
}
