//! The arguments of `init`.

use clap::Args;

use super::ScreenArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Looks for Dockerfiles and the AWS CLI's JSON of task definitions in the current folder and below it, and at the variables
that are exported. A locus.toml that is there stays as it is.

Examples:
  locus-push init               writes locus.toml
  locus-push init --stdout      shows what it would say")]
pub struct InitArgs {
    /// Write to stdout, and no file
    #[arg(long)]
    pub stdout: bool,
    #[command(flatten)]
    pub screen: ScreenArgs,
}
