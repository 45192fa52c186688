//! The flags of `build`: names and meanings of `docker buildx build`.

use std::path::PathBuf;

use clap::Args;

use super::{RecipeArgs, RegistryArgs, ScreenArgs, StepArgs};

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BuildArgs {
    /// What COPY and ADD read from: a folder, a git repository, the URL of a tar, or `-`, a tar on stdin; a Dockerfile
    /// that stands in a tar's place has an empty context
    #[arg(value_name = "CONTEXT")]
    pub context: PathBuf,
    /// The Dockerfile, a URL, or `-` for stdin; in a context that is no folder, a path in it [default: CONTEXT/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub recipe: RecipeArgs,

    /// Give RUN --mount=type=secret a secret: id=ID[,src=FILE] or id=ID,env=VARIABLE
    // Not parsed by clap, which would print what it refuses.
    #[arg(long, value_name = "id=ID,src=FILE", help_heading = "RUN")]
    pub secret: Vec<String>,
    #[command(flatten)]
    pub run: StepArgs,

    /// Build nothing; tell what BuildKit's checks say of the Dockerfile. Exit code 1 if there is something
    #[arg(long, conflicts_with = "call")]
    pub check: bool,
    /// Build nothing; `check`, or list the Dockerfile's `targets`, or what a build takes: `outline`
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,

    /// Name the image: [HOST[:PORT]/]REPOSITORY[:TAG]
    #[arg(long, short, value_name = "REF", help_heading = "Result")]
    pub tag: Vec<String>,
    /// Where the image goes: type=oci|docker|tar,dest=FILE, or type=oci,dest=DIR,tar=false; its files: type=local,dest=DIR,
    /// or DIR alone; type=registry; `-` as dest is stdout
    #[arg(long, short, value_name = "OUTPUT", help_heading = "Result")]
    pub output: Vec<String>,
    /// The same as -o type=registry
    #[arg(long, help_heading = "Result")]
    pub push: bool,
    /// Refused: there is no Docker daemon
    #[arg(long, hide = true)]
    pub load: bool,
    /// Write the digest of the image's config to this file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub iidfile: Option<PathBuf>,
    /// Write what was built to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub metadata_file: Option<PathBuf>,
    /// Only `false`, which is what is done
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Result")]
    pub provenance: Option<String>,
    /// Only `false`, which is what is done
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Result")]
    pub sbom: Option<String>,
    /// Say nothing but the image's digest
    #[arg(long, short, help_heading = "Output", conflicts_with = "progress")]
    pub quiet: bool,

    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const EXAMPLES: &str = "\
Examples:
  locus-push build -t 127.0.0.1:5000/loaders/os_opendata:1 --push .
  locus-push build -f loaders/os_opendata.Dockerfile -o type=oci,dest=image.tar .
  locus-push build --check .
  locus-push build 'https://github.com/a/b.git?branch=main&subdir=loader'
  locus-push build --target test --build-arg NODE=20 -o type=oci,dest=layout,tar=false .";
