//! The embedded registry: the distribution spec over our own store, on loopback.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::store::Store;

/// A registry that runs until it is dropped.
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Listens at a loopback address (port 0 takes a free one). Blobs are the store's; tags and the list of
    /// manifests are small files below `data`.
    pub async fn start(_store: Store, _data: &Path, _address: SocketAddr) -> io::Result<Self> {
        todo!()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
