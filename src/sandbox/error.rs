//! What can go wrong before the command runs, in words that name the thing to change.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rung::RungKind;

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
    #[error("`{path}`, which is mounted, was moved or given another name, and would end in the layer")]
    CoverMoved { path: String },
    #[error("{what} cannot be had here: RUN has no namespaces and no mounts")]
    NeedsMounts { what: String },
    #[error("{count} processes that the command left behind cannot be ended")]
    Undying { count: usize },
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

/// Why a rung of the ladder does not hold, or none. Says what is missing and what gives it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoRung {
    #[error("it takes Linux, and this is {system}")]
    NotLinux { system: &'static str },
    #[error("it is for root, and we are not")]
    NotRoot,
    #[error("it is for an ordinary user, and we are root")]
    IsRoot,
    #[error("we are root, but without CAP_SYS_ADMIN")]
    NoAdmin,
    #[error("we are root, but without the capabilit{} {}", if missing.len() == 1 { "y" } else { "ies" }, missing.join(", "))]
    Capabilities { missing: Vec<&'static str> },
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
    /// The rungs that are for us, and why each does not hold.
    #[error("{}", each(.0))]
    None(Vec<(RungKind, Self)>),
    #[error("preparing to probe: {0}")]
    Io(String),
}

impl From<io::Error> for NoRung {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Each reason once, with the rung that it is about where there are several.
fn each(failed: &[(RungKind, NoRung)]) -> String {
    let mut reasons: Vec<(RungKind, String)> = Vec::new();
    for (kind, error) in failed {
        let reason = error.to_string();
        if !reasons.iter().any(|(_, known)| *known == reason) {
            reasons.push((*kind, reason));
        }
    }
    match &reasons[..] {
        [(_, only)] => only.clone(),
        several => several.iter().map(|(kind, why)| format!("{}: {why}", kind.name())).collect::<Vec<_>>().join("; "),
    }
}

impl NoRung {
    /// Of all rungs. One that is for others says nothing about what is missing here.
    pub fn of_all(failed: impl IntoIterator<Item = (RungKind, Self)>) -> Self {
        Self::None(failed.into_iter().filter(|(_, error)| !error.is_for_others()).collect())
    }

    /// Whether the rung is for whoever is root, or is not, and we are the other.
    pub fn is_for_others(&self) -> bool {
        matches!(self, Self::NotRoot | Self::IsRoot)
    }

    /// The setting or package that gives what is missing.
    pub fn hint(&self) -> String {
        match self {
            Self::NotLinux { .. } => {
                "run the same command in a Linux machine (Lima or Colima on a Mac, WSL 2 on Windows) or \
                                      in CI; a Dockerfile without RUN is built here"
                    .into()
            }
            Self::NotRoot => "run it as root".into(),
            Self::IsRoot => "run it as an ordinary user".into(),
            Self::NoAdmin => {
                "docker run --cap-add SYS_ADMIN; Kubernetes: securityContext.capabilities.add: [SYS_ADMIN]".into()
            }
            Self::Capabilities { missing } => {
                let flags: Vec<_> = missing.iter().map(|name| format!("--cap-add {name}")).collect();
                format!(
                    "docker run {}; Kubernetes: securityContext.capabilities.add: [{}]",
                    flags.join(" "),
                    missing.join(", ")
                )
            }
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
                "in a container its seccomp profile must allow unshare, mount and clone with namespaces: docker run \
                 --security-opt seccomp=unconfined --security-opt apparmor=unconfined; Kubernetes: \
                 securityContext.seccompProfile.type: Unconfined"
                    .into()
            }
            Self::Refused(RunError::Map { .. }) => {
                "newuidmap and newgidmap need their setuid bit or file capabilities; reinstall their package".into()
            }
            Self::Refused(_) => "see the system's log (dmesg) for who refused it".into(),
            Self::Overlay { .. } => {
                "put LOCUS_PUSH_HOME on ext4, xfs, btrfs or a tmpfs, for example a volume of the container".into()
            }
            Self::None(failed) => {
                let mut hints: Vec<String> = Vec::new();
                for hint in failed.iter().map(|(_, error)| error.hint()) {
                    if !hints.contains(&hint) {
                        hints.push(hint);
                    }
                }
                hints.join("\nor ")
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_is_not_linux_is_told_once_and_where_run_can_be() {
        let none = NoRung::of_all(RungKind::ALL.map(|kind| (kind, NoRung::NotLinux { system: "macos" })));
        assert_eq!(none.to_string(), "it takes Linux, and this is macos");
        assert_eq!(none.hint().matches("in a Linux machine (Lima").count(), 1);
    }
}
