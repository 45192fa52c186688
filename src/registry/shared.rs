//! What several clients of one program have in common, so that none fetches what another fetches.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::error::PullError;
use crate::image::{Digest, Reference};

/// One lock for each blob that is being fetched, so that who stands on one base fetches it once.
type Fetching = Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>;

/// A manifest as it came: digest, bytes and media type.
pub(super) type Came = (Digest, Vec<u8>, Option<String>);

/// Handed to each of the clients. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shared {
    fetching: Arc<Fetching>,
    named: Option<Arc<Named>>,
}

/// What each name was answered with the first time.
type Named = Mutex<BTreeMap<Reference, Arc<OnceCell<Came>>>>;

impl Shared {
    /// Besides, a name is asked for once, and means the same to all: tags move, and quotas count manifests.
    pub fn asking_once() -> Self {
        Self { named: Some(Arc::default()), ..Self::default() }
    }

    /// Waits until nobody else is fetching this blob.
    pub(super) async fn alone_with(&self, digest: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.entry(*digest).or_default().clone()
        };
        lock.lock_owned().await
    }

    pub(super) async fn manifest<F>(&self, name: &Reference, ask: impl FnOnce() -> F) -> Result<Came, PullError>
    where
        F: Future<Output = Result<Came, PullError>>,
    {
        let Some(named) = &self.named else { return ask().await };
        let cell = Arc::clone(named.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default());
        // Who fails leaves it to the next to ask.
        cell.get_or_try_init(ask).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_by_those_who_share_it() {
        for (shared, wanted) in [(Shared::asking_once(), 1), (Shared::default(), 2)] {
            let (name, asked) = ("busybox".parse().unwrap(), AtomicUsize::new(0));
            let ask = || async {
                asked.fetch_add(1, Ordering::Relaxed);
                Ok((Digest::of(b"x"), b"x".to_vec(), None))
            };
            let other = shared.clone();
            let (one, two) = tokio::join!(shared.manifest(&name, ask), other.manifest(&name, ask));
            assert_eq!(one.unwrap(), two.unwrap());
            assert_eq!(asked.load(Ordering::Relaxed), wanted);
        }
    }
}
