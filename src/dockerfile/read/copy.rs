//! COPY and ADD.

use std::collections::BTreeMap;

use super::flags::{Flags, Takes};
use super::json::{self, Form};
use super::kind::list;
use super::split::Split;
use super::{Fault, MAX_TEXT};
use crate::dockerfile::heredoc::Redirection;
use crate::dockerfile::{AddFiles, CopyFiles, Heredoc, Source, Word};

pub const COPY_FLAGS: [(&str, Takes); 6] = [
    ("from", Takes::One),
    ("chown", Takes::One),
    ("chmod", Takes::One),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Many),
];

pub const ADD_FLAGS: [(&str, Takes); 7] = [
    ("chown", Takes::One),
    ("chmod", Takes::One),
    ("link", Takes::Bool),
    ("exclude", Takes::Many),
    ("checksum", Takes::One),
    ("keep-git-dir", Takes::Bool),
    ("unpack", Takes::Bool),
];

pub fn read_copy(split: &Split, heredocs: Vec<Heredoc>) -> Result<CopyFiles, Fault> {
    let (sources, destination) = sources_and_destination("COPY", split, &heredocs)?;
    let flags = Flags::read(&split.flags, &COPY_FLAGS)?;
    Ok(CopyFiles {
        sources,
        destination,
        from: flags.one("from").filter(|from| !from.is_empty()),
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.bool("link").unwrap_or(false),
        parents: flags.bool("parents").unwrap_or(false),
        exclude: flags.many("exclude"),
    })
}

pub fn read_add(split: &Split, heredocs: Vec<Heredoc>) -> Result<AddFiles, Fault> {
    let (sources, destination) = sources_and_destination("ADD", split, &heredocs)?;
    let flags = Flags::read(&split.flags, &ADD_FLAGS)?;
    Ok(AddFiles {
        sources,
        destination,
        chown: flags.word("chown"),
        chmod: flags.word("chmod"),
        link: flags.bool("link").unwrap_or(false),
        exclude: flags.many("exclude"),
        checksum: flags.word("checksum"),
        keep_git_dir: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
    })
}

fn sources_and_destination(keyword: &str, split: &Split, heredocs: &[Heredoc]) -> Result<(Vec<Source>, Word), Fault> {
    let mut words = list(&split.rest)?;
    let destination = match words.pop() {
        Some(destination) if !words.is_empty() => destination,
        _ => {
            return Err(Fault::new(format!(
                "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined."
            )));
        }
    };
    // In a JSON array `<<EOF` is a file of that name.
    if matches!(json::read(&split.rest), Form::Exec(_)) {
        return Ok((words.into_iter().map(|word| Source::Path(Word(word))).collect(), Word(destination)));
    }
    if redirection(&destination).is_some() {
        return Err(Fault::new(format!("{keyword} cannot accept a heredoc as a destination")));
    }
    // Of two heredocs with one name the last is the file's content, wherever the name stands.
    let bodies: BTreeMap<&str, &Heredoc> = heredocs.iter().map(|heredoc| (heredoc.name.as_str(), heredoc)).collect();
    let mut inline = 0;
    let source = |word: String| match redirection(&word) {
        Some(Redirection { name, .. }) => match bodies.get(name.as_str()) {
            Some(heredoc) => {
                // Each time that the name stands there is a file of its own.
                inline += heredoc.body.len();
                match inline > MAX_TEXT {
                    true => Err(Fault::new(format!("the heredocs are more than {MAX_TEXT} bytes")).word(word)),
                    false => Ok(Source::Inline(Heredoc::clone(heredoc))),
                }
            }
            None => Err(Fault::new(format!("the heredoc {word} has no body")).word(word)),
        },
        None => Ok(Source::Path(Word(word))),
    };
    Ok((words.into_iter().map(source).collect::<Result<_, _>>()?, Word(destination)))
}

fn redirection(word: &str) -> Option<Redirection> {
    Redirection::parse(word).ok().flatten()
}
