//! What RUN downloads: recorded, kept, and given again.
//!
//! A [`Replay`] is a proxy on loopback for the steps of one build, each with a leave of its own ([`Session`]). What a
//! step asks by GET or HEAD is looked up in what the lock holds; what is not there is recorded, let through, or refused
//! ([`Policy`]). It knows no Dockerfile: a step is a digest, and what its command is called.
//!
//! | file | worry |
//! |---|---|
//! | `address`, `download` | what the lock holds: URLs without credentials, answers, and what they were chosen by |
//! | `question`, `table` | which recorded answer is one to what is asked |
//! | `answer`, `pipe` | an answer given: parts, conditions, bodies |
//! | `serve`, `fetch`, `keep` | held, let through or refused; recorded, had again; bodies into the store |
//! | `upstream` | the way out |
//! | `proxy`, `tunnel`, `authority` | who may use it, and TLS |
//! | `passage`, `session` | one step's leave, and what came of it |
//! | `door` | the way to a step in a network of its own |
//!
//! What the step serves itself on its loopback is let through and not recorded. In a network that it shares with us,
//! that is what nobody listened at before the step began; the rest of this machine counts as outside. What the link's neighbours say (the metadata services of clouds) is
//! never recorded: it is credentials.
//!
//! It sees what goes by the proxy variables, as apt, pip, npm, curl, wget and git do. A program that does not read them
//! goes around it, unless the step has a network of its own, to which a [`Door`] is the only way.

mod address;
mod answer;
mod authority;
mod door;
mod download;
mod fetch;
mod keep;
mod passage;
mod pipe;
mod proxy;
mod question;
mod serve;
mod session;
mod table;
mod tunnel;
mod upstream;

#[cfg(test)]
mod tests;

pub use address::{Address, BadAddress};
pub use authority::AuthorityError;
pub use door::{Door, WayIn};
pub use download::{BadDownloads, Command, Download, Downloads, Method, RunDownloads};
pub use passage::{Moved, Outcome};
pub use proxy::{Options, Policy, Replay, ReplayError};
pub use session::Session;
pub use upstream::Outward;
