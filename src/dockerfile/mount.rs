//! `RUN --mount=`: comma-separated fields, values expanded later.

use super::Word;
use super::nearest::nearest;

/// `type=` of `RUN --mount`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// One `--mount` as written: keys known, values raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSpec {
    /// In the order written; a bare key has no value. Keys are those of [`KEYS`], so `dst` and
    /// `destination` stand here as `target`, `ro` as `readonly`.
    pub options: Vec<(String, Option<Word>)>,
}

/// One `--mount` with its variables filled in: a kind, and options fit for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    /// As in [`MountSpec::options`], `type` left out.
    pub options: Vec<(String, Option<String>)>,
}

/// Why the value of `--mount` is not one; the words are BuildKit's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("failed to parse csv mounts: {0}")]
    Csv(&'static str),
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    #[error("unexpected key '{key}' in '{field}'{meant}")]
    UnknownKey { key: String, field: String, meant: String },
    #[error("unsupported mount type {kind:?}{meant}")]
    UnknownKind { kind: String, meant: String },
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableFrom,
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    UnfitKey { key: String, kind: &'static str },
    #[error("invalid secret mount. one of source, target required")]
    NamelessSecret,
    #[error("both source and id can't be set")]
    SourceAndId,
}

impl MountError {
    /// The part of the mount that is at fault, as it is written, when it is not all of it.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::NoValue(field) | Self::UnknownKey { field, .. } => Some(field),
            Self::UnknownKind { kind, .. } => Some(kind),
            Self::UnfitKey { key, .. } => Some(key),
            Self::VariableFrom => Some("from"),
            Self::Csv(_) | Self::NamelessSecret | Self::SourceAndId => None,
        }
    }
}

/// Every key, under the name that the options give it.
pub const KEYS: [&str; 14] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "readwrite",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

pub(super) const ALIASES: [(&str, &str); 5] =
    [("src", "source"), ("dst", "target"), ("destination", "target"), ("ro", "readonly"), ("rw", "readwrite")];

pub(super) const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

impl MountSpec {
    pub fn parse(text: &str) -> Result<Self, MountError> {
        let mut options = Vec::new();
        for field in csv_fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            let key = canonical(&key);
            match (key, value) {
                (Some("from"), Some(value)) if value.contains('$') => {
                    return Err(MountError::VariableFrom);
                }
                (Some(key), Some(value)) => options.push((key.to_string(), Some(Word(value.to_string())))),
                (Some(key @ ("readonly" | "readwrite" | "required" | "env")), None) => {
                    options.push((key.to_string(), None));
                }
                (_, None) => return Err(MountError::NoValue(field)),
                (None, Some(_)) => return Err(unknown_key(field)),
            }
        }
        let spec = Self { options };
        // What no variable can change is said now, by line.
        if spec.options.iter().all(|(_, value)| value.as_ref().is_none_or(|value| !value.0.contains('$'))) {
            spec.expand(|word| Ok::<_, MountError>(word.0.clone()))?;
        }
        Ok(spec)
    }

    /// The stage, image or context that the mount takes its files from. Never a variable.
    pub fn from(&self) -> Option<&str> {
        self.options.iter().rfind(|(key, _)| key == "from").and_then(|(_, value)| value.as_ref()).map(Word::as_str)
    }

    /// Fills in the variables and settles the kind.
    pub fn expand<E: From<MountError>>(&self, mut expand: impl FnMut(&Word) -> Result<String, E>) -> Result<Mount, E> {
        let mut mount = Mount { kind: MountKind::Bind, options: Vec::new() };
        for (key, value) in &self.options {
            let value = value.as_ref().map(&mut expand).transpose()?;
            match (key.as_str(), value) {
                ("type", Some(kind)) => mount.kind = MountKind::parse(&kind)?,
                (key, value) => mount.options.push((key.to_string(), value)),
            }
        }
        mount.check()?;
        Ok(mount)
    }
}

impl Mount {
    /// The last value given for `key`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.options.iter().rfind(|(name, _)| name == key).and_then(|(_, value)| value.as_deref())
    }

    /// Whether `key` was given at all, with a value or bare.
    pub fn has(&self, key: &str) -> bool {
        self.options.iter().any(|(name, _)| name == key)
    }

    fn check(&self) -> Result<(), MountError> {
        use MountKind::Secret;
        for (key, _) in &self.options {
            if !self.kind.takes(key) {
                return Err(MountError::UnfitKey { key: key.clone(), kind: self.kind.name() });
            }
        }
        let given = |key| self.value(key).is_some_and(|value| !value.is_empty());
        if self.kind == Secret && !["source", "target", "id"].into_iter().any(given) {
            return Err(MountError::NamelessSecret);
        }
        if self.kind == Secret && given("source") && given("id") {
            return Err(MountError::SourceAndId);
        }
        Ok(())
    }
}

impl MountKind {
    /// Whether a key may stand in a mount of this kind; some that mean nothing there BuildKit takes, too.
    pub fn takes(self, key: &str) -> bool {
        match key {
            "required" => matches!(self, Self::Secret | Self::Ssh),
            "size" => self == Self::Tmpfs,
            "sharing" => self == Self::Cache,
            "mode" | "uid" | "gid" => !matches!(self, Self::Bind | Self::Tmpfs),
            "env" => self == Self::Secret,
            "from" => self != Self::Secret,
            _ => true,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }

    fn parse(text: &str) -> Result<Self, MountError> {
        let lower = text.to_lowercase();
        match KINDS.iter().find(|(name, _)| *name == lower) {
            Some((_, kind)) => Ok(*kind),
            None => Err(MountError::UnknownKind {
                kind: text.to_string(),
                meant: did_you_mean(text, KINDS.iter().map(|(name, _)| *name)),
            }),
        }
    }
}

fn canonical(key: &str) -> Option<&'static str> {
    let aliased = ALIASES.iter().find(|(alias, _)| *alias == key).map(|(_, name)| *name);
    aliased.or_else(|| KEYS.into_iter().find(|known| *known == key))
}

fn unknown_key(field: String) -> MountError {
    let key = field.split('=').next().unwrap_or_default().to_lowercase();
    let meant = did_you_mean(&key, KEYS);
    MountError::UnknownKey { key, field, meant }
}

pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or(String::new(), |meant| format!(" (did you mean {meant}?)"))
}

/// One record of Go's `encoding/csv`.
pub(super) fn csv_fields(text: &str) -> Result<Vec<String>, MountError> {
    if text.is_empty() {
        return Err(MountError::Csv("EOF"));
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let (field, tail) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                if field.contains('"') {
                    return Err(MountError::Csv("bare \" in non-quoted field"));
                }
                (field.to_string(), tail)
            }
        };
        fields.push(field);
        match tail.strip_prefix(',') {
            Some(tail) => rest = tail,
            None if tail.is_empty() => return Ok(fields),
            None => return Err(MountError::Csv("extraneous or missing \" in quoted-field")),
        }
    }
}

/// Behind the opening quote; `""` is one quote.
fn quoted_field(text: &str) -> Result<(String, &str), MountError> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((inner, tail)) = rest.split_once('"') {
        field.push_str(inner);
        match tail.strip_prefix('"') {
            Some(tail) => {
                field.push('"');
                rest = tail;
            }
            None => return Ok((field, tail)),
        }
    }
    Err(MountError::Csv("extraneous or missing \" in quoted-field"))
}

#[cfg(test)]
mod tests {
    use super::{Mount, MountSpec};

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mount = MountSpec::parse(text).and_then(|spec| spec.expand(|word| Ok(word.0.replace("$KIND", "cache"))));
        let shown = match mount {
            Ok(Mount { kind, options }) => {
                let options = options.iter().map(|(key, value)| match value {
                    Some(value) => format!(" {key}={value}"),
                    None => format!(" {key}"),
                });
                format!("{}{}", kind.name(), options.collect::<String>())
            }
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn mounts_read_as_comma_separated_fields() {
        check("target=/x", "bind target=/x");
        check("type=cache,id=npm,dst=/root/.npm,sharing=locked", "cache id=npm target=/root/.npm sharing=locked");
        check("type=BIND,Source=.,destination=/x,rw", "bind source=. target=/x readwrite");
        check(r#"type=secret,id=a,"target=/a,b",required,mode=0400"#, "secret id=a target=/a,b required mode=0400");
        check("target=/y,type=tmpfs,size=64m", "tmpfs target=/y size=64m");
        check("type=secret,id=tok,env=TOKEN", "secret id=tok env=TOKEN");
        check("type=$KIND,target=$HOME/.cache,sharing=private", "cache target=$HOME/.cache sharing=private");
    }

    #[test]
    fn what_a_mount_cannot_be_is_said() {
        check("", "error: failed to parse csv mounts: EOF");
        check("type=cash,target=/x", "error: unsupported mount type \"cash\" (did you mean cache?)");
        check("taget=/x", "error: unexpected key 'taget' in 'taget=/x' (did you mean target?)");
        check("z", "error: invalid field 'z' must be a key=value pair");
        check("target", "error: invalid field 'target' must be a key=value pair");
        check("from=$BASE,target=/x", "error: 'from' doesn't support variable expansion, define alias stage instead");
        check("target=/x,size=1g", "error: unexpected key 'size' for mount type 'bind'");
        check("type=bind,target=/x,uid=1", "error: unexpected key 'uid' for mount type 'bind'");
        check("type=secret", "error: invalid secret mount. one of source, target required");
        check("type=secret,id=a,src=b", "error: both source and id can't be set");
        check(r#"target=/x"y"#, "error: failed to parse csv mounts: bare \" in non-quoted field");
        check(r#""target=/x"y"#, "error: failed to parse csv mounts: extraneous or missing \" in quoted-field");
    }
}
