//! Stands for `inside` on a system that is not Linux: nobody starts a helper, so that nobody is one.

use std::fs;
use std::io;
use std::path::Path;

use super::job::JobFn;
use super::step::Limit;

/// On Linux this becomes the sandbox's helper if the program was started as one. Here it never was.
pub fn enter_if_asked(_: &[(&'static str, JobFn)]) {}

/// Removes a file or a whole folder. That it is not there is no error.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

pub(super) fn processes_allowed(_: &[Limit]) -> u64 {
    0
}

pub(super) fn can_bound_processes() -> bool {
    false
}
