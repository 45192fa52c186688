//! The lines: JSON objects, whose fields are variables.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::super::name::Kind;
use crate::image::Digest;

/// More lines than this are several files: the ledger is written whole at each step.
const LINES: usize = 5000;

/// What RunTask takes of overrides, in characters.
/// <https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html>
const OVERRIDES: usize = 8192;

/// What a variable takes there besides its name and its value: `{"name":"","value":""},`.
const AROUND: usize = 23;

/// Integers beyond this are not told apart by a reader that takes numbers for doubles.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The lines that are not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// By their numbers, counted from 1.
    pub(super) lines: BTreeMap<usize, BTreeMap<String, String>>,
    pub(super) digest: Digest,
}

/// Why a file is not one of a task for each line. Lines and columns are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    #[error("line {line}, column {column}: {why}")]
    Json { line: usize, column: usize, why: String },
    #[error("line {line}: {why}")]
    Line { line: usize, why: String },
    #[error("it has {0} lines, and {LINES} are taken at a time")]
    TooMany(usize),
    #[error("there is no line in it")]
    Empty,
}

impl Inputs {
    pub fn parse(text: &str) -> Result<Self, BadInput> {
        let mut lines = BTreeMap::new();
        // A byte order mark is what some editors begin a file with.
        for (at, written) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
            if !written.trim().is_empty() {
                lines.insert(at + 1, variables(written, at + 1)?);
            }
        }
        match lines.len() {
            0 => Err(BadInput::Empty),
            many if many > LINES => Err(BadInput::TooMany(many)),
            _ => Ok(Self { lines, digest: Digest::of(text.as_bytes()) }),
        }
    }

    pub fn count(&self) -> usize {
        self.lines.len()
    }
}

fn variables(written: &str, line: usize) -> Result<BTreeMap<String, String>, BadInput> {
    let Fields(fields) = serde_json::from_str(written).map_err(|error| {
        let (column, said) = (error.column(), error.to_string());
        // serde_json says the place as well, and counts this line for the first.
        let why = said.rsplit_once(" at line ").map_or(said.as_str(), |(why, _)| why).to_owned();
        BadInput::Json { line, column, why }
    })?;
    let bad = |why: String| BadInput::Line { line, why };
    for name in fields.keys() {
        Kind::Variable.check(name).map_err(|error| bad(error.to_string()))?;
    }
    let length: usize = fields.iter().map(|(name, value)| name.len() + value.len() + AROUND).sum();
    if length > OVERRIDES {
        return Err(bad(format!("its variables are {length} bytes, and RunTask takes {OVERRIDES}")));
    }
    Ok(fields)
}

struct Fields(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, whose fields are variables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format!("the field `{}` stands twice", name.escape_debug())));
                    }
                    let Field(value) = map.next_value()?;
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A value that a variable can have.
struct Field(String);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Flat;
        impl Visitor<'_> for Flat {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false: a variable holds nothing else")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Field, E> {
                match text.contains('\0') {
                    true => Err(E::custom("a variable holds no NUL")),
                    false => Ok(Field(text.to_owned())),
                }
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<Field, E> {
                Ok(Field(flag.to_string()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Field, E> {
                Ok(Field(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Field, E> {
                Ok(Field(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Field, E> {
                match number.abs() < EXACT {
                    true => Ok(Field(serde_json::Value::from(number).to_string())),
                    false => Err(E::custom("the number cannot be kept as it is written: write it in quotes")),
                }
            }
        }
        deserializer.deserialize_any(Flat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_variables_and_lines_keep_their_numbers() {
        let text = "\u{feff}{\"A\": \"x y\", \"N\": 1, \"M\": -2, \"F\": 1.5, \"B\": true}\n\n{}\r\n";
        let inputs = Inputs::parse(text).unwrap();
        let of = |line: usize| {
            let pairs = inputs.lines[&line].iter().map(|(name, value)| format!("{name}={value}"));
            pairs.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(1), "A=x y B=true F=1.5 M=-2 N=1");
        assert_eq!((of(3), inputs.count()), (String::new(), 2));
    }

    #[test]
    fn what_no_variable_can_hold_is_refused_where_it_stands() {
        let flat = "expected a string, a number, true or false: a variable holds nothing else";
        for (text, words) in [
            ("{}\n{\"A\": [1]}", format!("line 2, column 7: invalid type: sequence, {flat}")),
            ("{\"A\": {\"B\": 1}}", format!("line 1, column 7: invalid type: map, {flat}")),
            ("{\"A\": null}", format!("line 1, column 10: invalid type: null, {flat}")),
            (
                "[1]",
                "line 1, column 0: invalid type: sequence, expected an object, whose fields are variables".to_owned(),
            ),
            ("{\"A\": 1,}", "line 1, column 9: trailing comma".to_owned()),
            ("{} {}", "line 1, column 4: trailing characters".to_owned()),
            ("{\"A\": 1, \"A\": 2}", "line 1, column 12: the field `A` stands twice".to_owned()),
            (
                "{\"A\": 123456789012345678901}",
                "line 1, column 27: the number cannot be kept as it is written: write it in quotes".to_owned(),
            ),
            ("{\"A\": \"\\u0000\"}", "line 1, column 14: a variable holds no NUL".to_owned()),
            (
                "{\"a b\": 1}",
                "line 1: `a b` cannot be the name of an environment variable: it is ASCII letters, digits or `_`, and \
                 does not begin with a digit"
                    .to_owned(),
            ),
            (" \n", "there is no line in it".to_owned()),
        ] {
            assert_eq!(Inputs::parse(text).unwrap_err().to_string(), words, "{text}");
        }
        let long = format!("{{\"A\": \"{}\"}}", "x".repeat(OVERRIDES));
        assert!(Inputs::parse(&long).unwrap_err().to_string().contains("RunTask takes 8192"));
        assert_eq!(Inputs::parse(&"{}\n".repeat(LINES + 1)), Err(BadInput::TooMany(LINES + 1)));
    }
}
