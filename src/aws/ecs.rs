//! Elastic Container Service: the cluster and the task definition.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types as sdk;
use serde_json::Value;

use super::essentials::Essentials;
use super::raw::{Answer, with_body};
use super::tasks::Capacity;
use super::{AwsError, Caller};

/// The calls of ECS for clusters and task definitions; those for tasks are in `tasks`.
#[derive(Clone, Debug)]
pub struct Ecs {
    pub(super) client: Client,
    pub(super) who: Arc<Caller>,
}

/// A cluster that is there, as `ecs:DescribeClusters` tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub arn: String,
    /// `ACTIVE`, or on its way in or out.
    pub status: String,
}

/// What stands in the way of a cluster's deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterUse {
    pub tags: Vec<(String, String)>,
    pub tasks: i32,
    pub services: i32,
}

/// A revision's life: tasks run with an ACTIVE one alone, and only an INACTIVE one can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Active,
    Inactive,
}

/// One revision of a task definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub arn: String,
    /// In ECS's own JSON, as it is described: the SDK's types would lose the fields that they do not know.
    pub definition: Value,
    pub essentials: Essentials,
    pub tags: Vec<(String, String)>,
}

impl Revision {
    /// `family:7`.
    pub fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// The image of one of its containers.
    pub fn image_of(&self, container: &str) -> Option<&str> {
        let mut containers = self.definition["containerDefinitions"].as_array()?.iter();
        containers.find(|found| found["name"] == container)?["image"].as_str()
    }
}

impl Ecs {
    pub(super) fn new(config: &SdkConfig, who: &Arc<Caller>) -> Self {
        Self { client: Client::new(config), who: who.clone() }
    }

    pub async fn cluster(&self, name: &str) -> Result<Option<Cluster>, AwsError> {
        let answer = self
            .client
            .describe_clusters()
            .clusters(name)
            .send()
            .await
            .map_err(|error| AwsError::new("ecs:DescribeClusters", Some(self.who.clone()), error))?;
        // One that was deleted is described as INACTIVE for a while, and can be made again.
        let found = answer.clusters().first().filter(|cluster| cluster.status() != Some("INACTIVE"));
        Ok(found.map(|cluster| Cluster {
            arn: cluster.cluster_arn().unwrap_or("").to_owned(),
            status: cluster.status().unwrap_or("").to_owned(),
        }))
    }

    /// To make one that is there is no error of ECS's.
    pub async fn create_cluster(&self, name: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        self.client
            .create_cluster()
            .cluster_name(name)
            // What a cluster is not associated with cannot be asked for later.
            .capacity_providers(Capacity::Fargate.name())
            .capacity_providers(Capacity::Spot.name())
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new("ecs:CreateCluster", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The latest revision of a family that is ACTIVE; or the one that `family:REVISION` or an ARN names.
    pub async fn revision(&self, id: &str) -> Result<Option<Revision>, AwsError> {
        const CALL: &str = "ecs:DescribeTaskDefinition";
        let answer = Answer::default();
        let call = self.client.describe_task_definition().task_definition(id);
        let call = call.include(sdk::TaskDefinitionField::Tags).customize().interceptor(answer.clone());
        match call.send().await {
            Ok(found) => self.read(CALL, &answer, found.task_definition()).map(Some),
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                // ECS has no error of its own for a family that is not there.
                error if error.message.contains("Unable to describe task definition") => Ok(None),
                error => Err(error),
            },
        }
    }

    /// `definition` is what the AWS CLI calls `--cli-input-json`, and goes out as it is, tags included.
    pub async fn register(&self, definition: &Value) -> Result<Revision, AwsError> {
        const CALL: &str = "ecs:RegisterTaskDefinition";
        let answer = Answer::default();
        let call = self.client.register_task_definition().customize().interceptor(answer.clone());
        let sent = with_body(call, definition).send().await;
        let made = sent.map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        self.read(CALL, &answer, made.task_definition())
    }

    /// Whose a cluster is, and who uses it; `None` where it is not there.
    pub async fn cluster_use(&self, name: &str) -> Result<Option<ClusterUse>, AwsError> {
        let call = self.client.describe_clusters().clusters(name).include(sdk::ClusterField::Tags);
        let answer = call.send().await;
        let answer = answer.map_err(|error| AwsError::new("ecs:DescribeClusters", Some(self.who.clone()), error))?;
        let found = answer.clusters().first().filter(|cluster| cluster.status() != Some("INACTIVE"));
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(found.map(|cluster| ClusterUse {
            tags: cluster.tags().iter().map(|tag| (text(tag.key()), text(tag.value()))).collect(),
            tasks: cluster.running_tasks_count() + cluster.pending_tasks_count(),
            services: cluster.active_services_count(),
        }))
    }

    pub async fn delete_cluster(&self, name: &str) -> Result<(), AwsError> {
        let call = self.client.delete_cluster().cluster(name);
        call.send().await.map_err(|error| AwsError::new("ecs:DeleteCluster", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The families that have an ACTIVE revision.
    pub async fn families(&self) -> Result<Vec<String>, AwsError> {
        const CALL: &str = "ecs:ListTaskDefinitionFamilies";
        let (mut families, mut token): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let call = self.client.list_task_definition_families().status(sdk::TaskDefinitionFamilyStatus::Active);
            let answer = call.set_next_token(token.clone()).send().await;
            let answer = answer.map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
            families.extend_from_slice(answer.families());
            match answer.next_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Ok(families),
            }
        }
    }

    /// For good; it must be INACTIVE.
    pub async fn delete_revision(&self, arn: &str) -> Result<(), AwsError> {
        const CALL: &str = "ecs:DeleteTaskDefinitions";
        let answer = self.client.delete_task_definitions().task_definitions(arn).send().await;
        let answer = answer.map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        match answer.failures().first() {
            None => Ok(()),
            Some(failure) => {
                let (code, detail) = (failure.reason().unwrap_or("Failure"), failure.detail().unwrap_or_default());
                Err(AwsError { who: Some(self.who.clone()), ..AwsError::refused(CALL, code, detail) })
            }
        }
    }

    /// The ARNs of a family's revisions, the newest first.
    pub async fn revisions(&self, family: &str, stage: Stage) -> Result<Vec<String>, AwsError> {
        const CALL: &str = "ecs:ListTaskDefinitions";
        let status = match stage {
            Stage::Active => sdk::TaskDefinitionStatus::Active,
            Stage::Inactive => sdk::TaskDefinitionStatus::Inactive,
        };
        let mut arns = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let answer = self
                .client
                .list_task_definitions()
                .family_prefix(family)
                .status(status.clone())
                .sort(sdk::SortOrder::Desc)
                .set_next_token(token.clone())
                .send()
                .await
                .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
            arns.extend(answer.task_definition_arns().iter().cloned());
            match answer.next_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Ok(arns),
            }
        }
    }

    /// It runs no new task after that; those that run with it go on.
    pub async fn deregister(&self, arn: &str) -> Result<(), AwsError> {
        self.client
            .deregister_task_definition()
            .task_definition(arn)
            .send()
            .await
            .map_err(|error| AwsError::new("ecs:DeregisterTaskDefinition", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The revisions that tasks of a family run with now, in a cluster.
    pub async fn in_use(&self, cluster: &str, family: &str) -> Result<BTreeSet<String>, AwsError> {
        let mut used = BTreeSet::new();
        let mut token: Option<String> = None;
        loop {
            let list = self.client.list_tasks().cluster(cluster).family(family).set_next_token(token.clone());
            let page = match list.send().await {
                Ok(page) => page,
                Err(error) => return Err(AwsError::new("ecs:ListTasks", Some(self.who.clone()), error)),
            };
            // A page holds no more than may be described at once.
            if !page.task_arns().is_empty() {
                let tasks = self.client.describe_tasks().cluster(cluster);
                let tasks = tasks.set_tasks(Some(page.task_arns().to_vec())).send().await;
                let tasks = tasks.map_err(|error| AwsError::new("ecs:DescribeTasks", Some(self.who.clone()), error))?;
                used.extend(tasks.tasks().iter().filter_map(|task| task.task_definition_arn().map(str::to_owned)));
            }
            match page.next_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Ok(used),
            }
        }
    }

    fn read(
        &self,
        call: &'static str,
        answer: &Answer,
        found: Option<&sdk::TaskDefinition>,
    ) -> Result<Revision, AwsError> {
        let garbled = || AwsError::garbled(call, Some(self.who.clone()), "taskDefinition with its ARN");
        let essentials = Essentials::read(found.ok_or_else(garbled)?);
        let mut answer = answer.json().ok_or_else(garbled)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let tags = answer["tags"].as_array().into_iter().flatten();
        let tags = tags.filter_map(|tag| Some((text(&tag["key"])?, text(&tag["value"])?))).collect();
        let definition = answer["taskDefinition"].take();
        let arn = text(&definition["taskDefinitionArn"]).ok_or_else(garbled)?;
        Ok(Revision { arn, definition, essentials, tags })
    }
}

fn sdk_tags(tags: &[(&str, &str)]) -> Vec<sdk::Tag> {
    tags.iter().map(|(key, value)| sdk::Tag::builder().key(*key).value(*value).build()).collect()
}
