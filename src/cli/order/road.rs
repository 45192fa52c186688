//! The order of the whole road.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::super::args::{ConfigArgs, DeployArgs, RoadArgs};
use super::super::caches::caches;
use super::super::output::PackingAsked;
use super::super::settings::{self, Given, LoaderSettings, RegistrySettings, Which};
use super::super::{Failure, home};
use super::asked::{self, Asked};
use super::run_options::run_options;
use super::task::{self, Reattach};
use super::{ImageOrder, LoaderOrder, RoadOrder, Task, context, dockerfile};
use super::{image, lock};
use crate::aws::Capacity;
use crate::deploy::ValueFrom::Stdin;
use crate::deploy::{Description, Kind, Loader, Size};
use crate::dockerfile::nearest::nearest;
use crate::road::{CacheToPlace, DockerfileAt, Materials};

/// The whole road.
pub(super) fn order(args: &RoadArgs, registry: RegistrySettings, given: Given<'_>) -> Result<RoadOrder, Failure> {
    if args.local {
        task::refuse_for_local(&args.start)?;
    }
    let run = |settings: Run| {
        if !args.local && !args.run_now && settings.description.schedule.is_some() {
            task::refuse_for_schedule(&args.start, &settings.description.name)?;
            return Ok((Task::Deployed(cloud(settings.description)?), None));
        }
        let timeout = args.start.timeout.or(settings.timeout).filter(|_| !args.start.detach);
        let (start, description) = (task::start(&args.start, settings.capacity)?, settings.description);
        let task = if args.local { local(description)? } else { Task::Cloud(cloud(description)?, start) };
        Ok((task, timeout))
    };
    loaders(&args.deploy, args.local, registry, given, run)
}

/// The road without the run; or its plan.
pub(super) fn deploy(args: &DeployArgs, registry: RegistrySettings, given: Given<'_>) -> Result<RoadOrder, Failure> {
    loaders(args, false, registry, given, |settings| Ok((Task::Deployed(cloud(settings.description)?), None)))
}

/// What of a loader's settings says how it is run.
struct Run {
    description: Description,
    timeout: Option<Duration>,
    capacity: Option<Capacity>,
}

fn loaders(
    args: &DeployArgs,
    local: bool,
    registry: RegistrySettings,
    given: Given<'_>,
    run: impl Fn(Run) -> Result<(Task, Option<Duration>), Failure>,
) -> Result<RoadOrder, Failure> {
    let caches = caches(&[], &args.image.recipe.cache_to, given.cwd)?;
    let asked = asked::loaders(args, given)?;
    if asked.len() > 1 && caches.to.iter().any(|to| to.place != CacheToPlace::Inline) {
        return Err(Failure::usage("--cache-to is one loader's: each of several would write over the others'")
            .hint("call locus-push once for each loader"));
    }
    let mut loaders = Vec::new();
    let mut names = BTreeSet::new();
    for which in &asked {
        let loader = loader(args, local, (which, asked.len()), given, &run)?;
        let name = loader.task.name().to_owned();
        if !names.insert(name.clone()) {
            return Err(Failure::configuration(format!("two loaders are called {name}"))
                .hint("a loader's name is its Dockerfile's own, or that of its table [loaders.NAME] in locus.toml"));
        }
        loaders.push(loader);
    }
    let stdin = loaders.iter().flat_map(|loader| loader.task.secrets()).filter(|secret| secret.places() == [Stdin]);
    if stdin.count() > 1 {
        return Err(Failure::usage("--secret: stdin can be read once, for one secret of one loader"));
    }
    let session = settings::session(&args.cloud.at.identity, args.cloud.repository.as_deref(), given)?;
    let registry = RegistrySettings { cloud: session.cloud.clone(), ..registry };
    let packing = PackingAsked::agreed(&[image::packing_asked(&args.image.recipe)])?;
    let at_once = args.parallel.map_or_else(asked::default_at_once, usize::from);
    Ok(RoadOrder { loaders, at_once, packing, session, registry, home: home::folder(given.env)? })
}

fn loader(
    args: &DeployArgs,
    local: bool,
    (which, of): (&Asked, usize),
    given: Given<'_>,
    run: impl Fn(Run) -> Result<(Task, Option<Duration>), Failure>,
) -> Result<LoaderOrder, Failure> {
    let path = which.dockerfile.as_path();
    let dockerfile = dockerfile(path, given).map_err(|missing| match meant(path, given) {
        Some(meant) => Failure { hints: vec![meant], ..missing },
        None if is_word(path) => missing.hint("it is no command either: `locus-push --help` names them all"),
        None => missing,
    })?;
    let LoaderSettings { description, context: folder, recipe, timeout, capacity } =
        settings::loader(args, local, Which { dockerfile: path, name: which.name.as_deref(), of }, given)?;
    let directory = context(&folder, given)?;
    let preserve_modes = args.image.recipe.preserve_modes;
    let materials = Materials::Folder { directory, dockerfile: DockerfileAt::Read(dockerfile), preserve_modes };
    let pinning = lock::pinning(lock::dockerfile_of(&materials), &args.image.recipe, given)?;
    let image = ImageOrder { pinning, ..image::order(materials, &args.image.recipe, recipe, given)? };
    let steps = run_options(&args.image.run, ("--build-secret", &args.image.build_secret), given)?;
    let (task, timeout) = run(Run { description, timeout, capacity })?;
    let config = ConfigArgs { config: args.registry.config.clone() };
    let reattach = Reattach::new(task.name(), &args.cloud.at, &config);
    Ok(LoaderOrder { image, task, run: steps, timeout, reattach, preflight: !args.cloud.no_preflight })
}

pub(super) fn cloud(description: Description) -> Result<Box<Loader>, Failure> {
    must_stand_somewhere(&description.subnets, &description.security_groups)
        .map_err(|failure| failure.hint("--local needs none of it"))?;
    Loader::new(description).map(Box::new).map_err(|error| Failure::configuration(error.to_string()))
}

/// A task on Fargate has a subnet and a security group.
pub(super) fn must_stand_somewhere(subnets: &[String], security_groups: &[String]) -> Result<(), Failure> {
    let missing = |what: &str, variable: &str, flag: &str, key: &str| {
        Failure::configuration(format!("no {what} for the task: {variable} is not set"))
            .hint(format!("export {variable}, or write {flag} ID, or `{key}` in locus.toml"))
    };
    let failure = match (subnets.is_empty(), security_groups.is_empty()) {
        (false, false) => return Ok(()),
        (true, false) => missing("subnet", "SUBNET1", "--subnet", "subnets"),
        (false, true) => missing("security group", "SECURITYGROUP", "--security-group", "security_groups"),
        (true, true) => Failure::configuration(
            "no subnet and no security group for the task: SUBNET1 and SECURITYGROUP are not set",
        )
        .hint(
            "export both, or write --subnet ID --security-group ID, or `subnets` and `security_groups` in locus.toml",
        ),
    };
    Err(failure)
}

/// Here, too, what Fargate would refuse is refused: the next run may be there.
fn local(description: Description) -> Result<Task, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::configuration(error.to_string());
    if description.task_definition.is_some() {
        return Err(Failure::configuration("--local does not read `task_definition` of locus.toml yet")
            .hint("without --local the task runs as it says, on Fargate"));
    }
    Kind::Loader.check(&description.name).map_err(|error| refused(&error))?;
    for variable in description.environment.keys() {
        Kind::Variable.check(variable).map_err(|error| refused(&error))?;
    }
    if let Some(secret) = description.secrets.iter().find(|s| description.environment.contains_key(s.variable())) {
        let name = secret.variable();
        return Err(Failure::configuration(format!("{name} is set twice: in the environment and as a secret")));
    }
    let default = Size::default();
    let (cpu, memory) = (description.cpu.unwrap_or(default.cpu()), description.memory.unwrap_or(default.memory()));
    Size::new(cpu, memory).map_err(|error| refused(&error))?;
    Ok(Task::Local(Box::new(description)))
}

/// Whether it looks more like a command than like a file.
fn is_word(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
}

/// What may have been meant by a Dockerfile that is not there.
fn meant(path: &Path, given: Given<'_>) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if path == Path::new(name) {
        if let Some((_, instead)) = OF_DOCKER.iter().find(|(command, _)| *command == name) {
            return Some((*instead).to_owned());
        }
        let commands: Vec<String> =
            super::super::args::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        if let Some(command) = nearest(name, commands.iter().map(String::as_str)) {
            return Some(format!("did you mean the command `{command}`?"));
        }
    }
    if let Some(file) = given.file
        && let Some(dockerfile) = file.loaders.get(name).and_then(|table| table.dockerfile.as_ref())
    {
        return Some(format!("the loader {name} of {} is built from {}", file.shown, dockerfile.value));
    }
    None
}

/// Words that docker has and we have not, and what does the same here.
const OF_DOCKER: [(&str, &str); 10] = [
    (
        "login",
        "there is no login: what `docker login`, `podman login` or `skopeo login` left is used, and AWS's keys for ECR",
    ),
    ("logout", "nothing was kept that could be forgotten: no credential is written to disk"),
    ("pull", "what a FROM names is pulled by the build itself"),
    ("tag", "`locus-push build -t NAME --push .` pushes under as many names as there are -t"),
    ("images", "`locus-push cache du` tells what is kept; images are in registries, or where -o wrote them"),
    ("image", "`locus-push cache du` tells what is kept; images are in registries, or where -o wrote them"),
    ("ps", "`locus-push status NAME` tells what runs of a loader"),
    ("stop", "`locus-push down NAME --stop` ends the tasks of a loader"),
    ("exec", "what runs on Fargate is entered with `aws ecs execute-command`"),
    ("buildx", "`locus-push build` takes the flags of `docker buildx build`"),
];
