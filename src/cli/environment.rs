//! The variables that the program was started with, as a value.

use std::collections::BTreeMap;

/// The variables that a command is given, as a value, so that a test can give others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. A variable whose value is no UTF-8 counts as not set: none that we read may be so.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    pub fn of(vars: &[(&str, &str)]) -> Self {
        Self(vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value, which may be empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a variable that steers us. CI systems pass an unset setting on as an empty variable, so that an
    /// empty one is taken as not set.
    pub fn set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}
