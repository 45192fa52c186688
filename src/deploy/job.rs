//! What is run, and where its tasks and their logs are: read from the revision, and from the settings where it is silent.

use std::collections::BTreeMap;

use super::error::{DeployError, During};
use super::loader::Network;
use super::name::{BadName, Kind};
use super::size::{BadSize, Size};
use crate::aws::{self, Capacity, Cloud, Revision};

/// A loader as the settings know it: what is not here is in its task definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    name: String,
    revision: Option<u32>,
    pub(super) cluster: String,
    log_group: String,
}

/// Where a loader's tasks are, and the one container whose exit code and log are theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whereabouts {
    pub cluster: String,
    pub container: String,
    /// None where the log goes where we do not read it.
    pub log: Option<LogPlace>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogPlace {
    pub group: String,
    /// Of its streams: what stands before the task's id.
    pub prefix: String,
}

/// A revision that is to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// For messages.
    pub(super) name: String,
    pub(super) revision: Revision,
    pub(super) at: Whereabouts,
    pub(super) network: Network,
    /// Whether a role of it was made in this run: for some seconds other services do not see it.
    pub(super) new_role: bool,
}

/// How a task is started, besides what its revision says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// 1 to 10, which is what RunTask takes.
    pub count: u8,
    pub capacity: Capacity,
    pub overrides: Overrides,
    pub stay: Stay,
}

impl Default for Start {
    fn default() -> Self {
        Self { count: 1, capacity: Capacity::default(), overrides: Overrides::default(), stay: Stay::default() }
    }
}

/// What the task has otherwise than its revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub environment: BTreeMap<String, String>,
    pub command: Option<Vec<String>>,
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
}

/// How long we stay with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stay {
    /// To its end; an interrupt makes an end of it.
    #[default]
    ToTheEnd,
    /// To its end or an interrupt, which leaves it running.
    UntilInterrupted,
    /// It is started, and left.
    Away,
}

impl Known {
    /// `cluster` and `log_group` have their defaults where nobody says anything.
    pub fn new(
        name: &str,
        revision: Option<u32>,
        cluster: Option<&str>,
        log_group: Option<&str>,
    ) -> Result<Self, BadName> {
        let name = Kind::Loader.check(name)?;
        Ok(Self {
            cluster: Kind::Cluster.check(cluster.unwrap_or(&format!("{name}_cluster")))?,
            log_group: Kind::LogGroup.check(log_group.unwrap_or(&name))?,
            revision,
            name,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The revision that is meant: the latest one, where none was named.
    pub(super) async fn revision(&self, cloud: &Cloud) -> Result<Option<Revision>, DeployError> {
        let reference = match self.revision {
            Some(revision) => format!("{}:{revision}", self.name),
            None => self.name.clone(),
        };
        cloud.ecs.revision(&reference).await.during(|| format!("looking at the task definition {reference}"))
    }

    pub(super) fn missing(&self) -> DeployError {
        DeployError::NoTaskDefinition { name: self.name.clone(), revision: self.revision }
    }

    /// Where tasks are that no revision tells of any more.
    pub(super) fn whereabouts(&self, revision: Option<&Revision>, region: &str) -> Whereabouts {
        match revision {
            Some(revision) => Whereabouts::of(revision, &self.cluster, region),
            None => Whereabouts {
                cluster: self.cluster.clone(),
                container: self.name.clone(),
                log: Some(LogPlace { group: self.log_group.clone(), prefix: format!("{0}/{0}/", self.name) }),
            },
        }
    }
}

impl Whereabouts {
    pub fn of(revision: &Revision, cluster: &str, region: &str) -> Self {
        let main = &revision.essentials;
        let option = |name: &str| main.log_options.get(name).filter(|value| !value.is_empty());
        let readable = main.log_driver == "awslogs" && option("awslogs-region").is_none_or(|there| there == region);
        let log = match (option("awslogs-group"), option("awslogs-stream-prefix")) {
            (Some(group), Some(prefix)) if readable => {
                Some(LogPlace { group: group.clone(), prefix: format!("{prefix}/{}/", main.container) })
            }
            _ => None,
        };
        Self { cluster: cluster.to_owned(), container: main.container.clone(), log }
    }
}

impl LogPlace {
    pub fn stream(&self, task: &str) -> String {
        format!("{}{task}", self.prefix)
    }
}

impl Job {
    pub fn new(name: &str, revision: Revision, cluster: &str, region: &str, network: Network, new_role: bool) -> Self {
        let at = Whereabouts::of(&revision, cluster, region);
        Self { name: name.to_owned(), revision, at, network, new_role }
    }

    /// The revision that `known` means, which must be there.
    pub async fn find(cloud: &Cloud, known: &Known, network: Network) -> Result<Self, DeployError> {
        let revision = known.revision(cloud).await?.ok_or_else(|| known.missing())?;
        Ok(Self::new(&known.name, revision, &known.cluster, &cloud.region, network, false))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ARN of its revision.
    pub fn task_definition(&self) -> &str {
        &self.revision.arn
    }

    /// The family of its revision.
    pub(super) fn family(&self) -> &str {
        let last = self.revision.arn.rsplit('/').next().unwrap_or(&self.name);
        last.split(':').next().unwrap_or(last)
    }

    /// ECS's form of the overrides; a pair of cpu and memory that Fargate does not have is refused here, as no answer of
    /// ECS's says which it has.
    pub(super) fn overrides(&self, wanted: &Overrides) -> Result<aws::Overrides, BadSize> {
        let Overrides { environment, command, cpu, memory } = wanted;
        let definition = &self.revision.essentials;
        let size = match (cpu, memory) {
            (None, None) => None,
            (cpu, memory) => {
                // Fargate stores numbers; what is none is no size that it has.
                let of = |text: &str| text.parse().unwrap_or(0);
                let size = Size::new(
                    cpu.unwrap_or_else(|| of(&definition.cpu)),
                    memory.unwrap_or_else(|| of(&definition.memory)),
                )?;
                Some((size.cpu(), size.memory()))
            }
        };
        // What is kept for the container may not be more than the task has.
        let reservation = definition.memory_reservation.and(size.map(|(_, memory)| memory));
        Ok(aws::Overrides {
            environment: environment.clone(),
            command: command.clone(),
            size,
            memory_reservation: reservation,
        })
    }
}
