//! Elastic Container Service: the cluster, the task definition, the task.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types as sdk;

use super::task_definition::TaskDefinition;
use super::{AwsError, Caller};

#[derive(Clone, Debug)]
pub struct Ecs {
    client: Client,
    who: Arc<Caller>,
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
}

/// Where a task is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest<'a> {
    pub cluster: &'a str,
    pub task_definition: &'a str,
    pub subnets: &'a [String],
    pub security_groups: &'a [String],
    pub assign_public_ip: bool,
    /// The same token with the same request is the same task, however often the request is repeated.
    pub client_token: &'a str,
    pub started_by: &'a str,
}

/// RunTask's answer: 200 may as well mean that nothing was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    pub tasks: Vec<Task>,
    pub failures: Vec<EcsFailure>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    pub arn: String,
    pub status: String,
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    /// `None` where it never ran.
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EcsFailure {
    pub arn: Option<String>,
    pub reason: String,
    pub detail: Option<String>,
}

impl Task {
    /// The last part of its ARN, which names its log stream.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
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
            .set_tags(Some(sdk_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::new("ecs:CreateCluster", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The latest revision that is ACTIVE.
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

    pub async fn run(&self, request: &RunRequest<'_>) -> Result<Started, AwsError> {
        let public = match request.assign_public_ip {
            true => sdk::AssignPublicIp::Enabled,
            false => sdk::AssignPublicIp::Disabled,
        };
        let network = sdk::AwsVpcConfiguration::builder()
            .set_subnets(Some(request.subnets.to_vec()))
            .set_security_groups(Some(request.security_groups.to_vec()))
            .assign_public_ip(public)
            .build()
            .expect("a network configuration needs subnets, which it has");
        let answer = self
            .client
            .run_task()
            .cluster(request.cluster)
            .task_definition(request.task_definition)
            // Left out, it would be EC2.
            .launch_type(sdk::LaunchType::Fargate)
            .network_configuration(sdk::NetworkConfiguration::builder().awsvpc_configuration(network).build())
            .client_token(request.client_token)
            .started_by(request.started_by)
            .count(1)
            .enable_ecs_managed_tags(true)
            .propagate_tags(sdk::PropagateTags::TaskDefinition)
            .send()
            .await
            .map_err(|error| AwsError::new("ecs:RunTask", Some(self.who.clone()), error))?;
        Ok(Started {
            tasks: answer.tasks().iter().map(task).collect(),
            failures: answer.failures().iter().map(failure).collect(),
        })
    }

    /// `None` where ECS does not know the task, which right after RunTask means "not yet".
    pub async fn task(&self, cluster: &str, arn: &str) -> Result<Option<Task>, AwsError> {
        const CALL: &str = "ecs:DescribeTasks";
        let answer = self
            .client
            .describe_tasks()
            .cluster(cluster)
            .tasks(arn)
            .send()
            .await
            .map_err(|error| AwsError::new(CALL, Some(self.who.clone()), error))?;
        Ok(answer.tasks().first().map(task))
    }

    /// SIGTERM, and SIGKILL half a minute later.
    pub async fn stop(&self, cluster: &str, arn: &str, reason: &str) -> Result<(), AwsError> {
        self.client
            .stop_task()
            .cluster(cluster)
            .task(arn)
            .reason(reason)
            .send()
            .await
            .map_err(|error| AwsError::new("ecs:StopTask", Some(self.who.clone()), error))?;
        Ok(())
    }

    fn revision(&self, call: &'static str, found: &sdk::TaskDefinition) -> Result<Revision, AwsError> {
        let arn = found
            .task_definition_arn()
            .ok_or_else(|| AwsError::garbled(call, Some(self.who.clone()), "taskDefinitionArn"))?;
        Ok(Revision { arn: arn.to_owned(), definition: TaskDefinition::read(found) })
    }
}

fn task(found: &sdk::Task) -> Task {
    let containers = found.containers().iter().map(|container| Container {
        name: container.name().unwrap_or("").to_owned(),
        exit_code: container.exit_code(),
        reason: container.reason().map(str::to_owned),
    });
    Task {
        arn: found.task_arn().unwrap_or("").to_owned(),
        status: found.last_status().unwrap_or("").to_owned(),
        stop_code: found.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: found.stopped_reason().map(str::to_owned),
        containers: containers.collect(),
    }
}

fn failure(found: &sdk::Failure) -> EcsFailure {
    EcsFailure {
        arn: found.arn().map(str::to_owned),
        reason: found.reason().unwrap_or("no reason given").to_owned(),
        detail: found.detail().map(str::to_owned),
    }
}

fn sdk_tags(tags: &[(&str, &str)]) -> Vec<sdk::Tag> {
    tags.iter().map(|(key, value)| sdk::Tag::builder().key(*key).value(*value).build()).collect()
}
