//! Old revisions of the task definition: how many stay ACTIVE, and which go.

use super::loader::Loader;
use super::tags;
use crate::aws::{AwsError, Cloud, Kind, Stage};

/// How many revisions are looked at in one run. Each is a call, and in front of those that are somebody else's (and
/// stay) one run leaves one to the next.
const AT_ONCE: usize = 5;

/// The revisions of a family that may have to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OldRevisions {
    /// Those that are ours and that no task runs with, the newest first.
    candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub arn: String,
    /// How many revisions are newer.
    pub newer: usize,
}

impl Candidate {
    /// `family:7`.
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }
}

impl OldRevisions {
    /// Those that go where `new` more are registered and `keep` stay, which is one at least: the newest never goes.
    pub fn leaving(&self, keep: usize, new: usize) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(move |candidate| candidate.newer + new >= keep)
    }
}

/// Looks for revisions that may have to go.
pub(super) async fn old(cloud: &Cloud, loader: &Loader) -> Result<OldRevisions, AwsError> {
    let Some(keep) = loader.keep_revisions else { return Ok(OldRevisions::default()) };
    let arns = match cloud.ecs.revisions(&loader.name, Stage::Active).await {
        // Nobody need be allowed this to run a task.
        Err(error) if error.kind == Kind::Denied => return Ok(OldRevisions::default()),
        arns => arns?,
    };
    let family = format!("/{}:", loader.name);
    // One emulator takes the family for the beginning of a name.
    let arns: Vec<String> = arns.into_iter().filter(|arn| arn.contains(&family)).collect();
    let mut old = OldRevisions::default();
    // One more than is kept may go: that which a new one pushes out.
    let beyond: Vec<(usize, &String)> = arns.iter().enumerate().skip(keep.saturating_sub(1)).take(AT_ONCE).collect();
    if beyond.is_empty() {
        return Ok(old);
    }
    let used = match cloud.ecs.in_use(&loader.cluster, &loader.name).await {
        Err(error) if error.kind == Kind::NotFound => Default::default(),
        Err(error) if error.kind == Kind::Denied => return Ok(old),
        used => used?,
    };
    for (newer, arn) in beyond {
        let ours = cloud.ecs.revision(arn).await?.is_some_and(|revision| tags::are_ours(&revision.tags));
        if ours && !used.contains(arn) {
            old.candidates.push(Candidate { arn: arn.clone(), newer });
        }
    }
    Ok(old)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{Script, loader};
    use super::*;

    const ARN: &str = "arn:aws:ecs:eu-west-1:123456789012:task-definition/os_opendata";

    fn revision(ours: bool) -> Value {
        let tags = if ours { json!([{ "key": "managed-by", "value": "locus-push" }]) } else { json!([]) };
        json!({ "taskDefinition": { "taskDefinitionArn": "x" }, "tags": tags })
    }

    #[tokio::test]
    async fn those_go_that_are_ours_and_old_and_of_no_use() {
        let arns: Vec<String> = (1..=6).rev().map(|n| format!("{ARN}:{n}")).collect();
        let mut listed = arns.clone();
        listed.push(format!("{ARN}_of_another:9"));
        let script = Script::default()
            .answer("ListTaskDefinitions", json!({ "taskDefinitionArns": listed }))
            .answer("ListTasks", json!({ "taskArns": ["t"] }))
            .answer("DescribeTasks", json!({ "tasks": [{ "taskDefinitionArn": format!("{ARN}:3") }] }))
            .answer("DescribeTaskDefinition opendata:1", revision(false))
            .answer("DescribeTaskDefinition", revision(true));
        let played = script.play().await;
        let old = old(&played.cloud, &loader(|d| d.keep_revisions = Some(2))).await.unwrap();
        let leaving = |new| old.leaving(2, new).map(Candidate::name).collect::<Vec<_>>();
        // 3 runs, 1 is somebody else's.
        assert_eq!(leaving(0), ["os_opendata:4", "os_opendata:2"]);
        assert_eq!(leaving(1), ["os_opendata:5", "os_opendata:4", "os_opendata:2"]);
    }

    #[tokio::test]
    async fn the_newest_stays_and_all_stay_where_that_was_asked_for() {
        let script = || {
            Script::default()
                .answer("ListTaskDefinitions", json!({ "taskDefinitionArns": [format!("{ARN}:1")] }))
                .answer("ListTasks", json!({ "taskArns": [] }))
                .answer("DescribeTaskDefinition", revision(true))
        };
        for keep in [0, 1] {
            let played = script().play().await;
            let old = old(&played.cloud, &loader(|d| d.keep_revisions = Some(keep))).await.unwrap();
            assert_eq!(old.leaving(1, 0).count(), 0);
            assert_eq!(played.asked_for("ListTaskDefinitions").len(), keep as usize);
        }
    }
}
