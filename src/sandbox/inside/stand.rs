//! What the command stands on: an overlay of its layers, or a copy of them.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{UnmountFlags, unmount};

use super::super::error::RunError;
use super::super::wire::{Overlay, path};
use super::mounts::{attach, copy};
use super::overlay::{folder, mount_overlay};
use super::remove;
use super::replica::Replica;

/// A stack of layers, mounted at the overlay's `merged`.
pub(super) struct Root {
    mounted: OwnedFd,
    kind: Kind,
}

enum Kind {
    /// Its upper directory.
    Overlay(OwnedFd),
    Replica(Replica),
}

impl Root {
    pub fn make(overlay: &Overlay) -> Result<Self, RunError> {
        if !overlay.copied {
            // Before the overlay covers anything, and for the tidying up after the root has been changed under us.
            let upper = folder(path(&overlay.upper))?;
            return Ok(Self { mounted: mount_overlay(overlay)?, kind: Kind::Overlay(upper) });
        }
        let replica = Replica::lay(overlay)?;
        // A root must be a mount point, and what is mounted below goes away with it.
        copy(replica.root(), ".")
            .and_then(|mount| {
                attach(&mount, replica.root().as_fd())?;
                Ok(mount)
            })
            .map(|mounted| Self { mounted, kind: Kind::Replica(replica) })
            .map_err(|error| RunError::system("mounting the copy of the layers", error))
    }

    pub fn mounted(&self) -> &OwnedFd {
        &self.mounted
    }

    /// The folder that what is made in the root is made in.
    pub fn changed(&self) -> &OwnedFd {
        match &self.kind {
            Kind::Overlay(upper) => upper,
            Kind::Replica(replica) => replica.root(),
        }
    }

    /// Takes off the root and all that is mounted in it.
    pub fn take_off(self, overlay: &Overlay) -> Result<Changes, RunError> {
        drop(self.mounted);
        unmount(path(&overlay.merged), UnmountFlags::DETACH)
            .map_err(|error| RunError::system("unmounting the root", error))?;
        Ok(Changes(self.kind))
    }
}

/// What the command left, when nothing is mounted any more.
pub(super) struct Changes(Kind);

impl Changes {
    pub fn folder(&self) -> &OwnedFd {
        match &self.0 {
            Kind::Overlay(upper) => upper,
            Kind::Replica(replica) => replica.root(),
        }
    }

    /// Sees to it that the upper directory holds all that changed, and removes what is of no more use: not all of it
    /// can be read by an ordinary user.
    pub fn settle(self, overlay: &Overlay) -> Result<(), RunError> {
        let left = match self.0 {
            Kind::Overlay(_) => &overlay.work,
            Kind::Replica(replica) => {
                replica.collect()?;
                &overlay.merged
            }
        };
        // What cannot be done here is done by whoever removes the step's folder.
        let _ = remove::tree(path(left));
        Ok(())
    }
}
