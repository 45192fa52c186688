//! `KEY=VALUE`, on flags and in tables.

use std::collections::BTreeMap;

use super::super::locus_toml::Text;
use super::{Failure, Given};

/// Build arguments. Without a value the environment's is taken; where it has none, the argument is not given, as
/// with `docker buildx build`.
pub fn build_args(
    flags: &[String],
    table: &BTreeMap<String, Text>,
    given: Given<'_>,
) -> Result<BTreeMap<String, String>, Failure> {
    merged("--build-arg", flags, table, given, |name| Ok(given.env.get(name).map(str::to_owned)))
}

/// Labels. Without a value the label is empty, as with `docker buildx build`.
pub fn labels(
    flags: &[String],
    table: &BTreeMap<String, Text>,
    given: Given<'_>,
) -> Result<BTreeMap<String, String>, Failure> {
    merged("--label", flags, table, given, |_| Ok(Some(String::new())))
}

/// Annotations of the manifest, as buildx writes them: `[manifest:]KEY=VALUE`.
pub fn annotations(flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut annotations = BTreeMap::new();
    for text in flags {
        let bad = |why: &str| Failure::usage(format!("--annotation {text}: {why}"));
        let (key, value) = text.split_once('=').ok_or_else(|| bad("it is not written KEY=VALUE"))?;
        let key = match key.split_once(':') {
            Some(("manifest", key)) => key,
            Some((place, _)) if is_place(place) => {
                return Err(bad(&format!("`{place}` is not supported: one manifest is written, and no index"))
                    .hint("KEY=VALUE and manifest:KEY=VALUE are"));
            }
            _ => key,
        };
        if key.is_empty() {
            return Err(bad("there is no name before the `=`"));
        }
        annotations.insert(key.to_owned(), value.to_owned());
    }
    Ok(annotations)
}

/// Whether this is one of buildx's places for an annotation, or several, or one platform's.
fn is_place(text: &str) -> bool {
    let known = ["manifest", "manifest-descriptor", "index", "index-descriptor"];
    text.split(',').all(|place| known.contains(&place.split_once('[').map_or(place, |(name, _)| name)))
}

/// The task's variables. Without a value the environment's is taken, and must be there.
pub(super) fn environment(
    flags: &[String],
    table: &BTreeMap<String, Text>,
    given: Given<'_>,
) -> Result<BTreeMap<String, String>, Failure> {
    merged("--env", flags, table, given, |name| match given.env.get(name) {
        Some(value) => Ok(Some(value.to_owned())),
        None => Err(Failure::usage(format!("--env {name}: the variable {name} is not set"))
            .hint(format!("write --env {name}=VALUE, or export it"))),
    })
}

fn merged(
    flag: &str,
    flags: &[String],
    table: &BTreeMap<String, Text>,
    given: Given<'_>,
    bare: impl Fn(&str) -> Result<Option<String>, Failure>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    if let Some(file) = given.file {
        for (key, value) in table {
            pairs.insert(key.clone(), file.expand(value, given.env)?);
        }
    }
    for text in flags {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.as_str(), bare(text)?),
        };
        if key.is_empty() {
            return Err(Failure::usage(format!("{flag} {text}: there is no name before the `=`")));
        }
        pairs.extend(value.map(|value| (key.to_owned(), value)));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Environment;
    use super::*;

    type Pairs = fn(&[String], &BTreeMap<String, Text>, Given<'_>) -> Result<BTreeMap<String, String>, Failure>;

    fn check(which: Pairs, flags: &[&str]) -> Result<Vec<String>, String> {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let env = Environment::of(&[("SET", "from-env")]);
        let pairs = which(&flags, &BTreeMap::new(), Given { env: &env, file: None, cwd: Path::new("/") });
        pairs.map(|pairs| pairs.into_iter().map(|(k, v)| format!("{k}={v}")).collect()).map_err(|f| f.message)
    }

    #[test]
    fn the_last_word_wins_and_values_may_hold_equal_signs() {
        assert_eq!(check(build_args, &["A=1", "B=x=y", "A=2"]), Ok(vec!["A=2".into(), "B=x=y".into()]));
    }

    #[test]
    fn a_bare_name_means_what_docker_takes_it_for() {
        assert_eq!(check(build_args, &["SET", "UNSET"]), Ok(vec!["SET=from-env".into()]));
        assert_eq!(check(labels, &["SET"]), Ok(vec!["SET=".into()]));
        assert_eq!(check(environment, &["SET"]), Ok(vec!["SET=from-env".into()]));
        assert_eq!(check(environment, &["UNSET"]), Err("--env UNSET: the variable UNSET is not set".into()));
    }

    #[test]
    fn a_pair_without_a_name_is_refused() {
        assert_eq!(check(labels, &["=x"]), Err("--label =x: there is no name before the `=`".into()));
    }
}
