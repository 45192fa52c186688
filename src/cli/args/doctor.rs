//! The arguments of `doctor`.

use clap::Args;

use super::{IdentityArgs, RegistryArgs, ScreenArgs};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  locus-push doctor --json\n\nExit code 0 where a RUN can be executed, 1 where it cannot. Nothing that it tries stays. \
                  AWS is not needed to build, nor for --local; what a loader needs of it, `locus-push preflight` tells."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}
