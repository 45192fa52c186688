//! One split line to one typed instruction: the table of keywords, and the small ones.

use super::flags::{Flags, Takes};
use super::json::{self, Form};
use super::split::{Split, blank_separated, quoted_words, split_once_blank};
use super::{Fault, copy, healthcheck, onbuild, run};
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::{Argument, Assignment, Command, FromImage, Heredoc, Kind, Word};

pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const FROM_FLAGS: [(&str, Takes); 1] = [("platform", Takes::One)];

/// The flags that an instruction takes.
pub fn flags(keyword: &str) -> &'static [(&'static str, Takes)] {
    match keyword {
        "ADD" => &copy::ADD_FLAGS,
        "COPY" => &copy::COPY_FLAGS,
        "FROM" => &FROM_FLAGS,
        "HEALTHCHECK" => &healthcheck::FLAGS,
        "RUN" => &run::FLAGS,
        _ => &[],
    }
}

pub fn read(split: &Split, line: &str, heredocs: Vec<Heredoc>, escape: char) -> Result<Kind, Fault> {
    let keyword = split.keyword.to_ascii_uppercase();
    match keyword.as_str() {
        "RUN" => return run::read(split, heredocs).map(Kind::Run),
        "COPY" => return copy::read_copy(split, heredocs).map(Kind::Copy),
        "ADD" => return copy::read_add(split, heredocs).map(Kind::Add),
        "FROM" => return from(split).map(Kind::From),
        "HEALTHCHECK" => return healthcheck::read(split).map(Kind::Healthcheck),
        "ONBUILD" => return onbuild::read(split, line, heredocs, escape).map(Kind::Onbuild),
        known if KEYWORDS.contains(&known) => Flags::refuse_all(&split.flags)?,
        _ => return Err(unknown(&split.keyword)),
    }
    let rest = split.rest.as_str();
    Ok(match keyword.as_str() {
        "ARG" => Kind::Arg(arguments(rest, escape)?),
        "ENV" => Kind::Env(assignments("ENV", rest, escape)?),
        "LABEL" => Kind::Label(assignments("LABEL", rest, escape)?),
        "CMD" => Kind::Cmd(command(rest)?),
        "ENTRYPOINT" => Kind::Entrypoint(command(rest)?),
        "SHELL" => Kind::Shell(shell(rest)?),
        "MAINTAINER" => Kind::Maintainer(exactly_one("MAINTAINER", rest)?),
        "WORKDIR" => Kind::Workdir(Word(exactly_one("WORKDIR", rest)?)),
        "USER" => Kind::User(Word(exactly_one("USER", rest)?)),
        "STOPSIGNAL" => Kind::Stopsignal(Word(exactly_one("STOPSIGNAL", rest)?)),
        "EXPOSE" => Kind::Expose(words("EXPOSE", blank_separated(rest))?),
        "VOLUME" => Kind::Volume(volumes(rest)?),
        _ => return Err(unknown(&split.keyword)),
    })
}

/// A command line of RUN, CMD, ENTRYPOINT or HEALTHCHECK CMD.
pub fn command(rest: &str) -> Result<Command, Fault> {
    match json::read(rest) {
        Form::Exec(words) => Ok(Command::Exec(words)),
        Form::Text => Ok(Command::Shell(rest.to_string())),
        Form::NotStrings => Err(not_strings()),
    }
}

/// Words of COPY, ADD or VOLUME: a JSON array, or separated by blanks.
pub fn list(rest: &str) -> Result<Vec<String>, Fault> {
    match json::read(rest) {
        Form::Exec(words) => Ok(words),
        Form::Text => Ok(blank_separated(rest)),
        Form::NotStrings => Err(not_strings()),
    }
}

pub fn at_least_one(keyword: &str) -> Fault {
    Fault::new(format!("{keyword} requires at least one argument"))
}

fn not_strings() -> Fault {
    Fault::new("when using JSON array syntax, arrays must be comprised of strings only")
}

/// The keyword that this is, or was meant to be; nothing where neither can be told.
pub fn meant(keyword: &str) -> &'static str {
    nearest(keyword, KEYWORDS).unwrap_or_default()
}

fn unknown(keyword: &str) -> Fault {
    let message = match nearest(keyword, KEYWORDS) {
        Some(meant) => format!("unknown instruction: {keyword} (did you mean {meant}?)"),
        None => format!("unknown instruction: {keyword}"),
    };
    Fault::new(message).word(keyword)
}

fn exactly_one(keyword: &str, rest: &str) -> Result<String, Fault> {
    if rest.is_empty() {
        return Err(Fault::new(format!("{keyword} requires exactly one argument")));
    }
    Ok(rest.to_string())
}

fn words(keyword: &str, words: Vec<String>) -> Result<Vec<Word>, Fault> {
    if words.is_empty() {
        return Err(at_least_one(keyword));
    }
    Ok(words.into_iter().map(Word).collect())
}

fn from(split: &Split) -> Result<FromImage, Fault> {
    let args = blank_separated(&split.rest);
    let (image, name) = match args.as_slice() {
        [image] => (image, None),
        [image, r#as, name] if r#as.eq_ignore_ascii_case("as") => (image, Some(stage_name(name)?)),
        _ => {
            return Err(Fault::new("FROM requires either one or three arguments")
                .hint("write FROM image, or FROM image AS name"));
        }
    };
    let flags = Flags::read(&split.flags, &FROM_FLAGS)?;
    Ok(FromImage { image: Word(image.clone()), platform: flags.word("platform"), name })
}

fn stage_name(written: &str) -> Result<String, Fault> {
    let name = written.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if valid {
        return Ok(name);
    }
    Err(Fault::new(format!(
        "invalid name for build stage: {written:?}, name can't start with a number or contain symbols"
    ))
    .word(written))
}

fn arguments(rest: &str, escape: char) -> Result<Vec<Argument>, Fault> {
    let words = quoted_words(rest, escape);
    if words.is_empty() {
        return Err(at_least_one("ARG"));
    }
    let argument = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(blank_name("ARG")),
        Some((name, default)) => Ok(Argument { name: name.to_string(), default: Some(Word(default.to_string())) }),
        None => Ok(Argument { name: word, default: None }),
    };
    words.into_iter().map(argument).collect()
}

fn assignments(keyword: &str, rest: &str, escape: char) -> Result<Vec<Assignment>, Fault> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else {
        return Err(at_least_one(keyword));
    };
    if !first.contains('=') {
        // `ENV name value`: everything behind the name is the value, its inner blanks included.
        let Some((name, value)) = split_once_blank(rest) else {
            return Err(
                Fault::new(format!("{keyword} must have two arguments")).hint(format!("write {keyword} {rest}=value"))
            );
        };
        return Ok(vec![assignment(keyword, name, value, true)?]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) => assignment(keyword, name, value, false),
        None => Err(Fault::new(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
            .word(word)
            .hint("a value with blanks needs quotes")),
    };
    words.iter().map(pair).collect()
}

fn assignment(keyword: &str, name: &str, value: &str, legacy: bool) -> Result<Assignment, Fault> {
    if name.is_empty() {
        return Err(blank_name(keyword));
    }
    Ok(Assignment { name: Word(name.to_string()), value: Word(value.to_string()), legacy })
}

fn blank_name(keyword: &str) -> Fault {
    Fault::new(format!("{keyword} names can not be blank"))
}

fn shell(rest: &str) -> Result<Vec<String>, Fault> {
    match command(rest)? {
        Command::Exec(words) if !words.is_empty() => Ok(words),
        Command::Shell(text) if !text.is_empty() => Err(Fault::new("SHELL requires the arguments to be in JSON form")
            .word(text)
            .hint(r#"for example SHELL ["/bin/bash", "-c"]"#)),
        _ => Err(at_least_one("SHELL")),
    }
}

fn volumes(rest: &str) -> Result<Vec<Word>, Fault> {
    let volumes: Vec<String> = list(rest)?.iter().map(|volume| volume.trim().to_string()).collect();
    if volumes.iter().any(String::is_empty) {
        return Err(Fault::new("VOLUME specified can not be an empty string"));
    }
    words("VOLUME", volumes)
}
