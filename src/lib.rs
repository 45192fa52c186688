//! From a Dockerfile to a finished Fargate task, without Docker.
//!
//! # The road, and its rooms
//!
//! ```text
//! Dockerfile text ─▶ instructions ─▶ build graph ─▶ layers ─▶ image ─▶ registry ─▶ task
//!   dockerfile                        graph          build     image    registry    deploy
//!                                                    layer                          aws
//!                                                    sandbox
//! ```
//!
//! [`road::ship`] reads as that line does; [`road::ship_locally`] walks it with nothing but this machine.
//!
//! | room | is | may not |
//! |---|---|---|
//! | [`dockerfile`] | text → typed instructions with spans; word expansion; heredocs; `.dockerignore` | do any I/O |
//! | [`graph`] | instructions + args + platform → stages and steps, each with the recipe of its cache key | do any I/O |
//! | [`layer`] | file tree ⇄ tar ⇄ compressed blob ⇄ digest; diff; safe reading of hostile tars | know of Dockerfiles |
//! | [`image`] | references, digests, media types, config, manifest, OCI layout | use the network |
//! | [`store`] | content-addressed blobs and the build cache on disk; locks | use the network |
//! | [`sandbox`] | one process tree in a root of its own; the only room with `unsafe` | know of Dockerfiles or the network |
//! | [`build`] | runs the graph: contexts, COPY, ADD, RUN; images come and go by its [`build::Source`] and [`build::Sink`] | speak HTTP or AWS, print |
//! | [`replay`] | what RUN downloads: recorded by a proxy on loopback, kept, given again | know of Dockerfiles |
//! | [`registry`] | pull, push, auth; the embedded registry | know of AWS: it is handed a credential |
//! | [`aws`] | the few AWS calls, typed, one file a service | have a policy of its own |
//! | [`deploy`] | wanted state → difference → changes; run, follow, explain; the local counterpart | speak HTTP itself |
//! | [`road`] | the order in which the rooms are walked | do a room's work |
//! | [`cli`] | arguments in, words and bars out; the only room that prints | do the work |
//!
//! Eight small values belong to nobody and may be used by all: [`event`] (facts that rooms emit, for the screen to find
//! words for), [`secret`] (a value that cannot be seen), [`lines`] (what a command writes, line by line), [`owners`]
//! (whose a file is, where it cannot belong to them), [`elf`] (for which CPU a program is), `range` (which part of a body
//! a client asks for), `calendar` (days and seconds) and `listen` (connections, each in a task). The test `tests/rooms.rs` holds the table.
//!
//! # As a library
//!
//! [`road`] is the door for most: [`road::build`] brings a [`road::Recipe`] to layouts, files and registries,
//! [`road::push_layout`] an OCI layout to a registry, [`road::plan`] tells what a deployment would change; `examples/` has a
//! program for each. A program whose Dockerfiles have RUN begins with [`sandbox::enter_if_asked`], given [`build::JOBS`].
//! An error is the enum of the room in which it arose; [`road::RoadError`] holds them all. Sizes are in bytes and times in
//! seconds since 1970, where a name does not say otherwise. The road works on Linux; on macOS it compiles, and a RUN is
//! refused there by its line.
//!
//! # Invariants
//!
//! 1. **Same input, same bytes.** What we write is a function of the Dockerfile, the context, the build arguments and
//!    the base digests: the same on any host, as root or not, whatever the clock, the path or the umask (002, 022).
//! 2. **COPY-only needs nothing.** A Dockerfile without RUN builds with no privileges at all.
//! 3. **Nothing is accepted and ignored.** A flag, instruction or key is honoured, or refused by name and line.
//! 4. **Base layers pass through byte for byte**, and are downloaded only if something needs their files.
//! 5. **A secret is a type** that cannot be printed, cloned or serialised.
//! 6. **Nothing outside our folder and the named paths is written**, and nothing half-written is ever seen: temporary
//!    file, fsync, rename.
//! 7. **Every byte from outside is hostile**: bounded, verified by digest, escaped before a terminal sees it.
//! 8. **The cloud is described, then compared, then changed**; a second run changes nothing; what we did not make is
//!    used as it is.

#![deny(unsafe_code)]

pub mod aws;
pub mod build;
mod calendar;
pub mod cli;
pub mod deploy;
pub mod dockerfile;
pub mod elf;
pub mod event;
pub mod graph;
pub mod image;
pub mod layer;
pub mod lines;
mod listen;
pub mod owners;
mod range;
pub mod registry;
pub mod replay;
pub mod road;
#[allow(unsafe_code)]
pub mod sandbox;
pub mod secret;
pub mod store;
