//! From a pushed image to a finished task: what is wanted, what is there, the difference; then run, follow, explain.
//!
//! ```text
//! Description ─▶ Loader ─▶ look ─▶ difference ─▶ apply ─▶ register ─▶ run ─▶ Outcome
//! ```

mod access;
mod apply;
mod change;
mod document;
mod each;
mod error;
mod expand;
mod explain;
mod fields;
mod follow;
mod ground;
mod job;
mod lifecycle;
mod loader;
mod local;
mod logs;
mod name;
mod normal;
mod outcome;
mod pace;
mod plan;
mod policy;
mod preflight;
mod present;
mod removal;
mod revisions;
mod run;
mod schedule;
mod secret_spec;
mod size;
mod start;
mod status;
mod tags;
mod task_definition;
mod template;
#[cfg(test)]
mod testing;
mod watch;

pub use access::{AccessSettings, BadAccess};
pub use apply::apply;
pub use change::{Action, Change, Removal, RoleKind, difference, kept};
pub use document::{Document, NotKnown};
pub use each::{BadInput, BadLedger, EachWish, Ended, Inputs, Line, Lines, Stage, each};
pub use error::DeployError;
pub use expand::{ExpandError, expand};
pub use fields::Field;
pub use ground::Ground;
pub use job::{Job, Known, Overrides, Start, Stay};
pub use lifecycle::Lifecycle;
pub use loader::{Description, Loader, LoaderError, Network, REPOSITORY, policy_variables};
pub use local::{LocalTask, local_secrets, run_local};
pub use logs::{LogWish, logs};
pub use name::{BadName, Kind};
pub use outcome::Outcome;
pub use pace::{Pace, Steps};
pub use plan::{Plan, plan};
pub use preflight::{Check, Verdict, before_build, identity, preflight, stranger};
pub use present::{Present, look};
pub use removal::{Doomed, Down, down, take_down};
pub use run::{Limits, run};
pub use schedule::{
    BadExpression, BadQueue, BadRetry, BadTimezone, DeadLetterQueue, Expression, Retry, Schedule, Scheduled, Timezone,
    changes as schedule_changes, schedule,
};
pub use secret_spec::{BadSecret, SecretSource, SecretSpec, UnreadableSecret, ValueFrom};
pub use size::{BadSize, EphemeralStorage, Size};
pub use status::{Seen, Status, status};
pub use task_definition::{cpu_architecture, register};
pub use template::{BadTemplate, Template};
