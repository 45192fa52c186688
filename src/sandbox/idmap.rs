//! Which ids the user namespace holds, and how they are written.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use super::error::{NoRung, RunError};

/// One line of a uid_map: `count` ids from `inside` on are the host's from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// How a user namespace gets its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Map {
    /// Each id is itself: what a root that may do so writes.
    Identity { uids: Vec<Range>, gids: Vec<Range> },
    /// Root is we, the others come from /etc/subuid and /etc/subgid, through `newuidmap` and `newgidmap`.
    SubIds { uids: Vec<Range>, gids: Vec<Range> },
    /// Root is we, and nobody else is anybody: what the kernel grants to all (user_namespaces(7)).
    OneId { uid: Range, gid: Range },
}

impl Map {
    /// Every id that we ourselves have, as itself.
    pub fn identity() -> io::Result<Self> {
        let own = |file: &str| -> io::Result<Vec<Range>> {
            Ok(identity_of(&fs::read_to_string(format!("/proc/self/{file}"))?))
        };
        Ok(Self::Identity { uids: own("uid_map")?, gids: own("gid_map")? })
    }

    /// What /etc/subuid and /etc/subgid give this user.
    pub fn sub_ids(user: &str, uid: u32, gid: u32) -> Result<Self, NoRung> {
        let ranges = |file: &'static str, own: u32| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let ranges = sub_ranges(&text, user, uid);
            if ranges.is_empty() {
                return Err(NoRung::NoRange { file, user: user.to_owned() });
            }
            Ok(stacked(own, &ranges))
        };
        Ok(Self::SubIds { uids: ranges("/etc/subuid", uid)?, gids: ranges("/etc/subgid", gid)? })
    }

    /// Ourselves as root.
    pub fn one_id(uid: u32, gid: u32) -> Self {
        let root = |outside| Range { inside: 0, outside, count: 1 };
        Self::OneId { uid: root(uid), gid: root(gid) }
    }

    /// How many uids it holds.
    pub fn size(&self) -> u64 {
        match self {
            Self::Identity { uids, .. } | Self::SubIds { uids, .. } => {
                uids.iter().map(|range| u64::from(range.count)).sum()
            }
            Self::OneId { .. } => 1,
        }
    }

    /// Writes the ids of a process that has just made its user namespace.
    pub fn write(&self, pid: u32) -> Result<(), RunError> {
        match self {
            Self::Identity { uids, gids } => {
                write_file(pid, "uid_map", &lines(uids))?;
                write_file(pid, "gid_map", &lines(gids))
            }
            Self::SubIds { uids, gids } => {
                run_mapper("newuidmap", pid, uids)?;
                run_mapper("newgidmap", pid, gids)
            }
            Self::OneId { uid, gid } => {
                // Without it the kernel grants no gid: a group could otherwise be dropped that is denied something.
                write_file(pid, "setgroups", "deny")?;
                write_file(pid, "uid_map", &lines(&[*uid]))?;
                write_file(pid, "gid_map", &lines(&[*gid]))
            }
        }
    }
}

fn lines(ranges: &[Range]) -> String {
    ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
}

fn write_file(pid: u32, file: &str, content: &str) -> Result<(), RunError> {
    // The kernel takes one write only.
    fs::write(format!("/proc/{pid}/{file}"), content)
        .map_err(|error| RunError::Map { tool: format!("writing {file}"), said: error.to_string() })
}

fn run_mapper(tool: &str, pid: u32, ranges: &[Range]) -> Result<(), RunError> {
    let numbers = ranges.iter().flat_map(|r| [r.inside, r.outside, r.count]).map(|number| number.to_string());
    let output = Command::new(tool).arg(pid.to_string()).args(numbers).stdin(Stdio::null()).output();
    let said = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(RunError::Map { tool: tool.to_owned(), said })
}

/// `inside outside count` lines, with what we see kept as it is.
fn identity_of(map: &str) -> Vec<Range> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (inside, _outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Range { inside, outside: inside, count })
    };
    map.lines().filter_map(line).collect()
}

/// The `user:start:count` lines of a user, who may be named by number (subuid(5)).
fn sub_ranges(text: &str, user: &str, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((owner == user || owner == uid) && count > 0).then_some((start, count))
    };
    text.lines().filter_map(line).collect()
}

/// Root is `own`; the ranges follow one another from 1 on.
fn stacked(own: u32, ranges: &[(u32, u32)]) -> Vec<Range> {
    let mut map = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut next = 1;
    for &(outside, count) in ranges {
        map.push(Range { inside: next, outside, count });
        next = u32::saturating_add(next, count);
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_ids_are_found_by_name_and_by_number_and_nobody_elses() {
        let text = "alice:100000:65536\nbob:165536:65536\n# alice:1:1\n1000:300000:10\nalice:x:1\nalice:7:0\n";
        assert_eq!(sub_ranges(text, "alice", 1000), [(100_000, 65_536), (300_000, 10)]);
    }

    #[test]
    fn root_is_the_user_and_the_ranges_follow_from_one() {
        let map = stacked(1000, &[(100_000, 65_536), (300_000, 10)]);
        let lines: Vec<_> = map.iter().map(|r| (r.inside, r.outside, r.count)).collect();
        assert_eq!(lines, [(0, 1000, 1), (1, 100_000, 65_536), (65_537, 300_000, 10)]);
    }

    #[test]
    fn an_identity_map_inside_a_container_keeps_to_what_the_container_has() {
        let map = identity_of("         0       1000          1\n         1     100000      65536\n");
        let lines: Vec<_> = map.iter().map(|r| (r.inside, r.outside, r.count)).collect();
        assert_eq!(lines, [(0, 0, 1), (1, 1, 65_536)]);
    }
}
