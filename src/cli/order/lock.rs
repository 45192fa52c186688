//! Lock files: which one is a Dockerfile's, and the order of `lock`.

use std::path::{Path, PathBuf};

use super::super::args::{LockArgs, RecipeArgs, StepArgs};
use super::super::settings::{self, Given, RegistrySettings};
use super::super::{Failure, Place, files, home};
use super::run_options::run_options;
use super::{Command, context, dockerfile, image};
use crate::build::{LockFile, Pinning};
use crate::road::{DockerfileAt, DockerfileText, Materials, Wanted};

/// The lock file's name, beside the Dockerfile.
const NAME: &str = "locus.lock";

/// A lock file, there or not, and the Dockerfile in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockAt {
    pub path: PathBuf,
    /// As people here would call it.
    pub shown: String,
    /// What it says, where it is there.
    pub file: Option<LockFile>,
    /// The Dockerfile's name in it.
    pub dockerfile: String,
}

pub(super) fn command(args: &LockArgs, registry: RegistrySettings, given: Given<'_>) -> Result<Command, Failure> {
    let LockArgs { dockerfile: path, folder, update, lockfile, build_arg, target, platform, build_context, .. } = args;
    let text = dockerfile(path, given)?;
    let at = find(text.path.as_deref(), lockfile.as_deref(), given)?;
    let at = at.ok_or_else(|| Failure::usage("a Dockerfile of no folder has no place for a lock file"))?;
    let recipe = RecipeArgs {
        build_arg: build_arg.clone(),
        target: target.clone(),
        platform: platform.clone(),
        build_context: build_context.clone(),
        ..RecipeArgs::default()
    };
    let settings = settings::recipe(&recipe, given)?;
    let directory = context(folder, given)?;
    let materials = Materials::Folder { directory, dockerfile: DockerfileAt::Read(text), preserve_modes: false };
    let mut image = image::order(materials, &recipe, settings, given)?;
    if !update && let Some(pins) = at.file.as_ref().and_then(|file| file.dockerfiles.get(&at.dockerfile)) {
        image.pinning.pins = pins.clone();
    }
    if !args.run && args.for_run != (StepArgs { ssh: args.for_run.ssh.clone(), ..StepArgs::default() }) {
        return Err(Failure::usage("without --run nothing is run, and a flag is given that is for RUN"));
    }
    let run = run_options(&args.for_run, ("--secret", &args.secret), given)?;
    Ok(Command::Lock(Box::new(super::LockOrder {
        image,
        at,
        record: args.run,
        run,
        registry,
        home: home::folder(given.env)?,
    })))
}

/// What a build is held to: `dockerfile` is the one whose lock file is meant.
pub(super) fn pinning(dockerfile: Option<&Path>, args: &RecipeArgs, given: Given<'_>) -> Result<Pinning, Failure> {
    let at = find(dockerfile, args.lockfile.as_deref(), given)?;
    let missing = |shown: &str| {
        let words = format!("there is no lock file {shown}");
        Failure::configuration(words).hint("`locus-push lock DOCKERFILE` writes one")
    };
    let Some(LockAt { path: _, shown, file, dockerfile }) = at else {
        return match args.locked {
            true => Err(missing(NAME).hint("--lockfile FILE names one; this Dockerfile lies in no folder here")),
            false => Ok(Pinning::default()),
        };
    };
    if file.is_none() && (args.locked || args.lockfile.is_some()) {
        return Err(missing(&shown));
    }
    let pins = file.and_then(|mut file| file.dockerfiles.remove(&dockerfile)).unwrap_or_default();
    Ok(Pinning { pins, only: args.locked.then_some(shown) })
}

/// The Dockerfile of a build, where it lies on this machine.
pub(super) fn dockerfile_of(materials: &Materials) -> Option<&Path> {
    match materials {
        Materials::Folder { dockerfile: DockerfileAt::Read(DockerfileText { path, .. }), .. }
        | Materials::Elsewhere {
            dockerfile: Wanted::Beside(DockerfileAt::Read(DockerfileText { path, .. })), ..
        } => path.as_deref(),
        Materials::Folder { .. } | Materials::Elsewhere { .. } => None,
    }
}

fn find(dockerfile: Option<&Path>, lockfile: Option<&Path>, given: Given<'_>) -> Result<Option<LockAt>, Failure> {
    let dockerfile = dockerfile.map(|path| given.cwd.join(path));
    let path = match (lockfile, &dockerfile) {
        (Some(named), _) => given.cwd.join(named),
        (None, Some(dockerfile)) => dockerfile.with_file_name(NAME),
        (None, None) => return Ok(None),
    };
    let shown = path.strip_prefix(given.cwd).unwrap_or(&path).display().to_string();
    let dockerfile = name_in(&path, dockerfile.as_deref());
    // Whatever else is there is told of by whoever reads it.
    let file = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        _ => Some(read(&path, &shown)?),
    };
    Ok(Some(LockAt { path, shown, file, dockerfile }))
}

/// The Dockerfile's path, seen from the lock file's folder; from elsewhere, its name. One from stdin has that name.
fn name_in(lock: &Path, dockerfile: Option<&Path>) -> String {
    let Some(dockerfile) = dockerfile else { return "-".to_owned() };
    let below = lock.parent().and_then(|folder| dockerfile.strip_prefix(folder).ok());
    let name = below.or_else(|| dockerfile.file_name().map(Path::new)).unwrap_or(dockerfile);
    name.to_string_lossy().into_owned()
}

fn read(path: &Path, shown: &str) -> Result<LockFile, Failure> {
    let text = files::read_text(path, "lock file")?;
    LockFile::parse(&text).map_err(|bad| {
        Failure::configuration(format!("the lock file {shown}: {bad}"))
            .at(Place::of_line(shown, &text, bad.line))
            .hint("`locus-push lock DOCKERFILE` writes one, where there is none")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_is_named_as_its_lock_file_sees_it() {
        let name = |lock: &str, dockerfile: &str| name_in(Path::new(lock), Some(Path::new(dockerfile)));
        assert_eq!(name("/a/locus.lock", "/a/b.Dockerfile"), "b.Dockerfile");
        assert_eq!(name("/a/locus.lock", "/a/loaders/b.Dockerfile"), "loaders/b.Dockerfile");
        assert_eq!(name("/c/all.lock", "/a/b.Dockerfile"), "b.Dockerfile");
        assert_eq!(name_in(Path::new("/c/all.lock"), None), "-");
    }
}
