//! What systems have under another name, or not at all. The files of a RUN are Linux's alone to make: elsewhere these
//! answer that there is no such thing, and nobody gets as far as asking (`sandbox::ladder`).

use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags, RawMode, Stat};

/// A descriptor that says where a file is, and needs no right to read it.
#[cfg(target_os = "linux")]
pub(super) const WHERE: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
pub(super) const WHERE: OFlags = OFlags::RDONLY;

/// Permission bits, in the integer that they are here.
pub(super) fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits as RawMode)
}

/// The type and permissions of a file, which are fewer bits elsewhere.
#[allow(clippy::useless_conversion)]
pub(super) fn bits(stat: &Stat) -> u32 {
    stat.st_mode.into()
}

/// The device that a file is on; a signed number elsewhere.
#[allow(clippy::unnecessary_cast)]
pub(super) fn device(stat: &Stat) -> u64 {
    stat.st_dev as u64
}

/// Makes a FIFO or a device.
#[cfg(target_os = "linux")]
pub(super) fn make_node(
    dir: impl AsFd,
    name: &[u8],
    kind: FileType,
    mode: Mode,
    device: rustix::fs::Dev,
) -> rustix::io::Result<()> {
    rustix::fs::mknodat(dir, name, kind, mode, device)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn make_node(_: impl AsFd, _: &[u8], _: FileType, _: Mode, _: rustix::fs::Dev) -> rustix::io::Result<()> {
    Err(rustix::io::Errno::NOTSUP)
}
