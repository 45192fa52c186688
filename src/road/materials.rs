//! What is built from what: the Dockerfile and the files that go with it, from wherever they are.

use std::path::PathBuf;

use crate::build::{Context, Elsewhere, Folder, Found, GitAccess};
use crate::dockerfile::credentials::hidden;

use super::{House, HouseOptions, RoadError};

/// Where a Dockerfile and its context are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Materials {
    /// A folder of this machine; the Dockerfile may lie anywhere.
    Folder {
        directory: PathBuf,
        dockerfile: DockerfileAt,
        preserve_modes: bool,
    },
    Elsewhere {
        from: Elsewhere,
        dockerfile: Wanted,
    },
}

/// A Dockerfile that is named by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileAt {
    Read(DockerfileText),
    Url(String),
}

/// The Dockerfile of a context that is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A file of that context; its own `Dockerfile` where nothing is said.
    Inside(Option<String>),
    Beside(DockerfileAt),
}

/// A Dockerfile that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileText {
    /// As the user named it.
    pub shown: String,
    /// Absolute; none when it came from stdin. A `.dockerignore` of its own may stand beside it.
    pub path: Option<PathBuf>,
    pub text: String,
}

/// What is there to build with.
pub struct Gathered {
    pub shown: String,
    pub text: String,
    pub context: Context,
}

/// The name of a Dockerfile that nobody named.
const DOCKERFILE: &str = "Dockerfile";

/// Brings together what a build is made from. Nothing is opened where all of it is on this machine.
pub async fn gather(materials: Materials, access: &GitAccess, options: &HouseOptions) -> Result<Gathered, RoadError> {
    match materials {
        Materials::Folder { directory, dockerfile, preserve_modes } => {
            let DockerfileText { shown, path, text } = read(dockerfile, options).await?;
            let context = Context::Folder(Folder { directory, dockerfile: path, preserve_modes });
            Ok(Gathered { shown, text, context })
        }
        Materials::Elsewhere { from, dockerfile } => elsewhere(&from, dockerfile, access, options).await,
    }
}

async fn elsewhere(
    from: &Elsewhere,
    dockerfile: Wanted,
    access: &GitAccess,
    options: &HouseOptions,
) -> Result<Gathered, RoadError> {
    let house = House::open(options, None)?;
    let fetching = async { Ok(house.workshop.elsewhere(from, access).await?) };
    let files = match (house.unless_interrupted(fetching).await?, &dockerfile) {
        (Found::Files(files), _) => files,
        (Found::Dockerfile { text, context }, Wanted::Inside(None)) => {
            return Ok(Gathered { shown: shown(from), text, context });
        }
        // docker build: "ambiguous Dockerfile source".
        (Found::Dockerfile { .. }, _) => return Err(RoadError::TwoDockerfiles { context: shown(from) }),
    };
    let name = match dockerfile {
        Wanted::Beside(at) => {
            let DockerfileText { shown, path: _, text } = read(at, options).await?;
            return Ok(Gathered { shown, text, context: files.context(None)? });
        }
        Wanted::Inside(name) => name.unwrap_or_else(|| DOCKERFILE.to_owned()),
    };
    let lower = name.strip_suffix(DOCKERFILE).filter(|above| above.is_empty() || above.ends_with('/'));
    let lower = lower.map(|above| format!("{above}{}", DOCKERFILE.to_lowercase()));
    for name in std::iter::once(name.clone()).chain(lower) {
        if let Some(text) = files.read(&name)? {
            let context = files.context(Some(&name))?;
            return Ok(Gathered { shown: name, text, context });
        }
    }
    Err(RoadError::NoDockerfile { name, context: shown(from) })
}

async fn read(dockerfile: DockerfileAt, options: &HouseOptions) -> Result<DockerfileText, RoadError> {
    match dockerfile {
        DockerfileAt::Read(text) => Ok(text),
        DockerfileAt::Url(url) => {
            let house = House::open(options, None)?;
            let fetching = async { Ok(house.workshop.dockerfile_at(&url).await?) };
            let text = house.unless_interrupted(fetching).await?;
            Ok(DockerfileText { shown: hidden(&url).into_owned(), path: None, text })
        }
    }
}

fn shown(from: &Elsewhere) -> String {
    match from {
        Elsewhere::Git(source) => source.remote.to_string(),
        Elsewhere::Url(url) => hidden(url).into_owned(),
        Elsewhere::Stdin => "stdin".to_owned(),
    }
}
