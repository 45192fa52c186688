//! The orders for a task: how it is started, on the road or again; and `run`, `logs`, `status` of what was deployed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::args::{
    AtArgs, ConfigArgs, DownArgs, IdentityArgs, LogsArgs, NetworkArgs, OnInterrupt, Provider, RunArgs, StartArgs,
    StatusArgs,
};
use super::super::settings::{self, Given, Session};
use super::super::{Failure, duration, locus_toml, shell};
use super::each::{self, EachOrder};
use super::{Command, World};
use crate::aws::Capacity;
use crate::calendar;
use crate::deploy::{Doomed, Known, LogWish, Network, Overrides, Size, Start, Stay};

/// A revision to be run again.
#[derive(Debug)]
pub struct RunOrder {
    pub session: Session,
    pub known: Known,
    pub network: Network,
    pub start: Start,
    pub timeout: Option<Duration>,
    pub reattach: Reattach,
    /// One task for each line.
    pub each: Option<EachOrder>,
}

/// What `logs` came to.
#[derive(Debug)]
pub struct LogsOrder {
    pub session: Session,
    pub known: Known,
    pub wish: LogWish,
}

/// What `status` came to.
#[derive(Debug)]
pub struct StatusOrder {
    pub session: Session,
    pub known: Known,
}

/// A loader to be taken down.
#[derive(Debug)]
pub struct DownOrder {
    pub session: Session,
    pub doomed: Doomed,
    pub yes: bool,
    /// Whether somebody on a terminal may be asked: a program that reads JSON may not.
    pub may_ask: bool,
}

/// The command by which a task that runs on is followed again, with the flags that this one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reattach(Vec<String>);

impl Reattach {
    pub fn new(name: &str, at: &AtArgs, config: &ConfigArgs) -> Self {
        let mut words = ["locus-push", "logs", name, "--follow"].map(str::to_owned).to_vec();
        let config = config.config.as_ref().map(|path| path.display().to_string());
        let AtArgs { identity: IdentityArgs { profile, region }, cluster } = at.clone();
        for (flag, value) in
            [("--profile", profile), ("--region", region), ("--cluster", cluster), ("--config", config)]
        {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        Self(words)
    }

    pub fn command(&self, task: &str) -> String {
        let words = self.0.iter().map(String::as_str).chain(["--task", task]);
        words.map(shell::quoted).collect::<Vec<_>>().join(" ")
    }
}

pub(super) fn run(args: &RunArgs, world: &World) -> Result<Command, Failure> {
    within(&args.config, world, |given| {
        let settings = settings::known(&args.name, &args.at, given)?;
        let environment = settings::variables(&args.env, given)?;
        if let (Some(cpu), Some(memory)) = (args.cpu, args.memory) {
            Size::new(cpu, memory).map_err(|error| Failure::usage(error.to_string()))?;
        }
        let command = match &args.words[..] {
            [] => words(&args.start)?,
            words => Some(words.to_vec()),
        };
        let overrides = Overrides { environment, command, cpu: args.cpu, memory: args.memory };
        let name = settings.known.name();
        Ok(Command::Run(Box::new(RunOrder {
            session: settings::session(&args.at.identity, None, given)?,
            network: network(name, &args.network, given)?,
            each: each::order(&args.each, world)?,
            start: started(&args.start, overrides, settings.capacity),
            timeout: args.start.timeout.or(settings.timeout).filter(|_| !args.start.detach),
            reattach: Reattach::new(name, &args.at, &args.config),
            known: settings.known,
        })))
    })
}

pub(super) fn logs(args: &LogsArgs, world: &World) -> Result<Command, Failure> {
    within(&args.config, world, |given| {
        let settings = settings::known(&args.name, &args.at, given)?;
        let since = args.since.as_deref().map(|text| since(text, SystemTime::now())).transpose()?;
        let task = args.task.as_deref().map(task_id).transpose()?;
        let wish = LogWish { task, previous: args.previous, since, follow: args.follow };
        let session = settings::session(&args.at.identity, None, given)?;
        Ok(Command::Logs(LogsOrder { session, known: settings.known, wish }))
    })
}

pub(super) fn status(args: &StatusArgs, world: &World) -> Result<Command, Failure> {
    within(&args.config, world, |given| {
        let known = settings::known(&args.name, &args.at, given)?.known;
        Ok(Command::Status(StatusOrder { session: settings::session(&args.at.identity, None, given)?, known }))
    })
}

pub(super) fn down(args: &DownArgs, world: &World) -> Result<Command, Failure> {
    within(&args.config, world, |given| {
        let session = settings::session(&args.at.identity, args.repository.as_deref(), given)?;
        let doomed = settings::doomed(args, &session, given)?;
        Ok(Command::Down(DownOrder { session, doomed, yes: args.yes, may_ask: !args.screen.json }))
    })
}

/// How the road starts a task: its variables and its size are in the task definition.
pub(super) fn start(args: &StartArgs, capacity: Option<Capacity>) -> Result<Start, Failure> {
    let overrides = Overrides { command: words(args)?, ..Overrides::default() };
    Ok(started(args, overrides, capacity))
}

/// On this machine there is one task and no Fargate, and it ends with us.
pub(super) fn refuse_for_local(args: &StartArgs) -> Result<(), Failure> {
    match flag_of(&StartArgs { timeout: None, ..args.clone() }) {
        Some(flag) => Err(Failure::usage(format!("{flag} is for a task on Fargate, and --local runs it here"))),
        None => Ok(()),
    }
}

/// What its schedule starts is not started here.
pub(super) fn refuse_for_schedule(args: &StartArgs, name: &str) -> Result<(), Failure> {
    match flag_of(args) {
        Some(flag) => Err(Failure::usage(format!("{flag} is for a run, and {name} is run by its schedule"))
            .hint("--run-now runs it now as well")),
        None => Ok(()),
    }
}

/// The first of the flags that was given.
fn flag_of(args: &StartArgs) -> Option<&'static str> {
    let StartArgs { count, capacity_provider, spot, command, timeout, detach, on_interrupt } = args;
    let given = [
        ("--count", count.is_some()),
        ("--capacity-provider", capacity_provider.is_some()),
        ("--spot", *spot),
        ("--command", command.is_some()),
        ("--timeout", timeout.is_some()),
        ("--detach", *detach),
        ("--on-interrupt", on_interrupt.is_some()),
    ];
    given.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
}

fn within(
    config: &ConfigArgs,
    world: &World,
    order: impl FnOnce(Given<'_>) -> Result<Command, Failure>,
) -> Result<Command, Failure> {
    let file = locus_toml::read(config.config.as_deref(), &world.cwd)?;
    order(Given { env: &world.env, file: file.as_ref(), cwd: &world.cwd })
}

fn network(name: &str, args: &NetworkArgs, given: Given<'_>) -> Result<Network, Failure> {
    let settings::NetworkSettings { subnets, security_groups, public_ip } = settings::network(name, args, given)?;
    super::road::must_stand_somewhere(&subnets, &security_groups)?;
    Network::new(name, subnets, security_groups, public_ip).map_err(|error| Failure::configuration(error.to_string()))
}

fn started(args: &StartArgs, overrides: Overrides, of_file: Option<Capacity>) -> Start {
    let capacity = match (args.spot, args.capacity_provider) {
        (true, _) | (_, Some(Provider::Spot)) => Some(Capacity::Spot),
        (_, Some(Provider::Fargate)) => Some(Capacity::Fargate),
        (false, None) => of_file,
    };
    let stay = match (args.detach, args.on_interrupt) {
        (true, _) => Stay::Away,
        (false, Some(OnInterrupt::Detach)) => Stay::UntilInterrupted,
        (false, Some(OnInterrupt::Stop) | None) => Stay::ToTheEnd,
    };
    Start { count: args.count.unwrap_or(1), capacity: capacity.unwrap_or_default(), overrides, stay }
}

fn words(args: &StartArgs) -> Result<Option<Vec<String>>, Failure> {
    let Some(line) = &args.command else { return Ok(None) };
    match shell::split(line) {
        Some(words) if words.is_empty() => Err(Failure::usage("--command: there is no word in it")),
        Some(words) => Ok(Some(words)),
        None => Err(Failure::usage(format!("--command {line}: a quote is not closed"))),
    }
}

/// The id alone, also of an ARN: it is a part of the stream's name.
fn task_id(text: &str) -> Result<String, Failure> {
    let id = text.rsplit('/').next().unwrap_or(text);
    match !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        true => Ok(id.to_owned()),
        false => Err(Failure::usage(format!("--task {text}: a task's id is letters, digits and hyphens"))),
    }
}

/// In milliseconds since 1970.
fn since(text: &str, now: SystemTime) -> Result<i64, Failure> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = || duration::parse(text).ok().map(|age| now.saturating_sub(age));
    let moment = || calendar::moment(text).and_then(|at| u64::try_from(at).ok()).map(Duration::from_secs);
    let at = age().or_else(moment).and_then(|at| i64::try_from(at.as_millis()).ok());
    at.ok_or_else(|| {
        Failure::usage(format!("--since {text}: it is neither an age nor a moment"))
            .hint("write 90s, 10m or 1h30m, or a moment in UTC: 2026-11-22T14:50:00Z, or 2026-11-22")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(since("10m", now), Ok(999_400_000));
        assert_eq!(since("1970-01-02", now), Ok(86_400_000));
        assert_eq!(since("1970-01-02T00:00:01Z", now), Ok(86_401_000));
        for text in ["", "10", "yesterday", "1970-13-01"] {
            assert!(since(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn the_way_back_has_the_flags_of_the_way_there() {
        let identity = IdentityArgs { region: Some("eu-west-1".into()), profile: None };
        let at = AtArgs { cluster: Some("a b".into()), identity };
        assert_eq!(
            Reattach::new("x", &at, &ConfigArgs::default()).command("4f2a"),
            "locus-push logs x --follow --region eu-west-1 --cluster 'a b' --task 4f2a"
        );
    }

    #[test]
    fn a_task_is_named_by_its_id_or_its_arn() {
        assert_eq!(task_id("arn:aws:ecs:eu-west-1:1:task/c/4f-2a"), Ok("4f-2a".into()));
        assert!(task_id("a b").is_err() && task_id("").is_err());
    }
}
