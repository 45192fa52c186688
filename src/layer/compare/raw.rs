//! Bytes from a tar, in a record as text.

use serde::{Serialize, Serializer};

use super::super::escape;

/// Bytes of any kind; as a record, text with `%` and what is not UTF-8 as `%XX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        escape::bytes::serialize(&self.0, serializer)
    }
}
