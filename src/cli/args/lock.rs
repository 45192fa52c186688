//! The arguments of `lock`.

use std::path::PathBuf;

use clap::Args;

use super::{RegistryArgs, ScreenArgs, StepArgs};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LockArgs {
    /// The Dockerfile
    #[arg(value_name = "DOCKERFILE")]
    pub dockerfile: PathBuf,
    /// Ask anew for all that is pinned, and tell what moved
    #[arg(long)]
    pub update: bool,
    /// Build, and record what RUN downloads by GET: later builds are given the same, without the network if need be. A
    /// RUN that is recorded reaches the network by its proxy variables only
    #[arg(long)]
    pub run: bool,
    /// The lock file [default: locus.lock, beside the Dockerfile]
    #[arg(long, value_name = "FILE")]
    pub lockfile: Option<PathBuf>,
    /// The folder that COPY and ADD read from
    #[arg(long = "context", id = "folder", value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Set a build argument; without a value, the environment's
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Pin what this stage needs [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Pin the images of this platform; what is pinned of others stays [default: linux/amd64]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Vec<String>,
    /// Use another origin in the place of a stage, an image or a --from, as in `build`
    #[arg(long, value_name = "NAME=ORIGIN")]
    pub build_context: Vec<String>,
    /// A secret for private repositories: id=GIT_AUTH_TOKEN,src=FILE or id=GIT_AUTH_TOKEN,env=VARIABLE
    // Not parsed by clap, which would print what it refuses.
    #[arg(long, value_name = "id=ID,src=FILE")]
    pub secret: Vec<String>,
    /// For --run, as in `build`; and --ssh for private repositories
    #[command(flatten)]
    pub for_run: StepArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const EXAMPLES: &str = "\
Examples:
  locus-push lock loaders/os_opendata.Dockerfile
  locus-push lock --update loaders/os_opendata.Dockerfile
  locus-push lock --run loaders/os_opendata.Dockerfile
  locus-push --locked loaders/os_opendata.Dockerfile

It pins the digests of images, the checksums of files that ADD fetches, and the commits of repositories. A Dockerfile's
own pins are written anew: what it no longer names is dropped. Builds obey the lock file when it is there.

With --run it builds, and pins each GET and HEAD of RUN that goes by the proxy variables and trusts the system's
certificates, as apt, pip, npm, curl and wget do: URL, size and sha256, without credentials. The bodies are kept.";
