//! What a cache knows of steps, as JSON in the config of an image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::image::{Digest, ImageConfig};

/// The config's key; OCI leaves a config open for more (image-spec config.md, "Properties").
pub const FIELD: &str = "dev.locus-push.cache";

/// BuildKit's key for the same in an image's config (moby/buildkit, cache/remotecache/inline).
const BUILDKIT: &str = "moby.buildkit.cache.v0";

/// What is written, and all that is read.
const VERSION: u32 = 1;

/// The most steps and cache mounts that are read of one cache.
const STEPS: usize = 20_000;

/// Steps by the digests of their keys, and the diff_ids of their layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    pub steps: BTreeMap<Digest, Digest>,
    /// Cache mounts by their names, and the diff_ids of the layers of what they hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<Digest, Digest>,
}

/// An image that is no cache that can be read.
#[derive(Debug, thiserror::Error)]
pub enum NoCacheImage {
    #[error("it is a cache of BuildKit's, whose keys mean nothing here")]
    BuildKit,
    #[error("it is an image that carries no build cache")]
    Plain,
    #[error("its build cache is of version {0}; {VERSION} is read")]
    Version(u64),
    #[error("its build cache is not one: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its build cache has {0} steps and cache mounts; at most {STEPS} are read")]
    TooMany(usize),
}

impl Record {
    pub fn new(steps: BTreeMap<Digest, Digest>) -> Self {
        Self { version: VERSION, steps, mounts: BTreeMap::new() }
    }

    pub fn with_mounts(self, mounts: BTreeMap<Digest, Digest>) -> Self {
        Self { mounts, ..self }
    }

    /// What an image's config says of steps. The config itself is bounded by whoever read it.
    pub fn of(config: &ImageConfig) -> Result<Self, NoCacheImage> {
        let Some(found) = config.other.get(FIELD) else {
            return Err(match config.other.contains_key(BUILDKIT) {
                true => NoCacheImage::BuildKit,
                false => NoCacheImage::Plain,
            });
        };
        match found.get("version").and_then(Value::as_u64) {
            Some(version) if version != u64::from(VERSION) => return Err(NoCacheImage::Version(version)),
            Some(_) | None => {}
        }
        let record = Self::deserialize(found)?;
        match record.steps.len().saturating_add(record.mounts.len()) {
            ..=STEPS => Ok(record),
            many => Err(NoCacheImage::TooMany(many)),
        }
    }

    pub fn put_into(&self, config: &mut ImageConfig) {
        let value = serde_json::to_value(self).expect("a number, and a map with string keys, are always JSON");
        config.other.insert(FIELD.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Record, String> {
        let config = ImageConfig::from_json(text.as_bytes()).map_err(|error| error.to_string())?;
        Record::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_written_is_read() {
        let steps = Record::new([(Digest::of(b"key"), Digest::of(b"layer"))].into());
        let mounts = [(Digest::of(b"name"), Digest::of(b"files"))].into();
        for record in [steps.clone(), steps.with_mounts(mounts)] {
            let mut config = ImageConfig::default();
            record.put_into(&mut config);
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!((read(&text).unwrap(), text.contains("mounts")), (record.clone(), !record.mounts.is_empty()));
        }
    }

    #[test]
    fn what_is_no_record_is_refused_and_says_why() {
        let digest = Digest::of(b"key").to_string();
        let refused = |field: Value, why: &str| {
            let said = read(&json!({ FIELD: field }).to_string()).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        refused(json!(null), "is not one");
        refused(json!([]), "is not one");
        refused(json!({ "version": 1 }), "missing field `steps`");
        refused(json!({ "version": 2, "steps": {} }), "of version 2; 1 is read");
        refused(json!({ "version": 1, "steps": {}, "more": 1 }), "unknown field `more`");
        refused(json!({ "version": 1, "steps": { "../../etc": digest } }), "is not one");
        refused(json!({ "version": 1, "steps": { "sha256:AA": digest } }), "is not one");
        refused(json!({ "version": 1, "steps": { digest.clone(): "latest" } }), "is not one");
        refused(json!({ "version": 1, "steps": { digest.clone(): 1 } }), "is not one");
        let twice = format!(r#"{{"{FIELD}":{{"version":1,"steps":{{"{digest}":"{digest}","{digest}":"{digest}"}}}}}}"#);
        assert!(read(&twice).unwrap_err().contains("comes twice"));
        assert_eq!(read("{}").unwrap_err(), "it is an image that carries no build cache");
        assert!(read(&json!({ BUILDKIT: "e30=" }).to_string()).unwrap_err().contains("BuildKit"));
    }

    #[test]
    fn a_record_of_too_many_steps_is_refused() {
        let key = |number: usize| Digest::of(&number.to_le_bytes());
        let mut config = ImageConfig::default();
        Record::new((0..=STEPS).map(|number| (key(number), key(number))).collect()).put_into(&mut config);
        assert!(matches!(Record::of(&config), Err(NoCacheImage::TooMany(_))));
    }
}
