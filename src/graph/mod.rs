//! A parsed Dockerfile, build arguments and a platform become stages and steps. No I/O.
//!
//! It happens in two moves, because what a word expands to may depend on a base image's environment: [`plan()`] tells
//! which stages are needed and what each stands on; [`Graph::steps`] turns one stage's instructions into steps once
//! the config of its base is known.

mod args;
mod chmod;
mod config;
mod contexts;
mod error;
mod files;
mod git;
mod history;
#[cfg(test)]
mod hostile;
mod key;
mod mount;
mod plan;
mod ports;
mod run;
mod scope;
mod signal;
mod source_date;
mod step;
mod url;

pub use args::{PROXIES, predefined};
pub use chmod::Chmod;
pub use contexts::{BadContext, Contexts, Origin};
pub use error::{PlanError, Problem};
pub use git::{BadGit, GitSource, Remote, Scheme, is_commit};
pub use key::{Key, Part};
pub use mount::{BindMount, CacheMount, Mount, SecretMount, Sharing, SshMount, size_in_bytes};
pub use plan::{Base, Graph, Options, Stage, plan};
pub use scope::{Ground, PATH, StagePlan};
pub use source_date::SourceDate;
pub use step::{Action, Copy, CopyFrom, Network, Run, Script, Source, Step};
