//! What stands in `/dev` and `/proc` where nothing may be mounted: it is made of files, and taken away afterwards.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, makedev, mkdirat, mknodat, openat, symlinkat};
use rustix::io::{Errno, Result};

use super::super::wire::Devices;
use super::root::{DEVICES, LINKS, create, write};

/// What can be read of a device that is a file.
const SOME: usize = 64 << 10;

/// Of `/proc`, what is the machine's and no process's.
const FACTS: [&str; 7] = ["cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version"];

/// As much of a fact as is read.
const FACT: u64 = 1 << 20;

/// Whether device nodes can be made in this folder, and work there: a disk may be mounted without.
pub(super) fn probe(folder: &OwnedFd) -> Devices {
    let works = || {
        node(folder, "null", 1, 3)?;
        openat(folder, "null", OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    };
    match works() {
        Ok(_) => Devices::Nodes,
        Err(_) => Devices::Files,
    }
}

pub(super) fn furnish(dev: &OwnedFd, devices: Devices) -> Result<()> {
    for (name, major, minor) in DEVICES {
        match devices {
            Devices::Nodes => node(dev, name, major, minor)?,
            Devices::Files => file(dev, name)?,
        }
    }
    // There is no /proc/self: who opens one is told so, and does not write into a file that nobody reads.
    for (name, target) in LINKS.iter().filter(|(_, target)| target.starts_with("/proc/self/")) {
        symlinkat(*target, dev, *name)?;
    }
    mkdirat(dev, "shm", Mode::from_raw_mode(0o755))?;
    chmodat(dev, "shm", Mode::from_raw_mode(0o1777), AtFlags::empty())
}

/// Copies what programs ask of the machine.
pub(super) fn facts(proc: &OwnedFd) -> Result<()> {
    for name in FACTS {
        let mut fact = Vec::new();
        // A container may hide it; then it is hidden here too.
        if fs::File::open(format!("/proc/{name}")).and_then(|file| file.take(FACT).read_to_end(&mut fact)).is_ok() {
            write(&create(proc, name)?, &fact)?;
        }
    }
    write(&create(proc, "mounts")?, b"rootfs / rootfs rw 0 0\n")
}

fn node(folder: &OwnedFd, name: &str, major: u32, minor: u32) -> Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(folder, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
    // The umask has had its say.
    chmodat(folder, name, mode, AtFlags::empty())
}

fn file(dev: &OwnedFd, name: &str) -> Result<()> {
    let mut content = vec![0; if name == "null" { 0 } else { SOME }];
    match name {
        // Neither can be acted by a file.
        "tty" | "full" => return Ok(()),
        "random" | "urandom" => {
            let read = fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut content));
            read.map_err(|error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))?;
        }
        _ => {}
    }
    write(&create(dev, name)?, &content)?;
    chmodat(dev, name, Mode::from_raw_mode(0o666), AtFlags::empty())
}
