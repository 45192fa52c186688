//! The records in front of an entry that say what its header has no room for.

use std::collections::BTreeMap;

/// The prefix of the records that carry extended attributes.
const XATTR: &str = "SCHILY.xattr.";

/// What the records of one entry say, as far as it means something to a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<i64>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Pax {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads records: `LENGTH KEY=VALUE\n`, one after the other. Of two with one key the later counts; an empty value
    /// takes back an earlier one.
    pub fn decode(text: &[u8]) -> Result<Self, &'static str> {
        let mut pax = Self::default();
        for record in records(text) {
            let (key, value) = record?;
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let given = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = given.map(whole).transpose()?,
            b"linkpath" => self.link = given.map(whole).transpose()?,
            b"size" => self.size = given.map(number).transpose()?,
            b"uid" => self.uid = given.map(number).transpose()?,
            b"gid" => self.gid = given.map(number).transpose()?,
            b"mtime" => self.mtime = given.map(seconds).transpose()?,
            _ if key.starts_with(b"GNU.sparse.") => return Err("a sparse file is not supported"),
            _ => {
                // Of other records (atime, comment, uname, …) nothing goes into a layer.
                if let Some(name) = key.strip_prefix(XATTR.as_bytes()) {
                    let name = str::from_utf8(name).map_err(|_| "an extended attribute's name is no text")?;
                    if name.is_empty() || name.len() > 255 || name.contains('\0') || value.len() > 65_536 {
                        return Err("an extended attribute is larger than Linux has them, or has no name");
                    }
                    self.xattrs.insert(name.to_owned(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    /// The records, sorted by key. `None` where an attribute's name cannot be a key.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let Self { path, link, size, uid, gid, mtime, xattrs } = self;
        let decimal = |number: &u64| number.to_string().into_bytes();
        let mut records = BTreeMap::new();
        records.extend(path.as_ref().map(|path| ("path".to_owned(), path.clone())));
        records.extend(link.as_ref().map(|link| ("linkpath".to_owned(), link.clone())));
        records.extend(size.as_ref().map(|size| ("size".to_owned(), decimal(size))));
        records.extend(uid.as_ref().map(|uid| ("uid".to_owned(), decimal(uid))));
        records.extend(gid.as_ref().map(|gid| ("gid".to_owned(), decimal(gid))));
        records.extend(mtime.as_ref().map(|time| ("mtime".to_owned(), time.to_string().into_bytes())));
        for (name, value) in xattrs {
            if name.is_empty() || name.contains(['=', '\0']) {
                return None;
            }
            records.insert(format!("{XATTR}{name}"), value.clone());
        }
        Some(records.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect())
    }
}

/// Each record's key and value, as they stand there; nothing after one that is damaged.
pub(super) fn records(mut text: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), &'static str>> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let Some((record, rest)) = cut(text) else {
            text = &[];
            return Some(Err("a pax record has a wrong length or form"));
        };
        text = rest;
        let equals = record.iter().position(|&byte| byte == b'=');
        Some(equals.map(|at| (&record[..at], &record[at + 1..])).ok_or("a pax record has no `=`"))
    })
}

/// The first record, without length and newline, and what follows it.
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = text.iter().take(12).position(|&byte| byte == b' ')?;
    let length = usize::try_from(number(&text[..digits]).ok()?).ok()?;
    let record = text.get(digits + 1..length)?.strip_suffix(b"\n")?;
    Some((record, &text[length..]))
}

/// A record says its own length, the digits of the length included.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn whole(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    match text.contains(&0) {
        true => Err("a pax path holds a NUL byte"),
        false => Ok(text.to_vec()),
    }
}

/// Digits only: `+1`, which Rust's own parser takes, is none to others.
fn number(text: &[u8]) -> Result<u64, &'static str> {
    let text = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or("a pax record holds no number where one belongs")
}

/// A decimal number of seconds, rounded down.
fn seconds(text: &[u8]) -> Result<i64, &'static str> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let point = rest.iter().position(|&byte| byte == b'.').unwrap_or(rest.len());
    let whole = i64::try_from(number(&rest[..point])?).map_err(|_| "a pax time is too large")?;
    let fraction = rest[point..].iter().any(|byte| (b'1'..=b'9').contains(byte));
    Ok(if negative { -whole - i64::from(fraction) } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_are_written() {
        let mut pax =
            Pax { path: Some("ü".repeat(90).into()), size: Some(1 << 40), mtime: Some(-5), ..Pax::default() };
        pax.xattrs.insert("security.capability".into(), vec![0, b'\n', b'=', 255]);
        let text = pax.encode().unwrap();
        assert!(text.starts_with(b"41 SCHILY.xattr.security.capability="), "{}", text.escape_ascii());
        assert_eq!(Pax::decode(&text), Ok(pax));
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for value in [0, 1, 4, 5, 6, 90, 91, 92, 93, 990] {
            let made = record(b"k", &vec![b'v'; value]);
            assert!(made.starts_with(format!("{} ", made.len()).as_bytes()));
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for text in ["x", "5 a=b", "6 a=b\nx", "99 a=b\n", "6 aab\n", "0 a=b\n", "+6 a=b\n"] {
            assert!(Pax::decode(text.as_bytes()).is_err(), "{text:?}");
        }
        for record in [
            record(b"path", b"a\0b"),
            record(b"size", b"-1"),
            record(b"size", b"1x"),
            record(b"GNU.sparse.major", b"1"),
        ] {
            assert!(Pax::decode(&record).is_err());
        }
    }

    #[test]
    fn an_attribute_name_that_would_be_read_as_another_is_not_written() {
        let pax = Pax { xattrs: [("user.a=b".to_owned(), vec![])].into(), ..Pax::default() };
        assert_eq!(pax.encode(), None);
    }

    #[test]
    fn times_are_rounded_down() {
        assert_eq!(seconds(b"12.999"), Ok(12));
        assert_eq!(seconds(b"-1.5"), Ok(-2));
        assert_eq!(seconds(b"-1.0"), Ok(-1));
        assert!(seconds(b"").is_err() && seconds(b"a").is_err());
    }
}
