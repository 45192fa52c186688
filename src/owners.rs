//! Whose a file is, where it cannot belong to them: the owner is then recorded on the file itself.
//!
//! With one id in the user namespace every file belongs to that id. The owner that a layer gives it, or that a RUN
//! asked for, is an extended attribute: it survives overlayfs's copying up, renames, hard links and the next step, and
//! dies with its file. A file without a record is root's.

use serde::{Deserialize, Serialize};

/// How the files of a tree hold their owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owners {
    /// They have them.
    Real,
    /// They carry a [`Record`] of them.
    Recorded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The extended attribute that holds an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Of regular files and directories: `UID:GID`.
    Plain,
    /// Of symlinks, FIFOs, sockets: the kernel refuses them attributes of users (xattr(7)), but not file capabilities,
    /// which mean nothing on them. Of those it checks the first word alone (`cap_convert_nscap`), so that the sets may
    /// hold two ids.
    Special,
}

impl Owner {
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// VFS_CAP_REVISION_2 and _3 (linux/capability.h), without the flag of the effective set.
const REVISIONS: [u32; 2] = [0x0200_0000, 0x0300_0000];
/// In the upper halves of the two sets, where no kernel has a capability.
const MARK: [u32; 2] = [0x6c6f_6375, 0x732d_7075];

impl Record {
    pub fn of(regular_or_directory: bool) -> Self {
        if regular_or_directory { Self::Plain } else { Self::Special }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "user.locus-push.owner",
            Self::Special => "security.capability",
        }
    }

    pub fn write(self, Owner { uid, gid }: Owner) -> Vec<u8> {
        match self {
            Self::Plain => format!("{uid}:{gid}").into_bytes(),
            Self::Special => [REVISIONS[0], uid, gid, MARK[0], MARK[1]].map(u32::to_le_bytes).concat(),
        }
    }

    /// The owner in an attribute's value; of real file capabilities it is none.
    pub fn read(self, value: &[u8]) -> Option<Owner> {
        match self {
            Self::Plain => {
                let (uid, gid) = str::from_utf8(value).ok()?.split_once(':')?;
                Some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            }
            Self::Special => {
                let mut words = value.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes);
                let revision = words.next().filter(|word| REVISIONS.contains(word))?;
                let owner = Owner { uid: words.next()?, gid: words.next()? };
                let mark = [words.next()?, words.next()?];
                // The third revision ends with the id of its namespace's root.
                let length = if revision == REVISIONS[0] { 20 } else { 24 };
                (mark == MARK && value.len() == length).then_some(owner)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for owner in [Owner::ROOT, Owner { uid: 1000, gid: 33 }, Owner { uid: 4_000_000_000, gid: 65_534 }] {
            for record in [Record::Plain, Record::Special] {
                assert_eq!(record.read(&record.write(owner)), Some(owner), "{record:?}");
            }
        }
    }

    #[test]
    fn a_special_record_is_read_from_outside_its_namespace_too() {
        let owner = Owner { uid: 7, gid: 8 };
        let mut value = Record::Special.write(owner);
        value[3] = 3;
        value.extend(1001_u32.to_le_bytes());
        assert_eq!(Record::Special.read(&value), Some(owner));
    }

    #[test]
    fn nothing_else_is_a_record() {
        for value in ["", "1", "1:", ":1", "1:2:3", "-1:0", "4294967296:0"] {
            assert_eq!(Record::Plain.read(value.as_bytes()), None, "{value:?}");
        }
        let capability = [0x0200_0001, 1 << 10, 0, 0, 0_u32].map(u32::to_le_bytes).concat();
        assert_eq!(Record::Special.read(&capability), None);
        assert_eq!(Record::Special.read(&Record::Special.write(Owner::ROOT)[..19]), None);
    }
}
