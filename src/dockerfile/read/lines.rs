//! Physical lines joined into logical ones: continuations, comments between them, heredoc bodies.

use super::Fault;
use crate::dockerfile::heredoc::Redirection;
use crate::dockerfile::{ParseError, Span};

/// BuildKit reads with a `bufio.Scanner`, whose lines end here.
const MAX_LINE: usize = 65_535;

/// One instruction's text: continuation lines joined, comments dropped.
pub struct Logical {
    pub text: String,
    pub span: Span,
    pub comments: Vec<String>,
    pub empty_continuation: bool,
}

pub struct Lines<'a> {
    text: &'a str,
    escape: char,
    position: usize,
    /// How many lines have been taken.
    taken: usize,
}

/// A physical line with its ending.
struct Physical<'a> {
    text: &'a str,
    start: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str, escape: char) -> Self {
        let position = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, escape, position, taken: 0 }
    }

    /// The next instruction's text, or `None` at the end of the file.
    pub fn logical(&mut self) -> Result<Option<Logical>, ParseError> {
        let mut comments = Vec::new();
        while let Some(first) = self.physical()? {
            let content = first.content().trim_start();
            if let Some(comment) = content.strip_prefix('#') {
                comments.push(comment.trim().to_string());
                continue;
            }
            let (piece, mut continued) = self.without_continuation(content);
            if !continued && piece.is_empty() {
                continue;
            }
            let mut text = piece.to_string();
            let start = first.start + (first.content().len() - content.len());
            let mut span = Span { start, end: first.end(), line: first.number, last_line: first.number };
            let mut empty_continuation = false;
            while continued && let Some(next) = self.physical()? {
                (span.end, span.last_line) = (next.end(), next.number);
                let content = next.content();
                if content.trim_start().starts_with('#') {
                    continue;
                }
                if content.trim_start().is_empty() {
                    empty_continuation = true;
                    continue;
                }
                let piece;
                (piece, continued) = self.without_continuation(content);
                text.push_str(piece);
            }
            return Ok(Some(Logical { text, span, comments, empty_continuation }));
        }
        Ok(None)
    }

    /// Takes the lines up to the terminator; `None` when the file ends before it. Widens `span` over them.
    pub fn heredoc_body(&mut self, heredoc: &Redirection, span: &mut Span) -> Result<Option<String>, ParseError> {
        let mut body = String::new();
        while let Some(line) = self.physical()? {
            let content = line.content();
            let candidate = if heredoc.chomp { content.trim_start_matches('\t') } else { content };
            if candidate == heredoc.name {
                (span.end, span.last_line) = (line.end(), line.number);
                return Ok(Some(body));
            }
            body.push_str(line.text);
        }
        Ok(None)
    }

    fn physical(&mut self) -> Result<Option<Physical<'a>>, ParseError> {
        let rest = &self.text[self.position..];
        if rest.is_empty() {
            return Ok(None);
        }
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let line = Physical { text: &rest[..length], start: self.position, number: self.taken + 1 };
        self.position += length;
        self.taken += 1;
        if length > MAX_LINE {
            let span = Span { start: line.start, end: line.end(), line: line.number, last_line: line.number };
            let message = format!("dockerfile line greater than max allowed size of {MAX_LINE}");
            return Err(Fault::new(message).hint("break it with a continuation").at(span));
        }
        Ok(Some(line))
    }

    /// A line continues when its last visible character is the escape character, unless that one is
    /// escaped itself (`setEscapeToken` in parser.go: the two branches of its regular expression).
    fn without_continuation<'t>(&self, line: &'t str) -> (&'t str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(kept) if !kept.ends_with(self.escape) => (kept, true),
            _ => (line, false),
        }
    }
}

impl<'a> Physical<'a> {
    fn content(&self) -> &'a str {
        self.text.trim_end_matches(['\r', '\n'])
    }

    fn end(&self) -> usize {
        self.start + self.content().len()
    }
}
