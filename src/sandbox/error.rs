//! What can go wrong before the command runs, in words that name the thing to change.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The command did not run, or was stopped. A command that ran and failed is an [`Exit`](super::Exit).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RunError {
    #[error("nothing to run: the command is empty")]
    NoCommand,
    #[error("{what} holds a NUL byte")]
    Nul { what: String },
    #[error("`{program}` was not found in the image")]
    NotFound { program: String },
    #[error("`{program}` was not found in the image's PATH ({path})")]
    NotInPath { program: String, path: String },
    #[error("`{program}` is in the image, but `{interpreter}`, which it needs to start, is not")]
    NoInterpreter { program: String, interpreter: String },
    #[error("`{program}` cannot be executed here: {why}")]
    WrongFormat { program: String, why: String },
    #[error("`{program}` may not be executed by uid {uid}: it is a directory, or its mode or its folder's forbids it")]
    NotExecutable { program: String, uid: u32 },
    #[error("executing `{program}`: {}", words(*errno))]
    Exec { program: String, errno: i32 },
    #[error("the working directory `{cwd}` does not exist in the image")]
    NoCwd { cwd: String },
    #[error("the working directory `{cwd}` is not a directory")]
    CwdNotADirectory { cwd: String },
    #[error("entering the working directory `{cwd}`: {}", words(*errno))]
    Cwd { cwd: String, errno: i32 },
    #[error("uid or gid {id} is outside the range that this user may map")]
    IdNotMapped { id: u32 },
    #[error("the image's `{path}` cannot be mounted over: {why}")]
    MountTarget { path: String, why: String },
    #[error("`{path}`, which is to be mounted: {}", words(*errno))]
    MountSource { path: String, errno: i32 },
    #[error(
        "`{program}` makes system calls of another machine type (a 32-bit program?), which cannot be answered where there is only one id"
    )]
    ForeignCalls { program: String },
    #[error("registering the emulator: {}", words(*errno))]
    Registration { errno: i32 },
    #[error("the control group `{parent}` cannot hold the command: {why}")]
    Cgroup { parent: String, why: String },
    #[error("setting the limit {name}: {}", words(*errno))]
    Limit { name: String, errno: i32 },
    #[error("the kernel refuses the overlay: {}{}", words(*errno), hinted(hint))]
    Overlay { errno: i32, hint: Option<String> },
    #[error("the names of {layers} layers need {bytes} bytes, mount(2) takes 4095: squash some")]
    TooManyLayers { layers: usize, bytes: usize },
    #[error("`{name}` cannot name a layer: it is empty, or holds a colon, comma, backslash or white space")]
    LayerName { name: String },
    #[error("making {which}: {}{}", words(*errno), hinted(hint))]
    Namespace { which: String, errno: i32, hint: Option<String> },
    #[error("{tool} did not map the sub-ids: {said}")]
    Map { tool: String, said: String },
    #[error("{doing}: {}", words(*errno))]
    System { doing: String, errno: i32 },
    #[error("stopped")]
    Stopped,
    #[error("the sandbox's helper {how}")]
    Helper { how: String },
}

impl RunError {
    pub(super) fn system(doing: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        match error.raw_os_error() {
            Some(errno) => Self::System { doing: doing.into(), errno },
            None => Self::Helper { how: format!("failed while {}: {error}", doing.into()) },
        }
    }
}

/// No rung of the ladder holds. Says what is missing and what gives it.
#[derive(Debug, thiserror::Error)]
pub enum NoRung {
    #[error("we are root, but without CAP_SYS_ADMIN")]
    RootWithoutAdmin,
    #[error("`{tool}` is not in PATH")]
    NoMapper { tool: &'static str },
    #[error("{file} gives `{user}` no range of ids")]
    NoRange { file: &'static str, user: String },
    #[error("user namespaces are switched off ({setting} = {value})")]
    SwitchedOff { setting: &'static str, value: String },
    #[error("{0}")]
    Refused(RunError),
    #[error("`{dir}` is on {kind}, which cannot hold the changes of an overlay ({})", words(*errno))]
    Overlay { dir: PathBuf, kind: String, errno: i32 },
    #[error("{many}; and with one id alone: {one}")]
    NeitherManyNorOne { many: Box<Self>, one: Box<Self> },
    #[error("preparing to probe: {0}")]
    Io(#[from] io::Error),
}

impl NoRung {
    /// The setting or package that gives what is missing.
    pub fn hint(&self) -> String {
        match self {
            Self::RootWithoutAdmin => "run as an ordinary user with sub-ids, or give CAP_SYS_ADMIN".into(),
            Self::NoMapper { .. } => {
                "install the package that holds it: uidmap on Debian and Ubuntu, shadow-utils on Fedora".into()
            }
            Self::NoRange { user, .. } => {
                format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")
            }
            Self::SwitchedOff { setting, .. } => match *setting {
                "kernel.apparmor_restrict_unprivileged_userns" => {
                    format!("sudo sysctl -w {setting}=0, or an AppArmor profile for this program with `userns,`")
                }
                "user.max_user_namespaces" => format!("sudo sysctl -w {setting}=15000"),
                _ => format!("sudo sysctl -w {setting}=1"),
            },
            Self::Refused(RunError::Namespace { .. }) => {
                "in a container: its seccomp profile must allow unshare, mount and clone with namespaces".into()
            }
            Self::Refused(RunError::Map { .. }) => {
                "newuidmap and newgidmap need their setuid bit or file capabilities; reinstall their package".into()
            }
            Self::Refused(_) => "see the system's log (dmesg) for who refused it".into(),
            Self::Overlay { .. } => {
                "put LOCUS_PUSH_HOME on ext4, xfs, btrfs or a tmpfs, for example a volume of the container".into()
            }
            Self::NeitherManyNorOne { one, .. } => one.hint(),
            Self::Io(_) => "the folder must exist and be writable".into(),
        }
    }
}

fn words(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn hinted(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default()
}
