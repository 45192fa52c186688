//! The JSON documents that locus.toml names: policies, and the task definition.

use std::path::PathBuf;

use serde_json::Value;

use super::locus_toml::Text;
use super::settings::Given;
use super::{Failure, Place, files, task_definition};
use crate::deploy::Document;

/// A file that locus.toml names, read.
pub(super) struct Named {
    /// As its user would call it.
    shown: String,
    source: String,
}

impl Named {
    pub(super) fn read(text: &Text, what: &str, given: Given<'_>) -> Result<Self, Failure> {
        let Some(file) = given.file else { return Err(Failure::bug(super::Phase::Configuration, "no file names it")) };
        let path: PathBuf = file.folder.join(file.expand(text, given.env)?);
        let source = files::read_text(&path, what).map_err(|failure| match failure.place {
            None => Failure { place: file.fault(text.line, "").place, ..failure },
            Some(_) => failure,
        })?;
        let shown = path.strip_prefix(given.cwd).unwrap_or(&path).display().to_string();
        Ok(Self { shown, source })
    }

    /// Something is wrong on a line of it.
    fn fault(&self, line: usize, message: String) -> Failure {
        Failure::configuration(message).at(Place::of_line(&self.shown, &self.source, line.max(1)))
    }

    /// A JSON object, all of whose variables are set or are `later`.
    pub(super) fn document(&self, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        let value = serde_json::from_str(&self.source);
        let value = value.map_err(|error| self.fault(error.line(), format!("{} is not JSON: {error}", self.shown)))?;
        self.with_variables(value, later, given)
    }

    /// What `aws ecs register-task-definition --cli-input-json` takes.
    pub(super) fn task_definition(&self, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        let value = task_definition::parse(&self.source);
        let value = value.map_err(|error| self.fault(error.line(), format!("{}: {error}", self.shown)))?;
        self.with_variables(value, later, given)
    }

    fn with_variables(&self, value: Value, later: &[&str], given: Given<'_>) -> Result<Document, Failure> {
        if !value.is_object() {
            return Err(self.fault(1, format!("{} is not a JSON object", self.shown)));
        }
        Document::new(value, later, |name| given.env.get(name).map(str::to_owned)).map_err(|error| {
            let line = self.source.lines().position(|line| line.contains(&error.text)).map_or(1, |line| line + 1);
            self.fault(line, error.to_string()).hint("export the variable, or write the value into the file")
        })
    }
}
