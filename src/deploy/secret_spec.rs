//! A secret that the task is given in its environment: where it is in the cloud, and where its value comes from
//! should the cloud not have it yet.

use std::io::{self, Read};
use std::path::PathBuf;

use super::name::{BadName, Kind};
use crate::secret::Secret;

/// What Secrets Manager stores at most.
const LIMIT: u64 = 65_536;

/// One secret of a loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSpec {
    pub(super) variable: String,
    pub(super) source: SecretSource,
    pub(super) value: Option<ValueFrom>,
}

/// Where the secret is in the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// By name in our account, made if it is not there.
    Named { name: String, json_key: Option<String> },
    /// By ARN, whoever made it; never made by us.
    Arn { arn: String, json_key: Option<String> },
}

/// Where a value comes from. Never from an argument: everybody on the machine sees those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFrom {
    Variable(String),
    File(PathBuf),
    Stdin,
}

/// Why a secret is not named in a way that Secrets Manager has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error(transparent)]
    Name(#[from] BadName),
    #[error("`{}` is not the ARN of a secret: {why}", .arn.escape_debug())]
    Arn { arn: String, why: &'static str },
    /// What was written is not repeated: it may well be the secret itself.
    #[error("where the value of secret {0} comes from is written env:NAME, file:PATH or stdin")]
    Value(String),
    #[error("the secret's name is empty before `:{}`", .0.escape_debug())]
    JsonKey(String),
}

/// Why the value of a secret is not to be had where the user said.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableSecret {
    #[error("the value of secret {variable} could not be read from {from}: {source}")]
    Io { variable: String, from: String, source: io::Error },
    #[error("the value of secret {variable} from {from} is longer than the {LIMIT} bytes that Secrets Manager stores")]
    TooLong { variable: String, from: String },
    #[error("the value of secret {variable} from {from} is not UTF-8")]
    NotText { variable: String, from: String },
    #[error("the value of secret {variable} from {from} is empty")]
    Empty { variable: String, from: String },
}

impl SecretSpec {
    /// `NAME`: the secret of that name, in the variable of that name.
    pub fn named(name: &str) -> Result<Self, BadSecret> {
        let (secret, _) = name.split_once(':').unwrap_or((name, ""));
        Self::parse(secret, name)
    }

    /// `VARIABLE = "name"`, `"name:json-key"` or `"arn:…"`.
    pub fn parse(variable: &str, text: &str) -> Result<Self, BadSecret> {
        let variable = Kind::Variable.check(variable)?;
        Ok(Self { variable, source: text.parse()?, value: None })
    }

    /// The value that the secret gets if it is made: `env:NAME`, `file:PATH` or `stdin`.
    pub fn with_value(mut self, text: &str) -> Result<Self, BadSecret> {
        self.value = match text.split_once(':') {
            None if text == "stdin" => Some(ValueFrom::Stdin),
            Some(("env", name)) => Some(ValueFrom::Variable(Kind::Variable.check(name)?)),
            Some(("file", path)) if !path.is_empty() => Some(ValueFrom::File(path.into())),
            _ => return Err(BadSecret::Value(self.variable)),
        };
        Ok(self)
    }

    /// The environment variable in which the task finds it.
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// What a task definition names it by, where it is at `arn`.
    pub(super) fn value_from(&self, arn: &str) -> String {
        let (SecretSource::Named { json_key, .. } | SecretSource::Arn { json_key, .. }) = &self.source;
        // `:json-key:stage:version`: the empty parts keep their colons.
        json_key.as_ref().map_or(arn.to_owned(), |key| format!("{arn}:{key}::"))
    }

    pub fn source(&self) -> &SecretSource {
        &self.source
    }

    /// The value, where this machine has one.
    pub fn value(&self) -> Result<Option<Secret>, UnreadableSecret> {
        let from = match &self.value {
            Some(from) => std::slice::from_ref(from).to_vec(),
            None => self.places(),
        };
        for place in from {
            let from = place.to_string();
            let bytes = match place.read().map_err(|source| UnreadableSecret::Io {
                variable: self.variable.clone(),
                from: from.clone(),
                source,
            })? {
                Some(bytes) => bytes,
                None => continue,
            };
            let variable = self.variable.clone();
            if bytes.expose().is_empty() {
                return Err(UnreadableSecret::Empty { variable, from });
            }
            if bytes.expose().len() as u64 > LIMIT {
                return Err(UnreadableSecret::TooLong { variable, from });
            }
            if bytes.expose_str().is_none() {
                return Err(UnreadableSecret::NotText { variable, from });
            }
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// What was looked at for a value, for whoever has to be told that there is none.
    pub fn places(&self) -> Vec<ValueFrom> {
        if let Some(from) = &self.value {
            return vec![from.clone()];
        }
        let mut names = vec![self.variable.clone()];
        // The page that people follow exports the value of DBCONNECTION under another name.
        if self.variable == "DBCONNECTION" {
            names.push("DB_CONNECTION_STRING".to_owned());
        }
        names.into_iter().map(ValueFrom::Variable).collect()
    }
}

impl std::str::FromStr for SecretSource {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        if text.starts_with("arn:") {
            return arn(text);
        }
        let (name, json_key) = match text.split_once(':') {
            Some(("", key)) => return Err(BadSecret::JsonKey(key.chars().take(200).collect())),
            Some((name, key)) => (name, Some(key)),
            None => (text, None),
        };
        Ok(Self::Named {
            name: Kind::Secret.check(name)?,
            json_key: json_key.filter(|key| !key.is_empty()).map(str::to_owned),
        })
    }
}

/// `arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX[:json-key[:stage[:version]]]`
fn arn(text: &str) -> Result<SecretSource, BadSecret> {
    let bad = |why| BadSecret::Arn { arn: text.chars().take(300).collect(), why };
    let parts: Vec<&str> = text.split(':').collect();
    let (arn, rest) = match parts[..] {
        ["arn", _, "secretsmanager", _, _, "secret", name, ..] if !name.is_empty() => {
            (parts[..7].join(":"), &parts[7..])
        }
        _ => return Err(bad("it reads arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX")),
    };
    let json_key = rest.first().filter(|key| !key.is_empty()).map(|key| (*key).to_owned());
    // A pinned version would be served for ever, whatever is stored later.
    if rest.iter().skip(1).any(|part| !part.is_empty()) {
        return Err(bad("a version stage or id after the JSON key is not supported"));
    }
    Ok(SecretSource::Arn { arn, json_key })
}

impl ValueFrom {
    fn read(&self) -> io::Result<Option<Secret>> {
        match self {
            Self::Variable(name) => Ok(std::env::var_os(name).map(|value| Secret::new(value.into_encoded_bytes()))),
            Self::File(path) => bounded(std::fs::File::open(path)?).map(Some),
            Self::Stdin => bounded(io::stdin().lock()).map(Some),
        }
    }
}

/// One line end at the end is the editor's or `echo`'s, not the secret's.
fn bounded(from: impl Read) -> io::Result<Secret> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    from.take(LIMIT + 2).read_to_end(&mut bytes)?;
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Ok(Secret::new(text.strip_suffix(b"\r").unwrap_or(text)))
}

impl std::fmt::Display for ValueFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display().to_string().escape_debug()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:DBCONNECTION-AbCdEf";

    #[track_caller]
    fn source(text: &str) -> SecretSource {
        text.parse().unwrap()
    }

    #[test]
    fn a_secret_is_named_by_name_by_key_or_by_arn() {
        assert_eq!(source("DB"), SecretSource::Named { name: "DB".into(), json_key: None });
        assert_eq!(source("db:url"), SecretSource::Named { name: "db".into(), json_key: Some("url".into()) });
        assert_eq!(source(ARN), SecretSource::Arn { arn: ARN.into(), json_key: None });
        let with_key = format!("{ARN}:url::");
        assert_eq!(source(&with_key), SecretSource::Arn { arn: ARN.into(), json_key: Some("url".into()) });
    }

    #[test]
    fn what_names_no_secret_is_refused() {
        for text in ["", "a b", ":key", "arn:aws:s3:::bucket", &format!("{ARN}:k:AWSPREVIOUS:")] {
            assert!(text.parse::<SecretSource>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_value_is_never_an_argument() {
        let spec = SecretSpec::named("DB").unwrap();
        let refused = spec.with_value("postgres://hunter2@example.org").unwrap_err().to_string();
        assert_eq!(refused, "where the value of secret DB comes from is written env:NAME, file:PATH or stdin");
    }

    #[test]
    fn a_file_gives_its_value_without_its_last_line_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\r\n").unwrap();
        let spec = SecretSpec::named("DB").unwrap().with_value(&format!("file:{}", file.path().display())).unwrap();
        assert_eq!(spec.value().unwrap().unwrap().expose(), b"s3cret");
    }

    #[test]
    fn a_missing_file_is_said() {
        let spec = SecretSpec::named("DB").unwrap().with_value("file:/no/such/file").unwrap();
        let words = spec.value().unwrap_err().to_string();
        assert!(words.starts_with("the value of secret DB could not be read from the file /no/such/file: "), "{words}");
    }

    #[test]
    fn dbconnection_is_also_looked_for_under_the_name_that_the_page_exports() {
        let places = SecretSpec::named("DBCONNECTION").unwrap().places();
        assert_eq!(
            places,
            [ValueFrom::Variable("DBCONNECTION".into()), ValueFrom::Variable("DB_CONNECTION_STRING".into())]
        );
        assert_eq!(SecretSpec::named("OTHER").unwrap().places(), [ValueFrom::Variable("OTHER".into())]);
    }
}
