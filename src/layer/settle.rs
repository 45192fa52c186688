//! The upper directory of an overlay, made what its layer says: it is the lower directory of the next step, which must see
//! the same whether this step was done or was in the build cache.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, AtFlags, Dir, Mode, OFlags, Timespec, Timestamps};

use super::upper::{failed, io_failed};
use super::{Below, Content, Epoch, LayerPath, Seen, Tree, UpperError, beneath};

/// Removes from `upper` what `tree` does not list (sockets, directories that were only touched, what was left out of the
/// layer), and gives all that it lists the layer's one time. To be called when nobody else works there.
pub fn settle(upper: &Path, tree: &Tree<Content>, lower: &impl Below, Epoch(epoch): Epoch) -> Result<(), UpperError> {
    let root = LayerPath::root();
    let dir = fs::open(upper, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", &root))?;
    sweep(upper, &dir, &root, tree)?;
    // Removing something in a directory changes its time.
    for path in tree.entries.keys().filter(|path| !path.is_root()) {
        fs::utimensat(&dir, path.as_bytes(), &at(epoch), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", path))?;
    }
    // The root is always here, listed or not.
    let own = match lower.at(&root)? {
        Some(Seen::Directory(below)) if !tree.entries.contains_key(&root) => below.mtime,
        _ => epoch,
    };
    fs::futimens(&dir, &at(own)).map_err(failed("set the time of", &root))
}

fn sweep(upper: &Path, root: &OwnedFd, path: &LayerPath, tree: &Tree<Content>) -> Result<(), UpperError> {
    let dir = beneath::open(root, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(io_failed("open", path))?;
    for child in Dir::read_from(&dir).map_err(failed("list", path))? {
        let child = child.map_err(failed("list", path))?;
        let name = child.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let path = path.join(name)?;
        match tree.entries.get(&path) {
            Some(entry) if entry.is_directory() => sweep(upper, root, &path, tree)?,
            Some(_) => {}
            None if tree.whiteouts.contains(&path) => {}
            None => remove(upper, &path)?,
        }
    }
    Ok(())
}

fn remove(upper: &Path, path: &LayerPath) -> Result<(), UpperError> {
    use std::os::unix::ffi::OsStrExt;
    let place = upper.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let is_directory = place.symlink_metadata().map(|found| found.is_dir());
    is_directory
        .and_then(|is| if is { std::fs::remove_dir_all(&place) } else { std::fs::remove_file(&place) })
        .map_err(io_failed("remove", path))
}

fn at(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::layer::{View, read_upper};
    use crate::owners::Owners;

    #[test]
    fn a_step_leaves_what_its_layer_says_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("new/d")).unwrap();
        std::fs::write(at("new/d/f"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", at("new/l")).unwrap();
        let _listener = UnixListener::bind(at("new/socket")).unwrap();
        let view = View::default();
        let mut tree = read_upper(folder.path(), &view, Owners::Real).unwrap();
        std::fs::create_dir_all(at("touched/deep")).unwrap();
        tree.entries.remove(&LayerPath::parse(b"new/d/f").unwrap());
        settle(folder.path(), &tree, &view, Epoch(77)).unwrap();
        for gone in ["new/socket", "new/d/f", "touched"] {
            assert!(at(gone).symlink_metadata().is_err(), "{gone}");
        }
        for (name, mtime) in [("new", 77), ("new/d", 77), ("new/l", 77)] {
            assert_eq!(at(name).symlink_metadata().unwrap().mtime(), mtime, "{name}");
        }
    }
}
