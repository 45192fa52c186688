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

impl Span {
    /// Where in this stretch of `text` a word stands, as it is written. Where it stands several times, the first that
    /// is no part of a longer one is meant.
    pub fn of_word(self, text: &str, word: &str) -> Option<Self> {
        let within = text.get(self.start..self.end).filter(|_| !word.is_empty())?;
        let part_of_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let alone = |at: usize| {
            let (before, after) = (within[..at].chars().next_back(), within[at + word.len()..].chars().next());
            !part_of_a_word(before) && !part_of_a_word(after)
        };
        let found = || within.match_indices(word).map(|(at, _)| at);
        let start = self.start + found().find(|&at| alone(at)).or_else(|| found().next())?;
        let end = start + word.len();
        let line = self.line + text[self.start..start].matches('\n').count();
        Some(Self { start, end, line, last_line: line + text[start..end].matches('\n').count() })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_whole_before_it_is_found_in_another() {
        let text = "FROM x\nRUN xab \\\n  ab $ab";
        let all = Span { start: 7, end: text.len(), line: 2, last_line: 3 };
        let word = |word: &str| all.of_word(text, word).map(|span| (&text[span.start..], span.line));
        assert_eq!(word("ab"), Some(("ab $ab", 3)));
        assert_eq!(word("xa"), Some(("xab \\\n  ab $ab", 2)));
        assert_eq!(word("$ab"), Some(("$ab", 3)));
        assert_eq!(word("FROM"), None);
        assert_eq!(word(""), None);
    }
}
