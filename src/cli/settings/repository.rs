//! What locus.toml says of the repository that all loaders share.

use std::collections::BTreeMap;

use super::super::documents::Named;
use super::super::locus_toml::{LifecycleEntry, LocusToml, Text};
use super::{Failure, Given};
use crate::aws::Mutability;
use crate::deploy::{Lifecycle, REPOSITORY};

/// Whether tags may be moved.
pub(super) fn mutability(given: Given<'_>) -> Result<Option<Mutability>, Failure> {
    let Some(file) = given.file else { return Ok(None) };
    let exclusions = file.image_tag_mutability_exclusions.as_ref();
    let Some(word) = &file.image_tag_mutability else {
        return match exclusions.and_then(|list| list.first()) {
            Some(first) => Err(needs(file, first)),
            None => Ok(None),
        };
    };
    match (file.expand(word, given.env)?.as_str(), exclusions) {
        ("MUTABLE", None) => Ok(Some(Mutability::Mutable)),
        ("IMMUTABLE", None) => Ok(Some(Mutability::Immutable)),
        ("IMMUTABLE_WITH_EXCLUSION", Some(list)) => {
            let patterns = list.iter().map(|text| file.expand(text, given.env)).collect::<Result<_, _>>()?;
            Ok(Some(Mutability::ImmutableExcept(patterns)))
        }
        ("IMMUTABLE_WITH_EXCLUSION", None) => Err(file
            .fault(word.line, "IMMUTABLE_WITH_EXCLUSION says nothing of what is excluded")
            .hint("write image_tag_mutability_exclusions = [\"latest*\"], or IMMUTABLE")),
        ("MUTABLE" | "IMMUTABLE", Some(list)) => Err(needs(file, list.first().unwrap_or(word))),
        (other, _) => Err(file.wrong(
            word,
            format!("`{other}` is no mutability of tags: MUTABLE, IMMUTABLE and IMMUTABLE_WITH_EXCLUSION are"),
        )),
    }
}

fn needs(file: &LocusToml, at: &Text) -> Failure {
    file.fault(at.line, "image_tag_mutability_exclusions goes with image_tag_mutability = \"IMMUTABLE_WITH_EXCLUSION\"")
}

/// Which images go by themselves. The rules count the loaders of the file that push to `repository`.
pub(super) fn lifecycle(repository: &str, given: Given<'_>) -> Result<Option<Lifecycle>, Failure> {
    let Some((file, entry)) = given.file.and_then(|file| Some((file, file.lifecycle.as_ref()?))) else {
        return Ok(None);
    };
    match entry {
        LifecycleEntry::File(path) => {
            let policy = Named::read(path, "lifecycle policy", given)?.document(&[], given)?;
            Ok(Some(Lifecycle::Policy(policy.fill(&BTreeMap::new()))))
        }
        LifecycleEntry::Rules { line, untagged_days: None, keep: None } => {
            Err(file.fault(*line, "`lifecycle` has neither `untagged_days` nor `keep`"))
        }
        LifecycleEntry::Rules { line, untagged_days, keep } => {
            for number in [untagged_days, keep].into_iter().flatten() {
                if number.value == 0 {
                    return Err(file.fault(number.line, "a lifecycle rule counts from 1"));
                }
            }
            let mut loaders = Vec::new();
            for (name, table) in &file.loaders {
                let theirs = match table.own.repository.as_ref().or(file.all.repository.as_ref()) {
                    Some(text) => file.expand(text, given.env)?,
                    None => REPOSITORY.to_owned(),
                };
                if theirs == repository {
                    loaders.push(name.clone());
                }
            }
            // A policy has at most 50 rules.
            if keep.is_some() && loaders.len() > 24 {
                return Err(file
                    .fault(
                        *line,
                        format!(
                            "`keep` takes two rules a loader, and ECR fifty in all: {} loaders are too many",
                            loaders.len()
                        ),
                    )
                    .hint("leave `keep` out, or write the policy yourself: lifecycle = \"policy.json\""));
            }
            let value = |number: &Option<super::super::locus_toml::At<u32>>| number.as_ref().map(|number| number.value);
            Ok(Some(Lifecycle::Rules { untagged_days: value(untagged_days), keep: value(keep), loaders }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Environment;
    use super::*;

    fn check<T>(text: &str, of: impl Fn(Given<'_>) -> Result<T, Failure>) -> Result<T, String> {
        let file = LocusToml::parse("locus.toml", "/w".into(), text).expect("it is right");
        let env = Environment::of(&[]);
        of(Given { env: &env, file: Some(&file), cwd: Path::new("/w") }).map_err(|failure| failure.message)
    }

    #[test]
    fn each_mutability_is_read_and_what_does_not_go_together_refused() {
        let of = |text: &str| check(text, mutability);
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("image_tag_mutability = 'IMMUTABLE'"), Ok(Some(Mutability::Immutable)));
        let with = "image_tag_mutability = 'IMMUTABLE_WITH_EXCLUSION'\nimage_tag_mutability_exclusions = ['latest*']";
        assert_eq!(of(with), Ok(Some(Mutability::ImmutableExcept(["latest*".to_owned()].into()))));
        for (text, words) in [
            ("image_tag_mutability = 'immutable'", "`immutable` is no mutability of tags"),
            ("image_tag_mutability = 'IMMUTABLE_WITH_EXCLUSION'", "IMMUTABLE_WITH_EXCLUSION says nothing"),
            ("image_tag_mutability_exclusions = ['a']", "image_tag_mutability_exclusions goes with"),
        ] {
            let message = of(text).expect_err(text);
            assert!(message.starts_with(words), "{message}");
        }
    }

    #[test]
    fn the_rules_count_the_loaders_of_this_repository() {
        let text = "lifecycle = { untagged_days = 1, keep = 20 }\n[loaders.a]\n[loaders.b]\nrepository = 'other'\n";
        let rules = |loaders: &[&str]| Lifecycle::Rules {
            untagged_days: Some(1),
            keep: Some(20),
            loaders: loaders.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(check(text, |given| lifecycle(REPOSITORY, given)), Ok(Some(rules(&["a"]))));
        assert_eq!(check(text, |given| lifecycle("other", given)), Ok(Some(rules(&["b"]))));
        assert_eq!(
            check("lifecycle = {}", |given| lifecycle("x", given)),
            Err("`lifecycle` has neither `untagged_days` nor `keep`".into())
        );
        assert_eq!(
            check("lifecycle = { keep = 0 }", |given| lifecycle("x", given)),
            Err("a lifecycle rule counts from 1".into())
        );
    }
}
