//! The exec form: a JSON array of strings.

/// How the rest of a line is to be taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Form {
    Exec(Vec<String>),
    Text,
    /// A JSON array, but not of strings only: BuildKit refuses it.
    NotStrings,
}

/// Text that merely looks like JSON is text: `RUN [ -f x ] && y`.
pub fn read(rest: &str) -> Form {
    if !rest.trim_start().starts_with('[') {
        return Form::Text;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(rest) else {
        return Form::Text;
    };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(string) => Some(string),
        _ => None,
    });
    match strings.collect() {
        Some(strings) => Form::Exec(strings),
        None => Form::NotStrings,
    }
}
