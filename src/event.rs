//! Facts that rooms emit while they work. Only `cli` turns them into words.

use std::sync::Arc;

use crate::image::Digest;

/// Where events go. Cheap to clone; may be called from any thread.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Nobody listens.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    /// The same listener, told of each event that it is this loader's.
    pub fn of(&self, loader: &str) -> Self {
        let (all, loader) = (self.clone(), loader.to_owned());
        Self::new(move |event| all.emit(Event::Of { loader: loader.clone(), event: Box::new(event) }))
    }
}

/// One fact. Text from outside (lines of a RUN, of a task's log, of a registry) is raw here: the screen escapes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Several loaders begin, of which so many build at once.
    Several { loaders: Vec<String>, at_once: usize },
    /// An event of one of several loaders.
    Of { loader: String, event: Box<Event> },
    /// A Dockerfile was parsed.
    Read { dockerfile: String, instructions: usize, stages: usize },
    /// A base image was resolved to what will be built on.
    Base { reference: String, digest: Digest },
    /// Which rung of the sandbox's ladder RUN stands on, and why.
    Rung { name: &'static str, why: String },
    /// The RUNs on these lines are for another CPU, and who runs them.
    Emulated { platform: String, by: String, lines: Vec<usize> },
    /// A step begins. `number` counts from 1 to `of`.
    Step { stage: String, number: usize, of: usize, text: String },
    /// The step's result was in the build cache.
    Cached { stage: String, number: usize, of: usize, text: String, layer: LayerSize },
    /// Why the step that has begun is done, and not taken from the build cache; and whether somebody asked.
    Explained { stage: String, number: usize, of: usize, why: Why, asked: bool },
    /// A line that a RUN wrote.
    Output { stage: String, line: Vec<u8> },
    /// What no two RUNs write alike was made still: so many files.
    Stilled { stage: String, left_out: usize, emptied: usize, rewritten: usize },
    /// One of those files, and why.
    StilledFile { stage: String, path: String, how: &'static str, why: String },
    /// What a RUN downloaded was recorded, and has so many bytes.
    Recorded { stage: String, downloads: usize, bytes: u64 },
    /// So much of a layer is compressed, in bytes of what comes out; `work` tells one layer from another.
    Packing { work: u64, done: u64 },
    /// Nothing more comes of it.
    PackingEnded { work: u64 },
    /// The step is done.
    StepDone { stage: String, number: usize, millis: u64, layer: LayerSize },
    /// Bytes of a blob that went to or came from a registry so far.
    Transfer { direction: Direction, digest: Digest, done: u64, total: u64 },
    /// A blob is where it should be.
    Blob { direction: Direction, digest: Digest, bytes: u64, outcome: BlobOutcome },
    /// The image is built.
    Built { digest: Digest, layers: usize, bytes: u64 },
    /// The image is in the registry, by digest.
    Pushed { reference: String, already_there: bool },
    /// Something was written to a file or folder that the user named.
    Wrote { path: String },
    /// Something in the cloud was looked at, made or changed.
    Cloud { outcome: CloudOutcome, kind: &'static str, name: String },
    /// The task's state, as ECS (or the local counterpart) names it.
    Task { id: String, status: String },
    /// A line of the task's log.
    /// `alone` where no other task runs beside it, here and in what follows.
    TaskLog { task: String, alone: bool, line: Vec<u8> },
    /// The task stopped.
    TaskStopped {
        task: String,
        alone: bool,
        stop_code: Option<String>,
        reason: String,
        exit_code: Option<i32>,
        hint: Option<String>,
    },
    /// What became of several things, each a row under these headings.
    Summary { columns: &'static [&'static str], rows: Vec<Vec<String>> },
    /// Something worth knowing that is no error.
    Note(String),
    /// Something that may surprise, and what to do about it.
    Warning { message: String, hint: Option<String> },
}

impl Event {
    /// The event itself, whose ever it is.
    pub fn itself(&self) -> &Self {
        match self {
            Self::Of { event, .. } => event.itself(),
            event => event,
        }
    }
}

/// What a layer takes: compressed, as it travels, and as a tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSize {
    pub digest: Digest,
    pub bytes: u64,
    /// `None` where only somebody else has seen the tar.
    pub unpacked: Option<u64>,
}

/// Why a step is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No earlier build of this Dockerfile is known that came to it.
    NeverBuilt,
    /// Nothing was to be taken from the build cache.
    NoCache,
    /// It is what it was, and what it gave is no longer kept.
    Gone,
    /// What differs from the last time.
    Changed(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Pull,
    Push,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobOutcome {
    Sent,
    Fetched,
    AlreadyThere,
    Mounted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudOutcome {
    Exists,
    Created,
    Changed,
    Registered,
    Unchanged,
    Removed,
}
