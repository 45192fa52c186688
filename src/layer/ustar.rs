//! The 512 bytes before each entry of a tar.
//!
//! <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06>, and as Go's archive/tar reads
//! them, which decides what the rest of the field sees in a layer.

pub(super) const BLOCK: usize = 512;

/// A header, its fields as they stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub name: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: i64,
    pub type_flag: u8,
    pub link: Vec<u8>,
    pub major: u32,
    pub minor: u32,
}

const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const SUM: (usize, usize) = (148, 8);
const MAJOR: (usize, usize) = (329, 8);
const MINOR: (usize, usize) = (337, 8);

/// All 512 bytes.
const RAW: [(&str, (usize, usize)); 16] = [
    ("name", (0, 100)),
    ("mode", MODE),
    ("uid", UID),
    ("gid", GID),
    ("size", SIZE),
    ("mtime", MTIME),
    ("checksum", SUM),
    ("type", (156, 1)),
    ("link", (157, 100)),
    ("magic", (257, 8)),
    ("uname", (265, 32)),
    ("gname", (297, 32)),
    ("devmajor", MAJOR),
    ("devminor", MINOR),
    ("prefix", (345, 155)),
    ("rest", (500, 12)),
];

/// The largest number of a field of 8, and of 12 bytes.
pub(super) const MAX_8: u64 = 0o7_777_777;
pub(super) const MAX_12: u64 = 0o77_777_777_777;

impl Header {
    pub fn decode(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        let sums = sums(block);
        let stored = octal(field(block, SUM)).ok_or("its checksum is no number")?;
        if stored != sums.0 && i64::try_from(stored) != Ok(sums.1) {
            return Err("a header's checksum is wrong");
        }
        let posix = &block[257..263] == b"ustar\0";
        let gnu = &block[257..265] == b"ustar  \0";
        let prefix = match (posix, &block[508..] == b"tar\0") {
            (false, _) => &[][..],
            (true, false) => text(&block[345..500]),
            // star puts times behind a shorter prefix.
            (true, true) => text(&block[345..476]),
        };
        let device = |at| if posix || gnu { number(field(block, at)) } else { Some(0) };
        let small = |n: Option<i128>, what| n.and_then(|n| u32::try_from(n).ok()).ok_or(what);
        let large = |at, what| number(field(block, at)).and_then(|n| u64::try_from(n).ok()).ok_or(what);
        Ok(Self {
            name: match prefix {
                [] => text(&block[..100]).to_vec(),
                prefix => [prefix, b"/", text(&block[..100])].concat(),
            },
            // Some writers put the file type's bits there too.
            mode: small(number(field(block, MODE)), "a mode is no number")? & 0o7777,
            uid: large(UID, "a uid is no number")?,
            gid: large(GID, "a gid is no number")?,
            size: large(SIZE, "a size is no number")?,
            mtime: number(field(block, MTIME)).and_then(|n| n.try_into().ok()).ok_or("a time is no number")?,
            type_flag: block[156],
            link: text(&block[157..257]).to_vec(),
            major: small(device(MAJOR), "a device is no number")?,
            minor: small(device(MINOR), "a device is no number")?,
        })
    }

    /// As POSIX ustar. What does not fit is the caller's to say in a pax record, and is zero here, as is what may not
    /// be ASCII.
    pub fn encode(&self) -> [u8; BLOCK] {
        let Self { name, mode, uid, gid, size, mtime, type_flag, link, major, minor } = self;
        let mut block = [0; BLOCK];
        let (prefix, name) = split(name).unwrap_or((&[], name));
        put_text(&mut block[..100], name);
        put_text(&mut block[345..500], prefix);
        put_text(&mut block[157..257], link);
        put_number(&mut block, MODE, u64::from(*mode));
        put_number(&mut block, UID, *uid);
        put_number(&mut block, GID, *gid);
        put_number(&mut block, SIZE, *size);
        put_number(&mut block, MTIME, u64::try_from(*mtime).unwrap_or(0));
        put_number(&mut block, MAJOR, u64::from(*major));
        put_number(&mut block, MINOR, u64::from(*minor));
        block[156] = *type_flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let (sum, _) = sums(&block);
        block[SUM.0..SUM.0 + 8].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Every field of a header under its name, as its bytes are.
pub(super) fn raw_fields(block: &[u8; BLOCK]) -> impl Iterator<Item = (&'static str, &[u8])> {
    RAW.iter().map(|&(name, place)| (name, field(block, place)))
}

/// Whether ustar has room for this name.
pub(super) fn holds_name(name: &[u8]) -> bool {
    name.is_ascii() && split(name).is_some()
}

/// Whether ustar has room for this link.
pub(super) fn holds_link(link: &[u8]) -> bool {
    link.is_ascii() && link.len() <= 100
}

/// A name as prefix and rest, at the last slash that leaves both short enough.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((&[], name));
    }
    // The slash at a directory's end separates nothing.
    let end = name.len().saturating_sub(1).min(156);
    let at = name[..end].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, rest) = (&name[..at], &name[at + 1..]);
    (rest.len() <= 100 && !prefix.is_empty()).then_some((prefix, rest))
}

/// The sum of the bytes, and that of the bytes as C's signed char, which some old writers took; the field of the sum
/// itself counts as spaces.
fn sums(block: &[u8; BLOCK]) -> (u64, i64) {
    let bytes = || block.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { b' ' } else { byte });
    (bytes().map(u64::from).sum(), bytes().map(|byte| i64::from(byte.cast_signed())).sum())
}

fn field(block: &[u8; BLOCK], (at, length): (usize, usize)) -> &[u8] {
    &block[at..at + length]
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal, or base 256 where the first bit is set.
fn number(field: &[u8]) -> Option<i128> {
    if field[0] & 0x80 == 0 {
        return octal(field).map(i128::from);
    }
    let negative = field[0] & 0x40 != 0;
    let first = i128::from(field[0] & 0x3f) - if negative { 0x40 } else { 0 };
    // At most 12 bytes: 94 bits.
    Some(field[1..].iter().fold(first, |value, &byte| value << 8 | i128::from(byte)))
}

fn octal(field: &[u8]) -> Option<u64> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !padding(byte)) else { return Some(0) };
    let end = field.iter().rposition(|byte| !padding(byte))?;
    let digits = text(&field[start..=end]);
    digits.iter().try_fold(0, |value: u64, byte| match byte {
        b'0'..=b'7' => Some(value << 3 | u64::from(byte - b'0')),
        _ => None,
    })
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let ascii = text.iter().filter(|byte| byte.is_ascii());
    field.iter_mut().zip(ascii).for_each(|(place, byte)| *place = *byte);
}

fn put_number(block: &mut [u8; BLOCK], (at, length): (usize, usize), value: u64) {
    let digits = length - 1;
    let value = if value >> (3 * digits) == 0 { value } else { 0 };
    block[at..at + digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            name: b"dir/file".to_vec(),
            mode: 0o4755,
            uid: 1000,
            gid: MAX_8,
            size: MAX_12,
            mtime: 315_532_801,
            type_flag: b'0',
            link: b"to".to_vec(),
            major: 1,
            minor: 3,
        }
    }

    #[test]
    fn a_header_reads_what_it_writes() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
        let long = Header { name: [&[b'd'; 150][..], b"/", &[b'n'; 100]].concat(), ..header() };
        assert!(holds_name(&long.name));
        assert_eq!(Header::decode(&long.encode()), Ok(long));
    }

    #[test]
    fn names_that_do_not_fit_are_known() {
        assert!(holds_name(&[b'n'; 100]) && !holds_name(&[b'n'; 101]));
        assert!(!holds_name(&[&[b'd'; 156][..], b"/n"].concat()));
        assert!(!holds_name(&[b"d/", &[b'n'; 100][..], b"/"].concat()), "a slash at the end separates nothing");
        assert!(!holds_name("ü".as_bytes()) && !holds_link(&[b'l'; 101]));
    }

    #[test]
    fn a_changed_header_is_found_out() {
        let mut block = header().encode();
        block[0] ^= 1;
        assert!(Header::decode(&block).is_err());
    }

    #[test]
    fn numbers_in_base_256_are_read() {
        let mut field = [0; 12];
        field[0] = 0x80;
        field[8..].copy_from_slice(&3_000_000_000u32.to_be_bytes());
        assert_eq!(number(&field), Some(3_000_000_000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"00x0644\0"), None);
        assert_eq!(number(b"-000644\0"), None);
    }
}
