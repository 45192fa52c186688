//! `--name[=value]` after a keyword, against the flags that the keyword knows.

use super::Fault;
use crate::dockerfile::Word;
use crate::dockerfile::nearest::nearest;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// `--link`, `--link=true`, `--link=false`
    Bool,
    One,
    Many,
}

/// What was given; a name that the keyword does not know is never in here.
#[derive(Debug)]
pub struct Flags(BTreeMap<&'static str, Vec<String>>);

impl Flags {
    pub fn read(given: &[String], known: &[(&'static str, Takes)]) -> Result<Self, Fault> {
        let mut flags = BTreeMap::<_, Vec<String>>::new();
        for flag in given {
            let (dashed, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.as_str(), None),
            };
            let name = dashed.strip_prefix("--").unwrap_or(dashed);
            let Some((name, takes)) = known.iter().copied().find(|(candidate, _)| *candidate == name) else {
                return Err(unknown(dashed, name, known));
            };
            let values = flags.entry(name).or_default();
            if takes != Takes::Many && !values.is_empty() {
                return Err(Fault::new(format!("duplicate flag specified: --{name}")).word(flag));
            }
            values.push(match (takes, value) {
                (Takes::Bool, None) => "true".to_string(),
                (Takes::Bool, Some(value)) if is_bool(value) => value.to_ascii_lowercase(),
                (Takes::Bool, Some(value)) if !value.is_empty() => {
                    let message = format!("expecting boolean value for flag --{name}, not: {value}");
                    return Err(Fault::new(message).word(flag));
                }
                (Takes::One | Takes::Many, Some(value)) => value.to_string(),
                _ => return Err(Fault::new(format!("missing a value on flag: --{name}")).word(flag)),
            });
        }
        Ok(Self(flags))
    }

    /// For the instructions that have no flags.
    pub fn refuse_all(given: &[String]) -> Result<(), Fault> {
        Self::read(given, &[]).map(|_| ())
    }

    pub fn one(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(|values| values.first()).cloned()
    }

    /// As BuildKit has it, `--chown=` with nothing behind is the same as no flag.
    pub fn word(&self, name: &str) -> Option<Word> {
        self.one(name).filter(|value| !value.is_empty()).map(Word)
    }

    pub fn many(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    pub fn bool(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(|values| values.first()).map(|value| value == "true")
    }
}

fn is_bool(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

fn unknown(dashed: &str, name: &str, known: &[(&'static str, Takes)]) -> Fault {
    let message = match nearest(name, known.iter().map(|(name, _)| *name)) {
        Some(meant) => format!("unknown flag: {dashed} (did you mean {meant}?)"),
        None => format!("unknown flag: {dashed}"),
    };
    let fault = Fault::new(message).word(dashed);
    if known.is_empty() {
        return fault;
    }
    let names: Vec<_> = known.iter().map(|(name, _)| format!("--{name}")).collect();
    fault.hint(format!("the flags here are {}", names.join(", ")))
}
