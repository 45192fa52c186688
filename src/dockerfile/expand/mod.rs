//! Word expansion: quotes, escapes and `$variables`, as BuildKit's `shell.Lex` does it.
//!
//! A word yields two readings at once: one text, in which blanks stay, and several words, split at blanks
//! that nothing quotes. The splitting happens after variables are filled in.

mod allowance;
mod shell_pattern;
mod words;

use allowance::Allowance;
use shell_pattern::ShellPattern;
use std::collections::{BTreeMap, BTreeSet};
use words::Words;

/// Deeper nesting of `${a:-${b:-…}}` is an error: each level is a call on our stack.
const MAX_DEPTH: usize = 64;
/// Every character that any level writes counts, so that nesting cannot multiply a small file into a big one.
const MAX_OUTPUT: usize = 16 << 20;

/// Where the values of variables come from.
pub trait Lookup {
    fn value(&self, name: &str) -> Option<&str>;

    /// How many variables are looked at to find one.
    fn steps(&self) -> usize {
        1
    }
}

impl Lookup for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("unexpected end of statement while looking for matching {0}")]
    Unclosed(&'static str),
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    #[error("invalid pattern ({pattern}) in substitution: {problem}")]
    InvalidPattern { pattern: String, problem: &'static str },
    /// `${name?message}`
    #[error("{name}: {message}")]
    Required { name: String, message: String },
    #[error("variables are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("the expansion is longer than {MAX_OUTPUT} bytes")]
    TooLong,
    #[error("the variables of the file expand to more than {} bytes", allowance::BYTES)]
    TooMuch,
    #[error("the variables of the file take too long to expand")]
    TooSlow,
}

/// What became of a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// As one text.
    pub text: String,
    /// As words.
    pub words: Vec<String>,
    /// The names that had a value.
    pub used: BTreeSet<String>,
    /// The names that had none.
    pub unset: BTreeSet<String>,
}

/// How much of shell syntax is processed; all of it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mode {
    /// Quotes still quote, but stay in the text.
    pub raw_quotes: bool,
    /// Escapes still escape, but stay in the text.
    pub raw_escapes: bool,
    /// Quotes are ordinary characters.
    pub skip_quotes: bool,
    /// A variable without a value stays as it is written.
    pub keep_unset: bool,
}

/// Expands words of one Dockerfile, all of which share its allowance.
#[derive(Clone, Debug)]
pub struct Lexer {
    escape: char,
    mode: Mode,
    allowance: Allowance,
}

impl Lexer {
    /// `escape` is the file's escape character.
    pub fn new(escape: char) -> Self {
        Self { escape, mode: Mode::default(), allowance: Allowance::default() }
    }

    pub(super) fn with(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// As one text: BuildKit's `ProcessWord`.
    pub fn expand_word(&self, word: &str, env: &impl Lookup) -> Result<String, ExpandError> {
        self.expand(word, env).map(|expansion| expansion.text)
    }

    /// As words: BuildKit's `ProcessWords`.
    pub fn expand_words(&self, word: &str, env: &impl Lookup) -> Result<Vec<String>, ExpandError> {
        self.expand(word, env).map(|expansion| expansion.words)
    }

    /// The body of a heredoc of COPY or ADD: quotes are text there, and the escape character is always `\`.
    pub fn expand_body(&self, body: &str, env: &impl Lookup) -> Result<Expansion, ExpandError> {
        self.run(body, '\\', Mode { skip_quotes: true, ..Mode::default() }, env)
    }

    /// Both readings, and which variables took part.
    pub fn expand(&self, word: &str, env: &impl Lookup) -> Result<Expansion, ExpandError> {
        self.run(word, self.escape, self.mode, env)
    }

    /// Takes what is kept of an expansion beside itself out of the file's allowance: an environment for each RUN.
    pub fn keep(&self, bytes: usize) -> Result<(), ExpandError> {
        self.allowance.take_bytes(bytes)
    }

    /// The same for the work of looking through so many variables.
    pub fn search(&self, steps: usize) -> Result<(), ExpandError> {
        self.allowance.take_steps(steps)
    }

    fn run(&self, word: &str, escape: char, mode: Mode, env: &impl Lookup) -> Result<Expansion, ExpandError> {
        let mut run = Run {
            rest: word,
            escape,
            mode,
            env,
            allowance: &self.allowance,
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
            written: 0,
            depth: 0,
        };
        let Pieces { text, words } = run.until(None, mode.raw_escapes)?;
        self.allowance.take_bytes(run.written)?;
        Ok(Expansion { text, words: words.finish(), used: run.used, unset: run.unset })
    }
}

/// One pass over one word.
struct Run<'a, L> {
    rest: &'a str,
    escape: char,
    mode: Mode,
    env: &'a L,
    allowance: &'a Allowance,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
    written: usize,
    depth: usize,
}

#[derive(Default)]
struct Pieces {
    text: String,
    words: Words,
}

impl<'a, L: Lookup> Run<'a, L> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Reads to the end of the word, or to `stop` and past it.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<Pieces, ExpandError> {
        if self.depth == MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let pieces = self.pieces_until(stop);
        self.mode.raw_escapes = outer;
        self.depth -= 1;
        pieces
    }

    fn pieces_until(&mut self, stop: Option<char>) -> Result<Pieces, ExpandError> {
        let mut pieces = Pieces::default();
        while let Some(c) = self.next() {
            match c {
                _ if stop == Some(c) => return Ok(pieces),
                '$' => {
                    let value = self.dollar()?;
                    pieces.words.push_value(&value);
                    pieces.text.push_str(&value);
                }
                '\'' | '"' if !self.mode.skip_quotes => {
                    let quoted = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    pieces.words.push_quoted(&quoted);
                    pieces.text.push_str(&quoted);
                }
                _ if c == self.escape => {
                    if self.mode.raw_escapes {
                        pieces.words.push_literal(c);
                        pieces.text.push(c);
                    }
                    // At the very end it escapes nothing.
                    let Some(escaped) = self.next() else { break };
                    pieces.words.push_literal(escaped);
                    self.push(&mut pieces.text, escaped)?;
                }
                _ => {
                    pieces.words.push(c);
                    self.push(&mut pieces.text, c)?;
                }
            }
        }
        match stop {
            None => Ok(pieces),
            Some('/') => Err(ExpandError::MissingSlash),
            Some(_) => Err(ExpandError::MissingBrace),
        }
    }

    /// Behind the opening quote, to the closing one. Nothing is special in between.
    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let end = self.rest.find('\'').ok_or(ExpandError::Unclosed("single-quote"))?;
        let inner = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        self.charge(inner.len())?;
        Ok(if self.mode.raw_quotes { format!("'{inner}'") } else { inner.to_string() })
    }

    /// Behind the opening quote, to the closing one. `$` works; the escape character escapes `"`, `$` and
    /// itself only.
    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let quote = if self.mode.raw_quotes { "\"" } else { "" };
        let mut text = quote.to_string();
        while let Some(c) = self.next() {
            match c {
                '"' => {
                    text.push_str(quote);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ if c == self.escape => {
                    if self.mode.raw_escapes {
                        text.push(c);
                    }
                    match self.peek() {
                        None => break,
                        Some(escaped) if escaped == '"' || escaped == '$' || escaped == self.escape => {
                            self.next();
                            self.push(&mut text, escaped)?;
                        }
                        Some(_) => self.push(&mut text, c)?,
                    }
                }
                _ => self.push(&mut text, c)?,
            }
        }
        Err(ExpandError::Unclosed("double-quote"))
    }

    /// Behind a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let value = if self.peek() == Some('{') {
            self.next();
            self.braced()?
        } else {
            match self.name() {
                name if name.is_empty() => "$".to_string(),
                name => match self.lookup(&name)? {
                    None if self.mode.keep_unset => format!("${name}"),
                    value => value.unwrap_or_default(),
                },
            }
        };
        self.charge(value.len())?;
        Ok(value)
    }

    /// Behind `${`, to its `}` and past it.
    fn braced(&mut self) -> Result<String, ExpandError> {
        match self.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(ExpandError::MissingBrace),
            Some('}') => Ok(match self.lookup(&name)? {
                None if self.mode.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => self.defaulted(&name, operator, true),
                other => Err(ExpandError::UnsupportedModifier(other.map_or(":".to_string(), |c| format!(":{c}")))),
            },
            Some(operator @ ('-' | '+' | '?')) => self.defaulted(&name, operator, false),
            Some(end @ ('#' | '%')) => self.trimmed(&name, end),
            Some('/') => self.replaced(&name),
            Some(other) => Err(ExpandError::UnsupportedModifier(other.to_string())),
        }
    }

    /// `-`, `+` and `?`; with the colon, an empty value counts as none.
    fn defaulted(&mut self, name: &str, operator: char, colon: bool) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), false)?.text;
        let value = self.lookup(name)?;
        if value.is_none() && self.mode.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let is_set = value.is_some();
        let present = value.filter(|value| !(colon && value.is_empty()));
        match (operator, present) {
            ('-', present) => Ok(present.unwrap_or(word)),
            ('+', present) => Ok(if present.is_some() { word } else { String::new() }),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let default = if is_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { default.to_string() } else { word };
                Err(ExpandError::Required { name: name.to_string(), message })
            }
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, name: &str, end: char) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true)?.text;
        let value = self.lookup(name)?;
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{end}{word}}}"));
        }
        let (pattern, longest) = match word.strip_prefix(end) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let pattern = ShellPattern::parse(pattern)?;
        let value = value.unwrap_or_default();
        let trim = if end == '#' { ShellPattern::trim_start } else { ShellPattern::trim_end };
        trim(pattern, &value, longest, self.allowance)
    }

    /// `/pattern/replacement` and `//pattern/replacement`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.until(Some('/'), true)?.text;
        let replacement = self.until(Some('}'), true)?.text;
        let value = self.lookup(name)?;
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        ShellPattern::parse(&pattern)?.replace(&value.unwrap_or_default(), &replacement, all, self.allowance)
    }

    /// A variable's name, a number, or one special character; empty when there is none of them.
    fn name(&mut self) -> String {
        let end = match self.peek() {
            Some(c) if c.is_numeric() => self.rest.find(|c: char| !c.is_numeric()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => self.rest.find(|c: char| !c.is_alphanumeric() && c != '_'),
        };
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_string()
    }

    fn lookup(&mut self, name: &str) -> Result<Option<String>, ExpandError> {
        self.allowance.take_steps(self.env.steps())?;
        let value = self.env.value(name).map(str::to_string);
        let seen = if value.is_some() { &mut self.used } else { &mut self.unset };
        seen.insert(name.to_string());
        self.charge(value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }

    fn push(&mut self, text: &mut String, c: char) -> Result<(), ExpandError> {
        text.push(c);
        self.charge(c.len_utf8())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ExpandError> {
        self.written = self.written.saturating_add(bytes);
        if self.written > MAX_OUTPUT { Err(ExpandError::TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
