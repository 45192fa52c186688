//! Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and escapes, no brackets.

use super::allowance::Allowance;
use super::{ExpandError, MAX_OUTPUT};
use crate::dockerfile::wild::{Piece, Wild};

pub struct ShellPattern(Vec<Piece>);

impl ShellPattern {
    pub fn parse(pattern: &str) -> Result<Self, ExpandError> {
        let invalid = |problem| ExpandError::InvalidPattern { pattern: pattern.to_string(), problem };
        let mut pieces = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                // BuildKit's are a regular expression's `.*` and `.`, which stop at the end of a line.
                '*' => Piece::Run { except: Some('\n') },
                '?' => Piece::One { except: '\n' },
                '\\' => match chars.next() {
                    Some(escaped @ ('}' | '/' | '*' | '?' | '\\')) => Piece::Literal(escaped),
                    Some(_) => return Err(invalid("only } / * ? and \\ can be escaped")),
                    None => return Err(invalid("it ends in an escape")),
                },
                c => Piece::Literal(c),
            });
        }
        Ok(Self(pieces))
    }

    pub fn trim_start(self, value: &str, longest: bool, allowance: &Allowance) -> Result<String, ExpandError> {
        let chars: Vec<char> = value.chars().collect();
        let end = Wild::new(self.0).prefix(&chars, longest, allowance)?.unwrap_or(0);
        Ok(chars[end..].iter().collect())
    }

    pub fn trim_end(mut self, value: &str, longest: bool, allowance: &Allowance) -> Result<String, ExpandError> {
        self.0.reverse();
        let reversed: Vec<char> = value.chars().rev().collect();
        let end = Wild::new(self.0).prefix(&reversed, longest, allowance)?.unwrap_or(0);
        Ok(reversed[end..].iter().rev().collect())
    }

    /// Leftmost longest matches, the first or all; an empty match right behind another one does not count
    /// (Go's `regexp.ReplaceAll`). A pattern tried at every place of a long value is the square of it.
    pub fn replace(self, value: &str, with: &str, all: bool, allowance: &Allowance) -> Result<String, ExpandError> {
        let chars: Vec<char> = value.chars().collect();
        let wild = Wild::new(self.0);
        let mut text = String::new();
        let mut copied = 0;
        let mut start = 0;
        while start <= chars.len() {
            let Some(length) = wild.prefix(&chars[start..], true, allowance)? else {
                start += 1;
                continue;
            };
            let end = start + length;
            text.extend(&chars[copied..start]);
            if end > copied || start == 0 {
                text.push_str(with);
            }
            if text.len() > MAX_OUTPUT {
                return Err(ExpandError::TooLong);
            }
            copied = end;
            if !all {
                break;
            }
            start = end.max(start + 1);
        }
        text.extend(&chars[copied..]);
        Ok(text)
    }
}

impl Wild {
    /// How much of `chars`, from its start, the whole pattern matches.
    fn prefix(&self, chars: &[char], longest: bool, allowance: &Allowance) -> Result<Option<usize>, ExpandError> {
        let mut walk = self.walk();
        let mut found = None;
        for (index, c) in chars.iter().map(Some).chain([None]).enumerate() {
            allowance.take_steps(self.len() + 1)?;
            if walk.accepts() {
                found = Some(index);
                if !longest {
                    break;
                }
            }
            let Some(c) = c else { break };
            walk.step(*c);
            if walk.is_dead() {
                break;
            }
        }
        Ok(found)
    }
}
