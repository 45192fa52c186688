//! How the bytes of two files differ: where first, and a small piece of it.

use std::io;

use serde::Serialize;
use similar::{Algorithm, ChangeTag, capture_diff_slices, group_diff_ops};

use super::Listing;
use super::raw::Raw;

/// What is read of each file at a time.
const PIECE: usize = 64 << 10;
/// The largest file that is compared line by line, in bytes; its longest line; and the most of its lines, as the time
/// that a comparison takes grows with their square.
const TEXT: u64 = 256 << 10;
const LINE: usize = 1000;
const LINES: usize = 4000;
/// Lines of both that are shown around a difference, and the most lines that are shown at all.
const AROUND: usize = 2;
const SHOWN: usize = 40;
/// How many bytes are shown of each file.
const BYTES: u64 = 64;

/// A piece of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excerpt {
    Lines(Vec<Line>),
    /// The bytes of both from `from` on.
    Bytes {
        from: u64,
        bytes: [Raw; 2],
    },
    /// Enough has been shown of other files.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// So much of both is passed over: the number of the next line on each side, the first being 1.
    At([usize; 2]),
    Both(Raw),
    Left(Raw),
    Right(Raw),
    /// There is more, which is not shown.
    More,
}

/// A run of bytes in a tar.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub listing: &'a Listing,
    pub at: u64,
    pub size: u64,
}

impl Span<'_> {
    fn bytes(&self, from: u64, length: u64) -> io::Result<Vec<u8>> {
        // No caller asks for more than a file of TEXT bytes.
        let length = length.min(self.size.saturating_sub(from)) as usize;
        self.listing.bytes(self.at + from, length)
    }
}

/// The first byte that is not the same in both; where one ends, if it is the beginning of the other.
pub(super) fn first_difference(sides: [Span<'_>; 2]) -> io::Result<Option<u64>> {
    let mut at = 0;
    loop {
        let [left, right] = [sides[0].bytes(at, PIECE as u64)?, sides[1].bytes(at, PIECE as u64)?];
        if let Some(differs) = left.iter().zip(&right).position(|(left, right)| left != right) {
            return Ok(Some(at + differs as u64));
        }
        match (left.len(), right.len()) {
            (0, 0) => return Ok(None),
            (left, right) if left != right => return Ok(Some(at + left.min(right) as u64)),
            (length, _) => at += length as u64,
        }
    }
}

/// What is shown of two files that first differ at `at`.
pub(super) fn excerpt(sides: [Span<'_>; 2], at: u64) -> io::Result<Excerpt> {
    if sides.iter().all(|side| side.size <= TEXT) {
        let whole = [sides[0].bytes(0, TEXT)?, sides[1].bytes(0, TEXT)?];
        if let (Some(left), Some(right)) = (lines(&whole[0]), lines(&whole[1])) {
            return Ok(Excerpt::Lines(shown(&left, &right)));
        }
    }
    // Whole lines of a dump, and one line before the difference.
    let from = (at / 16 * 16).saturating_sub(16);
    let piece = |side: Span<'_>| side.bytes(from, BYTES).map(Raw);
    Ok(Excerpt::Bytes { from, bytes: [piece(sides[0])?, piece(sides[1])?] })
}

/// The lines of what is text, each with its line feed.
fn lines(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    if bytes.contains(&0) || std::str::from_utf8(bytes).is_err() {
        return None;
    }
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    (lines.len() <= LINES && lines.iter().all(|line| line.len() <= LINE)).then_some(lines)
}

fn shown(left: &[&[u8]], right: &[&[u8]]) -> Vec<Line> {
    let mut out = Vec::new();
    for group in group_diff_ops(capture_diff_slices(Algorithm::Myers, left, right), AROUND) {
        let Some(first) = group.first() else { continue };
        out.push(Line::At([first.old_range().start + 1, first.new_range().start + 1]));
        for change in group.iter().flat_map(|op| op.iter_changes(left, right)) {
            if out.len() >= SHOWN {
                out.push(Line::More);
                return out;
            }
            let line = Raw(change.value().to_vec());
            out.push(match change.tag() {
                ChangeTag::Equal => Line::Both(line),
                ChangeTag::Delete => Line::Left(line),
                ChangeTag::Insert => Line::Right(line),
            });
        }
    }
    out
}
