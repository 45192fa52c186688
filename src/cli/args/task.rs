//! The arguments of what is done with a task that was deployed before: `run`, `logs`, `status`.

use std::path::PathBuf;

use clap::Args;

use super::{AtArgs, EachArgs, NetworkArgs, ScreenArgs, StartArgs};

const RUN: &str = "\
Examples:
  locus-push run os_opendata                       the latest revision
  locus-push run os_opendata:3 --env FILTER=Town --memory 2048
  locus-push run os_opendata -- python load.py --full
  locus-push run os_opendata --count 4 --spot
  locus-push run os_opendata --each years.jsonl --parallel 20    a task for each line
  locus-push run os_opendata --detach              and later: locus-push logs os_opendata --follow

The network is that of SUBNET1, SUBNET2 and SECURITYGROUP, or of locus.toml, as on the road.
The log goes to stdout, all else to stderr; with --json the answer does, and the log goes to stderr.
The exit code is the task's own; 124 --timeout; 125 it never started; 130 interrupted, or stopped by somebody. With
--each it is 1 where a line failed for good; --timeout is each task's own.";

#[derive(Debug, Args)]
#[command(after_help = RUN)]
pub struct RunArgs {
    /// A loader of locus.toml, or any task definition's family
    #[arg(value_name = "NAME[:REVISION]")]
    pub name: String,
    /// What is run in place of the image's CMD
    #[arg(value_name = "COMMAND", last = true, conflicts_with = "command")]
    pub words: Vec<String>,
    /// Set a variable of this run; without a value, the environment's
    #[arg(long, short, value_name = "KEY[=VALUE]", help_heading = "Run")]
    pub env: Vec<String>,
    /// CPU units of this run; 1024 are one vCPU
    #[arg(long, value_name = "UNITS", help_heading = "Run")]
    pub cpu: Option<u32>,
    /// MiB of memory of this run
    #[arg(long, value_name = "MIB", help_heading = "Run")]
    pub memory: Option<u32>,
    #[command(flatten)]
    pub start: StartArgs,
    #[command(flatten)]
    pub each: EachArgs,
    #[command(flatten)]
    pub at: AtArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const LOGS: &str = "\
Examples:
  locus-push logs os_opendata                      the log of the task that was started last, as far as it is
  locus-push logs os_opendata --previous           of the one before
  locus-push logs os_opendata --follow             until the task stops
  locus-push logs os_opendata --since 10m
  locus-push logs os_opendata --since 2026-11-22T14:50:00Z

The log goes to stdout; with --json, one object a line. With --follow the exit code is the task's own; Ctrl-C leaves the
task running.";

#[derive(Debug, Args)]
#[command(after_help = LOGS)]
pub struct LogsArgs {
    /// A loader of locus.toml, or any task definition's family
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The task before the one that was started last
    #[arg(long)]
    pub previous: bool,
    /// This task
    #[arg(long, value_name = "ID", conflicts_with = "previous")]
    pub task: Option<String>,
    /// Leave out what is older: 10m, or a moment in UTC
    #[arg(long, value_name = "AGE|TIME")]
    pub since: Option<String>,
    /// Go on until the task stops
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub at: AtArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  locus-push status os_opendata\n  locus-push status os_opendata --json")]
pub struct StatusArgs {
    /// A loader of locus.toml, or any task definition's family
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub at: AtArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

/// For commands that speak to no registry.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// The settings [default: locus.toml here, else in a parent up to the git root]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
