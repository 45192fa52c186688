//! A loader that was deployed before, by its name: what `run`, `logs` and `status` need to know of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::args::{AtArgs, NetworkArgs};
use super::super::locus_toml::LoaderTable;
use super::loader::{NetworkSettings, Said};
use super::{Failure, Given, pairs};
use crate::aws::Capacity;
use crate::deploy::Known;

#[derive(Clone, Debug)]
pub struct KnownSettings {
    pub known: Known,
    /// What the file says of the run.
    pub timeout: Option<Duration>,
    pub capacity: Option<Capacity>,
}

/// `NAME` or `NAME:REVISION`: a loader of locus.toml, or a task definition of which the file says nothing.
pub fn known(text: &str, at: &AtArgs, given: Given<'_>) -> Result<KnownSettings, Failure> {
    let (name, revision) = match text.split_once(':') {
        Some((name, revision)) => (name, Some(revision)),
        None => (text, None),
    };
    let bad = |why: String| not_a_name(text, why);
    let number = |text: &str| match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(bad(format!("`{text}` is not a revision's number"))),
    };
    let revision = revision.map(number).transpose()?;
    let empty = LoaderTable::default();
    let said = Said { given, table: table(name, given).unwrap_or(&empty) };
    let cluster = said.first(at.cluster.clone(), |all| all.cluster.as_ref())?;
    let log_group = said.first(None, |all| all.log_group.as_ref())?;
    let known = Known::new(name, revision, cluster.as_deref(), log_group.as_deref());
    Ok(KnownSettings {
        known: known.map_err(|error| bad(error.to_string()))?,
        timeout: said.timeout()?,
        capacity: said.capacity()?,
    })
}

/// What was typed is no loader's name.
pub(super) fn not_a_name(text: &str, why: String) -> Failure {
    let failure = Failure::usage(why);
    if text.contains('/') || text.to_lowercase().contains("dockerfile") {
        return failure.hint("a loader is named here, not its Dockerfile: os_opendata, not os_opendata.Dockerfile");
    }
    failure
}

pub fn network(name: &str, args: &NetworkArgs, given: Given<'_>) -> Result<NetworkSettings, Failure> {
    let empty = LoaderTable::default();
    Said { given, table: table(name, given).unwrap_or(&empty) }.network(args)
}

/// `--env` alone: what the file says is in the task definition.
pub fn variables(flags: &[String], given: Given<'_>) -> Result<BTreeMap<String, String>, Failure> {
    pairs::environment(flags, &BTreeMap::new(), given)
}

fn table<'a>(name: &str, given: Given<'a>) -> Option<&'a LoaderTable> {
    given.file?.loaders.get(name)
}
