//! The registry room against our own registry, against a registry that misbehaves by script, and against the
//! registries and clients that other people made.

#[path = "registry/misbehaving.rs"]
mod misbehaving;
#[path = "registry/place.rs"]
mod place;
#[path = "registry/scripted.rs"]
mod scripted;
#[path = "registry/wire.rs"]
mod wire;

#[path = "registry/ahead.rs"]
mod ahead;
#[path = "registry/distribution_spec.rs"]
mod distribution_spec;
#[path = "registry/ecr.rs"]
mod ecr;
#[path = "registry/faults.rs"]
mod faults;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/interop.rs"]
mod interop;
#[path = "registry/logins.rs"]
mod logins;
#[path = "registry/ours.rs"]
mod ours;
#[path = "registry/quirks.rs"]
mod quirks;
#[path = "registry/read_through.rs"]
mod read_through;
