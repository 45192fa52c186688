//! A build, and the same build again with everything varied that may vary: what moved is named.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::build::{Context, Folder};
use crate::event::{Event, Events};
use crate::image::{Flavor, Which};
use crate::store::WorkFolder;

use super::diff::compare_at;
use super::{Differences, House, HouseOptions, ImageAt, Output, Outputs, Recipe, RoadError, build};

/// How long the second build may take to end once it was interrupted.
const CLEARING: Duration = Duration::from_secs(10);

/// The ordinary user that the second build is, where the first is root: `nobody`.
const NOBODY: &str = "65534";

/// How this program is started to build once more: with its own arguments, so that it means what was meant the first
/// time, behind its command and the place of the second build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    pub program: PathBuf,
    /// Without the command.
    pub arguments: Vec<OsString>,
}

/// What the second build reads and writes, below one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere(pub PathBuf);

/// What two builds of one thing came to.
#[derive(Debug)]
pub struct Verified {
    pub differences: Differences,
    /// What was another in the second build.
    pub varied: Vec<String>,
}

/// Why a build was not done a second time.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("the context is no folder: only a folder can be checked out otherwise")]
    NoFolder,
    #[error("the second build could not be made ready: {0}")]
    Ready(#[source] io::Error),
    #[error("the first build succeeded, and the second one ended with {0}")]
    Second(std::process::ExitStatus),
}

impl Elsewhere {
    pub fn context(&self) -> PathBuf {
        // Longer than most, deeper than most, and with a blank in it.
        self.0.join("another checkout/of the/context")
    }

    /// The folders of named contexts, in the order of their names.
    pub fn named(&self, number: usize) -> PathBuf {
        self.0.join(format!("another checkout/of the/context {number}"))
    }

    pub fn dockerfile(&self) -> PathBuf {
        self.0.join("Dockerfile")
    }

    pub fn layout(&self) -> PathBuf {
        self.0.join("layout")
    }

    fn home(&self) -> PathBuf {
        self.0.join("home")
    }
}

/// Builds twice from nothing, and compares.
pub async fn verify(recipe: &Recipe, again: &Again, options: &HouseOptions) -> Result<Verified, RoadError> {
    let house = House::open(options, None)?;
    let folder = house.store.work_folder()?;
    let verified = twice(recipe, again, &house, &folder, options).await;
    remove(&house, folder).await;
    verified
}

async fn twice(
    recipe: &Recipe,
    again: &Again,
    house: &House,
    folder: &WorkFolder,
    options: &HouseOptions,
) -> Result<Verified, RoadError> {
    let layout = folder.path().join("layout");
    let outputs = Outputs { places: vec![Output::Folder(layout.clone(), Flavor::Oci)], tags: Vec::new() };
    let (events, ran) = noticing_a_run(&options.events);
    let first = HouseOptions { home: folder.path().join("home"), events, ..options.clone() };
    build(recipe, outputs, &first).await?;

    let elsewhere = Elsewhere(folder.make("second", 0o700)?);
    check_out(recipe, &elsewhere)?;
    // The clock has gone on by the time that the second build begins, whatever its resolution.
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        Ok(())
    };
    house.unless_interrupted(waiting).await?;
    let (varied, child) = start(recipe, again, &elsewhere, ran.load(Ordering::Relaxed)).map_err(VerifyError::Ready)?;
    options.events.emit(Event::Note(format!("building again, from nothing, with {}", varied.join(", "))));
    finish(child, options).await?;

    let images = [layout, elsewhere.layout()].map(|path| ImageAt::Disk { path, which: Which::First });
    let comparing = compare_at(images, &recipe.options.platform, house);
    let mut differences = house.unless_interrupted(comparing).await?;
    for (image, name) in differences.images.iter_mut().zip(["the first build", "the second build"]) {
        image.name = name.to_owned();
    }
    Ok(Verified { differences, varied })
}

/// Whether a sandbox was needed is known when one was.
fn noticing_a_run(events: &Events) -> (Events, Arc<AtomicBool>) {
    let (ran, outer) = (Arc::new(AtomicBool::new(false)), events.clone());
    let noticed = Arc::clone(&ran);
    let events = Events::new(move |event| {
        if matches!(event, Event::Rung { .. }) {
            noticed.store(true, Ordering::Relaxed);
        }
        outer.emit(event);
    });
    (events, ran)
}

/// The context and the named ones, the Dockerfile, and the `.dockerignore` that stands beside it.
fn check_out(recipe: &Recipe, to: &Elsewhere) -> Result<(), RoadError> {
    let context = to.context();
    let parent = context.parent().unwrap_or(&to.0);
    fs::create_dir_all(parent).map_err(VerifyError::Ready)?;
    let folder = folder(recipe)?;
    folder.check_out_again(&context, recipe.epochs.preserve)?;
    for (number, named) in recipe.options.contexts.clone().folders().enumerate() {
        let named = Folder::named(named.clone(), folder.preserve_modes);
        named.check_out_again(&to.named(number), recipe.epochs.preserve)?;
    }
    fs::write(to.dockerfile(), &recipe.text).map_err(VerifyError::Ready)?;
    let beside = |dockerfile: &Path| {
        let mut name = dockerfile.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    };
    match folder.dockerfile.as_deref().map(|own| fs::copy(beside(own), beside(&to.dockerfile()))) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(VerifyError::Ready(error).into()),
        _ => Ok(()),
    }
}

fn folder(recipe: &Recipe) -> Result<&Folder, VerifyError> {
    match &recipe.context {
        Context::Folder(folder) => Ok(folder),
        Context::Fetched(_) => Err(VerifyError::NoFolder),
    }
}

/// Starts the second build, and says what is another in it.
fn start(recipe: &Recipe, again: &Again, elsewhere: &Elsewhere, runs: bool) -> io::Result<(Vec<String>, Child)> {
    let mut varied = vec!["another path".to_owned(), "another order of files".to_owned()];
    if !recipe.epochs.preserve {
        varied.push("other times".to_owned());
    }
    if folder(recipe).is_ok_and(|folder| !folder.preserve_modes) {
        varied.push("modes of another umask".to_owned());
    }
    // Nothing in the standard library sets a umask for a child, and the shell of every system does.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0002 && exec \"$@\"", "sh", "env"]);
    varied.push("umask 0002".to_owned());
    // Not for the shell: some complain of a locale that is not installed.
    for variable in ["TZ=Pacific/Chatham", "LC_ALL=tr_TR.UTF-8"] {
        command.arg(variable);
        varied.push(variable.to_owned());
    }
    // An ordinary user's RUN needs sub-ids, which nobody has; files are read and written as before.
    if !runs && let Some(setpriv) = as_nobody() {
        command.args(setpriv);
        varied.push("the user nobody".to_owned());
    }
    command.arg(&again.program).args(["verify", "--again"]).arg(&elsewhere.0).args(&again.arguments);
    command.env("LOCUS_PUSH_HOME", elsewhere.home());
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let child = on_one_cpu(&mut command, &mut varied)?;
    Ok((varied, child))
}

/// Starts it on one of our processors, where we have several.
#[cfg(target_os = "linux")]
fn on_one_cpu(command: &mut Command, varied: &mut Vec<String>) -> io::Result<Child> {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};

    let myself = Pid::from_raw(0);
    let all = sched_getaffinity(myself)?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| all.is_set(cpu).unwrap_or(false)).collect();
    let [first, _, ..] = cpus[..] else { return command.spawn() };
    // A child begins with what its parent's thread may run on; nothing is awaited until this one's is as it was.
    let mut one = CpuSet::new();
    one.set(first)?;
    sched_setaffinity(myself, &one)?;
    let child = command.spawn();
    sched_setaffinity(myself, &all)?;
    varied.push(format!("1 thread instead of {}", cpus.len()));
    child
}

/// Other systems bind no process to a processor.
#[cfg(not(target_os = "linux"))]
fn on_one_cpu(command: &mut Command, _: &mut [String]) -> io::Result<Child> {
    command.spawn()
}

/// The words in front of a command that make it another user's, where we are root and may.
fn as_nobody() -> Option<Vec<OsString>> {
    const CAPABILITIES: &str = "+dac_override,+dac_read_search";
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let words: Vec<OsString> = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
        .into_iter()
        .chain(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES, "--"])
        .map(OsString::from)
        .collect();
    let mut probe = std::process::Command::new(&words[0]);
    probe.args(&words[1..]).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success()).then_some(words)
}

async fn finish(mut child: Child, options: &HouseOptions) -> Result<(), RoadError> {
    let mut interrupt = options.interrupt.clone();
    let told = async { interrupt.wait_for(|told| *told).await.is_ok() };
    let ended = tokio::select! {
        ended = child.wait() => ended,
        true = told => {
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                // It has ended by itself, or it ends now, as this program does on Ctrl-C.
                let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
            }
            let _ = tokio::time::timeout(CLEARING, child.wait()).await;
            return Err(RoadError::Interrupted);
        }
    };
    match ended.map_err(VerifyError::Ready)? {
        status if status.success() => Ok(()),
        status => Err(VerifyError::Second(status).into()),
    }
}

/// Two homes and two images: none of it is needed any more.
async fn remove(house: &House, folder: WorkFolder) {
    if fs::remove_dir_all(folder.path()).is_ok() {
        return;
    }
    // A RUN's files may be of ids that are not ours. What is left even so, the next build that runs something removes.
    if let Ok(sandbox) = house.workshop.sandbox() {
        let sandbox = sandbox.clone();
        let _ = tokio::task::spawn_blocking(move || sandbox.remove(folder.path())).await;
    }
}
