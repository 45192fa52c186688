//! What a build was asked for beside the Dockerfile, for its RUNs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::graph::{Key, Network, Part, Run};
use crate::replay::Replay;
use crate::sandbox::{self, Limit};
use crate::secret::Secret;

use super::{Agent, BuildError, Certificates, Problem};

/// The name that BuildKit gives the machine of a RUN.
const HOSTNAME: &str = "buildkitsandbox";

/// How every RUN of a build is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// `--ssh`, by id.
    pub agents: BTreeMap<String, Arc<Agent>>,
    /// What a RUN trusts beside the image's own certificates.
    pub certificates: Option<Certificates>,
    /// What stands between a RUN and the network, where downloads are recorded or given again.
    pub downloads: Option<Replay>,
    /// What a RUN's machine is called.
    pub hostname: String,
    /// `--add-host`: names in `/etc/hosts`.
    pub hosts: Vec<(String, IpAddr)>,
    /// The network of a RUN that names none.
    pub network: Network,
    pub allowed: Allowed,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    pub limits: Vec<Limit>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<PathBuf>,
    /// `--keep-volatile`: what no two RUNs write alike is recorded as it is.
    pub keep_volatile: bool,
}

/// `--allow`: what a Dockerfile may ask for beyond what every RUN has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// `network.host`
    pub host_network: bool,
    /// `security.insecure`
    pub insecure: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            certificates: None,
            downloads: None,
            hostname: HOSTNAME.to_owned(),
            hosts: Vec::new(),
            network: Network::Default,
            allowed: Allowed::default(),
            shm_size: None,
            limits: Vec::new(),
            cgroup_parent: None,
            keep_volatile: false,
        }
    }
}

impl RunOptions {
    /// The network that a RUN gets.
    pub(super) fn network_of(&self, run: &Run) -> Result<sandbox::Network, BuildError> {
        let asked = match run.network {
            Network::Default => self.network,
            asked => asked,
        };
        match asked {
            Network::None => Ok(sandbox::Network::None),
            Network::Host if run.network == Network::Host && !self.allowed.host_network => {
                Err(Problem::HostNetwork.into())
            }
            // The host's own is what there is.
            Network::Default | Network::Host => Ok(sandbox::Network::Host),
        }
    }

    /// Whether a RUN may do what its `--security` says.
    pub(super) fn security_of(&self, run: &Run) -> Result<bool, BuildError> {
        match run.insecure && !self.allowed.insecure {
            true => Err(Problem::Insecure.into()),
            false => Ok(run.insecure),
        }
    }

    /// The socket of `--ssh default`, where it is that of an agent: git speaks to it itself.
    pub(super) fn default_agent(&self) -> Option<PathBuf> {
        match self.agents.get("default").map(AsRef::as_ref) {
            Some(Agent::Socket(path)) => Some(path.clone()),
            Some(Agent::Keys(_)) | None => None,
        }
    }

    /// The part of a RUN's cache key that is the build's: all that the command can see, but no secrets and no
    /// agents; and no certificates, which as a proxy does decide whether something is fetched, and not what. What is
    /// downloaded is added where the records are.
    pub(super) fn key(&self, key: &mut Key) {
        let Self {
            secrets: _,
            agents: _,
            certificates: _,
            downloads: _,
            allowed: _,
            hostname,
            hosts,
            network,
            shm_size,
            limits,
            cgroup_parent,
            keep_volatile,
        } = self;
        let mut flag = |name: &str, value: String| key.part(Part::Flag(name.to_owned())).field(value.as_bytes());
        flag("BUILDKIT_SANDBOX_HOSTNAME", hostname.clone());
        flag("--add-host", format!("{hosts:?}"));
        flag("--network", format!("{network:?}"));
        flag("--shm-size", format!("{shm_size:?}"));
        flag("--ulimit", format!("{limits:?}"));
        flag("--cgroup-parent", format!("{cgroup_parent:?}"));
        flag("--keep-volatile", format!("{keep_volatile}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    fn key(options: &RunOptions) -> Digest {
        let mut key = Key::default();
        options.key(&mut key);
        key.finish()
    }

    #[test]
    fn what_a_command_can_see_is_in_the_key_and_a_secret_is_not() {
        let plain = RunOptions::default();
        let secret = BTreeMap::from([("id".to_owned(), Arc::new(Secret::new("canary")))]);
        assert_eq!(key(&plain), key(&RunOptions { secrets: secret, ..RunOptions::default() }));
        let hosts = vec![("db".to_owned(), [10, 0, 0, 1].into())];
        assert_ne!(key(&plain), key(&RunOptions { hosts, ..RunOptions::default() }));
        assert_ne!(key(&plain), key(&RunOptions { network: Network::None, ..RunOptions::default() }));
        assert_ne!(key(&plain), key(&RunOptions { shm_size: Some(1), ..RunOptions::default() }));
        assert_ne!(key(&plain), key(&RunOptions { keep_volatile: true, ..RunOptions::default() }));
    }
}
