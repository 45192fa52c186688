//! Parser directives: `# syntax=`, `# escape=`, `# check=`, only as the first comment lines.

use super::{ParseError, Span};

/// The directives that are known.
pub(super) const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// What the directives of a file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The frontend image that the file asks for.
    pub syntax: Option<String>,
    /// `\` or a backtick.
    pub escape: char,
    /// The lint options, raw.
    pub check: Option<String>,
}

impl Directives {
    /// Reads them off the top. Whatever is not a known directive ends the search.
    pub(super) fn read(text: &str) -> (Self, Vec<ParseError>) {
        let mut found = Self { syntax: None, escape: '\\', check: None };
        let mut faults = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        let bom = text.len() - text.trim_start_matches('\u{feff}').len();
        let mut start = bom;
        let mut after_shebang = false;
        for (index, raw) in text[bom..].split_inclusive('\n').enumerate() {
            let line = raw.trim();
            let span = Span { start, end: start + raw.trim_end().len(), line: index + 1, last_line: index + 1 };
            start += raw.len();
            if index == 0 && line.starts_with("#!") {
                after_shebang = true;
                continue;
            }
            let Some((key, value)) = directive(line) else {
                break;
            };
            let mut refuse = |message| faults.push(ParseError { span, message, word: None, hint: None });
            if seen.contains(&key) {
                refuse(format!("only one {key} parser directive can be used"));
                continue;
            }
            match (key.as_str(), value) {
                ("syntax", value) => found.syntax = Some(value.to_string()),
                ("check", value) => found.check = Some(value.to_string()),
                // BuildKit looks behind a `#!` line for the other two only.
                ("escape", _) if after_shebang => break,
                ("escape", "\\") => found.escape = '\\',
                ("escape", "`") => found.escape = '`',
                ("escape", other) => refuse(format!("invalid escape token '{other}' does not match ` or \\")),
                _ => break,
            }
            seen.push(key);
        }
        (found, faults)
    }
}

/// `# key = value`, the key lower-cased.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let named = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.bytes().all(|b| b.is_ascii_alphanumeric());
    (named && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    use super::{Directives, KNOWN};

    #[track_caller]
    fn check(text: &str, syntax: Option<&str>, escape: char, lint: Option<&str>) {
        let (found, faults) = Directives::read(text);
        assert_eq!(faults, [], "{text}");
        assert_eq!((found.syntax.as_deref(), found.escape, found.check.as_deref()), (syntax, escape, lint), "{text}");
    }

    #[test]
    fn directives_stand_first() {
        check("# syntax=docker/dockerfile:1\n# escape=`\nFROM x", Some("docker/dockerfile:1"), '`', None);
        check("#CHECK = skip=all;error=true \nFROM x", None, '\\', Some("skip=all;error=true"));
        check("\u{feff}#syntax=a", Some("a"), '\\', None);
        check("#!/usr/bin/env docker\n# syntax=a\n", Some("a"), '\\', None);
        check("#!/x\n# escape=`\n", None, '\\', None);
        check("# a comment\n# escape=`", None, '\\', None);
        check("# other=1\n# escape=`", None, '\\', None);
        check("\n# escape=`", None, '\\', None);
        check("# escape=", None, '\\', None);
    }

    #[test]
    fn each_that_is_known_is_read_and_no_other() {
        for name in KNOWN.into_iter().chain(["other"]) {
            let (_, faults) = Directives::read(&format!("# {name}=`\n# {name}=`\nFROM x"));
            assert_eq!(faults.len(), usize::from(name != "other"), "{name}: only one can be used");
        }
    }

    #[test]
    fn each_stands_once_and_escape_is_one_of_two() {
        for (text, message) in [
            ("# escape=`\n# escape=\\", "line 2: only one escape parser directive can be used"),
            ("# escape=x", "line 1: invalid escape token 'x' does not match ` or \\"),
        ] {
            let (_, faults) = Directives::read(text);
            assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
        }
    }
}
