//! A step's cache key in the making. What goes into it belongs to a part that has a name, so that two keys can be told
//! apart by what differs, and nothing is in a key that has no name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::{Digest, Hasher};

/// What a step is a function of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The instruction itself, its words expanded.
    Instruction,
    /// Which variables a RUN sees, and in which order.
    Variables,
    Variable(String),
    User,
    WorkingDirectory,
    /// By its target.
    Mount(String),
    /// What a mount shows.
    Mounted(String),
    /// What a COPY brings.
    Files,
    /// Where files keep their times.
    FileTimes,
    /// A flag of the build.
    Flag(String),
    /// What a COPY, or the mounts of a RUN, look for and where, while the files are not known yet.
    Sought,
    /// What the lock file holds of a RUN's downloads.
    Downloads,
    /// The layers that it stands on.
    Below,
    Platform,
    /// How layers are compressed.
    Compression,
    /// The times that layers carry.
    Epoch,
    /// Another locus-push makes other keys.
    Program,
}

/// The key is the digest of its parts' digests: two keys differ where a part does, and nowhere else.
#[derive(Clone, Default)]
pub struct Key(BTreeMap<Part, Hasher>);

impl Key {
    /// One part, to which fields are added.
    pub fn part(&mut self, part: Part) -> &mut Hasher {
        self.0.entry(part).or_default()
    }

    /// What each part has come to.
    pub fn parts(&self) -> BTreeMap<Part, Digest> {
        self.0.iter().map(|(part, fields)| (part.clone(), fields.clone().finish())).collect()
    }

    pub fn finish(&self) -> Digest {
        let mut whole = Hasher::default();
        for (part, digest) in self.parts() {
            whole.field(format!("{part:?}").as_bytes());
            whole.field(digest.as_bytes());
        }
        whole.finish()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction => f.write_str("the instruction"),
            Self::Variables => f.write_str("the order of its variables"),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::User => f.write_str("USER"),
            Self::WorkingDirectory => f.write_str("WORKDIR"),
            Self::Mount(target) => write!(f, "the mount of {target}"),
            Self::Mounted(target) => write!(f, "what is mounted at {target}"),
            Self::Files => f.write_str("the files that it takes"),
            Self::FileTimes => f.write_str("the times of the files that it takes"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Sought => f.write_str("where its files are looked for"),
            Self::Downloads => f.write_str("what is locked of its downloads"),
            Self::Below => f.write_str("what it stands on"),
            Self::Platform => f.write_str("--platform"),
            Self::Compression => f.write_str("the compression of layers"),
            Self::Epoch => f.write_str("SOURCE_DATE_EPOCH or --preserve-times"),
            Self::Program => f.write_str("the version of locus-push"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_changes_with_any_part_and_no_other_part_does() {
        let of = |user: &[u8], file: &[u8]| {
            let mut key = Key::default();
            key.part(Part::User).field(user);
            key.part(Part::Files).field(file);
            key
        };
        let (one, other) = (of(b"a", b"f"), of(b"b", b"f"));
        assert_ne!(one.parts()[&Part::User], other.parts()[&Part::User]);
        assert_eq!(one.parts()[&Part::Files], other.parts()[&Part::Files]);
        assert_ne!(one.finish(), other.finish());
        assert_eq!(one.finish(), of(b"a", b"f").finish());
    }
}
