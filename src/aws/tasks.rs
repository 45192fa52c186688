//! ECS's tasks: started, listed, looked at, stopped.

use std::collections::BTreeMap;

use aws_sdk_ecs::types as sdk;

use super::{AwsError, Ecs, Kind};

/// `DescribeTasks` takes no more, and `ListTasks` gives no more on a page.
const PAGE: usize = 100;

/// Pages of `ListTasks` that are read: more tasks of one family than these are not listed.
const PAGES: usize = 10;

/// Where a task is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequest<'a> {
    pub cluster: &'a str,
    pub task_definition: &'a str,
    pub count: u8,
    pub capacity: Capacity,
    pub subnets: &'a [String],
    pub security_groups: &'a [String],
    pub assign_public_ip: bool,
    /// The container that the overrides are for.
    pub container: &'a str,
    pub overrides: &'a Overrides,
    /// The same token with the same request is the same task, however often the request is repeated.
    pub client_token: &'a str,
    pub started_by: &'a str,
}

/// What Fargate gives a task to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capacity {
    #[default]
    Fargate,
    /// Cheaper, and taken back with two minutes' notice.
    Spot,
}

/// What a task has otherwise than its task definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub environment: BTreeMap<String, String>,
    pub command: Option<Vec<String>>,
    /// CPU units and MiB, of the task.
    pub size: Option<(u32, u32)>,
    /// MiB that are kept for the container.
    pub memory_reservation: Option<u32>,
}

/// RunTask's answer: 200 may as well mean that nothing was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Started {
    pub tasks: Vec<Task>,
    pub failures: Vec<EcsFailure>,
}

/// A task, as `ecs:DescribeTasks` tells of it; it is told of for an hour after it has stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    pub arn: String,
    pub status: String,
    /// The ARN of its revision.
    pub task_definition: String,
    /// What whoever started it wrote there.
    pub started_by: Option<String>,
    pub stop_code: Option<String>,
    pub stopped_reason: Option<String>,
    /// `FARGATE` or `FARGATE_SPOT`, where a capacity provider was asked for.
    pub capacity_provider: Option<String>,
    /// In seconds since 1970, as the next two.
    pub created: Option<i64>,
    pub started: Option<i64>,
    pub stopped: Option<i64>,
    pub containers: Vec<Container>,
}

/// A container of a task, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    /// `None` where it never ran.
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
}

/// What ECS answers in place of a task or a cluster that it does not have or start (`failures` in its answers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EcsFailure {
    pub arn: Option<String>,
    pub reason: String,
    pub detail: Option<String>,
}

/// Which tasks are listed, by what is wanted of them: one that is being stopped is among the stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Running,
    Stopped,
}

impl Capacity {
    /// ECS's name for the capacity provider.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fargate => "FARGATE",
            Self::Spot => "FARGATE_SPOT",
        }
    }
}

impl Task {
    /// The last part of its ARN, which names its log stream.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }
}

impl Ecs {
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
        let call = self
            .client
            .run_task()
            .cluster(request.cluster)
            .task_definition(request.task_definition)
            .network_configuration(sdk::NetworkConfiguration::builder().awsvpc_configuration(network).build())
            .set_overrides(overrides(request.container, request.overrides))
            .client_token(request.client_token)
            .started_by(request.started_by)
            .count(request.count.into())
            .enable_ecs_managed_tags(true)
            .propagate_tags(sdk::PropagateTags::TaskDefinition);
        let call = match request.capacity {
            // Left out, it would be EC2.
            Capacity::Fargate => call.launch_type(sdk::LaunchType::Fargate),
            // Never both.
            Capacity::Spot => {
                let spot = sdk::CapacityProviderStrategyItem::builder().capacity_provider(request.capacity.name());
                call.capacity_provider_strategy(
                    spot.weight(1).build().expect("a strategy needs a provider, which it has"),
                )
            }
        };
        let answer = call.send().await.map_err(|error| AwsError::new("ecs:RunTask", Some(self.who.clone()), error))?;
        Ok(Started {
            tasks: answer.tasks().iter().map(task).collect(),
            failures: answer.failures().iter().map(failure).collect(),
        })
    }

    /// `None` where ECS does not know the task, which right after RunTask means "not yet".
    pub async fn task(&self, cluster: &str, task: &str) -> Result<Option<Task>, AwsError> {
        Ok(self.describe(cluster, &[task.to_owned()]).await?.into_iter().next())
    }

    /// The tasks of a family, as ECS remembers them: those that stopped for an hour or so.
    pub async fn tasks(&self, cluster: &str, family: &str, wanted: Wanted) -> Result<Vec<Task>, AwsError> {
        let arns = match self.list(cluster, family, wanted).await {
            // No cluster, no tasks.
            Err(error) if error.kind == Kind::NotFound => return Ok(Vec::new()),
            arns => arns?,
        };
        let mut tasks = Vec::new();
        for some in arns.chunks(PAGE) {
            tasks.extend(self.describe(cluster, some).await?);
        }
        Ok(tasks)
    }

    async fn list(&self, cluster: &str, family: &str, wanted: Wanted) -> Result<Vec<String>, AwsError> {
        let status = match wanted {
            Wanted::Running => sdk::DesiredStatus::Running,
            Wanted::Stopped => sdk::DesiredStatus::Stopped,
        };
        let (mut arns, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let call = self.client.list_tasks().cluster(cluster).family(family).desired_status(status.clone());
            let answer = call.set_next_token(token).send().await;
            let answer = answer.map_err(|error| AwsError::new("ecs:ListTasks", Some(self.who.clone()), error))?;
            arns.extend_from_slice(answer.task_arns());
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(arns)
    }

    async fn describe(&self, cluster: &str, tasks: &[String]) -> Result<Vec<Task>, AwsError> {
        let call = self.client.describe_tasks().cluster(cluster).set_tasks(Some(tasks.to_vec()));
        let answer = call.send().await;
        let answer = answer.map_err(|error| AwsError::new("ecs:DescribeTasks", Some(self.who.clone()), error))?;
        Ok(answer.tasks().iter().map(task).collect())
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
}

fn overrides(container: &str, overrides: &Overrides) -> Option<sdk::TaskOverride> {
    let Overrides { environment, command, size, memory_reservation } = overrides;
    if *overrides == Overrides::default() {
        return None;
    }
    let mib = |mib: u32| i32::try_from(mib).expect("at most 122880 MiB are offered");
    let of_container = (!environment.is_empty() || command.is_some() || memory_reservation.is_some()).then(|| {
        let pair = |(name, value): (&String, &String)| sdk::KeyValuePair::builder().name(name).value(value).build();
        sdk::ContainerOverride::builder()
            .name(container)
            .set_environment((!environment.is_empty()).then(|| environment.iter().map(pair).collect()))
            .set_command(command.clone())
            .set_memory_reservation(memory_reservation.map(mib))
            .build()
    });
    let of_task = sdk::TaskOverride::builder().set_container_overrides(of_container.map(|one| vec![one]));
    let (cpu, memory) = (size.map(|(cpu, _)| cpu.to_string()), size.map(|(_, memory)| memory.to_string()));
    Some(of_task.set_cpu(cpu).set_memory(memory).build())
}

fn task(found: &sdk::Task) -> Task {
    let said = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let containers = found.containers().iter().map(|container| Container {
        name: container.name().unwrap_or("").to_owned(),
        exit_code: container.exit_code(),
        reason: said(container.reason()),
    });
    Task {
        arn: found.task_arn().unwrap_or("").to_owned(),
        status: found.last_status().unwrap_or("").to_owned(),
        task_definition: found.task_definition_arn().unwrap_or("").to_owned(),
        started_by: said(found.started_by()),
        stop_code: said(found.stop_code().map(|code| code.as_str())),
        stopped_reason: said(found.stopped_reason()),
        capacity_provider: said(found.capacity_provider_name()),
        created: found.created_at().map(|at| at.secs()),
        started: found.started_at().map(|at| at.secs()),
        stopped: found.stopped_at().map(|at| at.secs()),
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
