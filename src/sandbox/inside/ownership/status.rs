//! stat(2) and its kin: of a file with a record, whose it is. All others are the kernel's to answer.

use std::ffi::CString;
use std::mem::MaybeUninit;

use nix::libc;
use rustix::io::Errno;

use super::listener::{Answer, Call, last_error};
use super::{Desk, Named, Owned, memory, records};

impl Desk<'_> {
    /// The structure is to be written where argument `out` points to.
    pub(super) fn stat(&mut self, call: &Call, what: Owned, out: usize) -> Result<Answer, Errno> {
        let Some(named) = self.named(call.caller, what)? else { return Ok(Answer::Continue) };
        let _visit = self.roots.visit(call.caller)?;
        let Some(owner) = records::read(&named.name, named.follow) else { return Ok(Answer::Continue) };
        let (name, flags) = named.for_the_kernel()?;
        let mut stat = MaybeUninit::<libc::stat>::zeroed();
        // By number: the C library's own structure is the kernel's only for as long as it wishes.
        // SAFETY: the name is a C string, and there is room for the kernel's structure, which libc::stat is on both
        // machines that we are built for.
        let status =
            unsafe { libc::syscall(libc::SYS_newfstatat, libc::AT_FDCWD, name.as_ptr(), stat.as_mut_ptr(), flags) };
        if status != 0 {
            return Err(last_error());
        }
        // SAFETY: all zeroes would be a valid stat, and the kernel has filled it.
        let fields = unsafe { stat.assume_init_mut() };
        (fields.st_uid, fields.st_gid) = (owner.uid, owner.gid);
        // SAFETY: it began as zeroes.
        memory::write(call.caller, call.arguments[out], unsafe { memory::bytes_of(&stat) })?;
        Ok(Answer::Value(0))
    }

    pub(super) fn statx(&mut self, call: &Call) -> Result<Answer, Errno> {
        let what = Owned::At(call.int(0), call.arguments[1], call.int(2));
        let Some(named) = self.named(call.caller, what)? else { return Ok(Answer::Continue) };
        let _visit = self.roots.visit(call.caller)?;
        let Some(owner) = records::read(&named.name, named.follow) else { return Ok(Answer::Continue) };
        let (name, flags) = named.for_the_kernel()?;
        let flags = flags | (call.int(2) & (libc::AT_STATX_SYNC_TYPE | libc::AT_NO_AUTOMOUNT));
        let (mask, mut stat) = (call.id_at(3), MaybeUninit::<libc::statx>::zeroed());
        // SAFETY: the name is a C string, and there is room for the kernel's structure.
        let status =
            unsafe { libc::syscall(libc::SYS_statx, libc::AT_FDCWD, name.as_ptr(), flags, mask, stat.as_mut_ptr()) };
        if status != 0 {
            return Err(last_error());
        }
        // SAFETY: all zeroes would be a valid statx, and the kernel has filled it.
        let fields = unsafe { stat.assume_init_mut() };
        (fields.stx_uid, fields.stx_gid) = (owner.uid, owner.gid);
        // SAFETY: it began as zeroes.
        memory::write(call.caller, call.arguments[4], unsafe { memory::bytes_of(&stat) })?;
        Ok(Answer::Value(0))
    }
}

impl Named {
    fn for_the_kernel(&self) -> Result<(CString, i32), Errno> {
        // A path ends at its first NUL.
        let name = CString::new(&self.name[..]).map_err(|_| Errno::INVAL)?;
        Ok((name, if self.follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW }))
    }
}
