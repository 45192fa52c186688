//! Go's `filepath.Match`, which COPY and ADD use for wildcards.

use super::wild::{Class, Piece, Wild};
use std::iter::Peekable;
use std::str::Chars;

/// The pattern has an unclosed or empty `[`, or ends in a lone `\`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {0:?}")]
pub struct BadPattern(pub String);

/// Whether the whole of `name` matches. `*` and `?` do not cross a slash.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    Ok(Wild::new(pieces(pattern)?).matches(name))
}

/// Whether there is anything to match at all: COPY takes a name without wildcards as it is.
pub fn has_wildcard(name: &str) -> bool {
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => _ = chars.next(),
            _ => {}
        }
    }
    false
}

fn pieces(pattern: &str) -> Result<Vec<Piece>, BadPattern> {
    let bad = || BadPattern(pattern.to_string());
    let mut pieces = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        pieces.push(match c {
            '*' => Piece::Run { except: Some('/') },
            '?' => Piece::One { except: '/' },
            '[' => Piece::Class(class(&mut chars).ok_or_else(bad)?),
            '\\' => Piece::Literal(chars.next().ok_or_else(bad)?),
            c => Piece::Literal(c),
        });
    }
    Ok(pieces)
}

/// Behind the `[`, to the `]` and past it. At least one range; `-` and `]` must be escaped.
pub(super) fn class(chars: &mut Peekable<Chars>) -> Option<Class> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_char(chars)? } else { low };
        ranges.push((low, high));
    }
    Some(Class { negated, ranges })
}

fn class_char(chars: &mut Peekable<Chars>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::{has_wildcard, matches};

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("package*.json", "package.json", true),
            ("package*.json", "package-lock.json", true),
            ("package*.json", "sub/package.json", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("?", "é", true),
            ("a?b", "a/b", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a]b", "/b", true),
            (r"[\]\-]", "-", true),
            ("[ä-ü]", "ö", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("]", "]", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), Ok(expected), "{pattern} {name}");
        }
    }

    #[test]
    fn a_malformed_pattern_is_an_error_even_where_it_is_not_reached() {
        for pattern in ["[", "[^", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "a[", "\\", "x\\", "b["] {
            assert!(matches(pattern, "zzz").is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_more_than_their_share_of_time() {
        let pattern = "*a".repeat(200) + "b";
        assert_eq!(matches(&pattern, &"a".repeat(4000)), Ok(false));
    }

    #[test]
    fn an_escaped_wildcard_is_none() {
        for (name, expected) in [("a*", true), ("a[b", true), (r"a\*", false), ("plain", false), (r"\\?", true)] {
            assert_eq!(has_wildcard(name), expected, "{name}");
        }
    }
}
