//! A rung of the ladder: one way of isolating a command, as it was found to work on this machine.

use super::error::NoRung;
use super::idmap::Map;
use super::wire::{Devices, Proc, Way};
use crate::owners::Owners;

/// The rungs, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RungKind {
    /// Root, in a user namespace where each id is itself.
    Root,
    /// Root with `CAP_SYS_ADMIN`, where the kernel refuses it a user namespace.
    BareRoot,
    /// An ordinary user with sub-ids.
    SubIds,
    /// An ordinary user with one id.
    OneId,
    /// Root of a container that may neither unshare nor mount. Nothing is isolated.
    Chroot,
}

impl RungKind {
    pub const ALL: [Self; 5] = [Self::Root, Self::BareRoot, Self::SubIds, Self::OneId, Self::Chroot];

    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::BareRoot => "root without a user namespace",
            Self::SubIds => "sub-ids",
            Self::OneId => "one id",
            Self::Chroot => "chroot",
        }
    }
}

/// A way of isolating a command that was tried on this machine and works.
#[derive(Clone, Debug)]
pub struct Rung {
    pub(super) who: Who,
    pub(super) stack: Stack,
    pub(super) way: Way,
}

/// What came of trying one rung.
#[derive(Debug)]
pub struct Tried {
    pub kind: RungKind,
    pub result: Result<Rung, NoRung>,
}

/// How layers become a root.
#[derive(Clone, Debug)]
pub(super) enum Stack {
    Overlay,
    /// They are copied, since there is no overlay to be had.
    Copy {
        why: String,
    },
}

/// What each kind of rung goes by.
#[derive(Clone, Debug)]
pub(super) enum Who {
    Root { map: Map, admin: bool },
    BareRoot { refusal: String },
    SubIds { user: String, map: Map },
    OneId { missing: String, map: Map },
    Chroot { refusal: String },
}

impl Rung {
    pub fn kind(&self) -> RungKind {
        match self.who {
            Who::Root { .. } => RungKind::Root,
            Who::BareRoot { .. } => RungKind::BareRoot,
            Who::SubIds { .. } => RungKind::SubIds,
            Who::OneId { .. } => RungKind::OneId,
            Who::Chroot { .. } => RungKind::Chroot,
        }
    }

    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// One line for the user.
    pub fn why(&self) -> String {
        let mut why = self.who();
        if let (Some(since), false) = (self.copied_since(), self.kind() == RungKind::Chroot) {
            why += &format!("; each RUN stands on a copy of its layers, since {since}");
        }
        match self.way {
            Way::Namespaces { proc: Proc::Own } | Way::Chroot { devices: Devices::Nodes } => {}
            Way::Namespaces { proc: Proc::Outer } => {
                why += "; the kernel refuses RUN a /proc of its own, as parts of ours are covered: it finds itself at \
                        /proc/self, and otherwise the names and arguments of the processes outside";
            }
            Way::Chroot { devices: Devices::Files } => why += "; its devices are files that read like them",
        }
        why
    }

    /// Why layers are copied instead of being laid over one another, if they are.
    pub fn copied_since(&self) -> Option<&str> {
        match &self.stack {
            Stack::Overlay => None,
            Stack::Copy { why } => Some(why),
        }
    }

    fn who(&self) -> String {
        match &self.who {
            Who::Root { admin: true, .. } => {
                "we are root with CAP_SYS_ADMIN; RUN has no power over the host in its own user namespace".into()
            }
            Who::Root { admin: false, .. } => {
                "we are root without CAP_SYS_ADMIN; RUN has no power over what is outside in its own user namespace"
                    .into()
            }
            Who::BareRoot { refusal } => format!(
                "we are root with CAP_SYS_ADMIN; RUN is kept in by dropped capabilities and seccomp alone, since: {refusal}"
            ),
            Who::SubIds { user, map } => {
                format!("{user} has {} ids by newuidmap and newgidmap; the overlay is the user's own", map.size())
            }
            Who::OneId { missing, .. } => format!(
                "{missing}, so that one id is all there is: owners are recorded, and what programs ask about ids and owners is answered from that; nothing is denied to a user other than root"
            ),
            Who::Chroot { refusal } => format!(
                "RUN IS NOT ISOLATED, since {refusal}. It runs by chroot(2) on a copy of its layers, with this container's \
                 network, host name and processes, and without /proc/self, /sys and mounts; what it leaves running is ended"
            ),
        }
    }

    /// How files that a command or a job makes hold their owners.
    pub fn owners(&self) -> Owners {
        match self.who {
            Who::Root { .. } | Who::BareRoot { .. } | Who::SubIds { .. } | Who::Chroot { .. } => Owners::Real,
            Who::OneId { .. } => Owners::Recorded,
        }
    }

    /// Whether a step may share a folder with another one that runs at the same time: it is mounted for both.
    pub fn mounts(&self) -> bool {
        matches!(self.way, Way::Namespaces { .. })
    }

    /// Whether a step may have a network of its own.
    pub fn has_networks(&self) -> bool {
        matches!(self.way, Way::Namespaces { .. })
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Whether a step's root is the machine's own, whom no limit of its own holds (setrlimit(2), RLIMIT_NPROC).
    pub(super) fn is_root(&self) -> bool {
        matches!(self.who, Who::Root { .. } | Who::BareRoot { .. } | Who::Chroot { .. })
    }

    /// Whether layers are copied instead of being laid over one another.
    pub(super) fn copies(&self) -> bool {
        self.copied_since().is_some()
    }

    /// What a command gets that is run without our restraints, in one line for the user.
    pub fn insecure(&self) -> &'static str {
        match self.who {
            Who::Root { .. } => {
                "the command has all capabilities in its user namespace; as its root is the machine's, it may change kernel settings"
            }
            Who::BareRoot { .. } => "the command has all of root's capabilities over this machine",
            Who::Chroot { .. } => "the command has all the capabilities that we have, and can leave its root",
            Who::SubIds { .. } | Who::OneId { .. } => {
                "the command has all capabilities in its user namespace, and none over this machine: it can mount, \
                  but no disks, and load no modules"
            }
        }
    }

    /// The ids of the namespace that a command lives in.
    pub(super) fn command_map(&self) -> Option<&Map> {
        match &self.who {
            Who::Root { map, .. } | Who::SubIds { map, .. } | Who::OneId { map, .. } => Some(map),
            Who::BareRoot { .. } | Who::Chroot { .. } => None,
        }
    }

    /// The ids of the namespace that our own work on files needs: root can do it as it is.
    pub(super) fn job_map(&self) -> Option<&Map> {
        match &self.who {
            Who::SubIds { map, .. } | Who::OneId { map, .. } => Some(map),
            Who::Root { .. } | Who::BareRoot { .. } | Who::Chroot { .. } => None,
        }
    }
}
