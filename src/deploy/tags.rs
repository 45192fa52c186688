//! The tags by which we know again what we made.

use super::loader::Loader;

const MANAGED: (&str, &str) = ("managed-by", "locus-push");

/// The tags of something that serves one loader.
pub(super) fn of(loader: &Loader) -> [(&str, &str); 2] {
    [MANAGED, ("locus-push:loader", &loader.name)]
}

/// The tags of something that other loaders may use too.
pub(super) const SHARED: [(&str, &str); 2] = [MANAGED, ("locus-push:shared", "true")];

pub(super) fn are_ours(tags: &[(String, String)]) -> bool {
    tags.iter().any(|(key, value)| (key.as_str(), value.as_str()) == MANAGED)
}
