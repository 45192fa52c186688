//! The arguments of `doctor`.

use clap::Args;

use super::ScreenArgs;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  locus-push doctor --json\n\nExit code 0 where a RUN can be executed, 1 where it cannot. Nothing that it tries stays."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub screen: ScreenArgs,
}
