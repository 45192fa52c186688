//! Pull, push and login over the distribution spec's HTTP API; and a registry of our own over the store.
//!
//! | file | worry |
//! |---|---|
//! | `endpoint`, `ecr` | which URL a registry is reached at, and which hosts are ECR's |
//! | `credential`, `challenge`, `realm`, `auth` | who we are, what the registry asks, whom we tell, and what we answer |
//! | `http`, `reach`, `retry`, `date`, `exchange` | one connection, where it may lead, one pause, one question until it is answered |
//! | `pull`, `arrival`, `download` | images in, blobs in, files of the network in |
//! | `shared` | what several clients fetch and ask for once |
//! | `push`, `upload`, `outgoing`, `ahead` | images out, blobs out, the bytes of one, those of a layer that is still made |
//! | `error`, `said` | what a user is told, and what of a registry's words |
//! | `server` | the embedded registry |

mod ahead;
mod arrival;
mod auth;
mod challenge;
mod client;
mod credential;
mod date;
mod download;
mod ecr;
mod endpoint;
mod error;
mod exchange;
mod http;
mod outgoing;
mod pull;
mod push;
mod reach;
mod realm;
mod retry;
mod said;
pub mod server;
mod shared;
mod upload;

pub use client::{Options, Registry};
pub use credential::{Credential, CredentialError, CredentialSource, Credentials, EcrLogin};
pub use ecr::{ECR_PUBLIC, EcrHost, NotEcr};
pub use endpoint::{BadEndpoint, Endpoint, Endpoints};
pub use error::{ExchangeError, Known, PullError, PushError, SetupError};
pub use push::{Presence, Pushed, Pusher};
pub use reach::{BadHost, PrivateHosts};
pub use retry::Retries;
pub use said::Said;
pub use server::{BadIdentity, BadLogin, Identity, Lacks, Login, ServeError, Server, ServerOptions, Upstream};
pub use shared::Shared;
