//! A step's end of the proxy.

use std::sync::Arc;

use super::door::Door;
use super::passage::{Outcome, Passage};
use super::proxy::Replay;
use crate::image::Digest;

/// The variables by which programs find their proxy. `ALL_PROXY` is none of them: with it, curl would bring us ftp.
const VARIABLES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];

/// Variables that would lead a program past it.
const CLEARED: [&str; 4] = ["NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"];

/// A step that runs. Its token is no good any more when this is dropped.
pub struct Session {
    pub(super) replay: Replay,
    pub(super) name: Digest,
    pub(super) token: String,
    pub(super) passage: Arc<Passage>,
}

impl Session {
    /// In PEM: what the step is to trust.
    pub fn certificate(&self) -> &str {
        self.replay.certificate()
    }

    /// What the step's environment is to say, whatever else it says of them.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://step:{}@{}", self.token, self.replay.address());
        let proxies = VARIABLES.into_iter().map(|name| (name, url.clone()));
        proxies.chain(CLEARED.into_iter().map(|name| (name, String::new()))).collect()
    }

    /// To the step's own network, where it has one.
    pub fn door(&self) -> Door {
        Door { inner: Arc::clone(self.replay.inner()), passage: Arc::clone(&self.passage) }
    }

    /// The step is over: waits for what is still on its way.
    pub async fn close(self) -> Outcome {
        self.replay.close(&self.name);
        self.passage.clear().await;
        std::mem::take(&mut *self.passage.outcome())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.replay.close(&self.name);
        self.passage.hang_up();
    }
}
