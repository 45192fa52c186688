//! Everything that locus-push keeps on disk, below one folder; safe for many processes at once.
//!
//! | folder | holds |
//! |---|---|
//! | `blobs/sha256/HEX` | blobs as they travel: compressed layers, configs, manifests |
//! | `tars/HEX` | uncompressed layers by diff_id, where something read files out of one |
//! | `trees/HEX.json` | the paths of a layer by diff_id, so that a base need not be read twice |
//! | `layers/ID` | unpacked layers for RUN; `layers/boot` says since which start of the machine they are believed, the time of `layers/ID.used` when one was last used |
//! | `steps/HEX.json` | the build cache: a step's key and what it gave |
//! | `parts/HEX.json` | what the keys of a Dockerfile's steps were made of, and of which files: what `--explain` tells |
//! | `hashes/HEX` | the digests of a context's files, by the state that they were in |
//! | `git/HEX` | repositories that files came from |
//! | `caches/HEX/N` | what RUN steps keep in cache mounts |
//! | `runs/HEX.json` | how far work is that goes on in the cloud, such as a task for each line of a file; never pruned |
//! | `replay.pem` | the authority that steps trust while their downloads are recorded, and its key |
//! | `tmp` | files on their way to their names, and locks; `tmp/in-use.lock` is held by all who build, and alone by who prunes |
//! | `work/ID` | what a running step writes; the lock of `work/ID.lock` says that its maker lives |
//!
//! The time of a file is when it was last used; the longest unused goes first where the store is to be smaller.

mod blobs;
mod caches;
mod early;
mod folder;
mod growing;
mod hashes;
mod kept;
mod lock;
mod own;
mod parts;
mod repositories;
mod runs;

pub use blobs::{BlobFile, BlobWriter, VerifiedReader};
pub use caches::{CacheFolder, Hold};
pub use folder::{Space, Store, StoreError, WorkFolder, is_store};
pub use growing::{Abandoned, Growing, Grown};
pub use hashes::Hashes;
pub use kept::{Folders, Item, Prune, Shelf, on_disk};
pub use lock::Lock;
pub use repositories::Repository;
pub use runs::RunFile;
