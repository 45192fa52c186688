//! A loader that EventBridge Scheduler runs: what is wanted, what is there, and the schedule made what it should be.
//!
//! A schedule takes no tags, so ours are in a group that does: `locus-push`, and in it each has its loader's name. The
//! loader's schedule role is made before the schedule and removed after it; where there is none, nobody asks Scheduler.

mod expression;
mod timezone;

use std::collections::BTreeSet;

use serde_json::{Value, json};

pub use expression::{BadExpression, Expression};
pub use timezone::{BadTimezone, Timezone};

use super::access::{BadAccess, one_named};
use super::change::{Action, Adopted, Change, Removal, RoleKind};
use super::error::{DeployError, During};
use super::fields::{Field, differences};
use super::ground::Ground;
use super::loader::Loader;
use super::name::Kind;
use super::pace::Pace;
use super::policy::Scope;
use super::present::Present;
use super::removal;
use super::run::NOT_YET;
use super::tags::{self, MANAGED};
use crate::aws::{self, AwsError, Capacity, Cloud};
use crate::event::{CloudOutcome, Event, Events};

/// The group that all our schedules are in.
pub(super) const GROUP: &str = "locus-push";

/// When a loader runs, as its user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub expression: Expression,
    pub timezone: Timezone,
    pub retry: Retry,
    pub dead_letter_queue: Option<DeadLetterQueue>,
    pub enabled: bool,
    pub capacity: Capacity,
}

/// How often, and for how long, a RunTask is tried again that ECS refused. What a task does once it runs is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    attempts: u32,
    max_age_seconds: u32,
}

/// Why Scheduler would not take how a missed start is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRetry {
    #[error("Scheduler tries again 0 to {most} times, not {0}", most = aws::RETRIES)]
    Attempts(u32),
    #[error("Scheduler tries again for one minute to one day (60s to 24h), not for {0} s")]
    MaxAge(u64),
}

/// The queue, by name or ARN, that gets the event of a run that never came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterQueue(String);

/// Why a queue cannot take what a schedule could not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQueue {
    #[error(transparent)]
    Name(#[from] BadAccess),
    #[error("`{}` is a FIFO queue, and Scheduler sends to standard ones alone", .0.escape_debug())]
    Fifo(String),
}

/// What of Scheduler's belongs to a loader, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduled {
    /// Whether the group is there, and is ours.
    pub(super) group: Option<bool>,
    pub(super) schedule: Option<aws::Schedule>,
}

impl Retry {
    /// Scheduler's own numbers, where nothing is said.
    pub fn new(attempts: Option<u32>, max_age_seconds: Option<u64>) -> Result<Self, BadRetry> {
        let attempts = attempts.unwrap_or(aws::RETRIES);
        if attempts > aws::RETRIES {
            return Err(BadRetry::Attempts(attempts));
        }
        let seconds = max_age_seconds.unwrap_or(aws::MAX_AGE_SECONDS.into());
        match u32::try_from(seconds) {
            Ok(max_age_seconds) if (60..=aws::MAX_AGE_SECONDS).contains(&max_age_seconds) => {
                Ok(Self { attempts, max_age_seconds })
            }
            _ => Err(BadRetry::MaxAge(seconds)),
        }
    }
}

impl DeadLetterQueue {
    fn arn(&self, scope: &Scope) -> String {
        if self.0.starts_with("arn:") { self.0.clone() } else { scope.arn("sqs", &self.0) }
    }
}

impl std::str::FromStr for DeadLetterQueue {
    type Err = BadQueue;

    fn from_str(text: &str) -> Result<Self, BadQueue> {
        let queue = one_named(Kind::Queue, ":sqs:", text)?;
        if queue.ends_with(".fifo") {
            return Err(BadQueue::Fifo(queue));
        }
        Ok(Self(queue))
    }
}

impl Scheduled {
    pub(super) fn is_ours(&self) -> bool {
        self.group == Some(true)
    }
}

/// Looks at Scheduler, where a schedule is wanted, or a role tells of one that is there or was; `role` is whether that
/// is ours.
pub(super) async fn look(cloud: &Cloud, loader: &Loader, role: Option<bool>) -> Result<Scheduled, DeployError> {
    if role.is_none() && loader.schedule.is_none() {
        return Ok(Scheduled::default());
    }
    match look_for(cloud, &loader.name).await {
        // Somebody's role happens to have that name: who has no schedule need not be allowed to look for one.
        Err(error) if error.kind == aws::Kind::Denied && loader.schedule.is_none() && role == Some(false) => {
            Ok(Scheduled::default())
        }
        found => found.during(|| format!("looking at the schedule {}", loader.name)),
    }
}

pub(super) async fn look_for(cloud: &Cloud, name: &str) -> Result<Scheduled, AwsError> {
    let group = cloud.scheduler.group(GROUP).await?.map(|group| tags::are_ours(&group.tags));
    // Longer names have neither a schedule nor its role.
    let schedule = match group {
        Some(_) if Kind::Schedule.check(name).is_ok() => cloud.scheduler.schedule(GROUP, name).await?,
        _ => None,
    };
    Ok(Scheduled { group, schedule })
}

/// What the role must allow that Scheduler takes, with the ARNs of the task's roles; `None` where nothing is scheduled.
pub(super) fn policy(loader: &Loader, scope: &Scope, roles: BTreeSet<String>) -> Option<Value> {
    let schedule = loader.schedule.as_ref()?;
    let queue = schedule.dead_letter_queue.as_ref().map(|queue| queue.arn(scope));
    Some(super::policy::schedule(scope, &loader.name, &loader.cluster, &roles, queue.as_deref()))
}

/// What becomes of the schedule. It comes last, for the task definition is to be there when it strikes.
pub fn changes(loader: &Loader, present: &Present) -> Vec<Change> {
    let is = &present.scheduled;
    let Some(schedule) = &loader.schedule else { return gone(loader, present) };
    let role = present.role_arn(RoleKind::Schedule, loader);
    let wanted = wanted(loader, schedule, &present.scope, &role);
    different(loader, is, &wanted)
}

fn different(loader: &Loader, is: &Scheduled, wanted: &aws::Schedule) -> Vec<Change> {
    let change = |action, name: &str, why: &str, fields, adopts| Change {
        action,
        name: name.to_owned(),
        why: why.to_owned(),
        fields,
        adopts,
    };
    let mut changes = Vec::new();
    if is.group.is_none() {
        changes.push(change(Action::CreateScheduleGroup, GROUP, "there is none", Vec::new(), false));
    }
    match &is.schedule {
        None => {
            let fields = differences(&Value::Null, &document(wanted));
            changes.push(change(Action::CreateSchedule, &loader.name, "there is none", fields, false));
        }
        Some(schedule) if schedule == wanted => {}
        Some(schedule) if is.is_ours() || loader.adopt => {
            let fields = differences(&document(schedule), &document(wanted));
            let (why, adopts) = ("it is not the one that is wanted", !is.is_ours());
            changes.push(change(Action::ReplaceSchedule, &loader.name, why, fields, adopts));
            if adopts {
                let tag = Field::new(&format!("tag {}", MANAGED.0), None, Some(MANAGED.1.to_owned()));
                let why = "locus-push keeps it as it is wanted from now on";
                changes.push(change(Action::Adopt(Adopted::ScheduleGroup), GROUP, why, vec![tag], true));
            }
        }
        Some(_) => {}
    }
    changes
}

/// The loader is not scheduled any more: what it was scheduled with goes, the role last.
fn gone(loader: &Loader, present: &Present) -> Vec<Change> {
    let why = "locus.toml has no schedule for the loader any more";
    let change = |removal, name: &str| Change {
        action: Action::Remove(removal),
        name: name.to_owned(),
        why: why.to_owned(),
        fields: Vec::new(),
        adopts: false,
    };
    let is = &present.scheduled;
    let mut changes = Vec::new();
    if is.is_ours()
        && let Some(schedule) = &is.schedule
    {
        let fields = differences(&document(schedule), &Value::Null);
        changes.push(Change { fields, ..change(Removal::Schedule, &loader.name) });
    }
    if let Some(role) = present.schedule_role.as_ref().filter(|role| role.ours) {
        if role.policy.is_some() {
            changes.push(change(Removal::Policy { role: loader.schedule_role.clone() }, &loader.schedule_policy));
        }
        changes.push(change(Removal::Role, &loader.schedule_role));
    }
    changes
}

/// Why a schedule stays other than the loader asks for.
pub(super) fn kept(loader: &Loader, present: &Present) -> Option<String> {
    let (is, name) = (&present.scheduled, &loader.name);
    if is.is_ours() || loader.adopt {
        return None;
    }
    let foreign = format!("the schedule {GROUP}/{name} is in a group that was not made by locus-push");
    match (&is.schedule, &loader.schedule) {
        (Some(schedule), Some(asked)) => {
            let role = present.role_arn(RoleKind::Schedule, loader);
            (*schedule != wanted(loader, asked, &present.scope, &role))
                .then(|| format!("{foreign}, and is not the one that is wanted; --adopt changes it"))
        }
        (Some(_), None) => Some(format!("{foreign}, and goes on running the loader")),
        (None, _) => None,
    }
}

/// Makes the schedule what it should be, once there is something for it to run.
pub async fn schedule(
    cloud: &Cloud,
    loader: &Loader,
    is: &Scheduled,
    changes: &[Change],
    ground: &Ground,
    pace: &Pace,
    events: &Events,
) -> Result<(), DeployError> {
    let made = match (&loader.schedule, &ground.schedule_role_arn) {
        (Some(schedule), Some(role)) => Some(wanted(loader, schedule, &Scope::of(cloud), role)),
        _ => None,
    };
    let work = Work { cloud, loader, wanted: made.as_ref(), ground, pace, events };
    if made.is_some() && changes.is_empty() && is.schedule.is_some() {
        events.emit(Event::Cloud { outcome: CloudOutcome::Exists, kind: "schedule", name: loader.name.clone() });
    }
    for change in changes {
        let (kind, name) = (change.action.kind(), &change.name);
        work.make(change).await.during(|| format!("making the {kind} {name} what it should be"))?;
        events.emit(Event::Cloud { outcome: change.action.outcome(), kind, name: name.clone() });
    }
    Ok(())
}

struct Work<'a> {
    cloud: &'a Cloud,
    loader: &'a Loader,
    wanted: Option<&'a aws::Schedule>,
    ground: &'a Ground,
    pace: &'a Pace,
    events: &'a Events,
}

impl Work<'_> {
    async fn make(&self, change: &Change) -> Result<(), AwsError> {
        let (scheduler, name) = (&self.cloud.scheduler, &self.loader.name);
        match (&change.action, self.wanted) {
            (Action::CreateScheduleGroup, _) => there(scheduler.create_group(GROUP, &tags::SHARED).await),
            (Action::Adopt(Adopted::ScheduleGroup), _) => scheduler.tag_group(GROUP, &tags::SHARED).await,
            (Action::Remove(removal), _) => removal::remove(self.cloud, removal, &change.name, self.pace).await,
            (Action::CreateSchedule, Some(wanted)) => {
                let description = description(name);
                let made = self.settled(|| scheduler.create(GROUP, name, &description, wanted)).await;
                match made {
                    // Somebody made it at the same moment.
                    Err(error) if error.kind == aws::Kind::AlreadyExists => {
                        scheduler.update(GROUP, name, &description, wanted).await
                    }
                    made => made,
                }
            }
            (Action::ReplaceSchedule, Some(wanted)) => {
                let description = description(name);
                self.settled(|| scheduler.update(GROUP, name, &description, wanted)).await
            }
            (other, _) => unreachable!("`changes` has nothing to do with {other:?}"),
        }
    }

    /// Scheduler tries to take a role before it is named in a schedule, and a new one is not seen for some seconds.
    async fn settled<F: Future<Output = Result<(), AwsError>>>(&self, ask: impl FnMut() -> F) -> Result<(), AwsError> {
        let young = |error: &AwsError| {
            let young = self.ground.new_role && error.message.contains("assume the role");
            if young {
                self.events.emit(Event::Note(NOT_YET.to_owned()));
            }
            young
        };
        self.pace.role_lag.retry(young, ask).await
    }
}

fn there(made: Result<(), AwsError>) -> Result<(), AwsError> {
    match made {
        Err(error) if error.kind == aws::Kind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// For who looks at it in the console.
fn description(name: &str) -> String {
    format!("Runs the loader {name}; made by locus-push, and kept as its locus.toml says")
}

/// The schedule in the words of AWS.
fn wanted(loader: &Loader, schedule: &Schedule, scope: &Scope, role: &str) -> aws::Schedule {
    let Schedule { expression, timezone, retry, dead_letter_queue, enabled, capacity } = schedule;
    let small = |number: u32| i32::try_from(number).expect("both are at most a day's seconds");
    aws::Schedule {
        expression: expression.as_str().to_owned(),
        timezone: timezone.as_str().to_owned(),
        enabled: *enabled,
        flexible_minutes: None,
        retries: small(retry.attempts),
        max_age_seconds: small(retry.max_age_seconds),
        dead_letter_queue: dead_letter_queue.as_ref().map(|queue| queue.arn(scope)),
        role: role.to_owned(),
        cluster: scope.arn("ecs", &format!("cluster/{}", loader.cluster)),
        // Without a number: the latest revision, as `run` has it.
        task_definition: scope.arn("ecs", &format!("task-definition/{}", loader.name)),
        count: 1,
        capacity: Some(*capacity),
        subnets: loader.network.subnets.iter().cloned().collect(),
        security_groups: loader.network.security_groups.iter().cloned().collect(),
        assign_public_ip: loader.network.assign_public_ip,
        tagged: true,
        input: None,
    }
}

/// The same for a plan, in the words of locus.toml.
pub(super) fn document(schedule: &aws::Schedule) -> Value {
    let aws::Schedule {
        expression,
        timezone,
        enabled,
        flexible_minutes,
        retries,
        max_age_seconds,
        dead_letter_queue,
        role,
        cluster,
        task_definition,
        count,
        capacity,
        subnets,
        security_groups,
        assign_public_ip,
        tagged,
        input,
    } = schedule;
    json!({
        "expression": expression,
        "timezone": timezone,
        "enabled": enabled,
        "flexible_minutes": flexible_minutes,
        "retries": retries,
        "max_age_seconds": max_age_seconds,
        "dead_letter_queue": dead_letter_queue,
        "role": role,
        "cluster": cluster,
        "task_definition": task_definition,
        "count": count,
        "capacity_provider": capacity.map_or("(not Fargate)", Capacity::name),
        "subnets": subnets,
        "security_groups": security_groups,
        "assign_public_ip": assign_public_ip,
        "propagates_tags": tagged,
        "input": input,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Description;
    use super::super::testing::{loader, scope};
    use super::*;

    fn scheduled(d: &mut Description) {
        d.schedule = Some(Schedule {
            expression: "cron(0 3 * * ? *)".parse().expect("it is one"),
            timezone: Timezone::default(),
            retry: Retry::new(None, None).expect("Scheduler's own"),
            dead_letter_queue: None,
            enabled: true,
            capacity: Capacity::Fargate,
        });
    }

    #[track_caller]
    fn check(loader: &Loader, is: Scheduled, words: &[&str]) {
        let schedule = loader.schedule().expect("it has one");
        let changes = different(loader, &is, &wanted(loader, schedule, &scope(), "role"));
        let said: Vec<_> = changes.iter().map(|c| format!("{:?} {} {}", c.action, c.name, c.adopts)).collect();
        assert_eq!(said, words);
    }

    #[test]
    fn a_schedule_is_changed_where_it_is_ours_or_adopted() {
        let mut description = loader(scheduled);
        let ours = wanted(&description, description.schedule().expect("it has one"), &scope(), "role");
        let there = |group, schedule| Scheduled { group: Some(group), schedule: Some(schedule) };
        check(
            &description,
            Scheduled::default(),
            &["CreateScheduleGroup locus-push false", "CreateSchedule os_opendata false"],
        );
        check(&description, there(true, ours.clone()), &[]);
        let other = aws::Schedule { input: Some("{}".into()), flexible_minutes: Some(5), ..ours };
        check(&description, there(true, other.clone()), &["ReplaceSchedule os_opendata false"]);
        check(&description, there(false, other.clone()), &[]);
        description.adopt = true;
        let adopted = ["ReplaceSchedule os_opendata true", "Adopt(ScheduleGroup) locus-push true"];
        check(&description, there(false, other), &adopted);
    }
}
