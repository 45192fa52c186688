//! From a pushed image to a finished task: what is wanted, what is there, the difference; then run, follow, explain.
//!
//! ```text
//! Description ─▶ Loader ─▶ look ─▶ difference ─▶ apply ─▶ register ─▶ run ─▶ Outcome
//! ```

mod apply;
mod change;
mod error;
mod explain;
mod follow;
mod ground;
mod job;
mod loader;
mod local;
mod logs;
mod name;
mod outcome;
mod pace;
mod policy;
mod present;
mod run;
mod secret_spec;
mod size;
mod start;
mod status;
mod tags;
mod task_definition;
#[cfg(test)]
mod testing;
mod watch;

pub use apply::apply;
pub use change::{Action, Change, RoleKind, difference, kept};
pub use error::DeployError;
pub use ground::Ground;
pub use job::{Job, Known, Overrides, Start, Stay};
pub use loader::{Description, Loader, LoaderError, Network, REPOSITORY};
pub use local::{LocalTask, local_secrets, run_local};
pub use logs::{LogWish, logs};
pub use name::{BadName, Kind};
pub use outcome::Outcome;
pub use pace::{Pace, Steps};
pub use present::{Present, look};
pub use run::{Limits, run};
pub use secret_spec::{BadSecret, SecretSource, SecretSpec, UnreadableSecret, ValueFrom};
pub use size::{BadSize, EphemeralStorage, Size};
pub use status::{Seen, Status, status};
pub use task_definition::{cpu_architecture, register};
