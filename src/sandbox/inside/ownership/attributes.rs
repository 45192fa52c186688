//! Extended attributes: our records are neither seen nor touched. A program that copies a file with its attributes would
//! otherwise copy its owner.

use nix::libc;
use rustix::fs::{AtFlags, CWD, listxattr, llistxattr, statat};
use rustix::io::Errno;

use super::listener::{Answer, Call};
use super::{Desk, Named, Owned, memory};
use crate::owners::Record;

/// XATTR_NAME_MAX with its NUL, and XATTR_LIST_MAX (linux/limits.h).
const NAME_MAX: usize = 256;
const LIST_MAX: usize = 65_536;

impl Desk<'_> {
    /// Setting or removing one, whose name is the second argument.
    pub(super) fn set_attribute(&mut self, call: &Call, what: Owned) -> Result<Answer, Errno> {
        let name = memory::read_string(call.caller, call.arguments[1], NAME_MAX)?;
        if name == Record::Plain.name().as_bytes() {
            return Err(Errno::OPNOTSUPP);
        }
        if name != Record::Special.name().as_bytes() {
            return Ok(Answer::Continue);
        }
        let Some(named) = self.named(call.caller, what)? else { return Ok(Answer::Continue) };
        let _visit = self.roots.visit(call.caller)?;
        match named.record()? {
            Record::Plain => Ok(Answer::Continue),
            Record::Special => Err(Errno::OPNOTSUPP),
        }
    }

    pub(super) fn list_attributes(&mut self, call: &Call, what: Owned) -> Result<Answer, Errno> {
        let Some(named) = self.named(call.caller, what)? else { return Ok(Answer::Continue) };
        let _visit = self.roots.visit(call.caller)?;
        let mut list = vec![0; LIST_MAX];
        let listed = match named.follow {
            true => listxattr(&named.name[..], &mut list[..]),
            false => llistxattr(&named.name[..], &mut list[..]),
        };
        // What goes wrong goes wrong for the kernel too, which says so.
        let Ok(length) = listed else { return Ok(Answer::Continue) };
        let ours = named.record()?.name().as_bytes();
        let names = list[..length].split_inclusive(|byte| *byte == 0);
        let shown: Vec<u8> = names.filter(|name| name.strip_suffix(&[0]) != Some(ours)).flatten().copied().collect();
        if shown.len() == length {
            return Ok(Answer::Continue);
        }
        match usize::try_from(call.arguments[2]) {
            Ok(0) => {}
            Ok(room) if room < shown.len() => return Err(Errno::RANGE),
            _ => memory::write(call.caller, call.arguments[1], &shown)?,
        }
        Ok(Answer::Value(shown.len() as i64))
    }
}

impl Named {
    /// What a record on this file would be.
    fn record(&self) -> Result<Record, Errno> {
        let flags = if self.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let mode = statat(CWD, &self.name[..], flags)?.st_mode;
        Ok(Record::of(matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)))
    }
}
