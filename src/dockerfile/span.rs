//! Where in the text something stands.

use std::fmt;

/// A stretch of the Dockerfile: bytes `start..end` of the text, lines counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub line: usize,
    pub last_line: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == self.last_line {
            write!(f, "line {}", self.line)
        } else {
            write!(f, "lines {}-{}", self.line, self.last_line)
        }
    }
}
