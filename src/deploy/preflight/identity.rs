//! Who we are to AWS, and where.

use std::fmt::Write;

use super::check::Check;
use crate::aws::{Cloud, ConnectError, Origin};

/// The lines of somebody whom AWS knows.
pub fn identity(cloud: &Cloud) -> Vec<Check> {
    let mut from = cloud.origin.iter().copied().map(Origin::phrase).collect::<Vec<_>>().join(", from ");
    if from.is_empty() {
        from = "where they came from is not told".to_owned();
    }
    if let Some(profile) = &cloud.profile {
        // No `write!` to a string fails.
        let _ = write!(from, ": {profile}");
    }
    vec![
        Check::ok("region", &cloud.region),
        Check::ok("credentials", from),
        Check::ok("identity", &cloud.caller.arn),
        Check::ok("account", &cloud.caller.account),
    ]
}

/// The line of somebody whom it does not.
pub fn stranger(error: &ConnectError) -> Check {
    let name = match error {
        ConnectError::NoRegion | ConnectError::BadRegion(_) => "region",
        ConnectError::NoProfile { .. } | ConnectError::Identity { .. } => "credentials",
    };
    Check::ng(name, error.to_string(), error.hint()).stopping()
}
