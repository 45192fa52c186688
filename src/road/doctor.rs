//! What this machine can do, and whom it reaches.

use std::time::Duration;

use super::preflight::who;
use super::{House, HouseOptions, RoadError, Session};
use crate::build::{BuildError, Problem};
use crate::deploy::Check;
use crate::image::Platform;
use crate::sandbox::{self, Emulation, Launcher, NoEmulation, NoRung, Rung, Sandbox, Tried};
use crate::store::{Space, Store};

/// What was found out by trying. Nothing of it stays.
#[derive(Debug)]
pub struct Diagnosis {
    /// Every rung of the sandbox's ladder, the best first: the first that holds is what RUN stands on.
    pub ladder: Vec<Tried>,
    /// Who runs the programs of the platforms that Fargate has and that are not this machine's, where RUN stands on
    /// something.
    pub emulations: Vec<(Platform, Result<Emulation, NoEmulation>)>,
    /// Of the disk that the store is on, where it can be told.
    pub space: Option<Space>,
}

/// The architectures that it has (ECS API, RuntimePlatform: ARM64 and X86_64), by an image's words for them.
const FARGATE: [&str; 2] = ["amd64", "arm64"];

/// Looks at what this machine can do for RUN, by trying it in the store's own folder; changes nothing else.
pub fn diagnose(options: &HouseOptions) -> Result<Diagnosis, RoadError> {
    let store = Store::open(&options.home)?;
    let launcher = Launcher::this_program().map_err(|error| {
        let doing = "copying our own program into memory";
        RoadError::Build(BuildError::from(Problem::Inside { doing, why: error.to_string() }))
    })?;
    let work = store.work_folder()?;
    let ladder = sandbox::ladder(&launcher, work.path());
    // Probing leaves nothing behind that is not ours to remove.
    let _ = std::fs::remove_dir_all(work.path());
    let mut found = Diagnosis { ladder, emulations: Vec::new(), space: store.space() };
    if let Ok(rung) = found.chosen().cloned() {
        let sandbox = Sandbox::new(launcher, rung);
        let others = FARGATE.map(Platform::linux).into_iter().filter(|platform| *platform != Platform::host());
        found.emulations = others
            .map(|platform| {
                let by = sandbox.emulation(&platform.architecture);
                (platform, by)
            })
            .collect();
    }
    Ok(found)
}

/// The registry of images that name none.
const REGISTRY: &str = "docker.io";

/// Whoever does not answer by then is not reached.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether base images can be had, and who we are to AWS.
pub async fn reach(session: &Session, options: &HouseOptions) -> Result<Vec<Check>, RoadError> {
    let house = House::open(options, None)?;
    let registry = async {
        let name = format!("registry {REGISTRY}");
        match tokio::time::timeout(PATIENCE, house.registry.greet(REGISTRY)).await {
            Ok(Ok(())) => Check::ok(name, "it answers"),
            Ok(Err(error)) => Check::ng(name, error.to_string(), error.hint()),
            Err(_) => {
                let mend = "is the network there, or a proxy (HTTPS_PROXY)? --registry-endpoint names a mirror";
                Check::ng(name, format!("no answer within {} s", PATIENCE.as_secs()), Some(mend.to_owned()))
            }
        }
    };
    let aws = async {
        match tokio::time::timeout(PATIENCE, who(session)).await {
            Ok((checks, _)) => checks,
            Err(_) => vec![Check::unknown("credentials", format!("no answer within {} s", PATIENCE.as_secs()), None)],
        }
    };
    let (registry, mut checks) = tokio::join!(registry, aws);
    checks.insert(0, registry);
    Ok(checks)
}

impl Diagnosis {
    /// What RUN stands on; else why it cannot.
    pub fn chosen(&self) -> Result<&Rung, NoRung> {
        let holds = self.ladder.iter().find_map(|tried| tried.result.as_ref().ok());
        let failed = || self.ladder.iter().filter_map(|tried| Some((tried.kind, tried.result.as_ref().err()?.clone())));
        holds.ok_or_else(|| NoRung::of_all(failed()))
    }
}
