//! The arguments of `verify`: those of `build`, but for what is made of the result.

use std::path::PathBuf;

use clap::Args;

use super::BuildArgs;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("context", |arg| arg.value_name("DOCKERFILE").help("The Dockerfile")))]
#[command(mut_arg("quiet", |arg| arg.help("Say nothing but the answer")))]
#[command(mut_args(|arg| if OF_A_RESULT.contains(&arg.get_id().as_str()) { arg.hide(true) } else { arg }))]
pub struct VerifyArgs {
    /// The folder that COPY and ADD read from
    #[arg(long = "context", id = "folder", value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// The second build: what it reads and where its image goes is below this folder
    #[arg(long, value_name = "DIR", hide = true)]
    pub again: Option<PathBuf>,
    #[command(flatten)]
    pub build: BuildArgs,
}

/// Flags of `build` for which there is nothing here, or that say what is done anyway.
const OF_A_RESULT: [&str; 13] = [
    "file",
    "tag",
    "output",
    "push",
    "load",
    "iidfile",
    "metadata_file",
    "provenance",
    "sbom",
    "check",
    "call",
    "no_cache",
    "pull",
];

const EXAMPLES: &str = "\
Examples:
  locus-push verify loaders/os_opendata.Dockerfile
  locus-push verify --context app --build-arg NODE=20 --json app/Dockerfile

The second build is another process, with another umask, context path, order and times of files, locale, time zone
and number of threads and, where it can be, another user.
Exit code 0 when both images are the same, 1 when they differ.";
