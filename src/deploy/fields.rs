//! Field by field: what a thing is, and what it is wanted to be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One field that is not as it is wanted. Text from the cloud is raw here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub is: Option<String>,
    pub wanted: Option<String>,
}

impl Field {
    pub(super) fn new(name: &str, is: Option<String>, wanted: Option<String>) -> Self {
        Self { name: name.to_owned(), is, wanted }
    }
}

/// `name: old -> new`.
impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, is, wanted } = self;
        match (is, wanted) {
            (Some(is), Some(wanted)) => write!(f, "{name}: {is} -> {wanted}"),
            (None, Some(wanted)) => write!(f, "{name}: {wanted}"),
            (Some(is), None) => write!(f, "{name}: {is} -> nothing"),
            (None, None) => f.write_str(name),
        }
    }
}

/// The fields in which two documents differ. Things that have a name are told apart by it, wherever they stand.
pub(super) fn differences(is: &Value, wanted: &Value) -> Vec<Field> {
    let (mut is, mut wanted) = (flat(is), flat(wanted));
    let names: BTreeSet<String> = is.keys().chain(wanted.keys()).cloned().collect();
    names
        .into_iter()
        .map(|name| Field { is: is.remove(&name), wanted: wanted.remove(&name), name })
        .filter(|field| field.is != field.wanted)
        .collect()
}

fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut into = BTreeMap::new();
    walk(value, "", &mut into);
    into
}

fn walk(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path} {key}") };
    match value {
        Value::Null => {}
        Value::Object(fields) if fields.is_empty() => drop(into.insert(path.to_owned(), "{}".to_owned())),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| walk(value, &below(key), into)),
        Value::Array(items) => match by_name(items) {
            Some(items) => items.iter().for_each(|(name, value)| walk(value, &below(name), into)),
            None if items.iter().any(Value::is_object) => {
                items.iter().enumerate().for_each(|(n, item)| walk(item, &below(&(n + 1).to_string()), into));
            }
            None => drop(into.insert(path.to_owned(), value.to_string())),
        },
        Value::String(text) => drop(into.insert(path.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => drop(into.insert(path.to_owned(), value.to_string())),
    }
}

/// Things that all have a name, and none the same: each without it. What has but a value besides is that value.
fn by_name(items: &[Value]) -> Option<BTreeMap<&str, Value>> {
    let mut all = BTreeMap::new();
    for item in items {
        let fields = item.as_object()?;
        let (key, name) = ["name", "Sid"].iter().find_map(|key| Some((*key, fields.get(*key)?.as_str()?)))?;
        let mut rest = fields.clone();
        rest.remove(key);
        let value = ["value", "valueFrom"].iter().find_map(|key| rest.get(*key)).filter(|_| rest.len() == 1).cloned();
        let rest = value.unwrap_or(Value::Object(rest));
        if all.insert(name, rest).is_some() {
            return None;
        }
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(is: Value, wanted: Value, said: &[&str]) {
        let text = |side: Option<String>| side.unwrap_or_else(|| "none".into());
        let fields = differences(&is, &wanted).into_iter();
        let fields: Vec<_> = fields.map(|f| format!("{}: {} -> {}", f.name, text(f.is), text(f.wanted))).collect();
        assert_eq!(fields, said);
    }

    #[test]
    fn what_has_a_name_is_told_apart_by_it_and_not_by_its_place() {
        let pair = |name: &str, value: &str| json!({ "name": name, "value": value });
        check(
            json!({ "environment": [pair("A", "1"), pair("B", "2"), pair("C", "")] }),
            json!({ "environment": [pair("C", ""), pair("B", "3"), pair("D", "4")] }),
            &["environment A: 1 -> none", "environment B: 2 -> 3", "environment D: none -> 4"],
        );
    }

    #[test]
    fn one_name_twice_is_two_things() {
        let pair = |value: &str| json!({ "name": "A", "value": value });
        check(
            json!({ "environment": [pair("1"), pair("2")] }),
            json!({ "environment": [pair("2")] }),
            &[
                "environment 1 name: A -> none",
                "environment 1 value: 1 -> none",
                "environment 2 name: A -> none",
                "environment 2 value: 2 -> none",
                "environment A: none -> 2",
            ],
        );
    }

    #[test]
    fn the_order_of_a_command_is_part_of_it() {
        check(
            json!({ "command": ["a", "b c"], "volumes": [{ "name": "v" }] }),
            json!({ "command": ["a", "b", "c"] }),
            &[r#"command: ["a","b c"] -> ["a","b","c"]"#, "volumes v: {} -> none"],
        );
    }
}
