//! A network of the command's own with one way out: a port of its loopback, at which somebody of ours answers.
//!
//! The helper makes the listening socket inside, and hands it over: who accepts on it need not be in that network. No
//! packet leaves it, so nothing has to be forwarded, and nobody needs power over the machine's network.

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::RunError;
use super::launch::{Helper, out_of_turn};
use super::wire::{self, Reply};

/// The way out of a network that has no other.
#[derive(Clone)]
pub struct Gate {
    /// The port of the command's 127.0.0.1.
    pub port: u16,
    pub keeper: Arc<dyn Keeper>,
}

/// Who answers at a gate.
pub trait Keeper: Send + Sync {
    /// Before the command begins.
    fn open(&self, inside: Inside) -> io::Result<()>;

    /// The command has ended, and something of it tried another way.
    fn went_around(&self);
}

/// The ends of a command's own network that we hold.
pub struct Inside {
    /// Bound to the gate's port.
    pub listener: TcpListener,
    pub way_in: WayIn,
}

/// Connects to what the command serves on its own loopback.
pub struct WayIn(Mutex<UnixStream>);

impl WayIn {
    /// A connection to a port of the command's loopback; an error where nobody listens.
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        // A question and its answer; nothing panics between them.
        let mut doorman = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doorman.write_all(&port.to_le_bytes())?;
        Ok(wire::receive_fd(&*doorman)?.into())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", self.port)
    }
}

impl Gate {
    /// Takes what the helper made inside.
    pub(super) fn take(&self, helper: &mut Helper) -> Result<(), RunError> {
        match helper.reply()? {
            Reply::Opened => {}
            Reply::Failed(error) => return Err(error),
            Reply::MapMe | Reply::Exit(_) | Reply::WentAround | Reply::Found(_) | Reply::Done | Reply::JobFailed(_) => {
                return Err(out_of_turn());
            }
        }
        let taking = || -> io::Result<()> {
            let listener = wire::receive_fd(&helper.socket)?.into();
            let way_in = WayIn(Mutex::new(wire::receive_fd(&helper.socket)?.into()));
            self.keeper.open(Inside { listener, way_in })
        };
        taking().map_err(|error| RunError::system("opening the way out of RUN's network", error))
    }
}
