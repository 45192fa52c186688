//! Runs the graph: contexts, COPY and ADD, RUN. Where images come from and go to is behind [`Source`] and [`Sink`].
//!
//! A stage is a [`Snapshot`] that grows by a layer a step. What a snapshot shows is known from the paths of its
//! layers alone ([`crate::layer::View`]), so that a Dockerfile without RUN unpacks nothing and needs no privileges;
//! files are read out of layers where they are, and layers are unpacked for RUN only.

mod agent;
mod archive;
mod caches;
mod checkout;
mod context;
mod copy;
mod downloads;
mod draft;
mod elsewhere;
mod emulation;
mod epoch;
mod error;
mod files;
mod foresight;
mod git;
mod inside;
mod key;
mod lock_file;
mod lock_runs;
mod memory;
mod mounts;
mod moved;
mod options;
mod origin;
mod owner;
mod packed;
mod packing;
mod paths;
mod pick;
mod pins;
mod place;
mod reasons;
mod resolve;
mod root;
mod run;
mod shared;
mod snapshot;
mod stage;
mod start;
mod still;
mod tapped;
mod trust;
mod unpacked;
mod upkeep;
mod workshop;

pub use agent::{Agent, AgentError, Key};
pub use context::{Context, Fetched, Folder};
pub use elsewhere::{Elsewhere, Files, Found};
pub use epoch::Epochs;
pub use error::{BuildError, Problem};
pub use git::{GitAccess, GitError};
pub use inside::JOBS;
pub use lock_file::{BadLock, LockFault, LockFile};
pub use options::{Allowed, RunOptions};
pub use pins::{Moved, Pinning, Pins};
pub use place::{BaseImage, Download, FetchError, Sink, Source, Tap};
pub use resolve::resolve;
pub use root::{Root, flattened, root};
pub use shared::{CacheAt, CacheMounts, Did, Imports, Mode, NoCacheImage, cache_image};
pub use snapshot::{Layer, Snapshot};
pub use stage::{Built, NoCache, Plan, build};
pub use start::{OpenHere, Unstartable, check_start, layers_of};
pub use trust::{BUNDLES, BadCertificates, Certificates};
pub use workshop::Workshop;

pub use crate::sandbox::{Limit, Resource};
