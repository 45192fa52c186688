//! What a task stands on, once it is there.

use std::collections::BTreeMap;

/// Everything of the cloud that the task definition and the run name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// `ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME`, without a tag.
    pub repository_uri: String,
    pub cluster: String,
    pub log_group: String,
    pub execution_role_arn: String,
    pub task_role_arn: String,
    /// What Scheduler acts as, where the loader is scheduled.
    pub schedule_role_arn: Option<String>,
    /// Variable → `valueFrom`: the full ARN, with the JSON key where one was named.
    pub secrets: BTreeMap<String, String>,
    /// Whether a role was made in this run: for some seconds other services do not see it.
    pub new_role: bool,
}
