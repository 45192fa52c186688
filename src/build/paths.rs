//! The files of a COPY, each by a digest of its own: enough to name those that differ from the last time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image::Digest;
use crate::layer::LayerPath;

/// Of how many files it is known which of them have changed.
const LIMIT: usize = 100_000;

/// Paths, in the words of whoever wrote the Dockerfile, and enough of their digests to tell one from another.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paths(Vec<(String, u64)>);

impl Paths {
    /// Adds a file below a source.
    pub fn add(&mut self, source: &str, path: &LayerPath, digest: &Digest) {
        let path = String::from_utf8_lossy(path.as_bytes());
        let parts = [source, &path];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty() && *part != "/").collect();
        let [first, ..] = digest.as_bytes().as_chunks::<8>().0 else { return };
        self.0.push((parts.join("/"), u64::from_le_bytes(*first)));
    }

    /// Whether all of it is kept.
    pub fn is_small(&self) -> bool {
        self.0.len() <= LIMIT
    }

    /// What differs, in words: those that changed, that are new, and that are gone.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let map = |paths: &Self| -> BTreeMap<String, Vec<u64>> {
            let mut map = BTreeMap::<_, Vec<u64>>::new();
            paths.0.iter().for_each(|(path, digest)| map.entry(path.clone()).or_default().push(*digest));
            map
        };
        let (now, before) = (map(self), map(before));
        let name = |path: &str| if path.is_empty() { ".".to_owned() } else { path.to_owned() };
        let mut changed: Vec<String> = Vec::new();
        for (path, digest) in &now {
            match before.get(path) {
                Some(known) if known == digest => {}
                Some(_) => changed.push(format!("{} changed", name(path))),
                None => changed.push(format!("{} is new", name(path))),
            }
        }
        let gone = before.keys().filter(|path| !now.contains_key(*path));
        changed.extend(gone.map(|path| format!("{} is gone", name(path))));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_changed_came_and_went_are_named() {
        let of = |files: &[(&str, &str, &str)]| {
            let mut paths = Paths::default();
            for (source, path, text) in files {
                paths.add(source, &LayerPath::parse(path.as_bytes()).unwrap(), &Digest::of(text.as_bytes()));
            }
            paths
        };
        let before = of(&[("", "a", "1"), ("src", "b", "1"), ("src", "c", "1")]);
        let now = of(&[("", "a", "2"), ("src", "b", "1"), ("src", "d", "1")]);
        assert_eq!(now.differences(&before), ["a changed", "src/d is new", "src/c is gone"]);
        assert_eq!(now.differences(&now), [""; 0]);
    }
}
