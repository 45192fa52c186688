//! The flags of `build`: names and meanings of `docker buildx build`.

use std::path::PathBuf;

use clap::Args;

use super::{RegistryArgs, ScreenArgs};

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BuildArgs {
    /// What COPY and ADD read from: a folder, a git repository, the URL of a tar, or `-`, a tar on stdin; a Dockerfile
    /// that stands in a tar's place has an empty context
    #[arg(value_name = "CONTEXT")]
    pub context: PathBuf,
    /// The Dockerfile, a URL, or `-` for stdin; in a context that is no folder, a path in it [default: CONTEXT/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a build argument; without a value, the environment's
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// What the image runs on [default: linux/amd64, whatever this machine is]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Vec<String>,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Use DIR, docker-image://IMAGE, oci-layout://PATH[:TAG|@DIGEST], a git repository or a URL in the place of a stage,
    /// an image or a --from
    #[arg(long, value_name = "NAME=ORIGIN")]
    pub build_context: Vec<String>,
    /// Keep the modes of the context's files [default: group and others lose the write bit, so that a checkout under
    /// umask 002 gives the same image as one under 022]
    #[arg(long)]
    pub preserve_modes: bool,
    /// Annotate the image's manifest
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Keep the times of what COPY and ADD bring, up to SOURCE_DATE_EPOCH [default: SOURCE_DATE_EPOCH, else
    /// 1980-01-01T00:00:01Z, so that another checkout gives the same image]
    #[arg(long)]
    pub preserve_times: bool,
    /// Take nothing from the build cache
    #[arg(long)]
    pub no_cache: bool,
    /// Take nothing from the build cache in these stages
    #[arg(long, value_name = "STAGE")]
    pub no_cache_filter: Vec<String>,
    /// Accepted: bases are always looked up anew
    #[arg(long)]
    pub pull: bool,

    /// Give RUN --mount=type=secret a secret: id=ID[,src=FILE] or id=ID,env=VARIABLE
    // Not parsed by clap, which would print what it refuses.
    #[arg(long, value_name = "id=ID,src=FILE", help_heading = "RUN")]
    pub secret: Vec<String>,
    /// Let RUN --mount=type=ssh ask an SSH agent: default is the one at SSH_AUTH_SOCK; or its socket, or private keys
    #[arg(long, value_name = "ID[=SOCKET|KEY,...]", help_heading = "RUN")]
    pub ssh: Vec<String>,
    /// Let RUN trust the certificates in this PEM file too, or with the word host what this machine trusts; they are in
    /// no image
    #[arg(long, value_name = "FILE|host", help_heading = "RUN")]
    pub run_ca_file: Option<String>,
    /// Add a name to /etc/hosts
    #[arg(long, value_name = "NAME:IP", help_heading = "RUN")]
    pub add_host: Vec<String>,
    /// The network of a RUN that names none: default, none or host
    #[arg(long, value_name = "MODE", help_heading = "RUN")]
    pub network: Option<String>,
    /// Allow what the Dockerfile may ask for: network.host, security.insecure
    #[arg(long, value_name = "RIGHT", help_heading = "RUN")]
    pub allow: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES", help_heading = "RUN")]
    pub shm_size: Option<String>,
    /// Set a limit, e.g. nofile=1024:4096; -1 is none
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "RUN")]
    pub ulimit: Vec<String>,
    /// Put each RUN into a control group below this one
    #[arg(long, value_name = "PATH", help_heading = "RUN")]
    pub cgroup_parent: Option<PathBuf>,
    /// Build nothing; tell what BuildKit's checks say of the Dockerfile. Exit code 1 if there is something
    #[arg(long, conflicts_with = "call")]
    pub check: bool,
    /// Build nothing; `check`, or list the Dockerfile's `targets`, or what a build takes: `outline`
    #[arg(long, value_name = "METHOD")]
    pub call: Option<String>,

    /// Name the image: [HOST[:PORT]/]REPOSITORY[:TAG]
    #[arg(long, short, value_name = "REF", help_heading = "Result")]
    pub tag: Vec<String>,
    /// Where the image goes: type=oci|docker|tar,dest=FILE, or type=oci,dest=DIR,tar=false; its files: type=local,dest=DIR,
    /// or DIR alone; type=registry; `-` as dest is stdout
    #[arg(long, short, value_name = "OUTPUT", help_heading = "Result")]
    pub output: Vec<String>,
    /// The same as -o type=registry
    #[arg(long, help_heading = "Result")]
    pub push: bool,
    /// Refused: there is no Docker daemon
    #[arg(long, hide = true)]
    pub load: bool,
    /// Write the digest of the image's config to this file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub iidfile: Option<PathBuf>,
    /// Write what was built to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub metadata_file: Option<PathBuf>,
    /// Only `false`, which is what is done
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Result")]
    pub provenance: Option<String>,
    /// Only `false`, which is what is done
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(help_heading = "Result")]
    pub sbom: Option<String>,
    /// Say nothing but the image's digest
    #[arg(long, short, help_heading = "Output", conflicts_with = "progress")]
    pub quiet: bool,

    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const EXAMPLES: &str = "\
Examples:
  locus-push build -t 127.0.0.1:5000/loaders/os_opendata:1 --push .
  locus-push build -f loaders/os_opendata.Dockerfile -o type=oci,dest=image.tar .
  locus-push build --check .
  locus-push build 'https://github.com/a/b.git?branch=main&subdir=loader'
  locus-push build --target test --build-arg NODE=20 -o type=oci,dest=layout,tar=false .";
