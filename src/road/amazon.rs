//! What AWS can say to the registry's client: who we are at ECR, and which layers a repository there has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use crate::aws::{Cloud, CloudOptions, ConnectError, public_login};
use crate::image::Reference;
use crate::registry::{Credential, CredentialError, CredentialSource, ECR_PUBLIC, EcrHost, EcrLogin, Presence};

/// AWS, region by region, as one identity.
pub(super) struct Amazon {
    options: CloudOptions,
    /// Held while one is made, so that many questions make it once.
    regions: Mutex<BTreeMap<String, Cloud>>,
    /// Whether ECR Public did not get to know us: to find that there are no keys may take seconds, and does so once.
    stranger: AtomicBool,
}

impl Amazon {
    /// `cloud` is one that is connected to already.
    pub(super) fn new(options: CloudOptions, cloud: Option<&Cloud>) -> Arc<Self> {
        let regions = cloud.map(|cloud| (cloud.region.clone(), cloud.clone())).into_iter().collect();
        Arc::new(Self { options, regions: Mutex::new(regions), stranger: AtomicBool::new(false) })
    }

    /// Asked just before it is needed, and again when it is no longer taken; it touches no disk.
    pub(super) fn login(self: &Arc<Self>) -> EcrLogin {
        let amazon = self.clone();
        Arc::new(move |host| {
            let amazon = amazon.clone();
            Box::pin(async move {
                let cloud = amazon.cloud(&host.region).await.map_err(|error| failed(&host, error))?;
                cloud.ecr.login().await.map(Credential::EncodedBasic).map_err(|error| failed(&host, error))
            })
        })
    }

    pub(super) fn public_login(self: &Arc<Self>) -> CredentialSource {
        let amazon = self.clone();
        Arc::new(move || {
            let amazon = amazon.clone();
            Box::pin(async move {
                if amazon.stranger.load(Ordering::Relaxed) {
                    return Err(failed(ECR_PUBLIC, "AWS did not know us before"));
                }
                let login = public_login(&amazon.options).await;
                amazon.stranger.store(login.is_err(), Ordering::Relaxed);
                login.map(Credential::EncodedBasic).map_err(|error| failed(ECR_PUBLIC, error))
            })
        })
    }

    /// One question for many layers, where the destination is ECR's.
    pub(super) fn presence(self: &Arc<Self>, destination: &Reference) -> Option<Presence> {
        let host: EcrHost = destination.registry().parse().ok()?;
        let (amazon, repository) = (self.clone(), destination.repository().to_owned());
        Some(Arc::new(move |layers| {
            let (amazon, host, repository) = (amazon.clone(), host.clone(), repository.clone());
            Box::pin(async move {
                // Who pushes with another login is not looked for at AWS.
                let cloud = amazon.regions.lock().await.get(&host.region).cloned()?;
                // Without the permission, or the answer, the registry itself is asked.
                cloud.ecr.layers_there(&host.account, &repository, &layers).await.ok()
            })
        }))
    }

    /// The region that a registry is in, whatever region the task is for.
    async fn cloud(&self, region: &str) -> Result<Cloud, ConnectError> {
        let mut regions = self.regions.lock().await;
        if let Some(cloud) = regions.get(region) {
            return Ok(cloud.clone());
        }
        let options = CloudOptions { region: Some(region.to_owned()), ..self.options.clone() };
        let cloud = Cloud::connect(&options).await?;
        regions.insert(region.to_owned(), cloud.clone());
        Ok(cloud)
    }
}

fn failed(registry: impl ToString, why: impl ToString) -> CredentialError {
    CredentialError::Source { registry: registry.to_string(), why: why.to_string() }
}
