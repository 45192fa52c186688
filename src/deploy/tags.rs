//! The tags by which we know again what we made.

use super::loader::Loader;

pub(super) const MANAGED: (&str, &str) = ("managed-by", "locus-push");

/// The tags of something that serves one loader.
pub(super) fn of(loader: &Loader) -> [(&str, &str); 2] {
    [MANAGED, ("locus-push:loader", &loader.name)]
}

/// The tags of the log group, which other loaders may use too where it has a name of its own.
pub(super) fn of_log_group(loader: &Loader) -> [(&str, &str); 2] {
    if loader.log_group == loader.name { of(loader) } else { SHARED }
}

/// The tags of something that other loaders may use too.
pub(super) const SHARED: [(&str, &str); 2] = [MANAGED, ("locus-push:shared", "true")];

/// Of one loader, and of no other.
pub(super) fn are_of(loader: &str, tags: &[(String, String)]) -> bool {
    are_ours(tags) && tags.iter().any(|(key, value)| key == "locus-push:loader" && value == loader)
}

pub(super) fn are_ours(tags: &[(String, String)]) -> bool {
    tags.iter().any(|(key, value)| (key.as_str(), value.as_str()) == MANAGED)
}
