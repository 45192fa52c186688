//! The one folder below which everything on disk lives.

use std::path::PathBuf;

use super::{Environment, Failure};

/// `$LOCUS_PUSH_HOME`, else `$XDG_CACHE_HOME/locus-push`, else `~/.cache/locus-push`.
pub fn folder(env: &Environment) -> Result<PathBuf, Failure> {
    if let Some(home) = env.set("LOCUS_PUSH_HOME") {
        return std::path::absolute(home)
            .map_err(|error| Failure::configuration(format!("LOCUS_PUSH_HOME={home}: {error}")));
    }
    // "All paths set in these environment variables must be absolute. If an implementation encounters a relative
    // path […] it should consider the path invalid and ignore it": XDG Base Directory Specification 0.8.
    if let Some(cache) = env.set("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(cache.join("locus-push"));
    }
    match env.set("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".cache/locus-push")),
        None => Err(Failure::configuration("no folder for layers and caches: neither LOCUS_PUSH_HOME nor HOME is set")
            .hint("LOCUS_PUSH_HOME=/path/to/a/folder says where they may live")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_wins() {
        for (vars, wanted) in [
            (&[("LOCUS_PUSH_HOME", "/l"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")][..], "/l"),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], "/x/locus-push"),
            (&[("LOCUS_PUSH_HOME", ""), ("HOME", "/h")], "/h/.cache/locus-push"),
            (&[("XDG_CACHE_HOME", "relative"), ("HOME", "/h")], "/h/.cache/locus-push"),
        ] {
            assert_eq!(folder(&Environment::of(vars)), Ok(PathBuf::from(wanted)), "{vars:?}");
        }
    }

    #[test]
    fn without_any_home_the_failure_names_the_variable() {
        let failure = folder(&Environment::of(&[])).unwrap_err();
        assert!(failure.message.contains("LOCUS_PUSH_HOME"), "{}", failure.message);
    }
}
