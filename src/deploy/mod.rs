//! From a pushed image to a finished task: what is wanted, what is there, the difference; then run, follow, explain.
//!
//! ```text
//! Description ─▶ Loader ─▶ look ─▶ difference ─▶ apply ─▶ register ─▶ run ─▶ Outcome
//! ```

mod loader;
mod name;
mod secret_spec;
mod size;

pub use loader::{Description, Loader, LoaderError, Network};
pub use name::{BadName, Kind};
pub use secret_spec::{BadSecret, SecretSource, SecretSpec, UnreadableSecret, ValueFrom};
pub use size::{BadSize, EphemeralStorage, Size};
