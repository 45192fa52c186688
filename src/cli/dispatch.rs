//! The seam between what was asked and who does it: one call for each order.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::down::down;
use super::init::init;
use super::order::{
    BuildOrder, CacheOrder, CacheTask, Call, CheckOrder, Command, DiffOrder, DoctorOrder, ImageOrder, LoaderOrder,
    LockOrder, PushOrder, RoadOrder, ServeOrder, Task, VerifyOrder,
};
use super::output::{Dest, Output};
use super::settings::{RegistrySettings, Session};
use super::several::Several;
use super::words::failure;
use super::{Failure, Phase, check, diff, doctor, help, itself, lock, preflight, runtime, several, tasks, upkeep};
use crate::build::{Elsewhere, Epochs, GitAccess, RunOptions};
use crate::deploy::{Limits, Loader, Plan};
use crate::event::{Event, Events};
use crate::graph;
use crate::image::{Image, Platform};
use crate::registry::{Pushed, Server, ServerOptions, Upstream};
use crate::road::{self, Gathered, House, HouseOptions, Recipe, RoadError, Shipped, Target, Turns};

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The answer, for stdout: the pushed reference by digest, one line a loader.
    pub text: String,
    /// The same for `--json`.
    pub json: Value,
    /// The task's own exit code, else 0.
    pub exit_code: u8,
    /// What failed beside what was done: one of several loaders. It decides the exit code.
    pub failure: Option<Failure>,
}

impl Done {
    pub fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, exit_code: 0, failure: None }
    }

    pub fn exit_code(&self) -> u8 {
        self.failure.as_ref().map_or(self.exit_code, Failure::exit_code)
    }
}

pub fn dispatch(command: Command, source_date: Option<&str>, events: &Events) -> Result<Done, Failure> {
    match command {
        Command::Completions(shell) => itself::completions(shell),
        Command::Man(folder) => help::man(&folder),
        Command::Help(words) => help::help(&words),
        Command::Version => Ok(itself::version()),
        Command::Road(order) => runtime::run(|interrupt| road(*order, source_date, events, interrupt)),
        Command::Run(order) => runtime::run(|interrupt| tasks::run(*order, events, interrupt)),
        Command::Logs(order) => runtime::run(|interrupt| tasks::logs(order, events, interrupt)),
        Command::Status(order) => runtime::run(|_| tasks::status(order)),
        Command::Down(order) => runtime::run(|interrupt| down(order, events, interrupt)),
        Command::Plan(order) => runtime::run(|interrupt| plan(*order, source_date, events, interrupt)),
        Command::Preflight(order) => runtime::run(async |_| Ok(preflight::preflight(order).await)),
        Command::Build(order) => runtime::run(|interrupt| build(*order, source_date, events, interrupt)),
        Command::Check(order) => runtime::run(|interrupt| check(*order, source_date, events, interrupt)),
        Command::Push(order) => runtime::run(|interrupt| push(order, events, interrupt)),
        Command::Verify(order) => runtime::run(|interrupt| verify(*order, source_date, events, interrupt)),
        Command::Lock(order) => runtime::run(|interrupt| lock(*order, source_date, events, interrupt)),
        Command::Diff(order) => runtime::run(|interrupt| diff(order, events, interrupt)),
        Command::Cache(order) => runtime::run(async |interrupt| cache(order, events, interrupt)),
        Command::Init { folder, env, stdout } => init(&folder, &env, stdout, events),
        Command::Doctor(order) => runtime::run(|interrupt| doctor(*order, events, interrupt)),
        Command::Serve(order) => runtime::run(|interrupt| serve(*order, events, interrupt)),
    }
}

async fn road(
    order: RoadOrder,
    source_date: Option<&str>,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> Result<Done, Failure> {
    let RoadOrder { mut loaders, at_once, packing, session, registry, home } = order;
    let options = HouseOptions { packing, ..house(home, registry, events, interrupt) };
    match (loaders.pop(), loaders.is_empty()) {
        (Some(only), true) => {
            let name = only.task.name().to_owned();
            let shipped = loader(only, &session, source_date, &options).await?;
            let exit_code = tasks::exit_code(&shipped.outcomes);
            Ok(Done { exit_code, ..Done::new(shipped.image.to_string(), told(&name, &shipped)) })
        }
        (last, _) => {
            loaders.extend(last);
            let options = HouseOptions { turns: Turns::of(at_once), ..options };
            several::road(Several { loaders, at_once, session: &session, source_date, options: &options }).await
        }
    }
}

pub(super) async fn loader(
    order: LoaderOrder,
    session: &Session,
    source_date: Option<&str>,
    options: &HouseOptions,
) -> Result<Shipped, Failure> {
    let LoaderOrder { image, task, run, timeout, reattach, preflight } = order;
    let recipe = recipe(image, run, source_date, options).await?;
    let (shown, text) = (recipe.shown.clone(), recipe.text.clone());
    let limits = Limits { timeout, interrupt: options.interrupt.clone() };
    let shipped = match task {
        Task::Local(task) => road::ship_locally(&recipe, &task, limits, options).await,
        Task::Cloud(loader, start) => {
            road::ship(in_cloud(recipe, *loader, session, preflight), &start, limits, options).await
        }
        Task::Deployed(loader) => road::deploy(in_cloud(recipe, *loader, session, preflight), options).await,
    };
    let shipped = shipped.map_err(|error| failure(error, &shown, &text))?;
    tasks::say_how_to_come_back(&shipped.outcomes, &reattach, &options.events);
    Ok(shipped)
}

async fn plan(
    order: RoadOrder,
    source_date: Option<&str>,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> Result<Done, Failure> {
    let RoadOrder { loaders, at_once, packing: _, session, registry, home } = order;
    let options = house(home, registry, events, interrupt);
    several::plan(Several { loaders, at_once, session: &session, source_date, options: &options }).await
}

/// What one loader would do.
pub(super) async fn plan_of(
    order: LoaderOrder,
    session: &Session,
    source_date: Option<&str>,
    options: &HouseOptions,
) -> Result<Plan, Failure> {
    let LoaderOrder { image, task, run, timeout: _, reattach: _, preflight: _ } = order;
    let loader = match task {
        Task::Deployed(loader) | Task::Cloud(loader, _) => loader,
        Task::Local(_) => return Err(Failure::bug(Phase::Arguments, "a plan of what runs on this machine")),
    };
    let recipe = recipe(image, run, source_date, options).await?;
    let (shown, text) = (recipe.shown.clone(), recipe.text.clone());
    let plan = road::plan(in_cloud(recipe, *loader, session, false), &options.events).await;
    plan.map_err(|error| failure(error, &shown, &text))
}

fn in_cloud(recipe: Recipe, loader: Loader, session: &Session, preflight: bool) -> road::Order {
    let repository_uri = session.repository_uri.clone();
    road::Order { recipe, loader, session: tasks::at(session.clone()), preflight, repository_uri }
}

async fn build(
    order: BuildOrder,
    source_date: Option<&str>,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> Result<Done, Failure> {
    let BuildOrder { image, tags, outputs, packing, iidfile, metadata_file, run, registry, home } = order;
    let options = HouseOptions { packing, ..house(home, registry, events, interrupt) };
    let recipe = recipe(image, run, source_date, &options).await?;
    let on_stdout = outputs.iter().any(Output::is_stdout);
    let stays = outputs.is_empty();
    let names = tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let outputs = road::Outputs { places: outputs.into_iter().filter_map(place).collect(), tags };
    let built = road::build(&recipe, outputs, &options).await;
    let (image, pushed) = built.map_err(|error| failure(error, &recipe.shown, &recipe.text))?;
    if stays {
        events.emit(Event::Note(
            "the image is in the build cache alone: -o type=oci,dest=image.tar writes it, -t NAME --push sends it to a registry"
                .to_owned(),
        ));
    }
    let metadata = metadata(&image, &names);
    if let Some(path) = iidfile {
        write(&path, &image.manifest.config.digest.to_string())?;
    }
    if let Some(path) = metadata_file {
        write(&path, &format!("{metadata:#}\n"))?;
    }
    let answer = if on_stdout { String::new() } else { answer(&image, &pushed) };
    Ok(Done::new(answer, metadata))
}

/// The place that an output means; none for what only fills the build cache.
fn place(output: Output) -> Option<road::Output> {
    let target = |dest| match dest {
        Dest::File(path) => Target::File(path),
        Dest::Stdout => Target::Stream(Box::new(std::io::stdout())),
    };
    Some(match output {
        Output::Archive { flavor, dest } => road::Output::Archive(target(dest), flavor),
        Output::Folder { flavor, dest } => road::Output::Folder(dest, flavor),
        Output::Files { dest } => road::Output::Files(target(dest)),
        Output::Directory { dest } => road::Output::Directory(dest),
        Output::Registry => road::Output::Registry,
        Output::Nowhere => return None,
    })
}

async fn check(
    order: CheckOrder,
    source_date: Option<&str>,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> Result<Done, Failure> {
    let CheckOrder { image, call, registry, home } = order;
    let options = house(home, registry, events, interrupt);
    let recipe = recipe(image, RunOptions::default(), source_date, &options).await?;
    let told = match call {
        Call::Check => {
            road::check(&recipe, &options).await.map(|checked| check::warnings(checked, &recipe.shown, &recipe.text))
        }
        Call::Outline => road::outline(&recipe).map(|(target, outline)| check::outline(&target, &outline)),
        Call::Targets => road::targets(&recipe).map(|targets| check::targets(&targets)),
    };
    told.map_err(|error| failure(error, &recipe.shown, &recipe.text))
}

/// What was pushed, by digest; else the image's own digest.
fn answer(image: &Image, pushed: &[Pushed]) -> String {
    match pushed {
        [] => image.manifest.config.digest.to_string(),
        pushed => pushed.iter().map(|pushed| pushed.reference.to_string()).collect::<Vec<_>>().join("\n"),
    }
}

/// buildx's own keys.
fn metadata(image: &Image, names: &str) -> Value {
    let descriptor = image.manifest.descriptor();
    let mut metadata = json!({
        "containerimage.config.digest": image.manifest.config.digest,
        "containerimage.digest": descriptor.digest,
        "containerimage.descriptor": {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
        },
    });
    if !names.is_empty() {
        metadata["image.name"] = json!(names);
    }
    metadata
}

async fn push(order: PushOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let PushOrder { layout, reference, registry, home } = order;
    let options = house(home, registry, events, interrupt);
    let pushed = road::push_layout(&layout, &reference, &options).await;
    let pushed = pushed.map_err(|error| failure(error, "", ""))?;
    let json = json!({ "image": pushed.reference.to_string(), "already_there": pushed.already_there });
    Ok(Done::new(pushed.reference.to_string(), json))
}

async fn verify(
    order: VerifyOrder,
    source_date: Option<&str>,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> Result<Done, Failure> {
    let VerifyOrder { build, again } = order;
    let BuildOrder { image, packing, run, registry, home, .. } = build;
    let options = HouseOptions { packing, ..house(home, registry, events, interrupt) };
    let recipe = recipe(image, run, source_date, &options).await?;
    let verified = road::verify(&recipe, &again, &options).await;
    verified.map(|verified| diff::verified(&verified)).map_err(|error| failure(error, &recipe.shown, &recipe.text))
}

async fn lock(
    order: LockOrder,
    source_date: Option<&str>,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> Result<Done, Failure> {
    let LockOrder { image, at, record, run, registry, home } = order;
    let options = house(home, registry, events, interrupt);
    let recipe = recipe(image, run, source_date, &options).await?;
    let pins = road::lock(&recipe, record, &options).await;
    let pins = pins.map_err(|error| failure(error, &recipe.shown, &recipe.text))?;
    lock::kept(at, pins, &recipe.options.platform)
}

async fn diff(order: DiffOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let DiffOrder { images, platform, registry, home } = order;
    let options = house(home, registry, events, interrupt);
    let differences = road::diff(images, &platform, &options).await;
    differences.map(|differences| diff::answer(&differences)).map_err(|error| failure(error, "", ""))
}

async fn doctor(order: DoctorOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let DoctorOrder { session, registry, home } = order;
    let options = house(home, registry, events, interrupt);
    let found = road::diagnose(&options).map_err(|error| failure(error, "", ""))?;
    let reached = road::reach(&tasks::at(session), &options).await.map_err(|error| failure(error, "", ""))?;
    Ok(doctor::answer(&found, reached))
}

fn cache(order: CacheOrder, events: &Events, interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let CacheOrder { task, home } = order;
    let options = house(home, RegistrySettings::default(), events, interrupt);
    let done = match task {
        CacheTask::Tell { verify, each } => {
            road::usage(verify, &options).map(|usage| upkeep::usage(&usage, each, &options.home))
        }
        CacheTask::Prune { prune, dry_run } => {
            road::prune(prune, dry_run, &options).map(|gone| upkeep::pruned(&gone, prune, dry_run))
        }
    };
    done.map_err(|error| failure(error, "", ""))
}

async fn serve(order: ServeOrder, events: &Events, mut interrupt: watch::Receiver<bool>) -> Result<Done, Failure> {
    let ServeOrder { listen, data, login, identity, insecure, may_delete, proxy, registry } = order;
    let scheme = if identity.is_some() { "https" } else { "http" };
    let of = proxy.as_ref().map(|registry| format!(" of {registry}")).unwrap_or_default();
    let house = House::open(&house(data.clone(), registry, events, interrupt.clone()), None);
    let house = house.map_err(|error| match error {
        RoadError::Store(error) => Failure::configuration(error.to_string()),
        error => failure(error, "", ""),
    })?;
    let upstream = proxy.map(|registry| Upstream::new(house.registry.clone(), &registry));
    let options = ServerOptions { listen, login, identity, insecure, may_delete, upstream };
    let server = Server::start(house.store.clone(), &data.join("registry"), options).await;
    let mut server = server.map_err(|error| failure(error.into(), "", ""))?;
    let address = server.address();
    let kept = data.display();
    events.emit(Event::Note(format!("a registry{of} at {scheme}://{address}, kept in {kept}; Ctrl-C ends it")));
    tokio::select! {
        () = server.wait() => {}
        _ = interrupt.wait_for(|told| *told) => {}
    }
    Ok(Done::new(String::new(), json!({ "address": address.to_string() })))
}

fn house(
    home: std::path::PathBuf,
    registry: RegistrySettings,
    events: &Events,
    interrupt: watch::Receiver<bool>,
) -> HouseOptions {
    let RegistrySettings { endpoints, allow_private, ca_file, cloud } = registry;
    let events = events.clone();
    HouseOptions { endpoints, allow_private, ca_file, cloud, events, interrupt, ..HouseOptions::new(home) }
}

/// Gathers what an order names, from wherever it is.
async fn recipe(
    image: ImageOrder,
    mut run: RunOptions,
    source_date: Option<&str>,
    options: &HouseOptions,
) -> Result<Recipe, Failure> {
    let ImageOrder { mut materials, mut build_args, target, platform, labels, contexts, agent, .. } = image;
    let ImageOrder { preserve_times, no_cache, explain, annotations, pinning, caches, .. } = image;
    date(&mut build_args, source_date);
    // BuildKit's name for it.
    if let Some(hostname) = build_args.get("BUILDKIT_SANDBOX_HOSTNAME") {
        run.hostname.clone_from(hostname);
    }
    if let road::Materials::Elsewhere { from: Elsewhere::Git(git), .. } = &mut materials
        && keeps_git_dir(&build_args)?
    {
        git.keep_git_dir = Some(true);
    }
    let access = GitAccess { secrets: run.secrets.clone(), agent };
    let gathered = road::gather(materials, &access, options).await.map_err(|error| failure(error, "", ""))?;
    let Gathered { shown, text, context } = gathered;
    let options = graph::Options { platform, build_platform: Platform::host(), build_args, target, labels, contexts };
    let epochs = Epochs { source_date: None, preserve: preserve_times };
    Ok(Recipe { shown, text, context, options, epochs, no_cache, explain, annotations, run, pinning, caches })
}

/// The environment's source date is a build argument, as buildx has it, unless one is given: so an ARG sees it.
fn date(build_args: &mut BTreeMap<String, String>, source_date: Option<&str>) {
    if let Some(date) = source_date {
        build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| date.to_owned());
    }
}

/// BuildKit's way to ask for the `.git` of the build's own context.
fn keeps_git_dir(build_args: &BTreeMap<String, String>) -> Result<bool, Failure> {
    let name = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
    match build_args.get(name).map(|value| value.to_lowercase()).as_deref() {
        Some("1" | "t" | "true") => Ok(true),
        None | Some("" | "0" | "f" | "false") => Ok(false),
        Some(value) => Err(Failure::usage(format!("--build-arg {name}={value} is neither true nor false"))),
    }
}

pub(super) fn told(name: &str, shipped: &Shipped) -> Value {
    let mut json = tasks::told(&shipped.outcomes);
    json["loader"] = json!(name);
    json["image"] = json!(shipped.image.to_string());
    json["task_definition"] = json!(shipped.task_definition);
    json
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::configuration(format!("cannot write {}: {error}", path.display()));
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_source_date_is_a_build_argument_unless_one_is_given() {
        let dated = |given: Option<&str>, env| {
            let name = "SOURCE_DATE_EPOCH".to_owned();
            let mut build_args: BTreeMap<_, _> =
                given.map(|date| (name.clone(), date.to_owned())).into_iter().collect();
            date(&mut build_args, env);
            build_args.remove(&name)
        };
        assert_eq!(dated(None, Some("6")).as_deref(), Some("6"));
        assert_eq!(dated(Some("5"), Some("6")).as_deref(), Some("5"));
        assert_eq!(dated(Some(""), Some("6")).as_deref(), Some(""), "which takes it back");
        assert_eq!(dated(None, None), None);
    }
}
