//! Go's `filepath.Match`, which COPY and ADD use for wildcards.

/// The pattern has an unclosed or empty `[`, or ends in a lone `\`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern {0:?}")]
pub struct BadPattern(pub String);
