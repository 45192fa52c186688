//! The flags of the whole road.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{RegistryArgs, ScreenArgs};
use crate::cli::duration;

#[derive(Debug, Args)]
pub struct RoadArgs {
    /// The Dockerfiles; each is a loader
    #[arg(value_name = "DOCKERFILE", required = true)]
    pub dockerfiles: Vec<PathBuf>,
    /// Do it all on this machine: embedded registry, the task in the sandbox
    #[arg(long)]
    pub local: bool,
    /// Stop the task, and the road, after this time, e.g. 30m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub timeout: Option<Duration>,

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
    /// Set a build argument; without a value, the environment's
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// What the task runs on [default: linux/amd64]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Vec<String>,
    /// Keep the modes of the context's files [default: group and others lose the write bit]
    #[arg(long)]
    pub preserve_modes: bool,
    /// Keep the times of what COPY and ADD bring, up to SOURCE_DATE_EPOCH [default: one for all]
    #[arg(long)]
    pub preserve_times: bool,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Push under this tag too, e.g. latest
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Annotate the image's manifest
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Let RUN trust the certificates in this PEM file too, or with the word host what this machine trusts; they are in
    /// no image
    #[arg(long, value_name = "FILE|host")]
    pub run_ca_file: Option<String>,
    /// Take nothing from the build cache
    #[arg(long)]
    pub no_cache: bool,
    /// Take nothing from the build cache in these stages
    #[arg(long, value_name = "STAGE")]
    pub no_cache_filter: Vec<String>,
    /// Accepted: bases are always looked up anew
    #[arg(long)]
    pub pull: bool,
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
    #[arg(long, value_name = "NAME[=FROM]")]
    pub secret: Vec<String>,
    /// Write a secret that exists already, where its value differs
    #[arg(long)]
    pub update_secrets: bool,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "AWS")]
pub struct CloudArgs {
    /// The AWS profile [default: locus, where there is one]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// The AWS region [env: REGION]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The ECS cluster [default: <name>_cluster]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The ECR repository [env: REPOSITORYURI] [default: locus_data_loaders]
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
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
