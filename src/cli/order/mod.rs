//! What was typed becomes what is meant: orders with every default filled in and every file read.

mod agents;
mod asked;
mod build;
mod certificates;
mod diff;
mod each;
pub(super) mod frontend;
mod image;
mod lock;
mod preflight;
mod road;
mod run_options;
mod serve;
mod task;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use each::EachOrder;
pub use lock::LockAt;
pub use preflight::PreflightOrder;
pub use serve::ServeOrder;
pub use task::{DownOrder, LogsOrder, Reattach, RunOrder, StatusOrder};

use super::args::{CacheCommand, Cli, PruneArgs, PushArgs, Sub};
use super::output::Output;
use super::settings::{self, Given, RegistrySettings, Session};
use super::{Environment, Failure, files, home, locus_toml};
use crate::build::{Elsewhere, NoCache, Pinning, RunOptions};
use crate::deploy::{Description, Loader, SecretSpec, Start};
use crate::dockerfile::credentials::hidden;
use crate::dockerfile::nearest::nearest;
use crate::graph::{Contexts, GitSource, size_in_bytes};
use crate::image::{Platform, Reference};
use crate::layer::Packing;
use crate::road::{Again, Caches, DockerfileText, ImageAt, Materials};
use crate::store::Prune;

/// What a command asks the house to do.
#[derive(Debug)]
pub enum Command {
    Road(Box<RoadOrder>),
    Run(Box<RunOrder>),
    Logs(LogsOrder),
    Status(StatusOrder),
    Down(DownOrder),
    /// What the road would do.
    Plan(Box<RoadOrder>),
    Preflight(PreflightOrder),
    Build(Box<BuildOrder>),
    Check(Box<CheckOrder>),
    Push(PushOrder),
    Verify(Box<VerifyOrder>),
    Lock(Box<LockOrder>),
    Diff(DiffOrder),
    Serve(Box<ServeOrder>),
    Doctor(Box<DoctorOrder>),
    Init {
        folder: PathBuf,
        env: Environment,
        stdout: bool,
    },
    Cache(CacheOrder),
    Completions(clap_complete::Shell),
    Man(PathBuf),
    Help(Vec<String>),
    Version,
}

/// The whole road, for one loader or several.
#[derive(Debug)]
pub struct RoadOrder {
    pub loaders: Vec<LoaderOrder>,
    /// So many of them build at once.
    pub at_once: usize,
    /// How the layers that are built are compressed.
    pub packing: Packing,
    pub session: Session,
    pub registry: RegistrySettings,
    /// The folder of layers and caches.
    pub home: PathBuf,
}

/// What the road came to for one loader, with or without its run.
#[derive(Debug)]
pub struct LoaderOrder {
    pub image: ImageOrder,
    pub task: Task,
    pub run: RunOptions,
    pub timeout: Option<Duration>,
    pub reattach: Reattach,
    /// Whether what could only fail is looked for before the build.
    pub preflight: bool,
}

/// Where the loader's task runs.
#[derive(Debug)]
pub enum Task {
    /// On Fargate.
    Cloud(Box<Loader>, Start),
    /// Nowhere yet: it is registered.
    Deployed(Box<Loader>),
    /// On this machine, as described; nothing of it stands in a network of AWS.
    Local(Box<Description>),
}

impl Task {
    pub fn name(&self) -> &str {
        match self {
            Self::Cloud(loader, _) | Self::Deployed(loader) => loader.name(),
            Self::Local(description) => &description.name,
        }
    }

    pub fn secrets(&self) -> &[SecretSpec] {
        match self {
            Self::Cloud(loader, _) | Self::Deployed(loader) => loader.secrets(),
            Self::Local(description) => &description.secrets,
        }
    }
}

/// An image to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOrder {
    pub materials: Materials,
    pub build_args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub platform: Platform,
    pub labels: BTreeMap<String, String>,
    pub contexts: Contexts,
    /// The agent for a context that is a repository over ssh: as buildx does, without being asked.
    pub agent: Option<PathBuf>,
    pub preserve_times: bool,
    pub no_cache: NoCache,
    pub explain: bool,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// What the lock file holds it to.
    pub pinning: Pinning,
    /// Build caches that are elsewhere.
    pub caches: Caches,
}

/// What `build` came to.
#[derive(Debug)]
pub struct BuildOrder {
    pub image: ImageOrder,
    pub tags: Vec<Reference>,
    /// May be empty: the image then stays in the store.
    pub outputs: Vec<Output>,
    /// How the layers that are built are compressed.
    pub packing: Packing,
    /// Gets the digest of the image's config.
    pub iidfile: Option<PathBuf>,
    pub metadata_file: Option<PathBuf>,
    pub run: RunOptions,
    pub registry: RegistrySettings,
    pub home: PathBuf,
}

/// Something to be told of a Dockerfile; nothing is built.
#[derive(Debug)]
pub struct CheckOrder {
    pub image: ImageOrder,
    pub call: Call,
    pub registry: RegistrySettings,
    pub home: PathBuf,
}

/// `--call`: what is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Check,
    Outline,
    Targets,
}

/// What `push` came to.
#[derive(Debug)]
pub struct PushOrder {
    pub layout: PathBuf,
    pub reference: Reference,
    pub registry: RegistrySettings,
    pub home: PathBuf,
}

/// An image to be built twice.
#[derive(Debug)]
pub struct VerifyOrder {
    pub build: BuildOrder,
    /// How the second build is started.
    pub again: Again,
}

/// What a Dockerfile takes from outside, to be pinned.
#[derive(Debug)]
pub struct LockOrder {
    /// With the pins that stay.
    pub image: ImageOrder,
    pub at: LockAt,
    /// What RUN downloads is pinned as well.
    pub record: bool,
    pub run: RunOptions,
    pub registry: RegistrySettings,
    pub home: PathBuf,
}

/// Two images to be compared.
#[derive(Debug)]
pub struct DiffOrder {
    pub images: [ImageAt; 2],
    pub platform: Platform,
    pub registry: RegistrySettings,
    pub home: PathBuf,
}

/// A look at this machine, and at whom it reaches.
#[derive(Debug)]
pub struct DoctorOrder {
    pub session: Session,
    pub registry: RegistrySettings,
    /// The folder of layers and caches.
    pub home: PathBuf,
}

/// Something to be done with what is kept between builds.
#[derive(Debug, PartialEq, Eq)]
pub struct CacheOrder {
    pub task: CacheTask,
    pub home: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
pub enum CacheTask {
    Tell { verify: bool, each: bool },
    Prune { prune: Prune, dry_run: bool },
}

/// Where the command was given.
#[derive(Clone, Debug)]
pub struct World {
    pub env: Environment,
    /// The current folder; absolute.
    pub cwd: PathBuf,
}

impl World {
    pub fn of_process() -> Result<Self, Failure> {
        let cwd = std::env::current_dir()
            .map_err(|error| Failure::configuration(format!("the current folder cannot be named: {error}")))?;
        Ok(Self { env: Environment::of_process(), cwd })
    }
}

/// The command that was typed.
pub fn command(cli: &Cli, world: &World) -> Result<Command, Failure> {
    let registry = match &cli.command {
        None => &cli.road.deploy.registry,
        Some(Sub::Deploy(args) | Sub::Plan(args) | Sub::Preflight(args)) => &args.registry,
        Some(Sub::Run(args)) => return task::run(args, world),
        Some(Sub::Logs(args)) => return task::logs(args, world),
        Some(Sub::Status(args)) => return task::status(args, world),
        Some(Sub::Down(args)) => return task::down(args, world),
        Some(Sub::Build(args)) => &args.registry,
        Some(Sub::Push(args)) => &args.registry,
        Some(Sub::Diff(args)) => &args.registry,
        Some(Sub::Verify(args)) => &args.build.registry,
        Some(Sub::Lock(args)) => &args.registry,
        Some(Sub::Serve(args)) => return serve::order(args, world).map(Box::new).map(Command::Serve),
        Some(Sub::Cache(args)) => return cache(&args.command, world).map(Command::Cache),
        Some(Sub::Doctor(args)) => &args.registry,
        Some(Sub::Init(args)) => {
            let (folder, env) = (world.cwd.clone(), world.env.clone());
            return Ok(Command::Init { folder, env, stdout: args.stdout });
        }
        Some(Sub::Completions(args)) => return Ok(Command::Completions(args.shell)),
        Some(Sub::Man(args)) => return Ok(Command::Man(args.dir.clone())),
        Some(Sub::Help(args)) => return Ok(Command::Help(args.words.clone())),
        Some(Sub::Version) => return Ok(Command::Version),
    };
    let file = locus_toml::read(registry.config.as_deref(), &world.cwd)?;
    let given = Given { env: &world.env, file: file.as_ref(), cwd: &world.cwd };
    let registry = settings::registry(registry, given)?;
    Ok(match &cli.command {
        Some(Sub::Plan(args)) => Command::Plan(Box::new(road::deploy(args, registry, given)?)),
        Some(Sub::Doctor(args)) => {
            let session = settings::session(&args.identity, None, given)?;
            Command::Doctor(Box::new(DoctorOrder { session, registry, home: home::folder(given.env)? }))
        }
        Some(Sub::Preflight(args)) => Command::Preflight(preflight::order(args, given)?),
        Some(Sub::Build(args)) => build::command(args, registry, given)?,
        Some(Sub::Push(args)) => Command::Push(push(args, registry, world)?),
        Some(Sub::Verify(args)) => verify::command(args, registry, given)?,
        Some(Sub::Lock(args)) => lock::command(args, registry, given)?,
        Some(Sub::Diff(args)) => Command::Diff(diff::order(args, registry, world)?),
        Some(Sub::Deploy(args)) => Command::Road(Box::new(road::deploy(args, registry, given)?)),
        _ => Command::Road(Box::new(road::order(&cli.road, registry, given)?)),
    })
}

fn push(args: &PushArgs, registry: RegistrySettings, world: &World) -> Result<PushOrder, Failure> {
    let layout = world.cwd.join(&args.layout);
    if !layout.exists() {
        return Err(Failure::usage(format!("there is no OCI layout {}", args.layout.display()))
            .hint("`locus-push build -o type=oci,dest=image.tar CONTEXT` writes one"));
    }
    let reference: Reference = args.reference.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    if reference.digest().is_some() {
        return Err(Failure::usage(format!("{} names a digest; what is pushed has its own", args.reference))
            .hint("write a tag, or nothing, after the repository"));
    }
    Ok(PushOrder { layout, reference, registry, home: home::folder(&world.env)? })
}

fn cache(command: &CacheCommand, world: &World) -> Result<CacheOrder, Failure> {
    let task = match command {
        CacheCommand::Du(args) => CacheTask::Tell { verify: args.verify, each: args.screen.verbose },
        CacheCommand::Prune(PruneArgs { all, older_than, keep_storage, dry_run, screen: _ }) => {
            let keep_bytes = keep_storage.as_deref().map(keep_bytes).transpose()?;
            let prune = Prune { all: *all, older_than: *older_than, keep_bytes };
            CacheTask::Prune { prune, dry_run: *dry_run }
        }
    };
    Ok(CacheOrder { task, home: home::folder(&world.env)? })
}

fn keep_bytes(text: &str) -> Result<u64, Failure> {
    size_in_bytes(text)
        .ok_or_else(|| Failure::usage(format!("--keep-storage: `{text}` is no size")).hint("write e.g. 10GB"))
}

/// A context that is no folder of this machine. One that is there comes first.
fn elsewhere(path: &Path, given: Given<'_>) -> Result<Option<Elsewhere>, Failure> {
    let Some(text) = path.to_str() else { return Ok(None) };
    if text == "-" {
        return Ok(Some(Elsewhere::Stdin));
    }
    if given.cwd.join(path).is_dir() {
        return Ok(None);
    }
    let bad = |why| Failure::usage(format!("the context {}: {why}", hidden(text)));
    match GitSource::parse_context(text).map_err(bad)? {
        Some(source) => Ok(Some(Elsewhere::Git(source))),
        None if is_url(text) => Ok(Some(Elsewhere::Url(text.to_owned()))),
        None => Ok(None),
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The folder that COPY and ADD read from, which must be there.
fn context(path: &Path, given: Given<'_>) -> Result<PathBuf, Failure> {
    let shown = path.display();
    if path == Path::new("-") || elsewhere(path, given)?.is_some() {
        return Err(Failure::usage(format!("the context {}: it must be a folder", hidden(&shown.to_string())))
            .hint("`locus-push build` takes stdin, git repositories and URLs"));
    }
    let folder = given.cwd.join(path);
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(folder),
        Ok(_) => Err(Failure::usage(format!("the context {shown} is no folder"))),
        Err(error) => Err(Failure::usage(format!("the context {shown} cannot be read: {error}"))),
    }
}

fn dockerfile(path: &Path, given: Given<'_>) -> Result<DockerfileText, Failure> {
    let lower = path.with_file_name("dockerfile");
    // As in BuildKit, and for this name alone.
    let is_lower = path.file_name().is_some_and(|name| name == "Dockerfile")
        && !given.cwd.join(path).exists()
        && given.cwd.join(&lower).exists();
    let path = if is_lower { &lower } else { path };
    let absolute = given.cwd.join(path);
    // Shorter, and still what a person here would call it.
    let shown = path.strip_prefix(given.cwd).unwrap_or(path).display().to_string();
    let text = files::read_text(&absolute, "Dockerfile").map_err(|mut failure| {
        failure.message = failure.message.replace(&absolute.display().to_string(), &shown);
        if absolute.exists() { failure } else { failure.hints(nearby(path, given)) }
    })?;
    Ok(DockerfileText { shown, path: Some(absolute), text })
}

/// What may have been meant by a Dockerfile that is not there, and where it was looked for.
fn nearby(path: &Path, given: Given<'_>) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let shown = match folder.strip_prefix(given.cwd).unwrap_or(folder) {
        here if here == Path::new("") => "the current folder".to_owned(),
        folder => folder.display().to_string(),
    };
    let Ok(entries) = given.cwd.join(folder).read_dir() else {
        return Some(format!("looked in {shown}, and there is no such folder"));
    };
    let beside: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    if let Some(near) = nearest(name, beside.iter().map(String::as_str)) {
        return Some(format!("did you mean {}?", folder.join(near).display()));
    }
    let below = beside.iter().map(|beside| Path::new(beside).join(name)).filter(|path| given.cwd.join(path).is_file());
    if let Some(below) = below.min().filter(|_| folder == Path::new("") || folder == given.cwd) {
        return Some(format!("did you mean {}?", below.display()));
    }
    let mut dockerfiles: Vec<&str> = beside.iter().map(String::as_str).filter(|name| is_dockerfile(name)).collect();
    dockerfiles.sort_unstable();
    let there = match dockerfiles.as_slice() {
        [] => "has no Dockerfile".to_owned(),
        [one] => format!("has {one}"),
        [first, .., last] => format!("has {} Dockerfiles, {first} to {last}", dockerfiles.len()),
    };
    Some(format!("looked in {shown}, which {there}"))
}

/// By its name: `Dockerfile`, `Dockerfile.dev`, `dev.Dockerfile`, `Containerfile`.
fn is_dockerfile(name: &str) -> bool {
    let name = name.to_lowercase();
    let named = |word: &str| name.starts_with(word) || name.ends_with(word);
    (named("dockerfile") || named("containerfile")) && !name.ends_with(".dockerignore")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::super::args;
    use super::*;
    use crate::aws::Capacity;
    use crate::deploy::Stay;
    use crate::road::{DockerfileAt, Wanted};

    /// A folder with two Dockerfiles, and what a command means in it.
    struct Here {
        folder: tempfile::TempDir,
        vars: Vec<(&'static str, &'static str)>,
    }

    impl Here {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(folder.path().join("loaders")).expect("made");
            for name in ["Dockerfile", "loaders/os_opendata.Dockerfile", "loaders/b.Dockerfile"] {
                fs::write(folder.path().join(name), format!("FROM scratch\n# {name}\n")).expect("written");
            }
            let vars = vec![("HOME", "/h"), ("SUBNET1", "subnet-1"), ("SECURITYGROUP", "sg-1")];
            Self { folder, vars }
        }

        fn order(&self, line: &str) -> Result<Command, Failure> {
            let args = std::iter::once("locus-push").chain(line.split_whitespace()).map(OsString::from);
            let cli = args::parse(args).unwrap_or_else(|error| panic!("{line}: {error:?}"));
            let env = Environment::of(&self.vars);
            let world = World { env, cwd: self.folder.path().to_owned() };
            command(&cli, &world)
        }

        fn build(&self, line: &str) -> Result<BuildOrder, Failure> {
            match self.order(line)? {
                Command::Build(order) => Ok(*order),
                other => panic!("{line} was taken for {other:?}"),
            }
        }

        fn road(&self, line: &str) -> Result<RoadOrder, Failure> {
            match self.order(line)? {
                Command::Road(order) => Ok(*order),
                other => panic!("{line} was taken for {other:?}"),
            }
        }
    }

    /// The Dockerfile that lies on this machine.
    fn read(image: &ImageOrder) -> &DockerfileText {
        match &image.materials {
            Materials::Folder { dockerfile: DockerfileAt::Read(text), .. } => text,
            other => panic!("{other:?} is no Dockerfile of this machine"),
        }
    }

    #[test]
    fn a_context_may_be_elsewhere() {
        let mut here = Here::new();
        here.vars.push(("SSH_AUTH_SOCK", "/agent"));
        let materials = |line: &str| here.build(line).expect(line).image;
        for (line, wanted) in [
            ("build -", Elsewhere::Stdin),
            ("build https://h/x.tar.gz", Elsewhere::Url("https://h/x.tar.gz".into())),
            ("build github.com/a/b", Elsewhere::Git(GitSource::parse_context("github.com/a/b").unwrap().unwrap())),
        ] {
            let image = materials(line);
            let dockerfile = Wanted::Inside(None);
            assert_eq!(image.materials, Materials::Elsewhere { from: wanted, dockerfile }, "{line}");
            assert_eq!(image.agent, None);
        }
        let wanted = |line: &str| match materials(line).materials {
            Materials::Elsewhere { dockerfile, .. } => dockerfile,
            here => panic!("{here:?} is here"),
        };
        assert_eq!(wanted("build -f d/Dockerfile git@h:r"), Wanted::Inside(Some("d/Dockerfile".into())));
        assert_eq!(wanted("build -f http://h/D git@h:r"), Wanted::Beside(DockerfileAt::Url("http://h/D".into())));
        let absolute = here.folder.path().join("loaders/b.Dockerfile");
        let beside = wanted(&format!("build -f {} git@h:r", absolute.display()));
        assert!(matches!(beside, Wanted::Beside(DockerfileAt::Read(text)) if text.text.contains("b.Dockerfile")));
        assert_eq!(materials("build git@h:r").agent, Some("/agent".into()));
        let folder = materials("build -f https://h/D .").materials;
        assert!(matches!(folder, Materials::Folder { dockerfile: DockerfileAt::Url(_), .. }));
    }

    #[test]
    fn the_road_wants_a_folder() {
        let failure = Here::new().road("--local --context git@h:r loaders/b.Dockerfile").expect_err("a repository");
        assert_eq!(failure.message, "the context git@h:r: it must be a folder");
    }

    #[test]
    fn a_dockerfile_is_the_whole_road() {
        let order = Here::new().road("loaders/os_opendata.Dockerfile loaders/b.Dockerfile").expect("right");
        let names: Vec<_> = order.loaders.iter().map(|loader| loader.task.name()).collect();
        assert_eq!(names, ["os_opendata", "b"]);
        let first = &order.loaders[0];
        assert_eq!(read(&first.image).shown, "loaders/os_opendata.Dockerfile");
        assert!(read(&first.image).text.starts_with("FROM scratch"));
        assert!(matches!(first.task, Task::Cloud(..)));
        assert_eq!(order.home, PathBuf::from("/h/.cache/locus-push"));
    }

    #[test]
    fn a_loaders_run_has_the_flags_of_build_and_a_name_of_its_own_for_secrets() {
        let mut here = Here::new();
        here.vars.push(("TOKEN", "of the build"));
        let line = "--local --build-secret id=token,env=TOKEN --add-host db:10.0.0.1 --network none --shm-size 1m \
                    --build-context lib=loaders --secret DB=env:DB loaders/b.Dockerfile";
        let loader = here.road(line).expect("right").loaders.remove(0);
        assert_eq!(loader.run.secrets["token"].expose_str(), Some("of the build"));
        assert_eq!((loader.run.hosts.len(), loader.run.shm_size), (1, Some(1 << 20)));
        assert_eq!(loader.run.network, crate::graph::Network::None);
        let tasks: Vec<_> = loader.task.secrets().iter().map(SecretSpec::variable).collect();
        assert_eq!(tasks, ["DB"]);
        assert_ne!(loader.image.contexts, Contexts::default());
        let failure = here.road("--local --build-secret hunter2 loaders/b.Dockerfile").expect_err("no id");
        assert!(failure.message.starts_with("--build-secret: ") && !failure.message.contains("hunter2"));
    }

    #[test]
    fn the_second_build_of_verify_reads_another_checkout_of_every_context() {
        let here = Here::new();
        let again = here.folder.path().join("again");
        fs::create_dir_all(again.join("another checkout/of the/context")).expect("made");
        fs::write(again.join("Dockerfile"), "FROM scratch\n").expect("written");
        let line =
            format!("verify --again {} --build-context b=. --build-context a=loaders Dockerfile", again.display());
        let mut image = here.build(&line).expect("the second build").image;
        let folders: Vec<_> = image.contexts.folders().map(|path| path.clone()).collect();
        assert_eq!(folders, ["context 0", "context 1"].map(|name| again.join("another checkout/of the").join(name)));
        assert!(matches!(image.materials, Materials::Folder { directory, .. } if directory.starts_with(&again)));
    }

    #[test]
    fn what_goes_of_the_store_is_said_by_age_and_size() {
        let task = |line: &str| match Here::new().order(line) {
            Ok(Command::Cache(order)) => Ok(order.task),
            Ok(other) => panic!("{line} was taken for {other:?}"),
            Err(failure) => Err(failure.message),
        };
        let prune = Prune { older_than: Some(Duration::from_secs(604_800)), keep_bytes: Some(10 << 30), all: false };
        assert_eq!(
            task("cache prune --older-than 7d --keep-storage 10GB --dry-run"),
            Ok(CacheTask::Prune { prune, dry_run: true })
        );
        assert_eq!(task("cache du -v"), Ok(CacheTask::Tell { verify: false, each: true }));
        assert_eq!(task("cache prune --keep-storage x"), Err("--keep-storage: `x` is no size".into()));
    }

    const NO_NETWORK: &str = "no subnet and no security group for the task: SUBNET1 and SECURITYGROUP are not set";

    #[test]
    fn what_fargate_needs_is_asked_for_by_variable_flag_and_key() {
        let mut here = Here::new();
        here.vars = vec![("HOME", "/h"), ("SECURITYGROUP", "sg-1")];
        let failure = here.road("loaders/b.Dockerfile").expect_err("no subnet");
        assert_eq!(failure.message, "no subnet for the task: SUBNET1 is not set");
        let named = failure.hints.join(" ");
        assert!(["SUBNET1", "--subnet", "`subnets`"].iter().all(|way| named.contains(way)), "{named}");
        assert_eq!(failure.exit_code(), 2);
        here.vars = vec![("HOME", "/h"), ("SUBNET1", "subnet-1")];
        let failure = here.road("loaders/b.Dockerfile").expect_err("no group");
        assert_eq!(failure.message, "no security group for the task: SECURITYGROUP is not set");
        here.vars = vec![("HOME", "/h")];
        let failure = here.road("loaders/b.Dockerfile").expect_err("neither");
        assert_eq!(failure.message, NO_NETWORK);
        assert_eq!(failure.hints.last().map(String::as_str), Some("--local needs none of it"));
        let local = here.road("--local loaders/b.Dockerfile").expect("needs neither");
        assert!(matches!(local.loaders[0].task, Task::Local(_)));
    }

    #[test]
    fn a_run_knows_its_network_and_a_look_needs_none() {
        let mut here = Here::new();
        let file = "[loaders.places]\ncluster = 'shared'\ncapacity_provider = 'FARGATE_SPOT'\ntimeout = '30m'\n";
        fs::write(here.folder.path().join("locus.toml"), file).expect("written");
        let run = |here: &Here, line: &str| match here.order(line) {
            Ok(Command::Run(order)) => Ok(*order),
            Ok(other) => panic!("{line} was taken for {other:?}"),
            Err(failure) => Err(failure.message),
        };
        let order = run(&here, "run places --count 3 --on-interrupt detach -- python load.py").expect("right");
        let Start { count, capacity, overrides, stay } = order.start;
        assert_eq!((count, capacity, stay), (3, Capacity::Spot, Stay::UntilInterrupted));
        assert_eq!(overrides.command, Some(vec!["python".to_owned(), "load.py".to_owned()]));
        assert_eq!(order.timeout, Some(Duration::from_secs(1800)));
        assert_eq!(run(&here, "run x").expect("any name").start, Start { count: 1, ..Start::default() });
        let order = run(&here, "run places --detach --capacity-provider fargate").expect("right");
        assert_eq!((order.timeout, order.start.capacity), (None, Capacity::Fargate), "nobody stays to stop it");
        for (line, words) in [
            ("run loaders/b.Dockerfile", "cannot be the name of a loader"),
            ("run places:0", "`0` is not a revision's number"),
            ("run places --cpu 256 --memory 99", "memory = 99"),
            ("run places --command 'x", "a quote is not closed"),
        ] {
            assert!(run(&here, line).expect_err(line).contains(words), "{line}");
        }
        here.vars = vec![("HOME", "/h")];
        assert_eq!(run(&here, "run places").expect_err("no network"), NO_NETWORK);
        assert!(matches!(here.order("status places"), Ok(Command::Status(_))));
        assert!(matches!(here.order("logs places --since 10m -f"), Ok(Command::Logs(order)) if order.wish.follow));
    }

    #[test]
    fn what_is_fargates_is_refused_for_this_machine() {
        let here = Here::new();
        for flag in ["--count 2", "--spot", "--command x", "--detach", "--on-interrupt detach"] {
            let failure = here.road(&format!("--local {flag} loaders/b.Dockerfile")).expect_err(flag);
            assert!(failure.message.ends_with("is for a task on Fargate, and --local runs it here"), "{failure:?}");
        }
    }

    #[test]
    fn what_aws_would_refuse_is_refused_before_anything_is_done() {
        let here = Here::new();
        let message = |line: &str| here.road(line).expect_err(line).message;
        assert!(message("--cpu 300 loaders/b.Dockerfile").contains("cpu = 300"));
        assert!(message("--local --cpu 256 --memory 99 loaders/b.Dockerfile").contains("memory = 99"));
        assert!(message("--subnet vpc-1 loaders/b.Dockerfile").contains("vpc-1"));
        assert!(message("--secret A=stdin --secret B=stdin loaders/b.Dockerfile").contains("stdin can be read once"));
        assert!(message("--env A=1 --secret A --local loaders/b.Dockerfile").contains("A is set twice"));
        assert!(message("loaders/b.Dockerfile loaders/b.Dockerfile").contains("two loaders are called b"));
    }

    #[test]
    fn a_missing_dockerfile_is_named_as_it_was_typed() {
        let here = Here::new();
        let failure = here.road("loaders/os_opndata.Dockerfile").expect_err("it is missing");
        assert_eq!(failure.message, "there is no Dockerfile loaders/os_opndata.Dockerfile");
        assert_eq!(failure.hints, ["did you mean loaders/os_opendata.Dockerfile?"]);
        let failure = here.road("biuld .").expect_err("a slip");
        assert_eq!(failure.hints, ["did you mean the command `build`?"]);
    }

    #[test]
    fn build_takes_the_meanings_of_buildx() {
        let here = Here::new();
        let order = here
            .build(
                "build -f loaders/b.Dockerfile -t r.io/a/b:1 -t c --build-arg A=1 --label l=x --target t --no-cache \
                 --platform linux/arm64 -o type=oci,dest=x.tar --push --iidfile id --metadata-file meta \
                 --provenance=false --sbom=false --pull --progress plain .",
            )
            .expect("right");
        assert_eq!(read(&order.image).shown, "loaders/b.Dockerfile");
        let tags: Vec<_> = order.tags.iter().map(ToString::to_string).collect();
        assert_eq!(tags, ["r.io/a/b:1", "docker.io/library/c:latest"]);
        assert_eq!(order.outputs, [Output::parse("type=oci,dest=x.tar").expect("right").0, Output::Registry]);
        assert_eq!(order.image.build_args["A"], "1");
        assert_eq!(order.image.labels["l"], "x");
        assert_eq!((order.image.target.as_deref(), order.image.no_cache), (Some("t"), NoCache::All));
        assert_eq!(order.image.platform.to_string(), "linux/arm64");
        assert_eq!((order.iidfile, order.metadata_file), (Some("id".into()), Some("meta".into())));
    }

    #[test]
    fn build_finds_the_dockerfile_in_its_context() {
        let here = Here::new();
        assert!(read(&here.build("build .").expect("right").image).text.contains("# Dockerfile"));
        let failure = here.build("build loaders").expect_err("there is none");
        assert_eq!(failure.message, "there is no Dockerfile loaders/Dockerfile");
        assert_eq!(failure.hints, ["did you mean loaders/b.Dockerfile?", "-f FILE names another"]);
    }

    #[test]
    fn build_refuses_what_it_cannot_do_with_the_reason() {
        let here = Here::new();
        for (line, words) in [
            ("build --push .", "--push needs a name"),
            ("build -o type=registry .", "--push needs a name"),
            ("build --provenance .", "--provenance=true is not supported yet"),
            ("build --provenance=mode=max .", "--provenance=mode=max is not supported yet"),
            ("build --sbom=true .", "--sbom=true is not supported yet"),
            ("build --platform linux/amd64,linux/arm64 .", "one platform at a time"),
            ("build -t A .", "`A` is not an image reference"),
            ("build missing", "the context missing cannot be read"),
            ("build Dockerfile", "the context Dockerfile is no folder"),
            ("build - -f -", "both the context and the Dockerfile"),
            ("build --preserve-modes git@h:r", "--preserve-modes is for a folder"),
            ("build https://u:hunter2@h/b.git?x=1", "the context https://xxxxx@h/b.git?x=1: `x` is nothing"),
            ("build ftp://h/x.tar", "the context ftp://h/x.tar cannot be read"),
            ("build -o type=oci,dest=x -o type=oci,dest=x,tar=false .", "two outputs are written to x"),
        ] {
            let failure = here.build(line).expect_err(line);
            assert!(failure.message.contains(words), "{line}: {}", failure.message);
            assert_eq!(failure.exit_code(), 2);
        }
    }

    #[test]
    fn push_and_serve_know_what_they_need() {
        let here = Here::new();
        fs::write(here.folder.path().join("image.tar"), "").expect("written");
        let Ok(Command::Push(order)) = here.order("push image.tar 127.0.0.1:5000/a:1") else { panic!("a push") };
        assert_eq!(order.reference.to_string(), "127.0.0.1:5000/a:1");
        assert!(here.order("push missing.tar a:1").is_err());
        let at_digest = format!("push image.tar a@sha256:{}", "0".repeat(64));
        assert!(here.order(&at_digest).expect_err("a digest").message.contains("names a digest"));
        let Ok(Command::Serve(order)) = here.order("serve --listen 127.0.0.1:0") else { panic!("a serve") };
        assert_eq!((order.listen.port(), order.data), (0, "/h/.cache/locus-push/registry".into()));
        assert!(order.login.is_none() && order.identity.is_none() && order.proxy.is_none());
    }

    #[test]
    fn serve_reads_who_may_come_in_and_takes_no_flag_in_vain() {
        let here = Here::new();
        fs::write(here.folder.path().join("password"), "secret\n").expect("written");
        fs::write(here.folder.path().join("empty"), "\n").expect("written");
        let Ok(Command::Serve(order)) = here.order("serve --user a --password-file password") else {
            panic!("a serve")
        };
        assert!(order.login.is_some());
        for (line, words) in [
            ("serve --user a --password-file missing", "there is no file of --password-file"),
            ("serve --user a --password-file empty", "--user a: the password is empty"),
            ("serve --tls-cert password --tls-key password", "there is no certificate in PEM form"),
            ("serve --ca-file password", "`serve --ca-file` is for the registry that --proxy names"),
            ("serve --proxy a/b", "--proxy: `a/b` is not a registry's host"),
        ] {
            let failure = here.order(line).expect_err(line);
            assert!(failure.message.contains(words), "{line}: {}", failure.message);
            assert_eq!(failure.exit_code(), 2);
        }
    }

    #[test]
    fn the_settings_file_is_found_and_speaks() {
        let mut here = Here::new();
        here.vars = vec![("HOME", "/h")];
        let text = "subnets = ['subnet-9']\nsecurity_groups = ['sg-9']\n[registry_endpoints]\n'docker.io' = 'http://[::1]:5'\n\
                    [loaders.places]\ndockerfile = 'loaders/b.Dockerfile'\nmemory = 1024\n";
        fs::write(here.folder.path().join("locus.toml"), text).expect("written");
        let order = here.road("loaders/b.Dockerfile").expect("right");
        assert_eq!(order.loaders[0].task.name(), "places");
        assert!(order.registry.endpoints.of("docker.io").to_string().contains("http://[::1]:5"));
        let Task::Cloud(loader, _) = &order.loaders[0].task else { panic!("on Fargate") };
        assert_eq!(loader.size().memory(), 1024);
        assert!(here.road("--config other.toml loaders/b.Dockerfile").is_err());
    }
}
