//! Making files: those of a user other than root get a record, and so do those in a directory that hands down its
//! group. For root in an ordinary directory the kernel does it.
//!
//! What must have a record is made here and never by the kernel: between looking and letting it go on, another thread
//! could make the parent or remove the file, and the kernel would make one without a record.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::libc;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, mknodat, openat, readlinkat, statat, symlinkat};
use rustix::io::Errno;
use rustix::process::umask;

use super::filter::CREATES;
use super::listener::{Answer, Call, Caller};
use super::{Desk, memory, paths, records};
use crate::owners::Owner;

/// As many links as the kernel follows; and as often we try again when others make and remove the same file.
const ROUNDS: usize = 40;

/// A place for a new file.
struct Place {
    folder: OwnedFd,
    last: Vec<u8>,
    /// The name of the folder, for a link that leads on from there.
    name: Vec<u8>,
    /// Whose the new file is.
    owner: Owner,
}

impl Desk<'_> {
    pub(super) fn make_folder(&mut self, call: &Call, at: i32, path: u64, mode: u32) -> Result<Answer, Errno> {
        self.make(call, at, path, |place| mkdirat(&place.folder, &place.last[..], Mode::from_raw_mode(mode & 0o7777)))
    }

    /// Devices are the kernel's to refuse, as on the other rungs.
    pub(super) fn make_node(&mut self, call: &Call, at: i32, path: u64, mode: u32) -> Result<Answer, Errno> {
        let kind = match mode & libc::S_IFMT {
            0 | libc::S_IFREG => FileType::RegularFile,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            _ => return Ok(Answer::Continue),
        };
        let mode = Mode::from_raw_mode(mode & 0o7777);
        self.make(call, at, path, |place| mknodat(&place.folder, &place.last[..], kind, mode, 0))
    }

    pub(super) fn make_symlink(&mut self, call: &Call, target: u64, at: i32, path: u64) -> Result<Answer, Errno> {
        if self.asking(call).makes_files_of_root() && !self.hands_down(call, at, path)? {
            return Ok(Answer::Continue);
        }
        let target = memory::read_path(call.caller, target)?;
        self.make(call, at, path, |place| symlinkat(&target[..], &place.folder, &place.last[..]))
    }

    pub(super) fn openat2(&mut self, call: &Call) -> Result<Answer, Errno> {
        // struct open_how: flags, mode, resolve; 64 bits each (linux/openat2.h).
        let [flags] = memory::read_words(call.caller, call.arguments[2])?;
        // Programs fall back to openat.
        if flags & CREATES != 0 { Err(Errno::NOSYS) } else { Ok(Answer::Continue) }
    }

    pub(super) fn open(&mut self, call: &Call, at: i32, path: u64, flags: u32, mode: u32) -> Result<Answer, Errno> {
        let flags = OFlags::from_bits_retain(flags);
        if flags.contains(OFlags::PATH) {
            return Ok(Answer::Continue);
        }
        let path = memory::read_path(call.caller, path)?;
        let _visit = self.roots.visit(call.caller)?;
        if flags.contains(OFlags::TMPFILE) {
            return self.open_nameless(call, at, &path, flags, mode);
        }
        let mut name = paths::name(call.caller, at, &path);
        let mut leads_out = leads_out(&path);
        for _ in 0..ROUNDS {
            // A folder's name cannot be opened for making, and nothing is made in /proc and /dev that a layer holds.
            if leads_out || name.ends_with(b"/") {
                return Ok(Answer::Continue);
            }
            let Some(place) = self.place(call, &name)? else { return Ok(Answer::Continue) };
            let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let _mask = Umask::of(call.caller)?;
            match openat(&place.folder, &place.last[..], new, Mode::from_raw_mode(mode & 0o7777)) {
                Ok(file) => {
                    records::write(&file, place.owner)?;
                    return Ok(descriptor(file, flags));
                }
                Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {}
                Err(error) => return Err(error),
            }
            let kind = match statat(&place.folder, &place.last[..], AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            match kind {
                FileType::Symlink if flags.contains(OFlags::NOFOLLOW) => return Err(Errno::LOOP),
                FileType::Symlink => match readlinkat(&place.folder, &place.last[..], Vec::new()) {
                    Ok(target) => {
                        let target = target.as_bytes();
                        leads_out = self::leads_out(target);
                        name = match target.first() {
                            Some(b'/') => target.to_vec(),
                            _ => [&place.name, &b"/"[..], target].concat(),
                        };
                    }
                    Err(Errno::NOENT | Errno::INVAL) => {}
                    Err(error) => return Err(error),
                },
                FileType::RegularFile => {
                    let old = (flags | OFlags::NOFOLLOW | OFlags::CLOEXEC).difference(OFlags::CREATE);
                    match openat(&place.folder, &place.last[..], old, Mode::empty()) {
                        Ok(file) => return Ok(descriptor(file, flags)),
                        Err(Errno::NOENT | Errno::LOOP) => {}
                        Err(error) => return Err(error),
                    }
                }
                // Opening a FIFO waits, which must not be us.
                _ => return Ok(Answer::Continue),
            }
        }
        Err(Errno::LOOP)
    }

    /// O_TMPFILE, which may get a name later.
    fn open_nameless(&self, call: &Call, at: i32, path: &[u8], flags: OFlags, mode: u32) -> Result<Answer, Errno> {
        let folder = paths::handle(&paths::name(call.caller, at, path), true)?;
        let Some(owner) = self.owner_in(call, &folder) else { return Ok(Answer::Continue) };
        if !self.listener.waits(call) {
            return Ok(Answer::Continue);
        }
        let _mask = Umask::of(call.caller)?;
        let file = openat(&folder, ".", flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode & 0o7777))?;
        records::write(&file, owner)?;
        Ok(descriptor(file, flags))
    }

    /// Makes what cannot be there yet.
    fn make(
        &mut self,
        call: &Call,
        at: i32,
        path: u64,
        make: impl FnOnce(&Place) -> Result<(), Errno>,
    ) -> Result<Answer, Errno> {
        let path = memory::read_path(call.caller, path)?;
        if path.is_empty() || leads_out(&path) {
            return Ok(Answer::Continue);
        }
        let _visit = self.roots.visit(call.caller)?;
        let Some(place) = self.place(call, &paths::name(call.caller, at, &path))? else { return Ok(Answer::Continue) };
        let _mask = Umask::of(call.caller)?;
        make(&place)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&place.folder, &place.last[..], flags, Mode::empty()) {
            Ok(made) => records::write(&made, place.owner)?,
            // Another thread has removed it already.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(Answer::Value(0))
    }

    /// Where a name leads to. None where the kernel makes the file right, or refuses it.
    fn place(&self, call: &Call, name: &[u8]) -> Result<Option<Place>, Errno> {
        let Some((folder_name, last)) = paths::split(name) else { return Ok(None) };
        let folder = match paths::handle(folder_name, true) {
            Ok(folder) => folder,
            // The kernel says it, and it cannot become otherwise meanwhile in a way that matters to root.
            Err(_) if self.asking(call).makes_files_of_root() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(owner) = self.owner_in(call, &folder) else { return Ok(None) };
        if !self.listener.waits(call) {
            return Ok(None);
        }
        Ok(Some(Place { folder, last: last.to_vec(), name: folder_name.to_vec(), owner }))
    }

    /// Whose a new file in a folder is; none where it is root's without a record.
    fn owner_in(&self, call: &Call, folder: &OwnedFd) -> Option<Owner> {
        let asking = self.asking(call);
        let gid = inherited_group(folder).unwrap_or(asking.group.file_system);
        let owner = Owner { uid: asking.user.file_system, gid };
        // For others than root also where the owner is root's: see the top of this file.
        (owner != Owner::ROOT || !asking.makes_files_of_root()).then_some(owner)
    }

    fn hands_down(&self, call: &Call, at: i32, path: u64) -> Result<bool, Errno> {
        let path = memory::read_path(call.caller, path)?;
        let _visit = self.roots.visit(call.caller)?;
        let name = paths::name(call.caller, at, &path);
        let folder = paths::split(&name).and_then(|(folder, _)| paths::handle(folder, true).ok());
        Ok(folder.is_some_and(|folder| self.owner_in(call, &folder).is_some()))
    }
}

/// The group of a directory with the set-group-id bit, which new files in it get (inode(7)).
fn inherited_group(folder: &OwnedFd) -> Option<u32> {
    let stat = statat(folder, "", AtFlags::EMPTY_PATH).ok()?;
    (stat.st_mode & libc::S_ISGID != 0).then(|| records::of(folder).unwrap_or(Owner::ROOT).gid)
}

/// Paths that lead through links of the process that asks, or to file systems that are in no layer.
fn leads_out(path: &[u8]) -> bool {
    [&b"/proc/"[..], b"/dev/"].iter().any(|prefix| path.starts_with(prefix))
}

fn descriptor(fd: OwnedFd, flags: OFlags) -> Answer {
    Answer::Descriptor { fd, close_on_exec: flags.contains(OFlags::CLOEXEC) }
}

/// The caller's umask, ours until it is dropped: the kernel alone knows when a directory's ACL takes its place.
struct Umask(Mode);

impl Umask {
    fn of(caller: Caller) -> Result<Self, Errno> {
        let status = fs::read(caller.file("status")).map_err(|_| Errno::SRCH)?;
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Umask:\t"));
        let mask = line.and_then(|octal| u32::from_str_radix(OsStr::from_bytes(octal).to_str()?, 8).ok());
        Ok(Self(umask(Mode::from_raw_mode(mask.ok_or(Errno::SRCH)?))))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        umask(self.0);
    }
}
