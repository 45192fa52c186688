//! A step in a network of its own, to which the proxy is the only way out: it answers there too, and reaches what the
//! step serves.

use std::fmt;
use std::io;
use std::net;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::passage::Passage;
use super::proxy::{Inner, listen_at};

/// Connects to a port of the step's own loopback; an error where nobody listens. It may wait.
pub type WayIn = Arc<dyn Fn(u16) -> io::Result<net::TcpStream> + Send + Sync>;

/// Opens the proxy to a step's own network, where there is one.
#[derive(Clone)]
pub struct Door {
    pub(super) inner: Arc<Inner>,
    pub(super) passage: Arc<Passage>,
}

/// Where something is that the step serves itself.
pub(super) enum Own {
    /// In the network that it shares with us.
    Shared,
    /// In its own, at the other end of this.
    Within(TcpStream),
    /// It would be in its own, where nobody listens, or not yet.
    Nobody,
}

impl Door {
    /// The port at which the step looks for the proxy.
    pub fn port(&self) -> u16 {
        self.inner.address.port()
    }

    /// Answers at a listener of the step's own network, until the step is over. To be called within the runtime.
    pub fn open(&self, listener: net::TcpListener, way_in: WayIn) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        self.passage.in_its_own_network(way_in);
        self.passage.tunnel(listen_at(listener, Arc::clone(&self.inner)));
        Ok(())
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({})", self.port())
    }
}
