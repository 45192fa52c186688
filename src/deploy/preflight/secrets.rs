//! The secrets that a task is given: there, or with a value to be made from; and with the JSON keys that are named.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::check::Check;
use crate::aws::{AwsError, Cloud};
use crate::deploy::error::DeployError;
use crate::deploy::loader::Loader;
use crate::deploy::present::PresentSecret;
use crate::deploy::secret_spec::{SecretSource, SecretSpec};
use crate::secret::Secret;

/// A line for each. The value is read only where a key of it is named; Fargate itself reads it as the execution role.
pub(super) async fn judge(
    cloud: &Cloud,
    loader: &Loader,
    found: &BTreeMap<String, Result<PresentSecret, DeployError>>,
) -> Vec<Check> {
    let all = loader.secrets.iter().filter_map(|spec| Some((spec, found.get(&spec.variable)?)));
    let checks = all.map(|(spec, found)| async move {
        let name = format!("secret {}", spec.variable);
        let (SecretSource::Named { json_key, .. } | SecretSource::Arn { json_key, .. }) = &spec.source;
        match found {
            Err(error) => Check::ng(name, error.to_string(), error.hint()).stopping(),
            Ok(PresentSecret { found: Some(secret), .. }) => match json_key {
                None => there(name, secret.kms_key.as_deref()),
                Some(key) => {
                    let says = key_of(cloud.secrets.value(&secret.arn).await, key);
                    says.told(name, key, secret.kms_key.as_deref())
                }
            },
            Ok(PresentSecret { found: None, value: Some(_), .. }) => {
                Check::ok(name, "it is not there yet, and is made from the value that is here")
            }
            Ok(PresentSecret { found: None, value: None, .. }) => nowhere(name, spec),
        }
    });
    futures_util::future::join_all(checks).await
}

fn there(name: String, key: Option<&str>) -> Check {
    let locked =
        key.map(|key| format!(", locked with the key {key}, whose policy must let the execution role decrypt"));
    Check::ok(name, format!("it is there{}", locked.unwrap_or_default()))
}

fn nowhere(name: String, spec: &SecretSpec) -> Check {
    let (variable, places) = (&spec.variable, spec.places());
    let looked = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(" nor in ");
    let mend = format!("export {variable}, or say --secret {variable}=env:NAME, file:PATH or stdin");
    let says = format!("it is not in Secrets Manager, and its value is not in {looked}");
    Check::ng(name, says, Some(mend)).stopping()
}

/// What a secret's value says of a key.
enum Key {
    There,
    /// The keys that are.
    Missing(Vec<String>),
    NotJson,
    Unread(AwsError),
}

fn key_of(value: Result<Option<Secret>, AwsError>, key: &str) -> Key {
    let value = match value {
        Ok(value) => value,
        Err(error) => return Key::Unread(error),
    };
    let text = value.as_ref().and_then(Secret::expose_str);
    // The values are passed over, and kept nowhere.
    match text.and_then(|text| serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text).ok()) {
        None => Key::NotJson,
        Some(keys) if keys.contains_key(key) => Key::There,
        Some(keys) => Key::Missing(keys.into_keys().collect()),
    }
}

impl Key {
    fn told(self, name: String, key: &str, locked: Option<&str>) -> Check {
        let shown = key.escape_debug();
        match self {
            Self::There => {
                let check = there(name, locked);
                Check { says: format!("{}, with the key {shown}", check.says), ..check }
            }
            Self::Missing(keys) => {
                let has = keys.iter().take(20).map(|key| key.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
                let says =
                    format!("its JSON has no key {shown}; it has {}", if has.is_empty() { "none" } else { &has });
                Check::ng(name, says, Some("name one that it has, or add the key".to_owned())).stopping()
            }
            Self::NotJson => {
                let says = format!("its value is no JSON object, and the key {shown} is asked of it");
                Check::ng(name, says, Some("store an object of JSON, or name no key".to_owned())).stopping()
            }
            Self::Unread(error) => {
                Check::unknown(name, format!("it is there; whether it has the key {shown}: {error}"), error.hint())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_for_in_an_object_alone_and_no_value_is_told() {
        for (value, words, stops) in [
            (r#"{"user":"hunter2","n":{"a":1}}"#, "it is there, with the key user", false),
            (r#"{"pass":"hunter2"}"#, "its JSON has no key user; it has pass", true),
            ("{}", "its JSON has no key user; it has none", true),
            ("hunter2", "its value is no JSON object, and the key user is asked of it", true),
            (r#""hunter2""#, "its value is no JSON object", true),
        ] {
            let check = key_of(Ok(Some(Secret::new(value))), "user").told("secret DB".into(), "user", None);
            assert!(check.says.starts_with(words) && check.stops == stops, "{check:?}");
            assert!(!format!("{check:?}").contains("hunter2"), "{check:?}");
        }
    }

    #[test]
    fn a_secret_that_is_nowhere_says_where_it_was_looked_for() {
        let check = nowhere("secret DBCONNECTION".into(), &SecretSpec::named("DBCONNECTION").unwrap());
        assert_eq!(
            check.says,
            "it is not in Secrets Manager, and its value is not in the variable DBCONNECTION nor in the variable \
             DB_CONNECTION_STRING"
        );
    }
}
