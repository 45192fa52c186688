//! The flags that say how a task is started, and how long we stay with it: of the road and of `run`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::duration;

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Run")]
pub struct StartArgs {
    /// Run so many tasks side by side; each line of their logs begins with its task, and the exit code is the first that
    /// is not 0 [default: 1]
    #[arg(long, value_name = "1-10", value_parser = clap::value_parser!(u8).range(1..=10))]
    pub count: Option<u8>,
    /// Run on FARGATE or FARGATE_SPOT, which is cheaper and may be taken back with two minutes' notice [default: FARGATE]
    #[arg(long, value_enum, value_name = "NAME", ignore_case = true, hide_possible_values = true)]
    pub capacity_provider: Option<Provider>,
    /// The same as --capacity-provider FARGATE_SPOT
    #[arg(long, conflicts_with = "capacity_provider")]
    pub spot: bool,
    /// Run this in place of the image's CMD: words as a shell takes them, in quotes where they hold spaces. No shell is
    /// called: "sh -c '…'" does that
    #[arg(long, value_name = "WORDS")]
    pub command: Option<String>,
    /// Stop the task after this time, e.g. 30m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
    /// Start the task, say how its log is read, and do not wait for its end
    #[arg(long, conflicts_with = "timeout")]
    pub detach: bool,
    /// What Ctrl-C does, and a terminal that goes away: stop the task, or detach from it and let it run. A second Ctrl-C
    /// leaves at once [default: stop]
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "detach")]
    pub on_interrupt: Option<OnInterrupt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Provider {
    #[value(name = "FARGATE")]
    Fargate,
    #[value(name = "FARGATE_SPOT")]
    Spot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnInterrupt {
    Stop,
    Detach,
}
