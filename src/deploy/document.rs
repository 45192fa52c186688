//! A JSON document that a user wrote for AWS, with variables in its texts. Some are known only once the cloud was looked
//! at, or the image is built: they are filled in last, and before the environment's.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::expand::{ExpandError, expand, is_name};

/// A document all of whose variables are known, or will be.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    value: Value,
    /// Those of the environment that it names.
    variables: BTreeMap<String, String>,
}

/// Why a text of a document cannot be filled in, and the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotKnown {
    pub text: String,
    pub why: ExpandError,
}

impl Document {
    /// `later` are the names that `fill` is going to be given.
    pub fn new(
        value: Value,
        later: &[&str],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<NotKnown>> {
        let (mut variables, mut unknown) = (BTreeMap::new(), Vec::new());
        let look = |name: &str, variables: &mut BTreeMap<String, String>| {
            if later.contains(&name) {
                return Some(Cow::Borrowed(""));
            }
            let value = environment(name)?;
            variables.insert(name.to_owned(), value);
            Some(Cow::Borrowed(""))
        };
        filled(&value, &mut |name| look(name, &mut variables), &mut unknown);
        if unknown.is_empty() { Ok(Self { value, variables }) } else { Err(unknown) }
    }

    /// With these variables, which come before the environment's; one that is not among them stays as it is written.
    pub fn fill(&self, ours: &BTreeMap<&str, String>) -> Value {
        let known = &mut |name: &str| {
            let value = ours.get(name).or_else(|| self.variables.get(name));
            Some(value.map_or_else(|| Cow::Owned(format!("${{{name}}}")), |value| Cow::Owned(value.clone())))
        };
        // Every name has a value: `new` has looked.
        filled(&self.value, known, &mut Vec::new())
    }
}

type Known<'a> = dyn FnMut(&str) -> Option<Cow<'static, str>> + 'a;

/// A text that cannot be filled in stays as it is, and is told once.
fn filled(value: &Value, known: &mut Known<'_>, unknown: &mut Vec<NotKnown>) -> Value {
    match value {
        Value::String(text) => {
            let known = |name: &str| if is_iams(name) { Some(format!("${{{name}}}").into()) } else { known(name) };
            Value::String(expand(text, known).unwrap_or_else(|why| {
                let error = NotKnown { text: text.clone(), why };
                if !unknown.contains(&error) {
                    unknown.push(error);
                }
                text.clone()
            }))
        }
        Value::Array(items) => items.iter().map(|item| filled(item, known, unknown)).collect(),
        Value::Object(fields) => {
            let filled = fields.iter().map(|(key, value)| (key.clone(), filled(value, known, unknown)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

/// `${aws:username}`, `${*}`, `${?}` and `${$}` are IAM's own, and its to fill in.
fn is_iams(name: &str) -> bool {
    !is_name(name) && (matches!(name, "*" | "?" | "$") || name.contains(':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(name: &str) -> Option<String> {
        matches!(name, "BUCKET" | "REGION").then(|| format!("env-{name}"))
    }

    #[test]
    fn what_the_cloud_says_comes_before_the_environment_and_iams_variables_stay() {
        let text = json!({ "a": ["$BUCKET/${aws:username}", "${REGION} $IMAGE ${*} $$"], "b": 1 });
        let document = Document::new(text, &["IMAGE", "REGION"], environment).unwrap();
        let ours = BTreeMap::from([("REGION", "eu-west-1".to_owned()), ("IMAGE", "i@sha256:0".to_owned())]);
        assert_eq!(
            document.fill(&ours),
            json!({ "a": ["env-BUCKET/${aws:username}", "eu-west-1 i@sha256:0 ${*} $"], "b": 1 })
        );
    }

    #[test]
    fn each_variable_that_nobody_sets_is_named_with_its_text() {
        let texts = json!([{ "x": "a-$NOBODY" }, "a-$NOBODY", "$REGION", ["${NO_ONE}"]]);
        let unknown = Document::new(texts, &[], environment).unwrap_err();
        let said: Vec<_> = unknown.iter().map(|error| (error.text.as_str(), error.to_string())).collect();
        assert_eq!(
            said,
            [
                ("a-$NOBODY", "the variable NOBODY is not set".to_owned()),
                ("${NO_ONE}", "the variable NO_ONE is not set".to_owned())
            ]
        );
    }
}
