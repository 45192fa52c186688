//! The overlay that is the command's root.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::super::error::RunError;
use super::super::wire::{Overlay, path};

/// mount(2) copies one page of options, its last byte a NUL.
const PAGE: usize = 4095;

/// Mounts it and gives its root.
pub(super) fn mount_overlay(overlay: &Overlay) -> Result<OwnedFd, RunError> {
    let Overlay { lower_parent, lower, upper, work, merged, copied: _ } = overlay;
    let (lower_parent, upper, work, merged) = (path(lower_parent), path(upper), path(work), path(merged));
    // By descriptor: short, and free of the commas and colons that a user's home may hold.
    let (upper, work) = (folder(upper)?, folder(work)?);
    let names = lower.join(":");
    // user.overlay.* and nothing that hides content: a layer is read from the upper directory alone, so no file
    // may be there as metadata only, and no folder as a hint where it came from (kernel: overlayfs.rst).
    let options = format!(
        "lowerdir={names},upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},\
         userxattr,redirect_dir=nofollow,metacopy=off,index=off,volatile",
        upper.as_raw_fd(),
        work.as_raw_fd(),
    );
    if options.len() > PAGE {
        return Err(RunError::TooManyLayers { layers: lower.len(), bytes: names.len() });
    }
    rustix::process::chdir(lower_parent).map_err(|error| opening(lower_parent, error))?;
    let c_options = std::ffi::CString::new(options).map_err(|_| RunError::Nul { what: "a layer's name".into() })?;
    mount("overlay", merged, "overlay", MountFlags::NODEV, c_options.as_c_str()).map_err(refused)?;
    rustix::process::chdir("/").map_err(|error| opening(Path::new("/"), error))?;
    folder(merged)
}

pub(super) fn folder(path: &Path) -> Result<OwnedFd, RunError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| opening(path, error))
}

fn opening(path: &Path, error: Errno) -> RunError {
    RunError::system(format!("opening {}", path.display()), error)
}

fn refused(error: Errno) -> RunError {
    let hint = match error {
        Errno::INVAL => Some(
            "its folder is itself on an overlay or on a network file system, its work folder was used before, \
             or the kernel is older than 5.11",
        ),
        Errno::NODEV => Some("the kernel has no overlayfs: modprobe overlay"),
        Errno::PERM | Errno::ACCESS => Some("a security module or a seccomp filter stands in the way"),
        Errno::NOENT => Some("one of its layers is missing"),
        _ => None,
    };
    RunError::Overlay { errno: error.raw_os_error(), hint: hint.map(str::to_owned) }
}
