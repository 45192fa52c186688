//! One process tree in a root of its own: namespaces, id maps, mounts, capabilities, seccomp.
//!
//! The program starts itself again, from a sealed copy in memory, to do the dangerous part: a process with
//! threads must not fork and carry on, and a file that the container could write must not be its helper
//! (CVE-2019-5736). What the helper is to do comes over a socket, never by argv or environment.
//!
//! ```text
//!   run / job ──socket──▶ helper: user namespace, mount namespace, overlay ──fork──▶ the command, pid 1 of its
//!     ▲  ▲                  │ waits, removes the mount stubs                          own pid namespace
//!     │  └── exit, errors ◀─┘                                                           │
//!     └───────────────────────────── stdout, stderr ◀──────────────────────────────────┘
//! ```
//!
//! When our end of the socket closes, for whatever reason, the helper kills the tree: nothing outlives us.

// Where no rung holds, what leads from one to a command is led to by nobody.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

mod alone;
mod cgroup;
mod emulation;
mod error;
mod gate;
mod idmap;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/inside.rs"]
mod inside;
mod job;
#[cfg(target_os = "linux")]
mod ladder;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere/ladder.rs"]
mod ladder;
mod launch;
mod run;
mod rung;
mod step;
mod stop;
mod wire;

use std::sync::Arc;

pub use alone::look_names_up_alone;
pub use emulation::{Emulation, Emulator, NoEmulation};
pub use error::{NoRung, RunError};
pub use gate::{Gate, Inside, Keeper, WayIn};
pub use inside::enter_if_asked;
pub use job::{JobError, JobFn, JobHandle};
pub use ladder::{ladder, probe};
pub use launch::Launcher;
pub use run::{Job, Ran};
pub use rung::{Rung, RungKind, Tried};
pub use step::{
    Exit, Ids, Layers, Limit, Mount, Mounted, Network, Resource, Step, Stream, host_resolv_conf, hosts_file,
};
pub use stop::Stopper;

/// The sandbox of this machine: the best rung of the ladder, and the program that can stand on it.
#[derive(Clone)]
pub struct Sandbox {
    launcher: Launcher,
    rung: Arc<Rung>,
}

impl Sandbox {
    pub fn new(launcher: Launcher, rung: Rung) -> Self {
        Self { launcher, rung: Arc::new(rung) }
    }

    pub fn rung(&self) -> &Rung {
        &self.rung
    }
}
