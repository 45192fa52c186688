//! The arguments of `cache`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::ScreenArgs;
use crate::cli::duration;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:\n  locus-push cache du\n  locus-push cache prune --older-than 7d")]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// What is kept, and what it takes of the disk
    Du(DuArgs),
    /// Remove what is kept
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub struct DuArgs {
    /// Read everything, and name what is damaged. Exit code 1 if something is
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PruneArgs {
    /// Remove everything, what RUN keeps in its caches too
    #[arg(long, short, conflicts_with_all = ["older_than", "keep_storage"])]
    pub all: bool,
    /// Remove what was not used for so long, e.g. 7d
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub older_than: Option<Duration>,
    /// Remove what was not used for longest, until no more than this is left, e.g. 10GB
    #[arg(long, value_name = "BYTES")]
    pub keep_storage: Option<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const EXAMPLES: &str = "\
Examples:
  locus-push cache prune                        what killed processes left, and nothing else
  locus-push cache prune --older-than 7d
  locus-push cache prune --keep-storage 10GB    the longest unused goes first
  locus-push cache prune --all

It waits for builds that run, and builds wait for it. Images pushed to `locus-push serve` stay.";
