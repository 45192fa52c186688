//! EventBridge Scheduler: the schedules by which ECS runs tasks, and the group that they are in. A schedule takes no
//! tags, a group does.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::types as sdk;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::iam::or_none;
use super::{AwsError, Caller, Capacity, Kind};

/// The calls of EventBridge Scheduler.
#[derive(Clone, Debug)]
pub struct Scheduler {
    client: Client,
    who: Arc<Caller>,
}

/// When a task is run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `cron(…)`, `rate(…)` or `at(…)`.
    pub expression: String,
    pub timezone: String,
    pub enabled: bool,
    /// So many minutes late at most, where it need not be punctual.
    pub flexible_minutes: Option<i32>,
    /// How often, and for how long, a RunTask that failed is tried again.
    pub retries: i32,
    pub max_age_seconds: i32,
    /// Where the event goes of which nothing came.
    pub dead_letter_queue: Option<String>,
    /// What Scheduler acts as.
    pub role: String,
    /// As ARN, as the next one, which may name a family: then its latest revision is run.
    pub cluster: String,
    pub task_definition: String,
    pub count: i32,
    /// `None` is something other than Fargate.
    pub capacity: Option<Capacity>,
    pub subnets: BTreeSet<String>,
    pub security_groups: BTreeSet<String>,
    pub assign_public_ip: bool,
    /// Whether tasks get the tags of their task definition.
    pub tagged: bool,
    /// What the task has otherwise than its task definition, as JSON.
    pub input: Option<String>,
}

/// A group of schedules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleGroup {
    pub tags: Vec<(String, String)>,
}

/// What Scheduler does where nothing is said.
pub const RETRIES: u32 = 185;
/// How long Scheduler tries a missed start again unless it is told otherwise, and at most: one day, in seconds.
pub const MAX_AGE_SECONDS: u32 = 86_400;

/// A call with all that is said of a schedule: making one and changing one take the same, and share no type.
macro_rules! described {
    ($call:expr, $schedule:expr) => {
        $call
            .schedule_expression(&$schedule.expression)
            .schedule_expression_timezone(&$schedule.timezone)
            .state(state($schedule))
            .flexible_time_window(window($schedule))
            .target(target($schedule))
    };
}

impl Scheduler {
    pub(super) fn new(config: &SdkConfig, who: &Arc<Caller>) -> Self {
        Self { client: Client::new(config), who: who.clone() }
    }

    pub async fn group(&self, name: &str) -> Result<Option<ScheduleGroup>, AwsError> {
        const CALL: &str = "scheduler:GetScheduleGroup";
        let found = match self.client.get_schedule_group().name(name).send().await {
            Ok(found) => found,
            Err(error) => return or_none(AwsError::new(CALL, Some(self.who.clone()), error)),
        };
        // It is there as long as its schedules are not all gone.
        if found.state() == Some(&sdk::ScheduleGroupState::Deleting) {
            return Ok(None);
        }
        let arn = found.arn().ok_or_else(|| AwsError::garbled(CALL, Some(self.who.clone()), "Arn"))?;
        let answer = self.client.list_tags_for_resource().resource_arn(arn).send().await;
        let answer =
            answer.map_err(|error| AwsError::new("scheduler:ListTagsForResource", Some(self.who.clone()), error))?;
        let tags = answer.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
        Ok(Some(ScheduleGroup { tags }))
    }

    pub async fn create_group(&self, name: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        let call = self.client.create_schedule_group().name(name).set_tags(Some(sdk_tags(tags)));
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.conflict("scheduler:CreateScheduleGroup", error)),
        }
    }

    pub async fn tag_group(&self, name: &str, tags: &[(&str, &str)]) -> Result<(), AwsError> {
        let found = self.client.get_schedule_group().name(name).send().await;
        let found =
            found.map_err(|error| AwsError::new("scheduler:GetScheduleGroup", Some(self.who.clone()), error))?;
        let call = self.client.tag_resource().resource_arn(found.arn().unwrap_or_default());
        let sent = call.set_tags(Some(sdk_tags(tags))).send().await;
        sent.map_err(|error| AwsError::new("scheduler:TagResource", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn delete_group(&self, name: &str) -> Result<(), AwsError> {
        self.client
            .delete_schedule_group()
            .name(name)
            .send()
            .await
            .map_err(|error| AwsError::new("scheduler:DeleteScheduleGroup", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// The names of a group's schedules.
    pub async fn names(&self, group: &str) -> Result<Vec<String>, AwsError> {
        const CALL: &str = "scheduler:ListSchedules";
        let (mut names, mut token): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let call = self.client.list_schedules().group_name(group).set_next_token(token.clone());
            let answer = match call.send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let none = or_none(AwsError::new(CALL, Some(self.who.clone()), error))?;
                    return Ok(none.unwrap_or_default());
                }
            };
            // One emulator lists those of all groups.
            let of_group = answer.schedules().iter().filter(|found| found.group_name() == Some(group));
            names.extend(of_group.filter_map(|found| found.name().map(str::to_owned)));
            match answer.next_token() {
                Some(next) if Some(next) != token.as_deref() => token = Some(next.to_owned()),
                _ => return Ok(names),
            }
        }
    }

    pub async fn schedule(&self, group: &str, name: &str) -> Result<Option<Schedule>, AwsError> {
        const CALL: &str = "scheduler:GetSchedule";
        let found = match self.client.get_schedule().group_name(group).name(name).send().await {
            Ok(found) => found,
            Err(error) => return or_none(AwsError::new(CALL, Some(self.who.clone()), error)),
        };
        let garbled = || AwsError::garbled(CALL, Some(self.who.clone()), "ScheduleExpression and Target");
        let target = found.target().ok_or_else(garbled)?;
        let ecs = target.ecs_parameters();
        let network = ecs.and_then(|ecs| ecs.network_configuration()?.awsvpc_configuration());
        let retry = target.retry_policy();
        let flexible = found.flexible_time_window();
        let set = |ids: &[String]| ids.iter().cloned().collect();
        Ok(Some(Schedule {
            expression: found.schedule_expression().ok_or_else(garbled)?.to_owned(),
            timezone: found.schedule_expression_timezone().unwrap_or("UTC").to_owned(),
            enabled: found.state() != Some(&sdk::ScheduleState::Disabled),
            flexible_minutes: flexible
                .filter(|window| *window.mode() == sdk::FlexibleTimeWindowMode::Flexible)
                .and_then(|window| window.maximum_window_in_minutes()),
            retries: retry.and_then(|retry| retry.maximum_retry_attempts()).unwrap_or(RETRIES as i32),
            max_age_seconds: retry
                .and_then(|retry| retry.maximum_event_age_in_seconds())
                .unwrap_or(MAX_AGE_SECONDS as i32),
            dead_letter_queue: target.dead_letter_config().and_then(|queue| queue.arn().map(str::to_owned)),
            role: target.role_arn().to_owned(),
            cluster: target.arn().to_owned(),
            task_definition: ecs.map_or("", |ecs| ecs.task_definition_arn()).to_owned(),
            count: ecs.and_then(|ecs| ecs.task_count()).unwrap_or(1),
            capacity: ecs.and_then(capacity),
            subnets: network.map(|network| set(network.subnets())).unwrap_or_default(),
            security_groups: network.map(|network| set(network.security_groups())).unwrap_or_default(),
            assign_public_ip: network.and_then(|network| network.assign_public_ip())
                == Some(&sdk::AssignPublicIp::Enabled),
            tagged: ecs.and_then(|ecs| ecs.propagate_tags()) == Some(&sdk::PropagateTags::TaskDefinition),
            input: target.input().filter(|input| !input.is_empty()).map(str::to_owned),
        }))
    }

    pub async fn create(
        &self,
        group: &str,
        name: &str,
        description: &str,
        schedule: &Schedule,
    ) -> Result<(), AwsError> {
        let call = self.client.create_schedule().group_name(group).name(name).description(description);
        let sent = described!(call, schedule).send().await;
        sent.map_err(|error| self.conflict("scheduler:CreateSchedule", error))?;
        Ok(())
    }

    /// What is not said here becomes what it is by default.
    pub async fn update(
        &self,
        group: &str,
        name: &str,
        description: &str,
        schedule: &Schedule,
    ) -> Result<(), AwsError> {
        let call = self.client.update_schedule().group_name(group).name(name).description(description);
        let sent = described!(call, schedule).send().await;
        sent.map_err(|error| AwsError::new("scheduler:UpdateSchedule", Some(self.who.clone()), error))?;
        Ok(())
    }

    pub async fn delete(&self, group: &str, name: &str) -> Result<(), AwsError> {
        self.client
            .delete_schedule()
            .group_name(group)
            .name(name)
            .send()
            .await
            .map_err(|error| AwsError::new("scheduler:DeleteSchedule", Some(self.who.clone()), error))?;
        Ok(())
    }

    /// Scheduler's word for what is there already is, elsewhere, one for other things.
    fn conflict<E>(&self, call: &'static str, error: SdkError<E, HttpResponse>) -> AwsError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let error = AwsError::new(call, Some(self.who.clone()), error);
        let there = error.code.as_deref() == Some("ConflictException");
        AwsError { kind: if there { Kind::AlreadyExists } else { error.kind }, ..error }
    }
}

fn capacity(ecs: &sdk::EcsParameters) -> Option<Capacity> {
    match (ecs.launch_type(), ecs.capacity_provider_strategy()) {
        (Some(sdk::LaunchType::Fargate), []) => Some(Capacity::Fargate),
        (None, [one]) => {
            [Capacity::Fargate, Capacity::Spot].into_iter().find(|ours| ours.name() == one.capacity_provider())
        }
        _ => None,
    }
}

fn state(schedule: &Schedule) -> sdk::ScheduleState {
    if schedule.enabled { sdk::ScheduleState::Enabled } else { sdk::ScheduleState::Disabled }
}

fn window(schedule: &Schedule) -> sdk::FlexibleTimeWindow {
    let mode = match schedule.flexible_minutes {
        Some(_) => sdk::FlexibleTimeWindowMode::Flexible,
        None => sdk::FlexibleTimeWindowMode::Off,
    };
    let window = sdk::FlexibleTimeWindow::builder().mode(mode);
    window
        .set_maximum_window_in_minutes(schedule.flexible_minutes)
        .build()
        .expect("a window needs a mode, which it has")
}

fn target(schedule: &Schedule) -> sdk::Target {
    let public = match schedule.assign_public_ip {
        true => sdk::AssignPublicIp::Enabled,
        false => sdk::AssignPublicIp::Disabled,
    };
    let network = sdk::AwsVpcConfiguration::builder()
        .set_subnets(Some(schedule.subnets.iter().cloned().collect()))
        .set_security_groups(Some(schedule.security_groups.iter().cloned().collect()))
        .assign_public_ip(public)
        .build()
        .expect("a network configuration needs subnets, which it has");
    let ecs = sdk::EcsParameters::builder()
        .task_definition_arn(&schedule.task_definition)
        .task_count(schedule.count)
        .network_configuration(sdk::NetworkConfiguration::builder().awsvpc_configuration(network).build())
        .enable_ecs_managed_tags(true)
        .set_propagate_tags(schedule.tagged.then_some(sdk::PropagateTags::TaskDefinition));
    let ecs = match schedule.capacity.unwrap_or_default() {
        // Left out, it would be EC2; and never both.
        Capacity::Fargate => ecs.launch_type(sdk::LaunchType::Fargate),
        Capacity::Spot => {
            let spot = sdk::CapacityProviderStrategyItem::builder().capacity_provider(Capacity::Spot.name()).weight(1);
            ecs.capacity_provider_strategy(spot.build().expect("a strategy needs a provider, which it has"))
        }
    };
    let retry = sdk::RetryPolicy::builder()
        .maximum_retry_attempts(schedule.retries)
        .maximum_event_age_in_seconds(schedule.max_age_seconds);
    let queue = schedule.dead_letter_queue.as_ref().map(|arn| sdk::DeadLetterConfig::builder().arn(arn).build());
    sdk::Target::builder()
        .arn(&schedule.cluster)
        .role_arn(&schedule.role)
        .retry_policy(retry.build())
        .set_dead_letter_config(queue)
        .set_input(schedule.input.clone())
        .ecs_parameters(ecs.build().expect("ECS's part needs a task definition, which it has"))
        .build()
        .expect("a target needs an ARN and a role, which it has")
}

fn sdk_tags(tags: &[(&str, &str)]) -> Vec<sdk::Tag> {
    let tag = |(key, value): &(&str, &str)| {
        sdk::Tag::builder().key(*key).value(*value).build().expect("a key and a value are all that a tag needs")
    };
    tags.iter().map(tag).collect()
}
