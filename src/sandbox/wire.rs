//! What we and the helper say to each other over its socket: frames of a length and that many bytes.

use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::RunError;
use super::step::{Exit, Ids, Limit};
use crate::owners::Owners;

/// More is a mistake: argument lists and payloads are lists of names.
const LIMIT: usize = 64 << 20;

/// The first frame: what the helper is to be.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    /// Whether it lives in a user namespace of its own, which we map.
    pub user_namespace: bool,
    pub task: Task,
    /// One of our own functions, to be run by the same helper once the command has succeeded. Its payload is a third
    /// frame, and the pipe for its output comes behind that.
    pub after: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Task {
    /// Try what a step needs, in this empty folder.
    Probe { dir: Vec<u8>, copied: bool, owners: Owners, chroot: bool },
    /// Start a program in an empty root, with this line of `binfmt_misc` or with what the host has.
    TryProgram { program: Vec<u8>, registration: Option<Vec<u8>> },
    /// Run a command. A second frame holds its environment (`NAME=value`, each ended by a NUL) and then the contents
    /// of the files that it has mounted: all that may be secret.
    Run(Box<Command>),
    /// Run one of our own functions. A second frame holds its payload.
    Job { name: String },
}

/// How a command is kept from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Way {
    /// In namespaces of its own.
    Namespaces { proc: Proc },
    /// By chroot(2) into a copy of its layers alone, since nothing may be unshared or mounted.
    Chroot { devices: Devices },
}

/// Which `/proc` a command finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Proc {
    /// That of its own processes.
    Own,
    /// The one that we have, as the kernel gives no other to who has one with parts of it covered.
    Outer,
}

/// What stands in `/dev` where nothing may be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Devices {
    Nodes,
    /// Plain files that read like them.
    Files,
}

/// A step, as it travels. Bytes, since neither paths nor arguments need be text.
#[derive(Serialize, Deserialize)]
pub(super) struct Command {
    pub root: Overlay,
    pub way: Way,
    /// Whether the ids that it asks for are real.
    pub owners: Owners,
    pub argv: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    pub user: Ids,
    pub hostname: Vec<u8>,
    pub resolv_conf: Vec<u8>,
    pub hosts: Vec<u8>,
    pub network: Network,
    pub insecure: bool,
    pub mounts: Vec<Mount>,
    pub shm_size: Option<u64>,
    pub limits: Vec<Limit>,
    /// The line of `binfmt_misc` that has its programs emulated.
    pub registration: Option<Vec<u8>>,
    /// Whether it lives in a user namespace of its own.
    pub user_namespace: bool,
    /// How much of the second frame is the environment.
    pub environment: usize,
}

/// Which network a command finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Network {
    Host,
    /// One of its own.
    None,
    /// One of its own, with a listening socket at this port for the one who asked.
    Gate(u16),
}

/// A stack of layers with an upper directory.
#[derive(Serialize, Deserialize)]
pub(super) struct Overlay {
    pub lower_parent: Vec<u8>,
    pub lower: Vec<String>,
    pub upper: Vec<u8>,
    pub work: Vec<u8>,
    pub merged: Vec<u8>,
    /// The layers are copied to `merged`, and what changes there is moved to `upper`.
    pub copied: bool,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Mount {
    pub target: Vec<u8>,
    pub what: Mounted,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Mounted {
    Layers {
        overlay: Overlay,
        source: Vec<u8>,
        writable: bool,
    },
    Folder {
        path: Vec<u8>,
        source: Vec<u8>,
        writable: bool,
    },
    Tmpfs {
        size: Option<u64>,
    },
    /// The next `length` bytes of the second frame.
    File {
        length: usize,
        mode: u32,
        uid: u32,
        gid: u32,
        executable: bool,
    },
    Socket {
        path: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// A path that travelled as bytes.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// What the helper says back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is in its user namespace and waits for its ids.
    MapMe,
    /// The gate of the command's network is made: its two descriptors follow.
    Opened,
    /// Before `Exit`: the command's network saw more than its gate.
    WentAround,
    Exit(Exit),
    Failed(RunError),
    /// The probe's answer: what it tried can be done, in this way.
    Found(Way),
    /// The job came to its end.
    Done,
    JobFailed(String),
}

pub(super) fn send<T: Serialize>(to: &mut impl Write, value: &T) -> io::Result<()> {
    send_bytes(to, &Zeroizing::new(serde_json::to_vec(value)?))
}

pub(super) fn send_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= LIMIT);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too long for the sandbox"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(bytes)
}

pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    Ok(serde_json::from_slice(&receive_bytes(from)?)?)
}

pub(super) fn receive_bytes(from: &mut impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is too long"));
    }
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

// Elsewhere there is no helper to hand anything to.
#[cfg(target_os = "linux")]
const FLAGS: (SendFlags, RecvFlags) = (SendFlags::NOSIGNAL, RecvFlags::CMSG_CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FLAGS: (SendFlags, RecvFlags) = (SendFlags::empty(), RecvFlags::empty());

/// Hands over a descriptor.
pub(super) fn send_fd(to: impl AsFd, fd: impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    // A descriptor travels with a byte, never alone.
    sendmsg(to, &[IoSlice::new(&[0])], &mut control, FLAGS.0)?;
    Ok(())
}

pub(super) fn receive_fd(from: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(from, &mut [IoSliceMut::new(&mut [0])], &mut control, FLAGS.1)?;
    let rights = |message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    };
    let mut fds = control.drain().filter_map(rights).flatten();
    fds.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a descriptor was announced and none came"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_longer_than_the_limit_is_refused_before_memory_is_taken_for_it() {
        let error = receive_bytes(&mut &[0xff; 8][..]).expect_err("4 GiB were announced");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_frame_cut_short_is_an_error() {
        let mut bytes = Vec::new();
        send_bytes(&mut bytes, b"hello").expect("it fits");
        bytes.pop();
        assert!(receive_bytes(&mut &bytes[..]).is_err());
    }

    #[test]
    fn a_descriptor_that_was_handed_over_is_the_same_pipe() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (mut reader, writer) = io::pipe().expect("a pipe");
        send_fd(&ours, &writer).expect("it is sent");
        drop(writer);
        let mut writer = std::fs::File::from(receive_fd(&theirs).expect("it comes"));
        writer.write_all(b"hello").expect("it is written");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("it is read");
        assert_eq!(text, "hello");
        send_bytes(&mut &ours, b"").expect("it is sent");
        assert!(receive_fd(&theirs).is_err(), "bytes alone are none");
    }
}
