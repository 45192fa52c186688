//! chown(2) and its kin.

use rustix::fs::{AtFlags, Gid, Uid, chownat};
use rustix::io::Errno;

use super::listener::{Answer, Call};
use super::{Desk, Owned, paths, records};
use crate::owners::Owner;

/// "As it is".
const SAME: u32 = u32::MAX;

impl Desk<'_> {
    /// The new ids are the arguments from `ids` on.
    pub(super) fn chown(&mut self, call: &Call, what: Owned, ids: usize) -> Result<Answer, Errno> {
        let Some(named) = self.named(call.caller, what)? else { return Ok(Answer::Continue) };
        let (uid, gid) = (call.id_at(ids), call.id_at(ids + 1));
        let visit = self.roots.visit(call.caller)?;
        let file = paths::handle(&named.name, named.follow)?;
        drop(visit);
        if !self.listener.waits(call) {
            return Ok(Answer::Continue);
        }
        let old = records::of(&file).unwrap_or(Owner::ROOT);
        let new = Owner { uid: if uid == SAME { old.uid } else { uid }, gid: if gid == SAME { old.gid } else { gid } };
        let asking = self.asking(call);
        if !asking.privileged {
            // Of one's own file the group, to one of one's own (chown(2)).
            let mine = asking.user.file_system == old.uid;
            let group_may = new.gid == old.gid || asking.in_group(new.gid);
            if !(mine && new.uid == old.uid && group_may) {
                return Err(Errno::PERM);
            }
        }
        // The kernel's part: a file of a lower layer is copied up, set-id bits and capabilities are dropped, the time
        // of change is set.
        let uid = (uid != SAME).then_some(Uid::ROOT);
        let gid = (gid != SAME).then_some(Gid::ROOT);
        chownat(&file, "", uid, gid, AtFlags::EMPTY_PATH)?;
        // On some files the record went with the capabilities.
        records::write(&file, new)?;
        Ok(Answer::Value(0))
    }
}
