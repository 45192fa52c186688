//! What is asked of the sandbox: one command, the root that it sees, and who it is there.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Emulator, Gate};
use crate::secret::Secret;

/// One command in a root of its own.
#[derive(Debug)]
pub struct Step {
    pub layers: Layers,
    /// The program and its arguments. A program without a slash is looked for in the step's own `PATH`.
    pub argv: Vec<OsString>,
    /// The whole environment: nothing is added to it and nothing of ours is passed on.
    pub env: Vec<(OsString, OsString)>,
    /// More environment, which is wiped from our memory after use.
    pub secret_env: Vec<(OsString, Secret)>,
    /// An absolute path in the root. It must exist.
    pub cwd: PathBuf,
    pub user: Ids,
    pub hostname: String,
    /// What the command reads in `/etc/resolv.conf`: a private copy, see [`host_resolv_conf`].
    pub resolv_conf: Vec<u8>,
    /// What the command reads in `/etc/hosts`: a private copy, see [`hosts_file`].
    pub hosts: Vec<u8>,
    pub network: Network,
    /// All capabilities of its namespace, all system calls, and /proc and /sys as they are.
    pub insecure: bool,
    /// What is mounted on top of the root, in this order.
    pub mounts: Vec<Mount>,
    /// Bytes of `/dev/shm`; 64 MiB where nothing is said.
    pub shm_size: Option<u64>,
    /// In place of the sandbox's own limits. No limit can be raised above what we have ourselves.
    pub limits: Vec<Limit>,
    /// The control group below which the command gets one of its own: a path from the top of the hierarchy.
    pub cgroup_parent: Option<PathBuf>,
    /// What runs its programs, where the CPU cannot ([`Sandbox::emulation`](super::Sandbox::emulation)).
    pub emulator: Option<Emulator>,
}

/// Something that the command finds at `target`, and that is no part of what it changes. Where the root has nothing
/// at that place, it is made for the run and vanishes with it.
#[derive(Debug)]
pub struct Mount {
    /// An absolute path in the root. Its links are followed, inside the root.
    pub target: PathBuf,
    pub what: Mounted,
}

/// What is seen at a mount's place.
#[derive(Debug)]
pub enum Mounted {
    /// A part of a stack of layers; what is written there is thrown away.
    Layers { layers: Layers, source: PathBuf, writable: bool },
    /// A part of a folder of ours, which keeps what is written.
    Folder { path: PathBuf, source: PathBuf, writable: bool },
    /// An empty file system in memory.
    Tmpfs { size: Option<u64> },
    /// A file in memory, read-only.
    File { content: Secret, mode: u32, uid: u32, gid: u32, executable: bool },
    /// A socket of ours, which gets this owner and mode: what connects to it there is answered by us.
    Socket { path: PathBuf, mode: u32, uid: u32, gid: u32 },
}

/// A resource limit (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limit {
    pub resource: Resource,
    /// `None` is no limit.
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// What setrlimit(2) limits, by Docker's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    pub const ALL: [(&str, Self); 15] = [
        ("core", Self::Core),
        ("cpu", Self::Cpu),
        ("data", Self::Data),
        ("fsize", Self::Fsize),
        ("locks", Self::Locks),
        ("memlock", Self::Memlock),
        ("msgqueue", Self::Msgqueue),
        ("nice", Self::Nice),
        ("nofile", Self::Nofile),
        ("nproc", Self::Nproc),
        ("rss", Self::Rss),
        ("rtprio", Self::Rtprio),
        ("rttime", Self::Rttime),
        ("sigpending", Self::Sigpending),
        ("stack", Self::Stack),
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
    }

    pub fn name(self) -> &'static str {
        // Every resource is in the list.
        Self::ALL.iter().find(|(_, resource)| *resource == self).map_or("", |(name, _)| name)
    }
}

/// The overlay that is the command's root. After the run `upper` is the whole difference.
///
/// The overlay is mounted `volatile`: fsync inside is free, so `upper` is safe on disk only once somebody has
/// copied and synced it. Overlay attributes are `user.overlay.*` on every rung, as root too.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The folder that the names in `lower` are relative to.
    pub lower_parent: PathBuf,
    /// The topmost layer first. Short names: all of them must fit into one page of memory for mount(2).
    /// No name may hold `:`, `,`, `\` or white space.
    pub lower: Vec<String>,
    /// Empty. Its own mode and owner are those of the command's `/`.
    pub upper: PathBuf,
    /// Empty, on the same file system as `upper`, used once: the kernel refuses a second time.
    pub work: PathBuf,
    /// An empty folder. The mount is seen by the helper and the command only.
    pub merged: PathBuf,
}

/// Who the command runs as, in the image's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The network that a step gets.
#[derive(Clone, Debug, Default)]
pub enum Network {
    /// The host's own: its addresses, the services on its loopback, and its abstract sockets.
    #[default]
    Host,
    /// A loopback of its own and nothing else.
    None,
    /// A loopback of its own, at one port of which we answer.
    Gate(Gate),
}

/// Which of its two outputs the command wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

/// The host's `/etc/resolv.conf`; empty where there is none.
pub fn host_resolv_conf() -> Vec<u8> {
    std::fs::read("/etc/resolv.conf").unwrap_or_default()
}

/// An `/etc/hosts` with the loopback names, the step's own name, and what `--add-host` brings.
pub fn hosts_file(hostname: &str, more: &[(String, std::net::IpAddr)]) -> Vec<u8> {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    text.push_str(&format!("127.0.0.1\t{hostname}\n"));
    for (name, address) in more {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_names_the_step_and_what_was_added() {
        let text = hosts_file("buildkitsandbox", &[("db".into(), [10, 0, 0, 1].into())]);
        let text = String::from_utf8(text).expect("it is made of text");
        assert!(text.contains("127.0.0.1\tbuildkitsandbox\n"), "{text}");
        assert!(text.ends_with("10.0.0.1\tdb\n"), "{text}");
    }
}
