//! What stands between the RUNs of a build and the network, where the lock holds their downloads or is to.

use std::time::Duration;

use crate::graph::PROXIES;
use crate::replay::{Downloads, Options, Outward, Policy, Replay};

use super::{House, Recipe, RoadError};

/// The longest wait for a server, as for a registry.
const SILENCE: Duration = Duration::from_secs(60);

impl House {
    /// The proxy of a build that obeys a lock with downloads in it.
    pub(super) async fn replaying(&self, recipe: &Recipe) -> Result<Option<Replay>, RoadError> {
        let Some(downloads) = &recipe.pinning.pins.runs else { return Ok(None) };
        let policy = if recipe.pinning.only.is_some() { Policy::Refuse } else { Policy::Pass };
        Ok(Some(self.replay(recipe, policy, downloads.clone()).await?))
    }

    /// The proxy of a build that is held to these downloads.
    pub(super) async fn replay(
        &self,
        recipe: &Recipe,
        policy: Policy,
        downloads: Downloads,
    ) -> Result<Replay, RoadError> {
        let authorities = match &self.ca_file {
            // The registry client has read it already; who changes it meanwhile is told by TLS.
            Some(path) => vec![std::fs::read(path).unwrap_or_default()],
            None => Vec::new(),
        };
        let own = recipe.run.certificates.iter().map(|certificates| certificates.pem().as_bytes().to_vec());
        // What the step would have been led to, it is led to by us.
        let proxies = recipe.options.build_args.iter().filter(|(name, _)| PROXIES.contains(&name.as_str()));
        let outward = Outward {
            hosts: recipe.run.hosts.clone(),
            authorities: authorities.into_iter().chain(own).collect(),
            proxies: proxies.map(|(name, value)| (name.clone(), value.clone())).collect(),
        };
        let (store, events) = (self.store.clone(), self.workshop.events.clone());
        let options = Options { store, events, downloads, policy, outward, silence: SILENCE };
        Ok(Replay::start(options).await?)
    }
}
