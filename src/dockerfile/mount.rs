//! `RUN --mount=`: comma-separated fields, values expanded later.

use super::Word;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// One `--mount`, keys checked, values raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    pub kind: MountKind,
    /// In the order written, keys lower-cased, `type` left out; a bare key has no value.
    pub options: Vec<(String, Option<Word>)>,
}
