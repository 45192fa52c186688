//! The image config: what a container of this image runs, and which layers it stands on.
//!
//! A type of our own, because `oci-spec` drops `Healthcheck`, `OnBuild`, `Shell`, `ArgsEscaped` and every key that
//! it does not know, and keeps labels in an order that changes from run to run.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Digest, Platform, canonical_json, unambiguous};

/// The largest config that is read, in bytes; those of real images are below 100 KiB.
const LIMIT: usize = 4 << 20;

/// `application/vnd.oci.image.config.v1+json`, with Docker's additions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    #[serde(default)]
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Keys that this type does not know, kept as they came.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What a container runs unless it is told otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `NAME=value`, in the order in which they were set.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Docker's health check; durations are nanoseconds, 0 inherits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// `rootfs` of the image config (OCI image-spec, config.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// The digests of the layers' uncompressed tars, the lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

/// One line of an image's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// True where the instruction changed the config alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Why bytes are not the config of an image.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the image config has {0} bytes; at most {LIMIT} are read")]
    TooLarge(usize),
    #[error("the image config is not one: {0}")]
    Json(#[from] serde_json::Error),
}

impl ImageConfig {
    /// Reads a config, bounded in size.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.len() > LIMIT {
            return Err(ConfigError::TooLarge(bytes.len()));
        }
        Ok(serde_json::from_value(unambiguous(bytes)?)?)
    }

    /// The config in its one order of keys.
    pub fn to_json(&self) -> Vec<u8> {
        canonical_json(self).expect("strings, numbers and maps with string keys are always JSON")
    }

    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// Makes the history tell of as many layers as there are, as BuildKit's exporter does: lines too many tell of none
    /// (`docker history` fails on them), and those that are missing say nothing.
    pub fn settle_history(&mut self) {
        let layers = self.rootfs.diff_ids.len();
        let tells = |history: &[History]| history.iter().filter(|line| !line.empty_layer).count();
        if tells(&self.history) > layers {
            self.history.iter_mut().for_each(|line| line.empty_layer = true);
        }
        let missing = layers - tells(&self.history);
        self.history.extend(std::iter::repeat_n(History::default(), missing));
    }

    /// The value of an environment variable of the image.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, v)| v)
    }

    /// Sets a variable where it stands, or adds it at the end, as BuildKit does.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        let same = |old: &&mut String| old.split_once('=').map_or(old.as_str(), |(key, _)| key) == name;
        match self.config.env.iter_mut().find(same) {
            Some(old) => *old = pair,
            None => self.config.env.push(pair),
        }
    }
}

fn layers() -> String {
    "layers".to_owned()
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Docker writes `null` where it means "nothing".
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_added_and_what_nobody_knows_survives() {
        let text = r#"{"architecture":"amd64","config":{"ArgsEscaped":true,"Env":["A=1"],"Healthcheck":{"Interval":5,"Test":["CMD","x"]},"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],"Zzz":1},"os":"linux","rootfs":{"diff_ids":[],"type":"layers"},"x":[1]}"#;
        let config = ImageConfig::from_json(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(config.to_json()).unwrap(), text);
    }

    #[test]
    fn nulls_of_docker_are_nothing() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Volumes":null,"Labels":null},"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::from_json(text).unwrap();
        assert_eq!((config.config.cmd, config.history.len()), (None, 0));
    }

    #[test]
    fn a_variable_keeps_its_place() {
        let mut config = ImageConfig::default();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            config.set_env(name, value);
        }
        assert_eq!(config.config.env, ["A=3", "B=2"]);
        assert_eq!(config.env("A"), Some("3"));
    }
}
