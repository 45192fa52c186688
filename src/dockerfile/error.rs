//! What is wrong with a Dockerfile, and where.

use super::Span;
use std::fmt;

/// One fault of the text. The message keeps BuildKit's words where BuildKit has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{span}: {message}")]
pub struct ParseError {
    pub span: Span,
    pub message: String,
    /// The part of the text that is at fault, as it is written there, when it is not all of it.
    pub word: Option<String>,
    /// What to do about it, when something can be said.
    pub hint: Option<String>,
}

/// All faults of one file, in the order of the text; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseErrors(Vec<ParseError>);

impl ParseErrors {
    /// `Err` when there are faults, so that the type never holds none.
    pub(crate) fn check(faults: Vec<ParseError>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, ParseError> {
        self.0.iter()
    }

    pub fn first(&self) -> &ParseError {
        // Made by `check` and from a single fault only, so there is one.
        &self.0[0]
    }
}

impl From<ParseError> for ParseErrors {
    fn from(fault: ParseError) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}
