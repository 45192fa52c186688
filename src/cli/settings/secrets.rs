//! Which secrets the task is given. Values are not read here, and never stand on the command line.

use std::collections::BTreeMap;

use super::super::locus_toml::LoaderTable;
use super::{Failure, Given};
use crate::deploy::{BadSecret, SecretSpec};

/// The one secret that people already export something for.
const DBCONNECTION: &str = "DBCONNECTION";

/// The loader's table says which; without one, `DBCONNECTION` where its variables are exported. Flags add to them and
/// take their place by name.
pub(super) fn secrets(
    flags: &[String],
    table: Option<&LoaderTable>,
    given: Given<'_>,
) -> Result<Vec<SecretSpec>, Failure> {
    let mut secrets = match table {
        Some(table) => of_table(table, given)?,
        None => of_environment(given)?,
    };
    for flag in flags {
        let spec = of_flag(flag)?;
        secrets.insert(spec.variable().to_owned(), spec);
    }
    Ok(secrets.into_values().collect())
}

fn of_table(table: &LoaderTable, given: Given<'_>) -> Result<BTreeMap<String, SecretSpec>, Failure> {
    let Some(file) = given.file else { return Ok(BTreeMap::new()) };
    let mut secrets = BTreeMap::new();
    for entry in &table.secrets {
        let source = file.expand(&entry.source, given.env)?;
        let spec = match &entry.variable {
            // The environment is before the file.
            Some(variable) if variable == DBCONNECTION && given.env.set("SECRETSRESOURCEARN").is_some() => {
                SecretSpec::named(DBCONNECTION)
            }
            Some(variable) => SecretSpec::parse(variable, &source),
            None => SecretSpec::named(&source),
        };
        let spec = spec.map_err(|error| file.wrong(&entry.source, error.to_string()))?;
        if let Some(twice) = secrets.insert(spec.variable().to_owned(), spec) {
            return Err(file.wrong(&entry.source, format!("the secret {} is named twice", twice.variable())));
        }
    }
    Ok(secrets)
}

fn of_environment(given: Given<'_>) -> Result<BTreeMap<String, SecretSpec>, Failure> {
    let exported = [DBCONNECTION, "DB_CONNECTION_STRING", "SECRETSRESOURCEARN"];
    if exported.iter().all(|name| given.env.set(name).is_none()) {
        return Ok(BTreeMap::new());
    }
    let spec = SecretSpec::named(DBCONNECTION).map_err(|error| Failure::configuration(error.to_string()))?;
    Ok(BTreeMap::from([(DBCONNECTION.to_owned(), spec)]))
}

/// `NAME`, `NAME=env:VAR`, `NAME=file:PATH`, `NAME=stdin` or `NAME=arn:…`.
fn of_flag(flag: &str) -> Result<SecretSpec, Failure> {
    let spec = match flag.split_once('=') {
        None => SecretSpec::named(flag),
        Some((name, arn)) if arn.starts_with("arn:") => SecretSpec::parse(name, arn),
        Some((name, from)) => SecretSpec::named(name).and_then(|spec| spec.with_value(from)),
    };
    spec.map_err(|error| {
        let failure = Failure::usage(format!("--secret: {error}"));
        match error {
            BadSecret::Value(name) => failure.hint(format!(
                "a secret's value never goes onto a command line, where everybody on the machine sees it; \
                 export it and write --secret {name}=env:VARIABLE"
            )),
            BadSecret::Name(_) | BadSecret::Arn { .. } | BadSecret::JsonKey(_) => failure,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Environment;
    use super::super::super::locus_toml::LocusToml;
    use super::*;
    use crate::deploy::{SecretSource, ValueFrom};

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:DB-AbCdEf";

    fn check(flags: &[&str], vars: &[(&str, &str)], file: Option<&str>) -> Result<Vec<SecretSpec>, Failure> {
        let file = file.map(|text| LocusToml::parse("locus.toml", "/w".into(), text).expect("it is right"));
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let env = Environment::of(vars);
        let table = file.as_ref().map(|file| &file.loaders["a"]);
        secrets(&flags, table, Given { env: &env, file: file.as_ref(), cwd: Path::new("/w") })
    }

    fn names(specs: Result<Vec<SecretSpec>, Failure>) -> Vec<String> {
        specs.expect("right").iter().map(|spec| spec.variable().to_owned()).collect()
    }

    #[test]
    fn dbconnection_is_given_where_its_variables_are_exported() {
        for name in ["DBCONNECTION", "DB_CONNECTION_STRING", "SECRETSRESOURCEARN"] {
            assert_eq!(names(check(&[], &[(name, "x")], None)), ["DBCONNECTION"]);
        }
        assert!(names(check(&[], &[("DBCONNECTION", "")], None)).is_empty());
        assert!(names(check(&[], &[("DBCONNECTION", "x")], Some("[loaders.a]"))).is_empty(), "the table decides");
    }

    #[test]
    fn flags_add_and_take_the_place_of_what_the_file_says() {
        let file = "[loaders.a]\nsecrets = ['DB', 'API']";
        let specs = check(&["DB=env:X", "NEW=stdin"], &[], Some(file)).expect("right");
        let values: Vec<_> = specs.iter().map(|spec| (spec.variable(), spec.places())).collect();
        assert_eq!(
            values,
            [
                ("API", vec![ValueFrom::Variable("API".into())]),
                ("DB", vec![ValueFrom::Variable("X".into())]),
                ("NEW", vec![ValueFrom::Stdin]),
            ]
        );
    }

    #[test]
    fn a_secret_may_be_named_by_its_arn() {
        let specs = check(&[&format!("DB={ARN}")], &[], None).expect("right");
        assert_eq!(*specs[0].source(), SecretSource::Arn { arn: ARN.into(), json_key: None });
    }

    #[test]
    fn a_value_on_the_command_line_is_refused_and_not_repeated() {
        let failure = check(&["DB=postgres://hunter2@host"], &[], None).expect_err("a value");
        assert!(!failure.words(super::super::super::screen::Paint::off()).contains("hunter2"), "{failure:?}");
        assert!(failure.hints[0].contains("--secret DB=env:VARIABLE"), "{failure:?}");
    }

    #[test]
    fn a_bad_secret_of_the_file_is_told_with_its_line() {
        let failure = check(&[], &[], Some("[loaders.a]\nsecrets = ['A',\n 'A']")).expect_err("twice");
        assert_eq!(failure.message, "the secret A is named twice");
        assert_eq!(failure.place.map(|place| place.line), Some(3));
    }
}
