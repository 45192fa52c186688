//! `<<EOF` and its kin.

use super::expand::{ExpandError, Lexer, Mode};
use std::collections::BTreeMap;

/// One heredoc: its redirection and the body as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// The digits before `<<`; 0 when there are none.
    pub file_descriptor: u32,
    /// No part of the name was quoted, so the body's variables are expanded (by COPY and ADD; RUN leaves
    /// it to the shell).
    pub expand: bool,
    /// `<<-`: leading tabs are not part of the content.
    pub chomp: bool,
    /// The lines between, raw, each with its own line ending.
    pub body: String,
}

impl Heredoc {
    /// The body as a file gets it: without leading tabs when the heredoc is `<<-`.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The `<<name` of a heredoc whose body is yet to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirection {
    pub name: String,
    pub file_descriptor: u32,
    pub expand: bool,
    pub chomp: bool,
}

impl Redirection {
    /// Those of one instruction, in order: each word of the line that is a redirection whole. A line that
    /// is no shell text (an open quote) has none.
    pub fn all_in(line: &str) -> Result<Vec<Self>, ExpandError> {
        let whole = Mode { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Mode::default() };
        let nothing = BTreeMap::new();
        let Ok(words) = Lexer::new('\\').with(whole).expand_words(line, &nothing) else {
            return Ok(Vec::new());
        };
        words.iter().filter_map(|word| Self::parse(word).transpose()).collect()
    }

    /// `3<<-"EOF"`, whole: digits, `<<`, perhaps `-`, then one word without `<`.
    pub fn parse(word: &str) -> Result<Option<Self>, ExpandError> {
        let Some((digits, rest)) = word.split_once("<<") else {
            return Ok(None);
        };
        let (chomp, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) || rest.is_empty() || rest.contains('<') {
            return Ok(None);
        }
        let keep_unset = Mode { keep_unset: true, ..Mode::default() };
        let nothing = BTreeMap::new();
        let unquoted = Lexer::new('\\').with(keep_unset).expand_words(rest, &nothing)?;
        let [name] = unquoted.as_slice() else {
            return Ok(None);
        };
        let raw = Lexer::new('\\').with(Mode { raw_quotes: true, ..keep_unset }).expand_words(rest, &nothing)?;
        Ok(Some(Self {
            name: name.clone(),
            // Digits too many for a number are no descriptor anybody can use; BuildKit drops the error too.
            file_descriptor: digits.parse().unwrap_or(0),
            expand: raw.first().is_some_and(|raw| quotes(raw) == quotes(name)),
            chomp,
        }))
    }

    pub fn with_body(self, body: String) -> Heredoc {
        let Self { name, file_descriptor, expand, chomp } = self;
        Heredoc { name, file_descriptor, expand, chomp, body }
    }
}

fn quotes(text: &str) -> usize {
    text.chars().filter(|c| matches!(c, '\'' | '"')).count()
}
