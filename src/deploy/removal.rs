//! What belongs to a loader, taken away: only what carries its tags, and what others share only when none is left.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::change::{Action, Change, Removal};
use super::error::{DeployError, During};
use super::loader::schedule_role;
use super::name::{BadName, Kind};
use super::pace::Pace;
use super::plan::Plan;
use super::policy::Scope;
use super::schedule::{self, GROUP};
use super::secret_spec::{SecretSource, SecretSpec};
use super::tags;
use crate::aws::{self, AwsError, Cloud, Revision, Stage, Task, Wanted};
use crate::event::{Event, Events};

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// A loader to be taken down, as the settings know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doomed {
    pub name: String,
    pub repository: String,
    pub cluster: String,
    pub log_group: String,
    /// Those with names of their own, besides the usual ones.
    pub roles: Vec<String>,
    pub secrets: Vec<SecretSpec>,
    /// What other loaders use too goes as well, when none is left.
    pub shared: bool,
    pub with_secrets: bool,
    /// What runs is stopped.
    pub stop: bool,
}

/// What would be removed, and what stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    pub plan: Plan,
    name: String,
    /// Tasks that nobody asked to be stopped.
    running: Vec<String>,
}

impl Doomed {
    /// Names that AWS would not take are none of ours.
    pub fn check(&self) -> Result<(), BadName> {
        let Self { name, repository, cluster, log_group, roles, .. } = self;
        let names = [
            (Kind::Loader, name),
            (Kind::Repository, repository),
            (Kind::Cluster, cluster),
            (Kind::LogGroup, log_group),
        ];
        let roles = roles.iter().map(|role| (Kind::Role, role));
        names.into_iter().chain(roles).try_for_each(|(kind, name)| kind.check(name).map(drop))
    }
}

/// Looks for all that belongs to the loader. Reads only.
pub async fn down(cloud: &Cloud, doomed: &Doomed) -> Result<Down, DeployError> {
    let mut search = Search {
        cloud,
        doomed,
        tagged: format!("it is tagged locus-push:loader={}", doomed.name),
        changes: Vec::new(),
        kept: Vec::new(),
        others: others(cloud, &doomed.name).await.during(|| "looking for other loaders".to_owned())?,
    };
    let doing = |what: &str| format!("looking at the {what} of {}", doomed.name);
    search.schedule().await.during(|| doing("schedule"))?;
    let revisions = search.revisions().await.during(|| doing("task definition"))?;
    let latest = revisions.iter().find(|(_, active)| *active).or(revisions.first());
    let latest = latest.map(|(revision, _)| revision.definition.clone()).unwrap_or_default();
    let ours: BTreeSet<&str> = revisions.iter().map(|(revision, _)| revision.arn.as_str()).collect();
    let running = search.tasks(&ours).await.during(|| doing("tasks"))?;
    search.image_tags().await.during(|| doing("images"))?;
    search.log_group(&latest).await.during(|| doing("log group"))?;
    search.roles(&latest).await.during(|| doing("roles"))?;
    search.secrets(&latest).await.during(|| doing("secrets"))?;
    for (revision, active) in &revisions {
        let (arn, active) = (revision.arn.clone(), *active);
        let why = search.tagged.clone();
        search.remove(Removal::Revision { arn, active }, revision.name(), why);
    }
    search.cluster(running.len()).await.during(|| doing("cluster"))?;
    search.repository().await.during(|| doing("repository"))?;
    search.group().await.during(|| doing("schedule group"))?;

    let Search { changes, kept, .. } = search;
    let Scope { account, region, .. } = Scope::of(cloud);
    let plan = Plan { account, region, changes, kept };
    let running = if doomed.stop { Vec::new() } else { running.iter().map(|task| task.id().to_owned()).collect() };
    Ok(Down { plan, name: doomed.name.clone(), running })
}

/// Removes it, one thing after the other; what is gone already is none the worse for that.
pub async fn take_down(
    cloud: &Cloud,
    down: &Down,
    pace: &Pace,
    events: &Events,
    interrupt: &watch::Receiver<bool>,
) -> Result<(), DeployError> {
    if !down.running.is_empty() {
        return Err(DeployError::StillRuns { name: down.name.clone(), tasks: down.running.clone() });
    }
    for Change { action, name, .. } in &down.plan.changes {
        if *interrupt.borrow() {
            return Err(DeployError::RemovalInterrupted);
        }
        let (kind, Action::Remove(removal)) = (action.kind(), action) else { continue };
        remove(cloud, removal, name, pace).await.during(|| format!("removing the {kind} {name}"))?;
        events.emit(Event::Cloud { outcome: action.outcome(), kind, name: name.clone() });
    }
    Ok(())
}

/// Takes one thing away.
pub(super) async fn remove(cloud: &Cloud, removal: &Removal, name: &str, pace: &Pace) -> Result<(), AwsError> {
    let Cloud { ecr, ecs, iam, logs, scheduler, secrets, .. } = cloud;
    let done = match removal {
        Removal::Schedule => scheduler.delete(GROUP, name).await,
        Removal::ScheduleGroup => scheduler.delete_group(name).await,
        Removal::Task { cluster, arn } => stop(cloud, cluster, arn, pace).await,
        Removal::ImageTags { repository, tags } => ecr.untag(repository, tags).await,
        Removal::Policy { role } => iam.delete_role_policy(role, name).await,
        Removal::Attachment { role } => iam.detach(role, name).await,
        Removal::Role => iam.delete_role(name).await,
        Removal::LogGroup => logs.delete_group(name).await,
        Removal::Secret => secrets.delete(name).await,
        Removal::Revision { arn, active } => {
            if *active {
                ecs.deregister(arn).await?;
            }
            ecs.delete_revision(arn).await
        }
        // A task that has stopped is its cluster's for some seconds more.
        Removal::Cluster => {
            let worth = |error: &AwsError| error.code.as_deref() == Some("ClusterContainsTasksException");
            pace.role_lag.retry(worth, || ecs.delete_cluster(name)).await
        }
        Removal::Repository => ecr.delete_repository(name).await,
    };
    match done {
        Err(error) if error.kind == aws::Kind::NotFound => Ok(()),
        done => done,
    }
}

/// Until it has stopped, or has had the time to.
async fn stop(cloud: &Cloud, cluster: &str, arn: &str, pace: &Pace) -> Result<(), AwsError> {
    cloud.ecs.stop(cluster, arn, "its loader is removed (locus-push down)").await?;
    let (begun, mut step) = (Instant::now(), pace.status.first);
    while begun.elapsed() < pace.stop {
        match cloud.ecs.task(cluster, arn).await? {
            Some(task) if task.status != "STOPPED" => sleep(step).await,
            _ => return Ok(()),
        }
        step = pace.status.after(step);
    }
    Ok(())
}

/// The latest revisions of all other families, whoever made them.
async fn others(cloud: &Cloud, name: &str) -> Result<Vec<Revision>, AwsError> {
    let families = cloud.ecs.families().await?.into_iter().filter(|family| family != name);
    let asked = stream::iter(families).map(async |family: String| cloud.ecs.revision(&family).await);
    let found: Vec<Option<Revision>> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

struct Search<'a> {
    cloud: &'a Cloud,
    doomed: &'a Doomed,
    /// Why most of it goes.
    tagged: String,
    changes: Vec<Change>,
    kept: Vec<String>,
    others: Vec<Revision>,
}

impl Search<'_> {
    fn remove(&mut self, removal: Removal, name: &str, why: String) {
        let (action, name) = (Action::Remove(removal), name.to_owned());
        self.changes.push(Change { action, name, why, fields: Vec::new(), adopts: false });
    }

    fn keep(&mut self, kept: String) {
        self.kept.push(kept);
    }

    /// The other loaders, by their families.
    fn loaders(&self) -> Vec<&str> {
        let ours = self.others.iter().filter(|revision| tags::are_ours(&revision.tags));
        ours.filter_map(|revision| revision.name().rsplit_once(':')).map(|(family, _)| family).collect()
    }

    /// Another family whose task definition names something.
    fn user_of(&self, thing: &str) -> Option<String> {
        let user = self.others.iter().find(|revision| mentions(&revision.definition, thing))?;
        Some(user.name().to_owned())
    }

    async fn schedule(&mut self) -> Result<(), AwsError> {
        let name = &self.doomed.name;
        let found = schedule::look_for(self.cloud, name).await?;
        match &found.schedule {
            Some(schedule) if found.is_ours() => {
                let why = format!("it runs the loader: {} {}", schedule.expression, schedule.timezone);
                self.remove(Removal::Schedule, name, why);
            }
            Some(_) => self.keep(format!("the schedule {GROUP}/{name} stays: locus-push did not make its group")),
            None => {}
        }
        Ok(())
    }

    /// Those that are the loader's, the newest first, and whether tasks can be started with them.
    async fn revisions(&mut self) -> Result<Vec<(Revision, bool)>, AwsError> {
        let (cloud, name) = (self.cloud, &self.doomed.name);
        let family = format!("/{name}:");
        let mut all = Vec::new();
        for stage in [Stage::Active, Stage::Inactive] {
            let arns = cloud.ecs.revisions(name, stage).await?;
            // One emulator takes the family for the beginning of a name.
            let arns = arns.into_iter().filter(|arn| arn.contains(&family));
            let asked = stream::iter(arns).map(async |arn: String| cloud.ecs.revision(&arn).await);
            let found: Vec<Option<Revision>> = asked.buffered(AT_ONCE).try_collect().await?;
            let (ours, theirs): (Vec<_>, Vec<_>) =
                found.into_iter().flatten().partition(|revision| tags::are_of(name, &revision.tags));
            for revision in theirs {
                self.keep(format!("the task definition {} stays: it is not tagged as this loader's", revision.name()));
            }
            all.extend(ours.into_iter().map(|revision| (revision, stage == Stage::Active)));
        }
        Ok(all)
    }

    /// Those that run with a revision of the loader's.
    async fn tasks(&mut self, ours: &BTreeSet<&str>) -> Result<Vec<Task>, AwsError> {
        let Doomed { name, cluster, stop, .. } = self.doomed;
        let tasks = self.cloud.ecs.tasks(cluster, name, Wanted::Running).await?;
        let runs = |task: &Task| ours.contains(task.task_definition.as_str()) && task.status != "STOPPED";
        let (running, theirs): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(runs);
        for task in theirs.iter().filter(|task| task.status != "STOPPED") {
            self.keep(format!("the task {} runs on: its task definition is not tagged as this loader's", task.id()));
        }
        for task in &running {
            let removal = Removal::Task { cluster: cluster.clone(), arn: task.arn.clone() };
            match stop {
                true => self.remove(removal, task.id(), format!("it is {}, and is stopped", task.status)),
                false => self.keep(format!(
                    "the task {} is {}: nothing is removed before it ends; --stop stops it",
                    task.id(),
                    task.status
                )),
            }
        }
        Ok(running)
    }

    async fn image_tags(&mut self) -> Result<(), AwsError> {
        let Doomed { name, repository, .. } = self.doomed;
        for image in self.cloud.ecr.tagged_images(repository).await? {
            let tags = tags_of(name, &image);
            if tags.is_empty() {
                continue;
            }
            let all = |tags: &BTreeSet<String>| tags.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let rest: BTreeSet<String> = image.tags.difference(&tags).cloned().collect();
            if !rest.is_empty() {
                self.keep(format!("the image {repository}@{} stays: it is tagged {} too", image.digest, all(&rest)));
            }
            let (shown, repository) = (format!("{repository}:{}", all(&tags)), repository.clone());
            let why = format!("the road pushed {} under them for the loader", image.digest);
            self.remove(Removal::ImageTags { repository, tags }, &shown, why);
        }
        Ok(())
    }

    async fn log_group(&mut self, latest: &Value) -> Result<(), AwsError> {
        let (logs, name) = (&self.cloud.logs, &self.doomed.name);
        let said = latest["containerDefinitions"].as_array().into_iter().flatten();
        let said = said.filter_map(|container| container["logConfiguration"]["options"]["awslogs-group"].as_str());
        let groups: BTreeSet<&str> = said.chain([self.doomed.log_group.as_str()]).collect();
        for group in groups {
            let Some(found) = logs.group(group).await? else { continue };
            if !tags::are_of(name, &logs.group_tags(&found).await?) {
                self.keep(format!("the log group {group} stays: it is not tagged as this loader's"));
            } else if let Some(user) = self.user_of(group) {
                self.keep(format!("the log group {group} stays: {user} writes to it"));
            } else {
                let why = self.tagged.clone();
                self.remove(Removal::LogGroup, group, why);
            }
        }
        Ok(())
    }

    async fn roles(&mut self, latest: &Value) -> Result<(), AwsError> {
        let (iam, name) = (&self.cloud.iam, &self.doomed.name);
        let usual = [format!("{name}-task-execution-role"), format!("{name}-task-role"), schedule_role(name)];
        let said = [&latest["executionRoleArn"], &latest["taskRoleArn"]];
        let said = said.iter().filter_map(|arn| arn.as_str()?.rsplit('/').next()).map(str::to_owned);
        let roles: BTreeSet<String> = usual.into_iter().chain(said).chain(self.doomed.roles.iter().cloned()).collect();
        // A name that is too long for a role has none.
        for role in roles.iter().filter(|role| Kind::Role.check(role).is_ok()) {
            let Some(found) = iam.role(role).await? else { continue };
            if !tags::are_of(name, &found.tags) {
                self.keep(format!("the role {role} stays: it is not tagged as this loader's"));
                continue;
            }
            if let Some(user) = self.user_of(&found.arn) {
                self.keep(format!("the role {role} stays: {user} has it too"));
                continue;
            }
            let (inline, attached) = iam.policies_of(role).await?;
            for policy in inline {
                self.remove(Removal::Policy { role: role.clone() }, &policy, format!("it is in the role {role}"));
            }
            for arn in attached {
                let why = format!("it is attached to the role {role}, and itself stays");
                self.remove(Removal::Attachment { role: role.clone() }, &arn, why);
            }
            let why = self.tagged.clone();
            self.remove(Removal::Role, role, why);
        }
        Ok(())
    }

    async fn secrets(&mut self, latest: &Value) -> Result<(), AwsError> {
        let (secrets, with_secrets) = (&self.cloud.secrets, self.doomed.with_secrets);
        let said = latest["containerDefinitions"].as_array().into_iter().flatten();
        let said = said.filter_map(|container| container["secrets"].as_array()).flatten();
        let said =
            said.filter_map(|secret| secret["valueFrom"].as_str()).filter(|arn| arn.contains(":secretsmanager:"));
        // Without the JSON key that one variable is given of it.
        let said = said.map(|arn| arn.split(':').take(7).collect::<Vec<_>>().join(":"));
        let named = self.doomed.secrets.iter().map(|spec| {
            let (SecretSource::Named { name, .. } | SecretSource::Arn { arn: name, .. }) = &spec.source;
            name.clone()
        });
        // One secret may be named by both; its ARN tells.
        let mut found: BTreeMap<String, bool> = BTreeMap::new();
        for id in said.chain(named).collect::<BTreeSet<_>>() {
            if let Some(secret) = secrets.secret(&id).await?.filter(|secret| !secret.deleted) {
                let ours = match secrets.tags(&secret.arn).await? {
                    Some(tags) => tags::are_ours(&tags),
                    None => continue,
                };
                found.insert(secret.arn, ours);
            }
        }
        for (arn, ours) in found {
            if !ours {
                self.keep(format!("the secret {arn} stays: locus-push did not make it"));
            } else if !with_secrets {
                self.keep(format!("the secret {arn} stays; --secrets removes it when no other loader has it"));
            } else if let Some(user) = self.user_of(&arn) {
                self.keep(format!("the secret {arn} stays: {user} has it too"));
            } else {
                let why = "no other task definition has it; for thirty days it can be brought back".to_owned();
                self.remove(Removal::Secret, &arn, why);
            }
        }
        Ok(())
    }

    /// The loader's own goes with it, a shared one when no other loader is left; none that somebody uses.
    async fn cluster(&mut self, running: usize) -> Result<(), AwsError> {
        let Doomed { name, cluster, shared, .. } = self.doomed;
        let Some(found) = self.cloud.ecs.cluster_use(cluster).await? else { return Ok(()) };
        let own = tags::are_of(name, &found.tags);
        let stays = |why: &str| format!("the cluster {cluster} stays: {why}");
        let other_tasks = usize::try_from(found.tasks).unwrap_or(0).saturating_sub(running);
        if !own && !tags::are_ours(&found.tags) {
            self.keep(stays("locus-push did not make it"));
            return Ok(());
        }
        if let Some(why) = self.shared_with(*shared).filter(|_| !own) {
            self.keep(stays(&why));
            return Ok(());
        }
        if other_tasks > 0 || found.services > 0 {
            self.keep(stays(&format!("it has {other_tasks} other tasks and {} services", found.services)));
            return Ok(());
        }
        let arn = Scope::of(self.cloud).arn("ecs", &format!("cluster/{cluster}"));
        for other in self.cloud.scheduler.names(GROUP).await?.iter().filter(|other| *other != name) {
            let schedule = self.cloud.scheduler.schedule(GROUP, other).await?;
            if schedule.is_some_and(|schedule| schedule.cluster == arn) {
                self.keep(stays(&format!("{other} is scheduled in it")));
                return Ok(());
            }
        }
        self.remove(Removal::Cluster, cluster, "nothing else runs in it".to_owned());
        Ok(())
    }

    async fn repository(&mut self) -> Result<(), AwsError> {
        let Doomed { name, repository, shared, .. } = self.doomed;
        let Some(found) = self.cloud.ecr.repository(repository).await? else { return Ok(()) };
        let stays = |why: &str| format!("the repository {repository} stays: {why}");
        if found.account != self.cloud.caller.account || !tags::are_ours(&self.cloud.ecr.tags(&found).await?) {
            self.keep(stays("locus-push did not make it"));
            return Ok(());
        }
        if let Some(why) = self.shared_with(*shared) {
            self.keep(stays(&why));
            return Ok(());
        }
        let images = self.cloud.ecr.tagged_images(repository).await?;
        match images.iter().find_map(|image| image.tags.difference(&tags_of(name, image)).next().cloned()) {
            Some(tag) => self.keep(stays(&format!("it has another image, tagged {tag}"))),
            None => self.remove(Removal::Repository, repository, "no other loader is left".to_owned()),
        }
        Ok(())
    }

    async fn group(&mut self) -> Result<(), AwsError> {
        let Doomed { name, shared, .. } = self.doomed;
        let found = self.cloud.scheduler.group(GROUP).await?;
        if !found.is_some_and(|group| tags::are_ours(&group.tags)) || self.shared_with(*shared).is_some() {
            return Ok(());
        }
        if self.cloud.scheduler.names(GROUP).await?.iter().all(|other| other == name) {
            self.remove(Removal::ScheduleGroup, GROUP, "no other loader is left".to_owned());
        }
        Ok(())
    }

    /// Why something shared stays.
    fn shared_with(&self, asked: bool) -> Option<String> {
        if !asked {
            return Some("other loaders may use it; --shared removes it when none is left".to_owned());
        }
        let loaders = self.loaders();
        (!loaders.is_empty()).then(|| format!("other loaders are left: {}", loaders.join(", ")))
    }
}

/// The tags that the road gave an image for a loader: `<name>.<digest>`, and `<name>` beside it.
fn tags_of(name: &str, image: &aws::TaggedImage) -> BTreeSet<String> {
    let by_digest = format!("{name}.{}", image.digest.short());
    if !image.tags.contains(&by_digest) {
        return BTreeSet::new();
    }
    let ours = [by_digest, name.to_owned()];
    ours.into_iter().filter(|tag| image.tags.contains(tag)).collect()
}

/// Whether a text of a document is `thing`, or that with more behind a colon: a secret's JSON key.
fn mentions(document: &Value, thing: &str) -> bool {
    match document {
        Value::String(text) => text.strip_prefix(thing).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')),
        Value::Array(items) => items.iter().any(|item| mentions(item, thing)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, thing)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Script, recorded};
    use super::*;
    use crate::image::Digest;

    #[test]
    fn an_images_tags_are_the_loaders_where_the_road_gave_them() {
        let digest = Digest::of(b"image");
        let short = digest.short();
        let check = |tags: &[&str], wanted: &[&str]| {
            let set = |tags: &[&str]| tags.iter().map(|tag| tag.replace("{}", &short)).collect::<BTreeSet<String>>();
            let image = aws::TaggedImage { digest, tags: set(tags) };
            assert_eq!(tags_of("a", &image), set(wanted), "{tags:?}");
        };
        check(&["a", "a.{}"], &["a", "a.{}"]);
        check(&["a.{}", "b", "b.{}", "latest"], &["a.{}"]);
        // Somebody's own tag, and one that was moved here by hand.
        check(&["a", "b.{}"], &[]);
        check(&["a.000000000000"], &[]);
    }

    #[test]
    fn what_another_task_definition_names_is_found_with_its_json_key_and_not_by_its_beginning() {
        let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:DB-AbCdEf";
        let with =
            |text: &str| json!({ "containerDefinitions": [{ "secrets": [{ "name": "X", "valueFrom": text }] }] });
        assert!(mentions(&with(arn), arn) && mentions(&with(&format!("{arn}:key::")), arn));
        assert!(!mentions(&with(&format!("{arn}2")), arn) && !mentions(&json!(null), arn));
    }

    #[tokio::test]
    async fn an_interrupt_ends_it_between_two_things_and_what_is_gone_is_no_error() {
        let script = Script::default().error("DeleteLogGroup", 400, "ResourceNotFoundException", "");
        let (played, (events, seen)) = (script.play().await, recorded());
        let change = Change {
            action: Action::Remove(Removal::LogGroup),
            name: "a".into(),
            why: String::new(),
            fields: Vec::new(),
            adopts: false,
        };
        let plan = Plan { account: String::new(), region: String::new(), changes: vec![change], kept: Vec::new() };
        let down = Down { plan, name: "a".into(), running: Vec::new() };
        let (told, interrupt) = watch::channel(false);
        take_down(&played.cloud, &down, &Pace::hurried(), &events, &interrupt).await.expect("it is gone");
        assert_eq!(seen.lock().unwrap().len(), 1);
        told.send(true).expect("it is listened to");
        let error = take_down(&played.cloud, &down, &Pace::hurried(), &events, &interrupt).await.unwrap_err();
        assert_eq!((error.exit_code(), error.hint().as_deref()), (130, Some("the same command goes on from there")));
        assert_eq!(played.asked().len(), 1);
    }
}
