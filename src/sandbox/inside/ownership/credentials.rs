//! Who a thread believes itself to be, and the kernel's rules for becoming somebody else (credentials(7),
//! capabilities(7), kernel/sys.c).

use rustix::io::Errno;

use crate::sandbox::step::Ids;

/// What setuid(2) and its kin take for "as it is".
const SAME: u32 = u32::MAX;

/// The real, effective, saved and file-system id, of a user or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Four {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    pub file_system: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub user: Four,
    pub group: Four,
    pub groups: Vec<u32>,
    /// Whether CAP_SETUID, CAP_SETGID and CAP_CHOWN are effective.
    pub privileged: bool,
    /// PR_SET_KEEPCAPS. A program that asks for it raises its capabilities again after it has become a user; the
    /// kernel takes them from the effective set meanwhile, here they stay.
    pub keeps: bool,
}

impl Four {
    fn of(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, file_system: id }
    }

    fn holds(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid(2), setgid(2)
    fn set(self, id: u32, may: bool) -> Result<Self, Errno> {
        match id {
            SAME => Err(Errno::INVAL),
            _ if may => Ok(Self::of(id)),
            _ if id == self.real || id == self.saved => Ok(Self { effective: id, file_system: id, ..self }),
            _ => Err(Errno::PERM),
        }
    }

    /// setreuid(2), setregid(2)
    fn set_two(self, real: u32, effective: u32, may: bool) -> Result<Self, Errno> {
        let mut new = self;
        if real != SAME {
            allow(may || real == self.real || real == self.effective)?;
            new.real = real;
        }
        if effective != SAME {
            allow(may || self.holds(effective))?;
            new.effective = effective;
        }
        if real != SAME || (effective != SAME && effective != self.real) {
            new.saved = new.effective;
        }
        new.file_system = new.effective;
        Ok(new)
    }

    /// setresuid(2), setresgid(2)
    fn set_three(self, [real, effective, saved]: [u32; 3], may: bool) -> Result<Self, Errno> {
        let or = |id: u32, old: u32| if id == SAME { old } else { id };
        allow(may || [real, effective, saved].into_iter().all(|id| id == SAME || self.holds(id)))?;
        let effective = or(effective, self.effective);
        Ok(Self { real: or(real, self.real), effective, saved: or(saved, self.saved), file_system: effective })
    }

    /// setfsuid(2), setfsgid(2): they tell nobody whether it worked.
    fn set_file_system(self, id: u32, may: bool) -> Self {
        let allowed = id != SAME && (may || self.holds(id) || id == self.file_system);
        if allowed { Self { file_system: id, ..self } } else { self }
    }

    fn after_exec(self, special: Option<u32>) -> Self {
        let effective = special.unwrap_or(self.effective);
        Self { real: self.real, effective, saved: effective, file_system: effective }
    }
}

impl Credentials {
    pub fn root() -> Self {
        Self::of(&Ids { uid: 0, gid: 0, groups: Vec::new() })
    }

    pub fn of(ids: &Ids) -> Self {
        Self {
            user: Four::of(ids.uid),
            group: Four::of(ids.gid),
            groups: ids.groups.clone(),
            privileged: ids.uid == 0,
            keeps: false,
        }
    }

    pub fn set_uid(&self, uid: u32) -> Result<Self, Errno> {
        Ok(self.become_user(self.user.set(uid, self.privileged)?))
    }

    pub fn set_reuid(&self, real: u32, effective: u32) -> Result<Self, Errno> {
        Ok(self.become_user(self.user.set_two(real, effective, self.privileged)?))
    }

    pub fn set_resuid(&self, ids: [u32; 3]) -> Result<Self, Errno> {
        Ok(self.become_user(self.user.set_three(ids, self.privileged)?))
    }

    pub fn set_fsuid(&self, uid: u32) -> Self {
        Self { user: self.user.set_file_system(uid, self.privileged), ..self.clone() }
    }

    pub fn set_gid(&self, gid: u32) -> Result<Self, Errno> {
        Ok(Self { group: self.group.set(gid, self.privileged)?, ..self.clone() })
    }

    pub fn set_regid(&self, real: u32, effective: u32) -> Result<Self, Errno> {
        Ok(Self { group: self.group.set_two(real, effective, self.privileged)?, ..self.clone() })
    }

    pub fn set_resgid(&self, ids: [u32; 3]) -> Result<Self, Errno> {
        Ok(Self { group: self.group.set_three(ids, self.privileged)?, ..self.clone() })
    }

    pub fn set_fsgid(&self, gid: u32) -> Self {
        Self { group: self.group.set_file_system(gid, self.privileged), ..self.clone() }
    }

    pub fn set_groups(&self, groups: Vec<u32>) -> Result<Self, Errno> {
        allow(self.privileged)?;
        Ok(Self { groups, ..self.clone() })
    }

    /// After a program was started, which may have set-id bits.
    pub fn after_exec(&self, setuid: Option<u32>, setgid: Option<u32>) -> Self {
        let user = self.user.after_exec(setuid);
        let group = self.group.after_exec(setgid);
        Self { user, group, groups: self.groups.clone(), privileged: user.effective == 0, keeps: false }
    }

    /// Whether files that it makes are root's without further ado.
    pub fn makes_files_of_root(&self) -> bool {
        (self.user.file_system, self.group.file_system) == (0, 0)
    }

    pub fn in_group(&self, gid: u32) -> bool {
        self.group.file_system == gid || self.groups.contains(&gid)
    }

    /// capabilities(7), "Effect of user ID changes on capabilities".
    fn become_user(&self, user: Four) -> Self {
        let privileged = match (self.user, user) {
            (old, new) if old.holds(0) && !new.holds(0) => self.keeps,
            (old, new) if old.effective == 0 && new.effective != 0 => false,
            (old, new) if old.effective != 0 && new.effective == 0 => true,
            _ => self.privileged,
        };
        Self { user, privileged, ..self.clone() }
    }
}

fn allow(may: bool) -> Result<(), Errno> {
    if may { Ok(()) } else { Err(Errno::PERM) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Credentials {
        Credentials::root().set_resgid([1000; 3]).and_then(|it| it.set_resuid([1000; 3])).expect("root may")
    }

    #[test]
    fn who_gave_up_root_does_not_get_it_back() {
        let user = user();
        assert_eq!(user.set_uid(0), Err(Errno::PERM));
        assert_eq!(user.set_reuid(SAME, 0), Err(Errno::PERM));
        assert_eq!(user.set_resuid([SAME, 0, SAME]), Err(Errno::PERM));
        assert_eq!(user.set_gid(0), Err(Errno::PERM));
        assert_eq!(user.set_groups(vec![]), Err(Errno::PERM));
        assert_eq!(user.set_fsuid(0), user);
        assert_eq!(user.set_uid(1000), Ok(user));
    }

    #[test]
    fn who_kept_root_as_the_saved_id_gets_it_back() {
        let away = Credentials::root().set_resuid([SAME, 33, SAME]).expect("root may");
        assert!(!away.privileged);
        assert_eq!(away.set_groups(vec![33]), Err(Errno::PERM));
        let back = away.set_resuid([SAME, 0, SAME]).expect("it is the real id");
        assert!(back.privileged && back.set_groups(vec![33]).is_ok());
        assert_eq!(away.set_uid(0).map(|it| it.user.effective), Ok(0));
    }

    #[test]
    fn who_keeps_capabilities_may_set_groups_after_the_user() {
        let keeping = Credentials { keeps: true, ..Credentials::root() };
        let user = keeping.set_resuid([6; 3]).expect("root may");
        let grouped = user.set_resgid([12; 3]).and_then(|it| it.set_groups(vec![12])).expect("it kept them");
        assert_eq!(grouped.after_exec(None, None).set_gid(0), Err(Errno::PERM));
    }

    #[test]
    fn setreuid_saves_the_effective_id_as_the_kernel_does() {
        let four = Four { real: 1, effective: 0, saved: 0, file_system: 0 };
        let swapped = four.set_two(0, 1, false).expect("both are its own");
        assert_eq!(swapped, Four { real: 0, effective: 1, saved: 1, file_system: 1 });
        let only_effective = four.set_two(SAME, 1, false).expect("the real one");
        assert_eq!(only_effective.saved, 0);
        assert_eq!(four.set_two(2, SAME, false), Err(Errno::PERM));
    }

    #[test]
    fn a_setuid_program_runs_as_its_owner_and_the_user_stays_real() {
        let su = user().after_exec(Some(0), None);
        assert_eq!(su.user, Four { real: 1000, effective: 0, saved: 0, file_system: 0 });
        assert!(su.privileged && su.set_groups(vec![]).is_ok());
        let shadow = user().after_exec(None, Some(42));
        assert_eq!((shadow.group.effective, shadow.privileged), (42, false));
    }

    #[test]
    fn the_file_system_id_changes_alone() {
        let nfs = Credentials::root().set_fsuid(7);
        assert_eq!((nfs.user.file_system, nfs.user.effective), (7, 0));
        assert!(!nfs.makes_files_of_root());
        assert_eq!(nfs.set_fsuid(SAME), nfs);
    }
}
