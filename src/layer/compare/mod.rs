//! What two layers hold differently: path by path, down to the bytes of their tars' headers.
//!
//! Both tars lie on disk and are read twice: once for what is in them, which is all that is held in memory, and where
//! two files may differ for their bytes, a piece at a time.

mod content;
mod header;
mod listing;
mod raw;

use std::collections::BTreeSet;
use std::io;

use serde::Serialize;

use super::{Entry, Kind, Offset};
pub use content::{Excerpt, Line};
use content::{Span, excerpt, first_difference};
use listing::Row;
pub use listing::{Listing, Mark, Name};
pub use raw::Raw;

/// Of how many files of a layer an excerpt is made.
const EXCERPTS: usize = 200;

/// One of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Left,
    Right,
}

/// Something that is not the same in two layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// One side has this alone.
    Only { side: Side, name: Name, what: &'static str },
    /// Both sides have this, and it is not the same.
    Changed { name: Name, aspects: Vec<Aspect> },
    /// Of what both sides have, the first that comes in another order: at the same place, this on each side.
    Order([Name; 2]),
    /// All entries are the same, and the tars are not: padding, or what stands behind the trailer.
    Framing { at: u64, excerpt: Excerpt },
}

/// What about a path is not the same: the value of either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    Kind([&'static str; 2]),
    Mode([u32; 2]),
    /// uid and gid.
    Owner([(u32, u32); 2]),
    /// In seconds since 1970.
    Time([i64; 2]),
    /// Of a device, major and minor.
    Device([(u32, u32); 2]),
    /// The target of a symlink, or the file that a hard link names.
    Link([Raw; 2]),
    /// `at` is the first byte that is not the same.
    Content {
        sizes: [u64; 2],
        at: u64,
        excerpt: Excerpt,
    },
    Xattr {
        name: String,
        values: [Option<Raw>; 2],
    },
    /// How often the tar has this entry.
    Times([u64; 2]),
    /// A field of the tar's header that nothing above speaks of.
    Header {
        field: String,
        values: [Option<Raw>; 2],
    },
}

/// What is different between two tars, path by path; nothing exactly when all their bytes are the same.
pub fn compare(left: &Listing, right: &Listing) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut excerpts = EXCERPTS;
    let names: BTreeSet<&Name> = left.rows.keys().chain(right.rows.keys()).collect();
    for name in names {
        let only = |side, row: &Row| Difference::Only { side, name: name.clone(), what: what(row) };
        match (left.rows.get(name), right.rows.get(name)) {
            (Some(row), None) => found.push(only(Side::Left, row)),
            (None, Some(row)) => found.push(only(Side::Right, row)),
            (Some(of_left), Some(of_right)) => {
                let aspects = aspects([(left, of_left), (right, of_right)], &mut excerpts)?;
                if !aspects.is_empty() {
                    found.push(Difference::Changed { name: name.clone(), aspects });
                }
            }
            (None, None) => {}
        }
    }
    found.extend(order(left, right));
    if found.is_empty() {
        found.extend(framing([left, right])?);
    }
    Ok(found)
}

fn what(row: &Row) -> &'static str {
    row.entry.as_ref().map_or("marker", |entry| kind(&entry.kind))
}

fn kind(kind: &Kind<Offset>) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File { .. } => "file",
        Kind::Symlink { .. } => "symlink",
        Kind::HardLink { .. } => "hard link",
        Kind::CharDevice { .. } => "character device",
        Kind::BlockDevice { .. } => "block device",
        Kind::Fifo => "fifo",
    }
}

fn aspects(sides: [(&Listing, &Row); 2], excerpts: &mut usize) -> io::Result<Vec<Aspect>> {
    let mut aspects = Vec::new();
    if let [(left, Row { entry: Some(of_left), .. }), (right, Row { entry: Some(of_right), .. })] = sides {
        let kinds = [kind(&of_left.kind), kind(&of_right.kind)];
        if kinds[0] != kinds[1] {
            aspects.push(Aspect::Kind(kinds));
        }
        aspects.extend(content([(left, &of_left.kind), (right, &of_right.kind)], excerpts)?);
        aspects.extend(meta(of_left, of_right));
    }
    let times = sides.map(|(_, row)| row.times);
    if times[0] != times[1] {
        aspects.push(Aspect::Times(times));
    }
    // Of another kind, all of the header is another.
    if !aspects.iter().any(|aspect| matches!(aspect, Aspect::Kind(_))) {
        let [(left, of_left), (right, of_right)] = sides;
        let headers = [left.headers(of_left)?, right.headers(of_right)?];
        let explained = |field: &str| aspects.iter().any(|aspect| aspect.explains(field));
        let fields = header::differences([&headers[0], &headers[1]], explained);
        aspects.extend(fields.into_iter().map(|(field, values)| Aspect::Header { field, values }));
    }
    Ok(aspects)
}

/// What two things of one kind hold.
fn content(sides: [(&Listing, &Kind<Offset>); 2], excerpts: &mut usize) -> io::Result<Option<Aspect>> {
    let [(left, of_left), (right, of_right)] = sides;
    let differ =
        |left: &[u8], right: &[u8]| (left != right).then(|| Aspect::Link([left, right].map(|l| Raw(l.into()))));
    Ok(match (of_left, of_right) {
        (Kind::File { size: a, content: Offset(from_a) }, Kind::File { size: b, content: Offset(from_b) }) => {
            let spans = [Span { listing: left, at: *from_a, size: *a }, Span { listing: right, at: *from_b, size: *b }];
            let Some(at) = first_difference(spans)? else { return Ok(None) };
            let excerpt = match excerpts.checked_sub(1) {
                None => Excerpt::None,
                Some(rest) => {
                    *excerpts = rest;
                    excerpt(spans, at)?
                }
            };
            Some(Aspect::Content { sizes: [*a, *b], at, excerpt })
        }
        (Kind::Symlink { target: a }, Kind::Symlink { target: b }) => differ(a, b),
        (Kind::HardLink { to: a }, Kind::HardLink { to: b }) => differ(a.as_bytes(), b.as_bytes()),
        (Kind::CharDevice { major: a, minor: b }, Kind::CharDevice { major: c, minor: d })
        | (Kind::BlockDevice { major: a, minor: b }, Kind::BlockDevice { major: c, minor: d }) => {
            ((a, b) != (c, d)).then_some(Aspect::Device([(*a, *b), (*c, *d)]))
        }
        _ => None,
    })
}

fn meta(left: &Entry<Offset>, right: &Entry<Offset>) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    if left.mode != right.mode {
        aspects.push(Aspect::Mode([left.mode, right.mode]));
    }
    let owners = [left, right].map(|entry| (entry.uid, entry.gid));
    if owners[0] != owners[1] {
        aspects.push(Aspect::Owner(owners));
    }
    if left.mtime != right.mtime {
        aspects.push(Aspect::Time([left.mtime, right.mtime]));
    }
    let names: BTreeSet<&String> = left.xattrs.keys().chain(right.xattrs.keys()).collect();
    for name in names {
        let values = [left, right].map(|entry| entry.xattrs.get(name).cloned().map(Raw));
        if values[0] != values[1] {
            aspects.push(Aspect::Xattr { name: name.clone(), values });
        }
    }
    aspects
}

impl Aspect {
    /// Whether this is what a field of the header says.
    fn explains(&self, field: &str) -> bool {
        match self {
            Self::Kind(_) => field == "type",
            Self::Mode(_) => field == "mode",
            Self::Owner(_) => matches!(field, "uid" | "gid" | "pax uid" | "pax gid"),
            Self::Time(_) => matches!(field, "mtime" | "pax mtime"),
            Self::Device(_) => matches!(field, "devmajor" | "devminor"),
            Self::Link(_) => matches!(field, "link" | "pax linkpath" | "gnu link") || field.starts_with("gnu link "),
            Self::Content { sizes, .. } => sizes[0] != sizes[1] && matches!(field, "size" | "pax size"),
            Self::Xattr { name, .. } => field.strip_prefix("pax SCHILY.xattr.").is_some_and(|of| of == name),
            Self::Times(_) | Self::Header { .. } => false,
        }
    }
}

fn order(left: &Listing, right: &Listing) -> Option<Difference> {
    let of = |side: &Listing, other: &Listing| {
        let common = side.rows.iter().filter(|(name, _)| other.rows.contains_key(name));
        let mut names: Vec<(u64, Name)> = common.map(|(name, row)| (row.position, name.clone())).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name)
    };
    let mut pairs = of(left, right).zip(of(right, left));
    pairs.find(|(left, right)| left != right).map(|(left, right)| Difference::Order([left, right]))
}

fn framing(sides: [&Listing; 2]) -> io::Result<Option<Difference>> {
    let spans = sides.map(|listing| Span { listing, at: 0, size: listing.size() });
    let Some(at) = first_difference(spans)? else { return Ok(None) };
    Ok(Some(Difference::Framing { at, excerpt: excerpt(spans, at)? }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::testing::{Tar, path, tar};
    use super::super::ustar::Header;
    use super::*;

    fn listing(tar: Vec<u8>) -> Listing {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar).unwrap();
        Listing::read(file).unwrap()
    }

    fn differences(left: Tar, right: Tar) -> Vec<Difference> {
        compare(&listing(left.end()), &listing(right.end())).unwrap()
    }

    /// The one path that is not the same, and what about it.
    #[track_caller]
    fn changed(left: Tar, right: Tar) -> Vec<Aspect> {
        match &differences(left, right)[..] {
            [Difference::Changed { name, aspects }] => {
                assert_eq!(*name, Name { path: path("f"), mark: Mark::Entry });
                aspects.clone()
            }
            other => panic!("{other:#?}"),
        }
    }

    fn with(change: impl FnOnce(&mut Header)) -> Tar {
        let mut header = Tar::header(b'0', "f", "", 0);
        change(&mut header);
        tar().patched(&header, 0, b"f", b"")
    }

    fn raw(text: &str) -> Raw {
        Raw(text.as_bytes().to_vec())
    }

    #[test]
    fn the_same_bytes_differ_in_nothing() {
        let one = tar().dir("d").file("d/f", b"x").symlink("l", "d/f").pax(b'x', &[("mtime", "1.5")]).file("g", b"");
        assert_eq!(differences(one.clone(), one), []);
    }

    #[test]
    fn each_aspect_is_told_by_itself() {
        let plain = || with(|_| {});
        assert_eq!(changed(plain(), with(|header| header.mode = 0o600)), [Aspect::Mode([0o644, 0o600])]);
        assert_eq!(changed(plain(), with(|header| header.uid = 7)), [Aspect::Owner([(0, 0), (7, 0)])]);
        assert_eq!(changed(plain(), with(|header| header.mtime = 8)), [Aspect::Time([7, 8])]);
        let link = |to: &str| tar().symlink("f", to);
        assert_eq!(changed(link("a"), link("b")), [Aspect::Link([raw("a"), raw("b")])]);
        let xattr = |value: &str| tar().pax(b'x', &[("SCHILY.xattr.user.a", value)]).file("f", b"");
        let values = [Some(raw("1")), Some(raw("2"))];
        assert_eq!(changed(xattr("1"), xattr("2")), [Aspect::Xattr { name: "user.a".into(), values }]);
        assert_eq!(changed(tar().file("f", b""), tar().dir("f"))[0], Aspect::Kind(["file", "directory"]));
        let twice = tar().file("f", b"").file("f", b"");
        assert_eq!(changed(tar().file("f", b""), twice), [Aspect::Times([1, 2])]);
    }

    #[test]
    fn a_header_that_means_the_same_and_is_written_otherwise_is_told_field_by_field() {
        let named = tar().patched(&Tar::header(b'0', "f", "", 0), 265, b"root", b"");
        let [Aspect::Header { field, values: [_, Some(right)] }] = &changed(with(|_| {}), named)[..] else { panic!() };
        assert_eq!((field.as_str(), &right.0[..5]), ("uname", &b"root\0"[..]));
        let timed = |records: &[(&str, &str)]| tar().pax(b'x', records).file("f", b"");
        let fields = |left: Tar, right: Tar| -> Vec<String> {
            let field = |aspect| match aspect {
                Aspect::Header { field, .. } => field,
                other => panic!("{other:?}"),
            };
            changed(left, right).into_iter().map(field).collect()
        };
        assert_eq!(fields(timed(&[("mtime", "7.25")]), timed(&[("mtime", "7.5")])), ["pax mtime"]);
        assert_eq!(fields(timed(&[("mtime", "7")]), timed(&[("atime", "9"), ("mtime", "7")])), ["pax atime"]);
    }

    #[test]
    fn text_is_compared_by_lines_and_the_rest_by_bytes() {
        let file = |text: &[u8]| tar().file("f", text);
        let lines: String = (0..20).map(|n| format!("line {n}\n")).collect();
        let other = lines.replace("line 9\n", "line nine\nand a half\n");
        let [Aspect::Content { sizes, at, excerpt: Excerpt::Lines(shown) }] =
            &changed(file(lines.as_bytes()), file(other.as_bytes()))[..]
        else {
            panic!()
        };
        assert_eq!((*sizes, *at), ([150, 164], 68));
        let both = |text: &str| Line::Both(raw(text));
        let expected = [
            Line::At([8, 8]),
            both("line 7\n"),
            both("line 8\n"),
            Line::Left(raw("line 9\n")),
            Line::Right(raw("line nine\n")),
            Line::Right(raw("and a half\n")),
            both("line 10\n"),
            both("line 11\n"),
        ];
        assert_eq!(shown[..], expected);

        let mut program = vec![0; 100_000];
        let before = program.clone();
        program[70_000] = 1;
        let [Aspect::Content { at, excerpt: Excerpt::Bytes { from, bytes }, .. }] =
            &changed(file(&before), file(&program))[..]
        else {
            panic!()
        };
        assert_eq!((*at, *from), (70_000, 69_984));
        assert_eq!((bytes[0].0.len(), bytes[1].0[16]), (64, 1));
    }

    #[test]
    fn a_file_that_is_the_beginning_of_another_differs_where_it_ends() {
        let [Aspect::Content { sizes, at, .. }] = &changed(tar().file("f", b"a"), tar().file("f", b"ab"))[..] else {
            panic!()
        };
        assert_eq!((*sizes, *at), ([1, 2], 1));
    }

    #[test]
    fn what_one_side_has_alone_is_named() {
        let left = tar().file("a", b"").file(".wh.gone", b"");
        let right = tar().file("d/.wh..wh..opq", b"").file("a", b"");
        let only =
            |side, at: &str, mark| Difference::Only { side, name: Name { path: path(at), mark }, what: "marker" };
        let expected = [only(Side::Right, "d", Mark::Opaque), only(Side::Left, "gone", Mark::Whiteout)];
        assert_eq!(differences(left, right), expected);
    }

    #[test]
    fn another_order_of_the_same_entries_is_told_where_it_begins() {
        let one = tar().file("a", b"").file("b", b"").file("c", b"");
        let other = tar().file("a", b"").file("c", b"").file("b", b"");
        let name = |at: &str| Name { path: path(at), mark: Mark::Entry };
        assert_eq!(differences(one, other), [Difference::Order([name("b"), name("c")])]);
    }

    #[test]
    fn bytes_that_no_entry_has_are_told_too() {
        let one = tar().file("f", b"x");
        let longer = listing([one.clone().end(), vec![0; 512]].concat());
        let found = compare(&listing(one.end()), &longer).unwrap();
        assert!(matches!(found[..], [Difference::Framing { at: 2048, .. }]), "{found:?}");
    }
}
