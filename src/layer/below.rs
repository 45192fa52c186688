//! What lies below an overlay's upper directory: asked of a view, or of the directories themselves, which takes as long
//! as the answers and not as long as an image is large.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::host::WHERE;
use super::upper::{Marks, entry};
use super::{Entry, Kind, LayerPath, UpperError, View, beneath};
use crate::owners::Owners;

/// A stack of layers that can be asked what is at a path.
pub trait Below {
    /// What is at this very path, if anything; of what is no directory it says only that.
    fn at(&self, path: &LayerPath) -> Result<Option<Seen>, UpperError>;
}

/// What the layers below show at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Directory(Entry<()>),
    Other,
}

impl Below for View {
    fn at(&self, path: &LayerPath) -> Result<Option<Seen>, UpperError> {
        Ok(self.lookup(path).map(|node| match &node.kind {
            Kind::Directory => Seen::Directory(Entry { kind: Kind::Directory, ..node.clone().map(drop) }),
            _ => Seen::Other,
        }))
    }
}

/// Layers as they are unpacked, each with the marks of overlayfs.
#[derive(Debug)]
pub struct LayerDirs {
    /// The topmost first.
    dirs: Vec<OwnedFd>,
    owners: Owners,
}

impl LayerDirs {
    /// `dirs` are those of the layers, the lowest first.
    pub fn open<P: AsRef<Path>>(dirs: &[P], owners: Owners) -> io::Result<Self> {
        let open =
            |dir: &P| Ok(fs::open(dir.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
        Ok(Self { dirs: dirs.iter().rev().map(open).collect::<io::Result<_>>()?, owners })
    }
}

/// What one layer says of a path.
enum Said {
    Nothing,
    /// Nothing is there, whatever the layers below have.
    Gone,
    Here(Seen),
}

impl Below for LayerDirs {
    fn at(&self, path: &LayerPath) -> Result<Option<Seen>, UpperError> {
        for dir in &self.dirs {
            match said(dir, path, self.owners)? {
                Said::Nothing => {}
                Said::Gone => return Ok(None),
                Said::Here(seen) => return Ok(Some(seen)),
            }
        }
        // An image of no layers has a root all the same.
        Ok(path.is_root().then(|| Seen::Directory(Entry::directory(0o755))))
    }
}

fn said(layer: &OwnedFd, path: &LayerPath, owners: Owners) -> Result<Said, UpperError> {
    let failed = |source: io::Error| UpperError::Io { doing: "look below", path: path.clone(), source };
    let raw = |error: &io::Error| error.raw_os_error().map(Errno::from_raw_os_error);
    let mut above: Vec<LayerPath> = path.ancestors().skip(1).collect();
    above.reverse();
    let mut opaque = false;
    for above in above {
        let dir = match beneath::open(layer, &above, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(error) => {
                return match raw(&error) {
                    Some(Errno::NOENT) if !opaque => Ok(Said::Nothing),
                    // Something else is in its place, or what was there is hidden.
                    Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Said::Gone),
                    _ => Err(failed(error)),
                };
            }
        };
        opaque |= Marks::read(&dir, &above, owners)?.opaque;
    }
    let found = match beneath::open(layer, path, WHERE) {
        Ok(found) => found,
        Err(error) => {
            return match raw(&error) {
                Some(Errno::NOENT) if opaque => Ok(Said::Gone),
                Some(Errno::NOENT) => Ok(Said::Nothing),
                _ => Err(failed(error)),
            };
        }
    };
    let stat = fs::fstat(&found).map_err(|error| failed(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if (fs::major(stat.st_rdev), fs::minor(stat.st_rdev)) == (0, 0) => Ok(Said::Gone),
        FileType::RegularFile if stat.st_size == 0 => {
            let file = beneath::open(layer, path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?;
            Ok(if Marks::read(&file, path, owners)?.whiteout { Said::Gone } else { Said::Here(Seen::Other) })
        }
        FileType::Directory => {
            let dir = beneath::open(layer, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
            let marks = Marks::read(&dir, path, owners)?;
            Ok(Said::Here(Seen::Directory(entry(Kind::Directory, &stat, marks, owners))))
        }
        _ => Ok(Said::Here(Seen::Other)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use rustix::fs::XattrFlags;

    use super::*;
    use crate::layer::testing::path;

    #[test]
    fn directories_answer_as_overlayfs_would_show_them() {
        let home = tempfile::tempdir().unwrap();
        let [low, high] = ["low", "high"].map(|name| home.path().join(name));
        for dir in ["low/d/e", "low/gone/x", "low/replaced/x", "low/opaque/old", "high/d", "high/opaque/new"] {
            create_dir_all(home.path().join(dir)).unwrap();
        }
        write(low.join("f"), "1").unwrap();
        write(high.join("replaced"), "").unwrap();
        write(high.join("gone"), "").unwrap();
        fs::setxattr(high.join("gone"), "user.overlay.whiteout", b"y", XattrFlags::empty()).unwrap();
        fs::setxattr(high.join("opaque"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        let layers = LayerDirs::open(&[low, high], Owners::Real).unwrap();
        let kind = |name: &str| match layers.at(&path(name)).unwrap() {
            None => "-",
            Some(Seen::Directory(_)) => "d",
            Some(Seen::Other) => "f",
        };
        let shown = [
            "d",
            "d/e",
            "f",
            "gone",
            "gone/x",
            "replaced",
            "replaced/x",
            "opaque",
            "opaque/old",
            "opaque/new",
            "none",
            "f/x",
        ];
        assert_eq!(shown.map(kind), ["d", "d", "f", "-", "-", "f", "-", "d", "-", "d", "-", "-"]);
    }

    #[test]
    fn an_image_without_layers_has_a_root_and_nothing_in_it() {
        let none = LayerDirs::open::<&Path>(&[], Owners::Real).unwrap();
        assert_eq!(none.at(&LayerPath::root()).unwrap(), Some(Seen::Directory(Entry::directory(0o755))));
        assert_eq!(none.at(&path("etc")).unwrap(), None);
    }
}
