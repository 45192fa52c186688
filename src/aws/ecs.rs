//! Elastic Container Service: the cluster and the task definition.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types as sdk;

use super::essentials::Essentials;
use super::task_definition::TaskDefinition;
use super::tasks::Capacity;
use super::{AwsError, Caller};

#[derive(Clone, Debug)]
pub struct Ecs {
    pub(super) client: Client,
    pub(super) who: Arc<Caller>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub arn: String,
    /// `ACTIVE`, or on its way in or out.
    pub status: String,
}

/// One revision of a task definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub arn: String,
    pub definition: TaskDefinition,
    pub essentials: Essentials,
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

    /// The latest revision that is ACTIVE; or the one that `family:REVISION` or an ARN names.
    pub async fn latest(&self, family: &str) -> Result<Option<Revision>, AwsError> {
        const CALL: &str = "ecs:DescribeTaskDefinition";
        match self.client.describe_task_definition().task_definition(family).send().await {
            Ok(answer) => answer.task_definition().map(|found| self.revision(CALL, found)).transpose(),
            Err(error) => match AwsError::new(CALL, Some(self.who.clone()), error) {
                // ECS has no error of its own for a family that is not there.
                error if error.message.contains("Unable to describe task definition") => Ok(None),
                error => Err(error),
            },
        }
    }

    pub async fn register(&self, wanted: &TaskDefinition, tags: &[(&str, &str)]) -> Result<Revision, AwsError> {
        const CALL: &str = "ecs:RegisterTaskDefinition";
        let (container, platform, storage) = wanted.to_sdk();
        let answer = self
            .client
            .register_task_definition()
            .family(&wanted.family)
            .network_mode(sdk::NetworkMode::Awsvpc)
            .requires_compatibilities(sdk::Compatibility::Fargate)
            .cpu(&wanted.cpu)
            .memory(&wanted.memory)
            .set_execution_role_arn(wanted.execution_role.clone())
            .set_task_role_arn(wanted.task_role.clone())
            .runtime_platform(platform)
            .set_ephemeral_storage(storage)
            .container_definitions(container)
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        let made = answer
            .task_definition()
            .ok_or_else(|| AwsError::garbled(CALL, Some(self.who.clone()), "taskDefinition"))?;
        self.revision(CALL, made)
    }

    fn revision(&self, call: &'static str, found: &sdk::TaskDefinition) -> Result<Revision, AwsError> {
        let arn = found
            .task_definition_arn()
            .ok_or_else(|| AwsError::garbled(call, Some(self.who.clone()), "taskDefinitionArn"))?;
        Ok(Revision {
            arn: arn.to_owned(),
            definition: TaskDefinition::read(found),
            essentials: Essentials::read(found),
        })
    }
}

fn sdk_tags(tags: &[(&str, &str)]) -> Vec<sdk::Tag> {
    tags.iter().map(|(key, value)| sdk::Tag::builder().key(*key).value(*value).build()).collect()
}
