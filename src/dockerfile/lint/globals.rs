//! The ARGs before the first FROM, and those that need no declaration.

use super::{Instruction, Kind};
use crate::dockerfile::expand::{ExpandError, Lexer};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Globals {
    /// Those that have a value.
    pub values: BTreeMap<String, String>,
    /// Those that the file declares, with a value or none.
    pub declared: BTreeSet<String>,
}

impl Globals {
    /// With the values that `given` sets, else the defaults.
    pub fn of(
        instructions: &[&Instruction],
        predefined: &BTreeMap<String, String>,
        given: &BTreeMap<String, String>,
        lexer: &Lexer,
    ) -> Result<Self, ExpandError> {
        let mut globals = Self { values: predefined.clone(), declared: BTreeSet::new() };
        for instruction in instructions {
            let Kind::Arg(arguments) = &instruction.kind else { continue };
            for argument in arguments {
                let value = match (given.get(&argument.name), &argument.default) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => Some(lexer.expand_word(default.as_str(), &globals.values)?),
                    (None, None) => None,
                };
                if let Some(value) = value {
                    globals.values.insert(argument.name.clone(), value);
                }
                globals.declared.insert(argument.name.clone());
            }
        }
        Ok(globals)
    }

    /// All names that FROM may use.
    pub fn names(&self) -> BTreeSet<&str> {
        self.values.keys().chain(&self.declared).map(String::as_str).collect()
    }
}
