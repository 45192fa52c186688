//! The client: everything that one run knows of registries.

use std::path::PathBuf;
use std::sync::Arc;

use super::auth::Passes;
use super::credential::Credentials;
use super::endpoint::Endpoints;
use super::error::SetupError;
use super::http::Http;
use super::reach::PrivateHosts;
use super::retry::Retries;
use super::shared::Shared;
use crate::event::Events;
use crate::store::Store;

/// What a client is made of.
pub struct Options {
    pub store: Store,
    pub events: Events,
    pub endpoints: Endpoints,
    pub credentials: Credentials,
    /// More certificate authorities than the system's, in PEM form.
    pub ca_file: Option<PathBuf>,
    /// The private networks' hosts that registries may send us to.
    pub allow_private: PrivateHosts,
    pub retries: Retries,
    pub shared: Shared,
}

/// All registries, through one client. Cheap to clone.
#[derive(Clone)]
pub struct Registry(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub options: Options,
    pub http: Http,
    pub passes: Passes,
}

impl Options {
    /// The user's own registries and credentials, nothing set.
    pub fn new(store: Store, events: Events) -> Self {
        Self {
            store,
            events,
            endpoints: Endpoints::default(),
            credentials: Credentials::of_docker(),
            ca_file: None,
            allow_private: PrivateHosts::default(),
            retries: Retries::default(),
            shared: Shared::default(),
        }
    }
}

impl Registry {
    pub fn new(options: Options) -> Result<Self, SetupError> {
        let allowed = options.allow_private.clone();
        let http = Http::new(options.ca_file.as_deref(), allowed, options.retries.silence)?;
        Ok(Self(Arc::new(Inner { options, http, passes: Passes::default() })))
    }
}
