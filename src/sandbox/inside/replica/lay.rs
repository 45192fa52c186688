//! Layers laid over one another, by copying what an overlay of them would show.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, Stat, linkat, mkdirat};
use rustix::io::{Errno, Result};

use super::{enter, file, is_folder, look, marks, names};

/// Copies what `layers` show, the topmost first, into the empty folder `into`.
pub(super) fn lay(layers: &[OwnedFd], into: &OwnedFd) -> Result<()> {
    let mut laying = Laying { into, at: PathBuf::new(), names: BTreeMap::new() };
    let visible =
        1 + layers.iter().map(marks::is_opaque).collect::<Result<Vec<_>>>()?.iter().take_while(|o| !**o).count();
    laying.folder(&layers.iter().take(visible).collect::<Vec<_>>(), into)
}

struct Laying<'a> {
    into: &'a OwnedFd,
    /// Where we are, from the root of the copy.
    at: PathBuf,
    /// Where the first name of a file is that has several, by the file's device and inode.
    names: BTreeMap<(u64, u64), PathBuf>,
}

/// What is seen under one name.
enum Seen {
    /// Hidden by a whiteout.
    Gone,
    Thing {
        layer: usize,
        stat: Stat,
    },
    /// Made of the folders of these layers; closed when one of them hides what is below it.
    Folder {
        layers: Vec<usize>,
        closed: bool,
    },
}

impl Laying<'_> {
    /// `layers`: the same folder of all layers that show through here, the topmost first.
    fn folder(&mut self, layers: &[&OwnedFd], into: &OwnedFd) -> Result<()> {
        let seen = merged(layers)?;
        for (name, seen) in seen {
            self.at.push(OsStr::from_bytes(name.to_bytes()));
            match seen {
                Seen::Gone => {}
                Seen::Thing { layer, stat } => self.thing(layers[layer], &name, &stat, into)?,
                Seen::Folder { layers: of, .. } => {
                    let folders: Vec<OwnedFd> =
                        of.iter().map(|&layer| enter(layers[layer], &name)).collect::<Result<_>>()?;
                    mkdirat(into, &*name, Mode::from_raw_mode(0o700))?;
                    let made = enter(into, &name)?;
                    self.folder(&folders.iter().collect::<Vec<_>>(), &made)?;
                    // Last: what is made in a folder changes its time.
                    file::dress(&folders[0], &made)?;
                }
            }
            self.at.pop();
        }
        Ok(())
    }

    fn thing(&mut self, from: &OwnedFd, name: &CStr, stat: &Stat, into: &OwnedFd) -> Result<()> {
        if stat.st_nlink > 1 {
            let first = self.names.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| self.at.clone());
            if *first != self.at {
                match linkat(self.into, &*first, into, name, AtFlags::empty()) {
                    // Too deep to be named, or as many names as the file system takes: a file of its own it is.
                    Err(Errno::NAMETOOLONG | Errno::MLINK | Errno::NOENT) => {}
                    linked => return linked,
                }
            }
        }
        file::copy(from, name, stat, into)
    }
}

fn merged(layers: &[&OwnedFd]) -> Result<BTreeMap<CString, Seen>> {
    let mut seen: BTreeMap<CString, Seen> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        for name in names(layer)? {
            match seen.get_mut(&name) {
                None => {
                    let stat = look(layer, &name)?;
                    let first = if is_folder(&stat) {
                        let closed = marks::is_opaque(enter(layer, &name)?)?;
                        Seen::Folder { layers: vec![number], closed }
                    } else if marks::is_whiteout(layer, &name, &stat)? {
                        Seen::Gone
                    } else {
                        Seen::Thing { layer: number, stat }
                    };
                    seen.insert(name, first);
                }
                Some(Seen::Folder { layers: of, closed }) if !*closed => {
                    let stat = look(layer, &name)?;
                    match is_folder(&stat) {
                        true => {
                            of.push(number);
                            *closed = marks::is_opaque(enter(layer, &name)?)?;
                        }
                        // Whatever is here hides what is below, and is hidden itself.
                        false => *closed = true,
                    }
                }
                Some(_) => {}
            }
        }
    }
    Ok(seen)
}
