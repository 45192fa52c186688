//! The few AWS calls that a loader needs, typed, one file a service. No policy of its own: what is wanted, and what
//! is done when it is not there, is `deploy`'s to say.

mod by_hand;
mod ec2;
mod ecr;
mod ecr_public;
mod ecs;
mod error;
mod essentials;
mod iam;
mod keys;
mod logs;
mod raw;
mod scheduler;
mod secrets;
mod session;
mod sts;
mod tasks;
#[cfg(test)]
mod testing;
mod xml;

pub use ec2::{Ec2, Endpoint, EndpointKind, Route, RouteTable, Rule, SecurityGroup, Subnet, Via};
pub use ecr::{Ecr, Mutability, Repository, TaggedImage};
pub use ecr_public::public_login;
pub use ecs::{Cluster, ClusterUse, Ecs, Revision, Stage};
pub use error::{AwsError, Kind};
pub use essentials::Essentials;
pub use iam::{Iam, Permission, Role};
pub use keys::Origin;
pub use logs::{LogGroup, LogPage, LogStream, Logs};
pub use scheduler::{MAX_AGE_SECONDS, RETRIES, Schedule, ScheduleGroup, Scheduler};
pub use secrets::{SecretFound, Secrets};
pub use session::{Cloud, CloudOptions, ConnectError};
pub use sts::Caller;
pub use tasks::{Capacity, Container, EcsFailure, Overrides, RunRequest, Started, Task, Wanted};
