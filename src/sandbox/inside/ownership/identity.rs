//! Who one is, and becoming somebody else.

use nix::libc;
use rustix::io::Errno;

use super::credentials::{Credentials, Four};
use super::listener::{Answer, Call};
use super::{Desk, memory};

/// NGROUPS_MAX (linux/limits.h).
const MOST_GROUPS: usize = 65_536;

impl Desk<'_> {
    pub(super) fn identity(&mut self, call: &Call) -> Result<Answer, Errno> {
        let asking = self.asking(call);
        let id = |id: u32| Ok(Answer::Value(id.into()));
        let [first, second, third] = [0, 1, 2].map(|at| call.id_at(at));
        let new = match call.number {
            libc::SYS_getuid => return id(asking.user.real),
            libc::SYS_geteuid => return id(asking.user.effective),
            libc::SYS_getgid => return id(asking.group.real),
            libc::SYS_getegid => return id(asking.group.effective),
            libc::SYS_getresuid => return write_three(call, asking.user),
            libc::SYS_getresgid => return write_three(call, asking.group),
            libc::SYS_getgroups => return write_groups(call, &asking.groups),
            // They answer with the old id, whatever they did.
            libc::SYS_setfsuid => {
                let (old, new) = (asking.user.file_system, asking.set_fsuid(first));
                return self.become_(call, new).and_then(|_| id(old));
            }
            libc::SYS_setfsgid => {
                let (old, new) = (asking.group.file_system, asking.set_fsgid(first));
                return self.become_(call, new).and_then(|_| id(old));
            }
            libc::SYS_setuid => asking.set_uid(first)?,
            libc::SYS_setgid => asking.set_gid(first)?,
            libc::SYS_setreuid => asking.set_reuid(first, second)?,
            libc::SYS_setregid => asking.set_regid(first, second)?,
            libc::SYS_setresuid => asking.set_resuid([first, second, third])?,
            libc::SYS_setresgid => asking.set_resgid([first, second, third])?,
            libc::SYS_setgroups => asking.set_groups(read_groups(call)?)?,
            libc::SYS_prctl if call.int(0) == libc::PR_GET_KEEPCAPS => return id(asking.keeps.into()),
            libc::SYS_prctl => match call.arguments[1] {
                keeps @ (0 | 1) => Credentials { keeps: keeps == 1, ..asking.clone() },
                _ => return Err(Errno::INVAL),
            },
            // All that the filter asks is above or in `Desk::answer`.
            _ => return Ok(Answer::Continue),
        };
        self.become_(call, new)
    }

    fn become_(&mut self, call: &Call, new: Credentials) -> Result<Answer, Errno> {
        if new != *self.asking(call) {
            self.tokens.give(call.caller, new)?;
        }
        Ok(Answer::Value(0))
    }
}

fn write_three(call: &Call, Four { real, effective, saved, .. }: Four) -> Result<Answer, Errno> {
    for (address, id) in call.arguments.iter().zip([real, effective, saved]) {
        memory::write(call.caller, *address, &id.to_ne_bytes())?;
    }
    Ok(Answer::Value(0))
}

fn write_groups(call: &Call, groups: &[u32]) -> Result<Answer, Errno> {
    let room = usize::try_from(call.int(0)).map_err(|_| Errno::INVAL)?;
    if room != 0 {
        if room < groups.len() {
            return Err(Errno::INVAL);
        }
        let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
        memory::write(call.caller, call.arguments[1], &bytes)?;
    }
    Ok(Answer::Value(groups.len() as i64))
}

fn read_groups(call: &Call) -> Result<Vec<u32>, Errno> {
    let count = call.id_at(0) as usize;
    if count > MOST_GROUPS {
        return Err(Errno::INVAL);
    }
    let bytes = memory::read_vec(call.caller, call.arguments[1], count * 4)?;
    let mut groups: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    // As the kernel keeps them.
    groups.sort_unstable();
    Ok(groups)
}
