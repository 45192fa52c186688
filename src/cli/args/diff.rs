//! The arguments of `diff`.

use clap::Args;

use super::{RegistryArgs, ScreenArgs};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// An image: an OCI layout (folder or tar) or a Docker archive, with :TAG or @DIGEST for one of several; or a
    /// registry's reference. What exists on disk wins
    #[arg(value_name = "LEFT")]
    pub left: String,
    /// The image that it is compared with
    #[arg(value_name = "RIGHT")]
    pub right: String,
    /// Which image, where there is one for each platform [default: linux/amd64]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Vec<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const EXAMPLES: &str = "\
Examples:
  locus-push diff before.tar after.tar
  locus-push diff ./layout:1.0 127.0.0.1:5000/loaders/os_opendata:1.1
  locus-push diff --json docker.io/library/debian:12 saved-by-docker.tar

Exit code 0 when they are the same, 1 when they differ.";
