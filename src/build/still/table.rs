//! The table of what no two RUNs write alike, and what becomes of it.
//!
//! What is left out is as if the step had not written it: what the layers below have there is seen again, if anything.
//! What is emptied keeps its name, owner and mode. Only what the step's own layer holds is touched.

use crate::layer::LayerPath;

use Treatment::{Emptied, LeftOut, Redated, Renumbered, Undated};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    LeftOut,
    Emptied,
    /// A compiled Python file says the time that its source has in the layer: [`super::pyc`].
    Redated,
    /// The days in the table of passwords are no later than the layer's: [`super::shadow`].
    Renumbered,
    /// The head of a crontab does not say when it was installed: [`super::crontab`].
    Undated,
}

#[derive(Debug)]
pub(super) struct Row {
    /// `*` is any part of a name, `**` any number of names.
    pattern: &'static str,
    pub treatment: Treatment,
    pub why: &'static str,
}

const fn row(pattern: &'static str, treatment: Treatment, why: &'static str) -> Row {
    Row { pattern, treatment, why }
}

/// The first row that a path matches holds for it.
const TABLE: &[Row] = &[
    // Python reads a source anew at every start when the time in the header is not the source's: PEP 552.
    row("**/*.pyc", Redated, "it holds the time of its source"),
    // shadow(5), field 3. useradd and chage honour SOURCE_DATE_EPOCH, BusyBox's adduser and others do not; debuerreotype
    // and rpm-ostree set it too: https://bugs.debian.org/857803
    row("etc/shadow", Renumbered, "it holds the day of each password's last change"),
    // Vixie's cron, and Debian's; crontab(1) -l shows what stands below the head.
    row("var/spool/cron/crontabs/*", Undated, "it holds the time when it was installed"),
    // Logs of package managers. Debian's own images are made without them: https://wiki.debian.org/ReproducibleInstalls
    row("var/log/apt/eipp.log.xz", LeftOut, "a log"),
    row("var/log/apt/*.log", Emptied, "a log with times"),
    row("var/log/dpkg.log", Emptied, "a log with times"),
    row("var/log/alternatives.log", Emptied, "a log with times"),
    row("var/log/bootstrap.log", Emptied, "a log with times"),
    row("var/log/fontconfig.log", Emptied, "a log in the order of the disk"),
    row("var/log/apk.log", Emptied, "a log with times"),
    row("var/log/dnf*.log", Emptied, "a log with times"),
    row("var/log/yum.log", Emptied, "a log with times"),
    row("var/log/hawkey.log", Emptied, "a log with times"),
    // Inode numbers and ctimes, so that the next ldconfig may skip a file (glibc, elf/cache.c, save_aux_cache).
    row("var/cache/ldconfig/aux-cache", LeftOut, "a cache of inode numbers"),
    // APT's parsed lists, with their times; APT makes them when they are not there (apt.conf(5), Dir::Cache).
    row("var/cache/apt/pkgcache.bin", LeftOut, "a cache with times"),
    row("var/cache/apt/srcpkgcache.bin", LeftOut, "a cache with times"),
    // What was there before the last change: how many changes a step made at once decides.
    row("var/lib/dpkg/*-old", LeftOut, "a backup"),
    row("var/cache/debconf/*-old", LeftOut, "a backup"),
    row("etc/passwd-", LeftOut, "a backup"),
    row("etc/group-", LeftOut, "a backup"),
    row("etc/shadow-", LeftOut, "a backup, with days"),
    row("etc/gshadow-", LeftOut, "a backup"),
    row("etc/subuid-", LeftOut, "a backup"),
    row("etc/subgid-", LeftOut, "a backup"),
    // machine-id(5): an image for many machines has an empty one, or none. dbus-uuidgen(1) --ensure fails at one that is
    // empty, and makes one that is missing.
    row("etc/machine-id", Emptied, "the identity of one machine"),
    row("var/lib/dbus/machine-id", LeftOut, "the identity of one machine"),
    // systemd-random-seed(8): to be missing in an image. The catalog is made anew at boot (journalctl(1),
    // --update-catalog), in an order of chance.
    row("var/lib/systemd/random-seed", LeftOut, "a random seed"),
    row("var/lib/systemd/catalog/database", LeftOut, "a cache in an order of chance"),
    // npm-cache(1): "strictly a cache". Its index has the time of each download and the servers' headers.
    row("**/.npm/_cacache/**", LeftOut, "a cache with times"),
    row("**/.npm/_logs/**", LeftOut, "a log named by its time"),
    row("**/.npm/_update-notifier-last-checked", LeftOut, "a time"),
    // pip, "Caching": what was downloaded, with the servers' headers, and when pip last looked for a newer pip.
    row("**/.cache/pip/**", LeftOut, "a cache with times"),
];

/// Keys of which every container of the image has the same. They are left as they are, and told of: to take one away
/// behind a Dockerfile's back would be no safer than to keep it.
const PRIVATE: &str = "etc/ssh/ssh_host_*_key";

/// What the table says of a path.
pub(super) fn row_of(path: &LayerPath) -> Option<&'static Row> {
    TABLE.iter().find(|row| matches(row.pattern, path))
}

pub(super) fn is_private(path: &LayerPath) -> bool {
    matches(PRIVATE, path)
}

fn matches(pattern: &str, path: &LayerPath) -> bool {
    let pattern: Vec<&[u8]> = pattern.split('/').map(str::as_bytes).collect();
    let names: Vec<&[u8]> = path.components().collect();
    leads(&pattern, &names)
}

fn leads(pattern: &[&[u8]], names: &[&[u8]]) -> bool {
    match (pattern, names) {
        ([b"**", rest @ ..], _) => (0..=names.len()).any(|skipped| leads(rest, &names[skipped..])),
        ([first, rest @ ..], [name, names @ ..]) => is_name(first, name) && leads(rest, names),
        ([], names) => names.is_empty(),
        ([_, ..], []) => false,
    }
}

/// A name, with at most one `*` in the pattern.
fn is_name(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.iter().position(|&byte| byte == b'*') {
        None => pattern == name,
        Some(star) => {
            let (start, end) = (&pattern[..star], &pattern[star + 1..]);
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str) -> Option<Treatment> {
        row_of(&LayerPath::parse(path.as_bytes()).expect("a path")).map(|row| row.treatment)
    }

    #[test]
    fn paths_are_found_in_the_table() {
        for (path, treatment) in [
            ("/usr/lib/python3/dist-packages/__pycache__/six.cpython-311.pyc", Some(Redated)),
            ("/a.pyc", Some(Redated)),
            ("/etc/shadow", Some(Renumbered)),
            ("/etc/shadow-", Some(LeftOut)),
            ("/srv/etc/shadow", None),
            ("/var/spool/cron/crontabs/root", Some(Undated)),
            ("/var/log/apt/history.log", Some(Emptied)),
            ("/var/log/apt/eipp.log.xz", Some(LeftOut)),
            ("/var/log/apt", None),
            ("/var/log/app.log", None),
            ("/var/lib/dpkg/status-old", Some(LeftOut)),
            ("/var/lib/dpkg/status", None),
            ("/var/lib/dpkg/info/x-old", None),
            ("/var/lib/apt/lists/a_Packages.lz4", None),
            ("/root/.npm/_cacache", Some(LeftOut)),
            ("/home/a/.npm/_cacache/index-v5/aa/bb", Some(LeftOut)),
            ("/root/.npm", None),
            ("/root/.cache/pip/http/1", Some(LeftOut)),
            ("/root/.cache/other", None),
            ("/etc/machine-id", Some(Emptied)),
            ("/etc/ssh/ssh_host_rsa_key", None),
        ] {
            assert_eq!(said(path), treatment, "{path}");
        }
    }

    #[test]
    fn host_keys_are_private_and_their_public_halves_are_not() {
        let private = |path: &str| is_private(&LayerPath::parse(path.as_bytes()).expect("a path"));
        assert!(private("/etc/ssh/ssh_host_ed25519_key") && !private("/etc/ssh/ssh_host_ed25519_key.pub"));
    }
}
