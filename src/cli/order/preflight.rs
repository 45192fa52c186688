//! The order to look at what loaders stand on: by name or by Dockerfile, neither of which is read.

use std::path::{Path, PathBuf};

use super::super::Failure;
use super::super::args::DeployArgs;
use super::super::settings::{self, Given, Session, Which};
use super::asked::{self, Asked};
use super::{dockerfile, road};
use crate::deploy::Loader;

/// What `preflight` came to.
#[derive(Debug)]
pub struct PreflightOrder {
    pub loaders: Vec<Loader>,
    pub session: Session,
}

pub(super) fn order(args: &DeployArgs, given: Given<'_>) -> Result<PreflightOrder, Failure> {
    if args.cloud.no_preflight {
        return Err(Failure::usage("--no-preflight is for the road, and a preflight is what was asked for"));
    }
    let asked = match args.all {
        true => asked::loaders(args, given)?,
        false => named(args, given)?,
    };
    let of = asked.len();
    let loaders = asked.iter().map(|Asked { dockerfile, name }| {
        let settings = settings::loader(args, false, Which { dockerfile, name: name.as_deref(), of }, given)?;
        road::cloud(settings.description).map(|loader| *loader)
    });
    let session = settings::session(&args.cloud.at.identity, args.cloud.repository.as_deref(), given)?;
    Ok(PreflightOrder { loaders: loaders.collect::<Result<_, _>>()?, session })
}

fn named(args: &DeployArgs, given: Given<'_>) -> Result<Vec<Asked>, Failure> {
    let asked = |path: &PathBuf| Ok(Asked { dockerfile: dockerfile_of(path, given)?, name: None });
    args.dockerfiles.iter().map(asked).collect()
}

/// A file that is there; else a loader of locus.toml; else a name, which stands for the Dockerfile of that name.
fn dockerfile_of(path: &Path, given: Given<'_>) -> Result<PathBuf, Failure> {
    if given.cwd.join(path).is_file() {
        return Ok(path.to_owned());
    }
    let name = path.to_str().filter(|text| !text.contains(['/', '.']) && !text.to_lowercase().contains("dockerfile"));
    let Some(name) = name else { return dockerfile(path, given).map(|_| path.to_owned()) };
    if let Some(file) = given.file
        && let Some(text) = file.loaders.get(name).and_then(|table| table.dockerfile.as_ref())
    {
        return Ok(file.folder.join(file.expand(text, given.env)?));
    }
    Ok(PathBuf::from(format!("{name}.Dockerfile")))
}
