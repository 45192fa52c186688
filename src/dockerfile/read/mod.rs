//! From text to instructions: the story of one file.

mod copy;
mod duration;
mod flags;
mod healthcheck;
mod json;
mod kind;
mod lines;
mod onbuild;
mod run;
mod split;

pub(super) use kind::{KEYWORDS, flags};
pub(super) use run::{NETWORKS, SECURITIES};

use super::heredoc::Redirection;
use super::{Directives, Dockerfile, Heredoc, Instruction, Kind, ParseError, ParseErrors, Span};
use lines::{Lines, Logical};

/// Longer files are refused: nobody writes them, and everything after this is bounded by it.
pub const MAX_TEXT: usize = 4 << 20;

/// After so many faults the rest is not read: it is no Dockerfile.
const MAX_FAULTS: usize = 50;

/// A fault whose place is that of the instruction being read.
#[derive(Debug)]
pub(super) struct Fault {
    pub message: String,
    word: Option<String>,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), word: None, hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the part of the instruction that is at fault.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.word = Some(word.into());
        self
    }

    fn at(self, span: Span) -> ParseError {
        ParseError { span, message: self.message, word: self.word, hint: self.hint }
    }
}

/// Reads a whole Dockerfile. All faults that can be told apart are reported at once.
pub fn parse(text: &str) -> Result<Dockerfile, ParseErrors> {
    let whole = Span { start: 0, end: text.len(), line: 1, last_line: text.lines().count().max(1) };
    if text.len() > MAX_TEXT {
        return Err(Fault::new(format!("the Dockerfile has {} bytes, more than {MAX_TEXT}", text.len()))
            .at(whole)
            .into());
    }
    let (directives, mut faults) = Directives::read(text);
    let instructions = read_instructions(text, directives.escape, &mut faults);
    if faults.is_empty() {
        faults.extend(misplaced(&instructions, whole));
    }
    ParseErrors::check(faults)?;
    Ok(Dockerfile { directives, instructions })
}

/// Reads one trigger that a base image's config carries, with the child's escape character left at `\`.
pub fn parse_trigger(text: &str) -> Result<Instruction, ParseErrors> {
    let whole = Span { start: 0, end: text.len(), line: 1, last_line: text.lines().count().max(1) };
    if text.len() > MAX_TEXT {
        return Err(Fault::new("the ONBUILD trigger is too long").at(whole).into());
    }
    let mut faults = Vec::new();
    let mut instructions = read_instructions(text, '\\', &mut faults);
    ParseErrors::check(faults)?;
    let trigger = instructions.pop();
    match trigger {
        Some(trigger) if instructions.is_empty() => match onbuild::forbidden(&trigger.keyword) {
            Some(fault) => Err(fault.at(trigger.span).into()),
            None => Ok(trigger),
        },
        _ => Err(Fault::new("onbuild trigger should be a single expression").at(whole).into()),
    }
}

fn read_instructions(text: &str, escape: char, faults: &mut Vec<ParseError>) -> Vec<Instruction> {
    let mut instructions = Vec::new();
    let mut lines = Lines::new(text, escape);
    loop {
        match lines.logical() {
            Ok(None) => return instructions,
            Ok(Some(line)) => match read_instruction(line, &mut lines, escape) {
                Ok(instruction) => instructions.push(instruction),
                Err(fault) if faults.len() + 1 == MAX_FAULTS => {
                    let end = "these are too many faults: what follows is not read".to_owned();
                    faults.push(ParseError { hint: Some(end), ..fault });
                    return instructions;
                }
                Err(fault) => faults.push(fault),
            },
            Err(fault) => {
                faults.push(fault);
                return instructions;
            }
        }
    }
}

fn read_instruction(line: Logical, lines: &mut Lines, escape: char) -> Result<Instruction, ParseError> {
    let mut span = line.span;
    let split = split::split_command(&line.text);
    // The bodies are taken out before anything can fail, or their lines would be read as instructions.
    let heredocs = read_heredocs(&line.text, &split, lines, &mut span)?;
    let kind = kind::read(&split, &line.text, heredocs, escape).map_err(|fault| fault.at(span))?;
    Ok(Instruction {
        span,
        source: line.text.trim().to_string(),
        keyword: split.keyword,
        comments: line.comments,
        empty_continuation: line.empty_continuation,
        kind,
    })
}

fn read_heredocs(
    text: &str,
    split: &split::Split,
    lines: &mut Lines,
    span: &mut Span,
) -> Result<Vec<Heredoc>, ParseError> {
    if !takes_heredocs(split) {
        return Ok(Vec::new());
    }
    let redirections = Redirection::all_in(text).map_err(|error| Fault::new(error.to_string()).at(*span))?;
    let mut heredocs = Vec::new();
    for redirection in redirections {
        let Some(body) = lines.heredoc_body(&redirection, span)? else {
            let name = &redirection.name;
            let hint = format!("no line below is exactly {name:?}, which would end it");
            return Err(Fault::new("unterminated heredoc").word(name).hint(hint).at(*span));
        };
        heredocs.push(redirection.with_body(body));
    }
    Ok(heredocs)
}

fn takes_heredocs(split: &split::Split) -> bool {
    // One that is misspelt too: the lines of its heredoc are no instructions.
    match kind::meant(&split.keyword) {
        "RUN" | "COPY" | "ADD" => !matches!(json::read(&split.rest), json::Form::Exec(_)),
        "ONBUILD" => {
            let inner = split::split_command(&split.rest);
            !inner.keyword.eq_ignore_ascii_case("ONBUILD") && takes_heredocs(&inner)
        }
        _ => false,
    }
}

/// What is wrong with the order of instructions that are right one by one.
fn misplaced(instructions: &[Instruction], whole: Span) -> Option<ParseError> {
    if instructions.is_empty() {
        return Some(Fault::new("the Dockerfile cannot be empty").at(whole));
    }
    let first = instructions.iter().find(|instruction| !matches!(instruction.kind, Kind::Arg(_)));
    match first {
        None => Some(Fault::new("dockerfile contains no stages to build").hint("begin with FROM").at(whole)),
        Some(Instruction { kind: Kind::From(_), .. }) => None,
        Some(Instruction { span, keyword, .. }) => Some(
            Fault::new("no build stage in current context")
                .hint(format!("{} stands before the first FROM; only ARG may", keyword.to_uppercase()))
                .at(*span),
        ),
    }
}

#[cfg(test)]
mod tests;
