//! The JSON documents that locus.toml names: policies, and the task definition.

use std::ops::Range;
use std::path::PathBuf;

use super::locus_toml::Text;
use super::settings::Given;
use super::task_definition::Read;
use super::{Failure, Place, files, task_definition};
use crate::deploy::{Document, NotKnown};

/// A file that locus.toml names, read.
pub(super) struct Named {
    /// As its user would call it.
    shown: String,
    source: String,
}

impl Named {
    pub(super) fn read(text: &Text, what: &str, given: Given<'_>) -> Result<Self, Failure> {
        let Some(file) = given.file else { return Err(Failure::bug(super::Phase::Configuration, "no file names it")) };
        let path: PathBuf = file.folder.join(file.expand(text, given.env)?);
        let source = files::read_text(&path, what).map_err(|failure| match failure.place {
            None => Failure { place: file.fault(text.line, "").place, ..failure },
            Some(_) => failure,
        })?;
        let shown = path.strip_prefix(given.cwd).unwrap_or(&path).display().to_string();
        Ok(Self { shown, source })
    }

    /// What the JSON reader found wrong, where it found it.
    fn fault(&self, error: &serde_json::Error) -> Failure {
        // It says the place at the end of its words, too.
        let words = error.to_string();
        let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
        let what = if error.is_data() { words.to_owned() } else { format!("this is not JSON: {words}") };
        let place = Place::of_bytes(&self.shown, &self.source, meant(&self.source, error));
        Failure::configuration(what).at(place)
    }

    /// A JSON object, all of whose variables are set or are `later`.
    pub(super) fn document(&self, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        let (value, faults) = match serde_json::from_str(&self.source) {
            Ok(value) => (Some(value), Vec::new()),
            Err(error) => (None, vec![error]),
        };
        self.with_variables(Read { value, faults }, later, given)
    }

    /// A policy of IAM's.
    pub(super) fn policy(&self, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        self.with_variables(task_definition::policy(&self.source), later, given)
    }

    /// What `aws ecs register-task-definition --cli-input-json` takes.
    pub(super) fn task_definition(&self, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        self.with_variables(task_definition::parse(&self.source), later, given)
    }

    /// The document, or all that is wrong with it.
    fn with_variables(&self, read: Read, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        let Read { value, faults } = read;
        let mut faults: Vec<Failure> = faults.iter().map(|error| self.fault(error)).collect();
        let document = match value {
            Some(value) if !value.is_object() && faults.is_empty() => {
                let what = format!("{} is not a JSON object", self.shown);
                faults.push(Failure::configuration(what).at(Place::of_line(&self.shown, &self.source, 1)));
                None
            }
            Some(value) => match Document::new(value, later, |name| given.env.get(name).map(str::to_owned)) {
                Ok(document) => Some(document),
                Err(unknown) => {
                    faults.extend(unknown.iter().map(|error| self.not_known(error)));
                    None
                }
            },
            None => None,
        };
        faults.sort_by_key(|fault| fault.place.as_ref().map(|place| place.line));
        Failure::all(faults)?;
        document.ok_or_else(|| Failure::bug(super::Phase::Configuration, "a document without faults was not read"))
    }

    fn not_known(&self, error: &NotKnown) -> Failure {
        let line = self.source.lines().position(|line| line.contains(&error.text)).map_or(1, |line| line + 1);
        let place = Place::of_word_on(&self.shown, &self.source, line, &error.text);
        let failure = Failure::configuration(error.to_string()).at(place);
        failure.hint("export the variable, or write the value into the file")
    }
}

/// The bytes that an error is about. The reader stands behind a key or a value that it does not take, and on what it did
/// not expect.
fn meant(source: &str, error: &serde_json::Error) -> Range<usize> {
    let line_start: usize = source.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let end = (line_start + error.column()).min(source.len());
    let before = source.get(..end).unwrap_or_default();
    let one = before.chars().next_back().map_or(0, char::len_utf8);
    if !error.is_data() {
        return end - one..end;
    }
    let start = match before.strip_suffix('"') {
        Some(text) => opening_quote(text),
        None => before.rfind(|c: char| !c.is_alphanumeric() && !"+-._".contains(c)).map(|at| at + 1),
    };
    // What began on an earlier line is known by its end alone.
    let start = start.filter(|&start| start >= line_start && start < end).unwrap_or(end - one);
    start..end
}

/// Where the text in quotes begins whose closing quote was taken off.
fn opening_quote(text: &str) -> Option<usize> {
    text.match_indices('"').map(|(at, _)| at).rfind(|&at| {
        let escapes = text[..at].bytes().rev().take_while(|&byte| byte == b'\\').count();
        escapes % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Paint;

    #[track_caller]
    fn check(source: &str, words: &str) {
        let named = Named { shown: "t.json".into(), source: source.into() };
        let read = task_definition::parse(source);
        assert_eq!(named.fault(&read.faults[0]).words(Paint::off()), words);
    }

    #[test]
    fn what_a_task_definition_has_wrong_is_underlined() {
        check(
            "{\n  \"containerDefinition\": []\n}",
            "error: unknown field `containerDefinition`; did you mean `containerDefinitions`?\n  --> t.json:2:3\n   |\n \
             2 |   \"containerDefinition\": []\n   |   ^^^^^^^^^^^^^^^^^^^^^\n",
        );
        check(
            "{\n  \"cpu\": 256\n}",
            "error: invalid type: integer `256`, expected a text\n  --> t.json:2:10\n   |\n 2 |   \"cpu\": 256\n   |          ^^^\n",
        );
        check(
            r#"{"family": "a" "cpu": "b"}"#,
            "error: this is not JSON: expected `,` or `}`\n  --> t.json:1:16\n   |\n 1 | {\"family\": \"a\" \"cpu\": \"b\"}\n   |                ^\n",
        );
        check(
            r#"{"a\"\u001b": 1}"#,
            "error: unknown field `a\\\"\\u{1b}`\n  --> t.json:1:2\n   |\n 1 | {\"a\\\"\\u001b\": 1}\n   |  ^^^^^^^^^^^\n",
        );
    }

    #[test]
    fn what_a_policy_has_wrong_is_underlined() {
        let source = "{ \"Version\": \"2012-10-17\",\n  \"Statement\": [{ \"Efect\": \"Allow\" }] }";
        let named = Named { shown: "p.json".into(), source: source.into() };
        let read = task_definition::policy(source);
        assert_eq!(
            named.fault(&read.faults[0]).words(Paint::off()),
            "error: unknown field `Efect`; did you mean `Effect`?\n  --> p.json:2:19\n   |\n 2 |   \"Statement\": [{ \"Efect\": \"Allow\" }] }\n   |                   ^^^^^^^\n"
        );
    }
}
