//! The build cache that machines share: what a build did, as an ordinary image, and what such an image says to another.
//!
//! A cache is an image whose config has one key more, [`FIELD`]: the key of each step, and the diff_id of the layer that
//! the step gave. Its layers are those layers. So whatever keeps or copies images keeps and copies caches, and an image
//! that is to be run may carry its own ("inline").
//!
//! A step whose layer the cache names and does not hold is known all the same: what stands on it has its key by the
//! chain of diff_ids, and need not be made. Only where its files are wanted after all it has to be.
//!
//! What RUNs keep in cache mounts may go with it, a layer for each mount. It is read only where a RUN is done that has
//! such a mount, and the mount is new here: what a machine has of its own stays as it is.

mod early;
mod export;
mod gather;
mod import;
mod record;

pub use export::{Did, Mode, cache_image};
pub use gather::CacheMounts;
pub use import::{CacheAt, Imports};
pub use record::{FIELD, NoCacheImage, Record};

use import::is_known_alone;

pub(super) use export::{Doing, inline};
pub(super) use gather::{GATHER, gather};
