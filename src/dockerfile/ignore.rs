//! `.dockerignore`, as moby/patternmatcher reads it.

/// A line of the file is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct IgnoreError {
    pub line: usize,
    pub problem: String,
}
