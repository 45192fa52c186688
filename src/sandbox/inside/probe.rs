//! What a step needs, tried for once.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use super::super::error::RunError;
use super::super::step::Ids;
use super::super::wire::{Overlay, Proc, Reply, Way};
use super::supervise::{Sees, fork};
use super::{ownership, remove, root, run, stand::Root};
use crate::owners::Owners;

/// Makes a root of layers in `dir`, and a `/proc` in a pid namespace; leaves nothing of it behind.
pub(super) fn probe(dir: &Path, copied: bool, owners: Owners) -> Result<Way, RunError> {
    run::namespaces(UnshareFlags::empty())?;
    private_mounts()?;
    let overlay = layers(dir, copied)?;
    let tried = Root::make(&overlay).and_then(|root| {
        root.take_off(&overlay)?;
        first_process(owners)
    });
    // The overlay's own folders are closed to whoever is not root of this namespace.
    remove::tree(&dir.join("w")).map_err(|error| RunError::system("cleaning up", error))?;
    tried
}

/// An empty layer in `dir`, and the folders that a root of it needs.
pub(super) fn layers(dir: &Path, copied: bool) -> Result<Overlay, RunError> {
    let [lower, upper, work, merged] = ["l", "u", "w", "m"].map(|name| dir.join(name));
    for folder in [&lower, &upper, &work, &merged] {
        let made = std::fs::create_dir(folder);
        made.map_err(|error| RunError::system(format!("making {}", folder.display()), error))?;
    }
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    Ok(Overlay {
        lower_parent: bytes(dir),
        lower: vec!["l".to_owned()],
        upper: bytes(&upper),
        work: bytes(&work),
        merged: bytes(&merged),
        copied,
    })
}

/// What the command's process does before it is the command.
fn first_process(owners: Owners) -> Result<Way, RunError> {
    if owners == Owners::Recorded {
        ownership::prepare(&Ids::default())?;
    }
    let forked = fork(Sees::ItsOwn, |_| {
        let proc = match root::fresh_proc() {
            Ok(_) => Ok(Proc::Own),
            // Where the one that we have is covered in part, as in most containers, there is that one.
            Err(refused) => root::outer_proc().map(|_| Proc::Outer).map_err(|_| refused),
        };
        let tried = proc.and_then(|proc| match owners {
            Owners::Real => Ok(proc),
            Owners::Recorded => ownership::try_filter().map(|()| proc),
        });
        match tried {
            Ok(proc) => Reply::Found(Way::Namespaces { proc }),
            Err(error) => Reply::Failed(error),
        }
    })?;
    match forked.finish()?.reply {
        Some(Reply::Found(way)) => Ok(way),
        Some(Reply::Failed(error)) => Err(error),
        _ => Err(RunError::Helper { how: "lost the process that tried a /proc".into() }),
    }
}

pub(super) fn private_mounts() -> Result<(), RunError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|error| RunError::system("keeping our mounts to ourselves", error))
}
