//! The flags of the whole road.

use std::path::PathBuf;

use clap::Args;

use super::{RecipeArgs, RegistryArgs, ScreenArgs, StartArgs, StepArgs};

#[derive(Debug, Args)]
pub struct RoadArgs {
    #[command(flatten)]
    pub deploy: DeployArgs,
    /// Do it all on this machine: embedded registry, the task in the sandbox
    #[arg(long)]
    pub local: bool,
    /// Run the loader now, too, where locus.toml has a schedule for it
    #[arg(long, conflicts_with = "local")]
    pub run_now: bool,
    #[command(flatten)]
    pub start: StartArgs,
}

/// The road without the run.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The Dockerfiles; each is a loader
    #[arg(value_name = "DOCKERFILE", required_unless_present = "all")]
    pub dockerfiles: Vec<PathBuf>,
    /// All loaders of locus.toml, each from the `dockerfile` of its table
    #[arg(long, conflicts_with = "dockerfiles")]
    pub all: bool,
    /// Of several loaders, build so many at once; their tasks run side by side [default: one a core, at most 4]
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: Option<u8>,

    #[command(flatten)]
    pub image: ImageArgs,
    #[command(flatten)]
    pub task: TaskArgs,
    #[command(flatten)]
    pub cloud: CloudArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Image")]
pub struct ImageArgs {
    /// The folder that COPY and ADD read from [default: .]
    #[arg(long, value_name = "DIR")]
    pub context: Option<PathBuf>,
    /// Push under this tag too, e.g. latest
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Give RUN --mount=type=secret a secret: id=ID[,src=FILE] or id=ID,env=VARIABLE
    // Not parsed by clap, which would print what it refuses.
    #[arg(long, value_name = "id=ID,src=FILE", help_heading = "RUN")]
    pub build_secret: Vec<String>,
    #[command(flatten)]
    pub run: StepArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Task")]
pub struct TaskArgs {
    /// CPU units; 1024 are one vCPU [default: 256]
    #[arg(long, value_name = "UNITS")]
    pub cpu: Option<u32>,
    /// MiB of memory [default: 512]
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u32>,
    /// GiB of disk, 21 to 200 [default: the 20 that come with each task]
    #[arg(long, value_name = "GIB")]
    pub ephemeral_storage: Option<u32>,
    /// Set a variable of the task; without a value, the environment's
    #[arg(long, short, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// Give the task a secret in the variable NAME; FROM is env:VAR, file:PATH, stdin or an ARN
    // Not parsed by clap, which would print what it refuses: it may be the secret itself.
    #[arg(long, visible_alias = "secret-env", value_name = "NAME[=FROM]")]
    pub secret: Vec<String>,
    /// Write a secret that exists already, where its value differs
    #[arg(long)]
    pub update_secrets: bool,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "AWS")]
pub struct CloudArgs {
    #[command(flatten)]
    pub at: AtArgs,
    /// The ECR repository [env: REPOSITORYURI] [default: locus_data_loaders]
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Change, too, what locus-push did not make; what is lost by it is said first
    #[arg(long)]
    pub adopt: bool,
    /// Build even where the task could only fail to start
    #[arg(long)]
    pub no_preflight: bool,
}

/// Whose account, and where.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "AWS")]
pub struct IdentityArgs {
    /// The AWS profile [default: locus, where there is one]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The AWS region [env: REGION]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

/// The same, and which cluster in it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "AWS")]
pub struct AtArgs {
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The ECS cluster [default: <name>_cluster]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// Where a task stands.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "AWS")]
pub struct NetworkArgs {
    /// A subnet for the task [env: SUBNET1, SUBNET2]
    #[arg(long, visible_alias = "subnets", value_name = "ID", value_delimiter = ',')]
    pub subnet: Vec<String>,
    /// A security group for the task [env: SECURITYGROUP]
    #[arg(long, visible_alias = "security-groups", value_name = "ID", value_delimiter = ',')]
    pub security_group: Vec<String>,
    /// Give the task a public IP, which is the default
    #[arg(long, overrides_with = "no_public_ip")]
    pub public_ip: bool,
    /// Give the task no public IP: its subnets have another way out
    #[arg(long, overrides_with = "public_ip")]
    pub no_public_ip: bool,
}
