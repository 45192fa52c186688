//! `init`: a locus.toml for the loaders that lie in a folder.

mod look;
mod render;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::json;

use super::{Done, Environment, Failure};
use crate::event::{Event, Events};

const NAME: &str = "locus.toml";

/// Writes the file, or shows it; one that is there stays.
pub fn init(folder: &Path, env: &Environment, stdout: bool, events: &Events) -> Result<Done, Failure> {
    let found = look::look(folder)?;
    let text = render::render(&found, env);
    let loaders: Vec<&str> = found.loaders.iter().map(|loader| loader.name.as_str()).collect();
    if stdout {
        let json = json!({ "text": text, "loaders": loaders });
        return Ok(Done::new(text.trim_end(), json));
    }
    let path = folder.join(NAME);
    let failed =
        |why: &dyn std::fmt::Display| Failure::configuration(format!("cannot write {}: {why}", path.display()));
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(|error| failed(&error))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(failed(&"it is there already").hint("`locus-push init --stdout` shows what it would say"));
        }
        Err(error) => return Err(failed(&error)),
    }
    if let Some(first) = found.loaders.first() {
        events.emit(Event::Note(format!("try it on this machine: locus-push --local {}", first.dockerfile)));
        if ["SUBNET1", "SECURITYGROUP"].iter().any(|variable| env.set(variable).is_none()) {
            events.emit(Event::Note(
                "before it runs on Fargate, fill in `subnets` and `security_groups`; then see what would be made: locus-push \
                 plan --all"
                    .to_owned(),
            ));
        }
    }
    Ok(Done::new(NAME, json!({ "file": path.display().to_string(), "loaders": loaders })))
}

#[cfg(test)]
mod tests;
