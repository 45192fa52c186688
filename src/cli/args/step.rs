//! The flags of `build` and of the road that are for the Dockerfile's RUN. Secrets are not among them: the road has two kinds.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "RUN")]
pub struct StepArgs {
    /// Let RUN --mount=type=ssh ask an SSH agent: default is the one at SSH_AUTH_SOCK; or its socket, or private keys
    #[arg(long, value_name = "ID[=SOCKET|KEY,...]")]
    pub ssh: Vec<String>,
    /// Let RUN trust the certificates in this PEM file too, or with the word host what this machine trusts; they are in
    /// no image
    #[arg(long, value_name = "FILE|host")]
    pub run_ca_file: Option<String>,
    /// Add a name to /etc/hosts
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// The network of a RUN that names none: default, none or host
    #[arg(long, value_name = "MODE")]
    pub network: Option<String>,
    /// Allow what the Dockerfile may ask for: network.host, security.insecure
    #[arg(long, value_name = "RIGHT")]
    pub allow: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Set a limit, e.g. nofile=1024:4096; -1 is none
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// Put each RUN into a control group below this one
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<PathBuf>,
    /// Keep what no two RUNs write alike (logs, caches, times in Python's files) [default: it is emptied, left out or
    /// set to the layer's time]
    #[arg(long)]
    pub keep_volatile: bool,
}
