//! Names of users and groups become numbers, by the image's own `/etc/passwd` and `/etc/group`.

use crate::sandbox::Ids;

use super::{BuildError, Problem};

/// The account files of an image; empty where it has none. They are hostile: only whole lines of the known form count.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    pub passwd: Vec<u8>,
    pub group: Vec<u8>,
}

/// Who a RUN is, and where it is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub ids: Ids,
    pub home: String,
}

struct User {
    uid: u32,
    gid: u32,
    home: String,
}

impl Accounts {
    /// Who `USER user[:group]` is. With no group: the user's own, and the supplementary ones of /etc/group; the group
    /// of a bare number that passwd does not know is 0.
    pub(super) fn person(&self, text: &str) -> Result<Person, BuildError> {
        let (name, group) = split(text);
        let name = if name.is_empty() { "0" } else { name };
        let known = self.user(name);
        let number = id(name);
        let (uid, gid, home) = match (known, number) {
            (Some(user), _) => (user.uid, user.gid, user.home),
            (None, Some(uid)) => (uid, 0, if uid == 0 { "/root".to_owned() } else { "/".to_owned() }),
            (None, None) => return Err(Problem::NoSuchUser(name.to_owned()).into()),
        };
        let ids = match group {
            Some(group) => Ids { uid, gid: self.group(group)?, groups: Vec::new() },
            None => Ids { uid, gid, groups: self.groups_of(name, uid) },
        };
        Ok(Person { ids, home })
    }

    /// Who `--chown=user[:group]` is. A bare number is user and group both; a name brings its own group.
    pub(super) fn owner(&self, text: &str) -> Result<(u32, u32), BuildError> {
        let (name, group) = split(text);
        let (uid, gid) = match id(name) {
            Some(number) => (number, number),
            None if name.is_empty() => (0, 0),
            None => {
                let user = self.by_name(name).ok_or_else(|| Problem::NoSuchUser(name.to_owned()))?;
                (user.uid, user.gid)
            }
        };
        Ok((uid, group.map_or(Ok(gid), |group| self.group(group))?))
    }

    /// By name; a number may also be a uid.
    fn user(&self, name: &str) -> Option<User> {
        let number = id(name);
        self.by_name(name).or_else(|| self.users().find(|(_, user)| Some(user.uid) == number).map(|(_, user)| user))
    }

    fn by_name(&self, name: &str) -> Option<User> {
        self.users().find(|(known, _)| *known == name).map(|(_, user)| user)
    }

    fn users(&self) -> impl Iterator<Item = (&str, User)> {
        lines(&self.passwd).filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
            Some((name, User { uid: id(uid)?, gid: id(gid)?, home: home.to_owned() }))
        })
    }

    fn group(&self, name: &str) -> Result<u32, BuildError> {
        if let Some(number) = id(name) {
            return Ok(number);
        }
        let found = self.groups().find(|(known, ..)| *known == name).map(|(_, gid, _)| gid);
        Ok(found.ok_or_else(|| Problem::NoSuchGroup(name.to_owned()))?)
    }

    fn groups_of(&self, name: &str, uid: u32) -> Vec<u32> {
        let known = self.users().find(|(_, user)| user.uid == uid).map_or(name, |(known, _)| known);
        let member = |members: &str| members.split(',').any(|member| member == known);
        let mut groups: Vec<u32> =
            self.groups().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        lines(&self.group).filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members, ..] = fields[..] else { return None };
            Some((name, id(gid)?, members))
        })
    }
}

/// A user's or group's number. The largest is none: to the kernel it means that nothing is asked for (chown(2)), so
/// that files for it would stay root's.
fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|&b| b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\nbroken\nnode:x:1000:1001::/home/node:/bin/sh\n12:x:77:78::/n:\n"
                .to_vec(),
            group: b"root:x:0:\nstaff:x:50:node,x\nadm:x:4:node\nnode:x:1001:\n".to_vec(),
        }
    }

    #[track_caller]
    fn person(text: &str, uid: u32, gid: u32, groups: &[u32], home: &str) {
        let wanted = Person { ids: Ids { uid, gid, groups: groups.to_vec() }, home: home.to_owned() };
        assert_eq!(accounts().person(text).unwrap(), wanted, "{text}");
    }

    #[test]
    fn a_user_is_a_name_or_a_number() {
        person("", 0, 0, &[], "/root");
        person("node", 1000, 1001, &[4, 50], "/home/node");
        person("1000", 1000, 1001, &[4, 50], "/home/node");
        person("5000", 5000, 0, &[], "/");
        person("node:staff", 1000, 50, &[], "/home/node");
        person("5000:6000", 5000, 6000, &[], "/");
    }

    #[test]
    fn a_name_that_looks_like_a_number_is_a_name() {
        // containers/storage CVE-2024-9676's cousin: the line's own uid counts.
        person("12", 77, 78, &[], "/n");
    }

    #[test]
    fn an_owner_of_one_number_is_user_and_group() {
        let accounts = accounts();
        for (text, wanted) in
            [("1000", (1000, 1000)), ("node", (1000, 1001)), ("1:2", (1, 2)), ("node:0", (1000, 0)), (":50", (0, 50))]
        {
            assert_eq!(accounts.owner(text).unwrap(), wanted, "{text}");
        }
    }

    #[test]
    fn who_is_not_there_is_named() {
        let error = |text: &str| accounts().person(text).unwrap_err().to_string();
        assert_eq!(error("nobody"), "no user `nobody` in the image's /etc/passwd");
        assert_eq!(error("node:wheel"), "no group `wheel` in the image's /etc/group");
        for number in ["-1", "+5", "4294967295", "4294967296", "1e3", "0x0"] {
            assert_eq!(error(number), format!("no user `{number}` in the image's /etc/passwd"));
            assert!(error(&format!("0:{number}")).starts_with("no group"), "{number}");
            assert!(accounts().owner(number).is_err() && accounts().owner(&format!(":{number}")).is_err(), "{number}");
        }
    }
}
