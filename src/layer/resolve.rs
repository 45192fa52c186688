//! Following symlinks by hand, inside a root that is a value.

use std::borrow::Cow;

use super::{LayerPath, PathError};

/// As Linux has it.
const SYMLINKS: u32 = 40;

/// What stands at a path, as far as a walk needs to know.
pub enum At<'a> {
    /// A directory, or nothing yet.
    Open,
    Symlink(Cow<'a, [u8]>),
    /// What nothing can be below of.
    Closed,
}

/// Why a walk along symlinks did not arrive.
#[derive(Debug)]
pub enum Stopped {
    Loop,
    NotADirectory(LayerPath),
    Path(PathError),
}

/// Walks a path from the root: absolute symlinks start at the root again, and `..` stops there. The last component is
/// followed only with `follow_last`.
pub fn resolve<'a>(path: &[u8], follow_last: bool, at: impl Fn(&LayerPath) -> At<'a>) -> Result<LayerPath, Stopped> {
    let mut here = LayerPath::root();
    // What is still to walk, the next component last.
    let mut ahead: Vec<Vec<u8>> = names(path);
    let mut followed = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            here = here.parent().unwrap_or_else(LayerPath::root);
            continue;
        }
        let next = here.join(&name).map_err(Stopped::Path)?;
        let last = ahead.is_empty();
        match at(&next) {
            At::Symlink(target) if !last || follow_last => {
                followed += 1;
                // Targets of thousands of components, nested, would otherwise multiply.
                if followed > SYMLINKS || ahead.len() > 8192 {
                    return Err(Stopped::Loop);
                }
                if target.starts_with(b"/") {
                    here = LayerPath::root();
                }
                ahead.extend(names(&target));
            }
            At::Closed if !last => return Err(Stopped::NotADirectory(next)),
            At::Open | At::Symlink(_) | At::Closed => here = next,
        }
    }
    Ok(here)
}

fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.rsplit(|&byte| byte == b'/');
    names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec).collect()
}
