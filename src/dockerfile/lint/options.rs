//! `# check=skip=A,B;experimental=C;error=true`

use super::Rule;
use crate::dockerfile::boolean;
use std::collections::BTreeSet;

/// Which rules speak, and whether that fails the build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    skip: Names,
    experimental: Names,
    pub error: bool,
}

/// Names of rules. One that we do not know is kept: it may be a newer BuildKit's, and there is nothing to silence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    All,
    Of(BTreeSet<String>),
}

/// The text behind `check=` is not what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    #[error("failed to parse check options: invalid check option {0:?}")]
    Unknown(String),
    #[error("failed to parse check options: failed to parse check option {option:?}: {value:?} is not true or false")]
    NotABool { option: String, value: String },
}

impl Options {
    pub fn parse(text: &str) -> Result<Self, BadOptions> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for option in text.split(';') {
            let Some((key, value)) = option.split_once('=') else {
                return Err(BadOptions::Unknown(option.trim().to_string()));
            };
            let value = value.trim();
            match key.trim() {
                "skip" => options.skip = Names::parse(value),
                "experimental" => options.experimental = Names::parse(value),
                "error" => {
                    let bad = || BadOptions::NotABool { option: option.trim().to_string(), value: value.to_string() };
                    options.error = boolean(value).ok_or_else(bad)?;
                }
                key => return Err(BadOptions::Unknown(key.to_string())),
            }
        }
        Ok(options)
    }

    /// With the first `check=` among an instruction's comments added. One that cannot be read is a mere comment.
    pub fn with_comments<'a>(&self, comments: impl IntoIterator<Item = &'a str>) -> Self {
        let value = |comment: &'a str| {
            let (key, value) = comment.split_once('=')?;
            key.trim().eq_ignore_ascii_case("check").then_some(value)
        };
        let inline = comments.into_iter().find_map(value).map(Self::parse);
        let Some(Ok(Self { skip, experimental, error })) = inline else {
            return self.clone();
        };
        Self {
            skip: self.skip.and(skip),
            experimental: self.experimental.and(experimental),
            error: self.error || error,
        }
    }

    /// `skip` silences the stable rules, and `experimental` alone wakes the others.
    pub fn wants(&self, rule: Rule) -> bool {
        if rule.is_experimental() { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }
}

impl Names {
    fn parse(value: &str) -> Self {
        match value {
            "all" => Self::All,
            names => Self::Of(names.split(',').map(|name| name.trim().to_string()).collect()),
        }
    }

    fn has(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::Of(names) => names.contains(rule.name()),
        }
    }

    fn and(&self, more: Self) -> Self {
        match (self, more) {
            (Self::Of(names), Self::Of(more)) => Self::Of(names.union(&more).cloned().collect()),
            _ => Self::All,
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, Rule};

    const STABLE: Rule = Rule::StageNameCasing;
    const EXPERIMENTAL: Rule = Rule::InvalidDefinitionDescription;

    #[track_caller]
    fn check(text: &str, stable: bool, experimental: bool, error: bool) {
        let options = Options::parse(text).unwrap();
        assert_eq!((options.wants(STABLE), options.wants(EXPERIMENTAL), options.error), (stable, experimental, error));
    }

    #[test]
    fn skip_silences_and_experimental_wakes() {
        check("", true, false, false);
        check("skip=JSONArgsRecommended, StageNameCasing", false, false, false);
        check("skip=all;error=true", false, false, true);
        check(" experimental = all ; skip = all ", false, true, false);
        check("experimental=InvalidDefinitionDescription;error=F", true, true, false);
        check("skip=InvalidDefinitionDescription", true, false, false);
    }

    #[test]
    fn what_is_no_option_is_named() {
        for (text, message) in [
            ("skip", "failed to parse check options: invalid check option \"skip\""),
            ("skp=all", "failed to parse check options: invalid check option \"skp\""),
            (
                "error=yes",
                "failed to parse check options: failed to parse check option \"error=yes\": \"yes\" is not true or false",
            ),
        ] {
            assert_eq!(Options::parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_comment_above_an_instruction_adds_to_what_the_file_says() {
        let file = Options::parse("skip=UndefinedVar").unwrap();
        let inline = file.with_comments(["a note", "check=skip=StageNameCasing", "check=skip=all"]);
        assert!(!inline.wants(STABLE) && !inline.wants(Rule::UndefinedVar) && inline.wants(Rule::FromAsCasing));
        assert_eq!(file.with_comments(["check=nonsense", "check this"]), file);
    }
}
