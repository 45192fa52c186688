//! The paths of a caller, as names that lead us to the same files.
//!
//! We have the caller's root, and for our working directory the `/proc` outside: its relative paths are ours through
//! `TID/cwd` and `TID/fd/N`.

use std::os::fd::OwnedFd;

use nix::libc;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, open, openat, statat};
use rustix::io::Errno;
use rustix::process::{chroot, fchdir};

use super::listener::Caller;

/// The name of what `path` means to the caller, relative to its descriptor `folder`. An empty path is the descriptor
/// itself, to be followed.
pub(super) fn name(caller: Caller, folder: i32, path: &[u8]) -> Vec<u8> {
    if path.first() == Some(&b'/') {
        return absolute(caller, path);
    }
    let mut name = match folder {
        libc::AT_FDCWD => caller.file("cwd"),
        number => caller.file(&format!("fd/{number}")),
    }
    .into_bytes();
    if !path.is_empty() {
        name.push(b'/');
        name.extend_from_slice(path);
    }
    name
}

/// `/proc/self` would be ours, and we are not to be seen in the caller's `/proc`.
fn absolute(caller: Caller, path: &[u8]) -> Vec<u8> {
    const OWN: [(&[u8], &str); 6] = [
        (b"/proc/self", ""),
        (b"/proc/thread-self", ""),
        (b"/dev/fd", "fd"),
        (b"/dev/stdin", "fd/0"),
        (b"/dev/stdout", "fd/1"),
        (b"/dev/stderr", "fd/2"),
    ];
    for (prefix, own) in OWN {
        if let Some(rest) = path.strip_prefix(prefix)
            && matches!(rest.first(), None | Some(b'/'))
        {
            return [caller.file(own).as_bytes(), rest].concat();
        }
    }
    path.to_vec()
}

/// A name cut into the folder and the last part, which is none of `.`, `..` and nothing.
pub(super) fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = name.iter().rposition(|byte| *byte != b'/')? + 1;
    let name = &name[..end];
    let (folder, last) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (&name[..1], &name[1..]),
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        // Each name begins with a number or a slash.
        None => return None,
    };
    (!matches!(last, b"." | b"..")).then_some((folder, last))
}

/// Opens as a path: nothing is read or waited for.
pub(super) fn handle(name: &[u8], follow: bool) -> Result<OwnedFd, Errno> {
    let follow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    open(name, OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty())
}

/// The roots: our own, the step's, and those that its programs made for themselves with chroot(2).
pub(super) struct Roots {
    outside: Outside,
    root: OwnedFd,
    /// Whether anybody has another root.
    pub others: bool,
}

/// What is ours while we stand in the step's root.
pub(super) struct Outside {
    pub proc: OwnedFd,
    pub root: OwnedFd,
}

impl Outside {
    pub fn open() -> Result<Self, Errno> {
        let folder = |path: &str| open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Self { proc: folder("/proc")?, root: folder("/")? })
    }
}

impl Roots {
    /// Takes the step's root, and the /proc outside for a working directory, until all this is dropped.
    pub fn new(outside: Outside, root: OwnedFd) -> Result<Self, Errno> {
        let this = Self { outside, root, others: false };
        this.enter()?;
        Ok(this)
    }

    fn enter(&self) -> Result<(), Errno> {
        fchdir(&self.root)?;
        chroot(".")?;
        fchdir(&self.outside.proc)
    }

    /// Takes the caller's root, until the answer is dropped.
    pub fn visit(&self, caller: Caller) -> Result<Option<Visit<'_>>, Errno> {
        if !self.others {
            return Ok(None);
        }
        let theirs = openat(CWD, caller.file("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let [here, there] = [&self.root, &theirs].map(|root| statat(root, "", AtFlags::EMPTY_PATH));
        let (here, there) = (here?, there?);
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
            return Ok(None);
        }
        let visit = Visit(self);
        chroot(caller.file("root"))?;
        Ok(Some(visit))
    }
}

pub(super) struct Visit<'a>(&'a Roots);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // In another's root every later answer would be about other files; the step ends with us.
        self.0.enter().unwrap_or_else(|error| panic!("leaving a program's own root: {error}"));
    }
}

impl Drop for Roots {
    fn drop(&mut self) {
        let back = || {
            fchdir(&self.outside.root)?;
            chroot(".")
        };
        // Whatever is done next is meant for our own files.
        back().unwrap_or_else(|error: Errno| panic!("leaving the step's root: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_paths_lead_through_its_folder_and_its_descriptors() {
        let check = |folder: i32, path: &str, wanted: &str| {
            let name = name(Caller(7), folder, path.as_bytes());
            assert_eq!(String::from_utf8_lossy(&name), wanted, "{path}");
        };
        check(libc::AT_FDCWD, "a/b", "7/cwd/a/b");
        check(libc::AT_FDCWD, "", "7/cwd");
        check(3, "../a", "7/fd/3/../a");
        check(3, "", "7/fd/3");
        check(3, "/etc/passwd", "/etc/passwd");
        check(3, "/proc/self/fd/9", "7//fd/9");
        check(3, "/proc/selfish", "/proc/selfish");
        check(3, "/dev/stdout", "7/fd/1");
        check(3, "/dev/fd/2", "7/fd/2");
    }

    #[test]
    fn a_name_is_cut_where_something_can_be_made() {
        let cut = |name: &'static str| {
            split(name.as_bytes()).map(|(folder, last)| [folder, last].map(|part| str::from_utf8(part).unwrap()))
        };
        assert_eq!(cut("7/cwd/a"), Some(["7/cwd", "a"]));
        assert_eq!(cut("/a//"), Some(["/", "a"]));
        assert_eq!(cut("/a/b/"), Some(["/a", "b"]));
        for nothing in ["/", "", "/a/..", "/a/."] {
            assert_eq!(cut(nothing), None, "{nothing}");
        }
    }
}
