//! What a command writes, line by line.

use std::collections::VecDeque;

/// How many of the last lines come again in an error.
const LAST_LINES: usize = 20;
/// A line longer than this is cut into pieces, so that a command without newlines cannot fill our memory.
const LINE_LIMIT: usize = 16 << 10;

/// Pieces of output become lines; the last ones are remembered.
pub struct Lines<F> {
    each: F,
    part: Vec<u8>,
    last: VecDeque<Vec<u8>>,
}

impl<F: FnMut(&[u8])> Lines<F> {
    pub fn new(each: F) -> Self {
        Self { each, part: Vec::new(), last: VecDeque::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                self.part.push(byte);
            }
            if byte == b'\n' || self.part.len() >= LINE_LIMIT {
                self.line();
            }
        }
    }

    /// The last lines, the unfinished one included.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.part.is_empty() {
            self.line();
        }
        self.last.into()
    }

    fn line(&mut self) {
        let mut line = std::mem::take(&mut self.part);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        (self.each)(&line);
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_the_last_twenty_are_kept() {
        let mut seen = Vec::new();
        let mut lines = Lines::new(|line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned()));
        for number in 0..30 {
            lines.push(b"li");
            lines.push(format!("ne {number}\r\n").as_bytes());
        }
        lines.push(b"unfinished");
        let last = lines.finish();
        assert_eq!((seen.len(), seen[0].as_str()), (31, "line 0"));
        assert_eq!(
            (last.len(), last[19].as_slice(), last[0].as_slice()),
            (20, b"unfinished".as_slice(), b"line 11".as_slice())
        );
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut count = 0;
        let mut lines = Lines::new(|_: &[u8]| count += 1);
        lines.push(&vec![b'x'; 3 * LINE_LIMIT]);
        lines.finish();
        assert_eq!(count, 3);
    }
}
