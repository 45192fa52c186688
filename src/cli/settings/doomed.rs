//! A loader that is to be taken down: what it is made of, as far as the settings say.

use super::super::args::DownArgs;
use super::super::locus_toml::LoaderTable;
use super::loader::Said;
use super::{Failure, Given, Session, secrets};
use crate::deploy::{Doomed, REPOSITORY};

pub fn doomed(args: &DownArgs, session: &Session, given: Given<'_>) -> Result<Doomed, Failure> {
    let name = args.name.clone();
    let empty = LoaderTable::default();
    let table = given.file.and_then(|file| file.loaders.get(&name));
    let said = Said { given, table: table.unwrap_or(&empty) };
    let exported = session.repository_uri.as_ref().map(|uri| uri.repository().to_owned());
    let repository = said.first(args.repository.clone().or(exported), |all| all.repository.as_ref())?;
    let roles = [&said.table.execution_role, &said.table.task_role];
    let doomed = Doomed {
        repository: repository.unwrap_or_else(|| REPOSITORY.to_owned()),
        cluster: said
            .first(args.at.cluster.clone(), |all| all.cluster.as_ref())?
            .unwrap_or_else(|| format!("{name}_cluster")),
        log_group: said.first(None, |all| all.log_group.as_ref())?.unwrap_or_else(|| name.clone()),
        roles: roles.iter().filter_map(|role| said.text(role.as_ref()).transpose()).collect::<Result<_, _>>()?,
        secrets: secrets::secrets(&[], table, given)?,
        shared: args.shared,
        with_secrets: args.secrets,
        stop: args.stop,
        name,
    };
    doomed.check().map_err(|error| super::known::not_a_name(&doomed.name, error.to_string()))?;
    Ok(doomed)
}
