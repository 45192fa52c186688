//! How many processes and threads a step may have, so that one that does nothing but fork ends with an error and the
//! machine lives.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};

use super::super::step::{Limit, Resource};

/// Twice what Podman gives a container.
const PLENTY: u64 = 4096;

/// From this kernel on each pid namespace has a `pid_max` of its own (Linux 7863dcc72d0f). Before, there was one, the
/// machine's, which root of a namespace where each id is itself may write as well: so it is not tried out.
const OWN_PID_MAX: (u32, u32) = (6, 14);

/// The kernel takes no fewer.
const RESERVED: u64 = 301;

/// What a step gets, unless it asks for more by `--ulimit nproc`: at most half of what the machine can number.
pub(in crate::sandbox) fn allowed(given: &[Limit]) -> u64 {
    let machine = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let half = machine.and_then(|text| text.trim().parse::<u64>().ok()).map_or(PLENTY, |most| most / 2);
    let asked = given.iter().filter(|limit| limit.resource == Resource::Nproc).filter_map(|limit| limit.hard).max();
    half.min(PLENTY).max(asked.unwrap_or(0)).max(RESERVED)
}

/// Bounds the pid namespace whose /proc this is. Where the kernel cannot, RLIMIT_NPROC is what there is: it holds for
/// every user but the machine's own root.
pub(super) fn bound(proc: &OwnedFd, allowed: u64) {
    if can_bound() {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(proc, "sys/kernel/pid_max", flags, Mode::empty());
        // More than the namespace above has is refused, and then that one's limit holds.
        let _ = file.map(|file| File::from(file).write_all(allowed.to_string().as_bytes()));
    }
}

/// Whether [`bound`] bounds anything with this kernel.
pub(in crate::sandbox) fn can_bound() -> bool {
    let kernel = rustix::system::uname().release().to_str().ok().and_then(version);
    kernel.is_some_and(|version| version >= OWN_PID_MAX)
}

/// The first two numbers of `6.18.44-cloud`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_version_is_read_and_nonsense_is_none() {
        assert_eq!(version("6.14.0-rc1+"), Some((6, 14)));
        assert_eq!(version("5.15"), Some((5, 15)));
        assert_eq!(version("linux"), None);
        assert!((6, 8) < OWN_PID_MAX && (10, 0) > OWN_PID_MAX);
    }

    #[test]
    fn who_asks_for_more_gets_it_and_nobody_gets_less_than_the_kernel_takes() {
        let nproc = |hard| [Limit { resource: Resource::Nproc, soft: None, hard }];
        let plain = allowed(&[]);
        assert!((RESERVED..=PLENTY).contains(&plain), "{plain}");
        assert_eq!(allowed(&nproc(Some(100_000))), 100_000);
        assert_eq!(allowed(&nproc(Some(10))), plain);
    }
}
