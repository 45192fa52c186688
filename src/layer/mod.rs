//! File tree ⇄ tar ⇄ compressed blob ⇄ digest; the merged view of a stack of layers; unpacking and reading back.
//!
//! ```text
//! Tree<Content> ─ pack ─▶ blob + Index        tar ─ index ─▶ Index        [Index] ─ View::apply ─▶ View
//!                         View::flattened ─ export ─▶ a folder of the user's
//!                         tar + View ─ unpack ─▶ a directory for overlayfs ─ RUN ─▶ read_upper ─▶ Tree<Content>
//! ```
//!
//! Layers come from registries and are hostile: a tar is read by [`Entries`] alone, and a directory is written by
//! [`unpack()`] alone.

mod below;
mod beneath;
pub mod compare;
mod decompress;
mod escape;
mod export;
mod flatten;
mod host;
mod index;
mod pack;
mod packing;
mod path;
mod pax;
mod read;
mod resolve;
mod settle;
mod sniff;
#[cfg(test)]
mod testing;
mod tree;
mod unpack;
mod upper;
mod ustar;
mod view;
mod write;

pub use below::{Below, LayerDirs, Seen};
pub use decompress::{DecompressError, Decompressed, Limits, decompress};
pub use export::{ExportError, Exported, export};
pub use index::index;
pub use pack::{PackError, Packed, pack, pack_stream};
pub use packing::{NoSuchPacking, Packing};
pub use path::{LayerPath, PathError};
pub use read::{Entries, Item, TarError};
pub use resolve::{At, Stopped, resolve};
pub use settle::settle;
pub use sniff::ArchiveKind;
pub use tree::{Content, Entry, FileState, HostFile, InTar, Index, Kind, Offset, Tree};
pub use unpack::{OverlayXattrs, UnpackError, Unpacked, Whiteouts, unpack};
pub use upper::{UpperError, read_upper};
pub use view::{Node, Resolved, View, ViewError};
pub use write::{Epoch, OpenTar, Times, WriteError, write_layer};
