//! The flags of `run` for one task a line of a file.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "One task for each line")]
pub struct EachArgs {
    /// Start a task for each line of this file, of which there are 5000 at most: a JSON object, whose fields are
    /// variables of the task; - is stdin. The same command goes on where it was cut off, and tries again what failed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "detach"])]
    pub each: Option<PathBuf>,
    /// Run so many tasks at once [default: 10]
    #[arg(long, short = 'j', value_name = "1-100", requires = "each")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    pub parallel: Option<u8>,
    /// Try a line again so many times when its task failed [default: 2]
    #[arg(long, value_name = "0-100", requires = "each", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub retries: Option<u32>,
    /// Forget what an earlier run of the same lines did
    #[arg(long, requires = "each")]
    pub restart: bool,
}
