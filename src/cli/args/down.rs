//! The arguments of `down`.

use clap::Args;

use super::{AtArgs, ConfigArgs, ScreenArgs};

const DOWN: &str = "\
Examples:
  locus-push down os_opendata                      what would be removed, and on a terminal: whether to
  locus-push down os_opendata --yes
  locus-push down os_opendata --yes --stop         what runs is stopped first
  locus-push down os_opendata --yes --shared --secrets

Removed is what carries the tag locus-push:loader=NAME: schedule, roles, log group, task definition, cluster; and the
loader's image tags. What locus-push did not make stays. One that was interrupted goes on when it is asked again.
Without --yes and a terminal nothing is removed, and the exit code is 2 where there is something to remove.";

#[derive(Debug, Args)]
#[command(after_help = DOWN)]
pub struct DownArgs {
    /// A loader of locus.toml, or any task definition's family
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Remove it without being asked
    #[arg(long, short)]
    pub yes: bool,
    /// Stop its tasks that run
    #[arg(long)]
    pub stop: bool,
    /// Remove what loaders share as well (repository, cluster, group of schedules), when no other loader is left
    #[arg(long)]
    pub shared: bool,
    /// Remove its secrets as well that no other task definition has; for thirty days they can be brought back
    #[arg(long)]
    pub secrets: bool,
    #[command(flatten)]
    pub at: AtArgs,
    /// The ECR repository [env: REPOSITORYURI] [default: locus_data_loaders]
    #[arg(long, value_name = "NAME", help_heading = "AWS")]
    pub repository: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}
