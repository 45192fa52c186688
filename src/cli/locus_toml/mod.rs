//! The file `locus.toml`, with nothing merged, nothing defaulted and no variable filled in: a loader that is not asked for
//! may name variables that are not set.

mod discover;
mod reader;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

pub use discover::read;

use super::place::Place;
use super::{Environment, Failure};
use crate::deploy::expand;
use reader::{Document, Table};

/// A value, and the line that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub line: usize,
}

/// A text in which variables are not yet filled in.
pub type Text = At<String>;

#[derive(Clone, Debug, Default)]
pub struct LocusToml {
    /// The file as it is named to its user.
    pub shown: String,
    /// The folder that paths in it start from; absolute.
    pub folder: PathBuf,
    source: String,
    pub profile: Option<Text>,
    pub region: Option<Text>,
    pub ca_file: Option<Text>,
    pub registry_endpoints: BTreeMap<String, Text>,
    pub image_tag_mutability: Option<Text>,
    /// Patterns of the tags that may be moved all the same.
    pub image_tag_mutability_exclusions: Option<Vec<Text>>,
    pub lifecycle: Option<LifecycleEntry>,
    /// What holds for each loader that says nothing else.
    pub all: Defaults,
    pub loaders: BTreeMap<String, LoaderTable>,
}

/// What may be said for all loaders at the top, and for one in its table.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    pub repository: Option<Text>,
    pub cluster: Option<Text>,
    pub subnets: Option<Vec<Text>>,
    pub security_groups: Option<Vec<Text>>,
    pub assign_public_ip: Option<At<bool>>,
    pub log_group: Option<Text>,
    pub log_retention_days: Option<At<u32>>,
    pub keep_revisions: Option<At<u32>>,
    pub tags: Option<Vec<Text>>,
    pub timeout: Option<Text>,
    pub capacity_provider: Option<Text>,
    pub platform: Option<Text>,
    /// In which schedules are read that name none.
    pub timezone: Option<Text>,
}

/// Which images the repository forgets by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleEntry {
    /// ECR's own policy, in a file.
    File(Text),
    Rules {
        line: usize,
        untagged_days: Option<At<u32>>,
        keep: Option<At<u32>>,
    },
}

#[derive(Clone, Debug, Default)]
pub struct LoaderTable {
    pub line: usize,
    pub dockerfile: Option<Text>,
    pub context: Option<Text>,
    pub target: Option<Text>,
    pub build_args: BTreeMap<String, Text>,
    pub labels: BTreeMap<String, Text>,
    pub cpu: Option<At<u32>>,
    pub memory: Option<At<u32>>,
    pub ephemeral_storage: Option<At<u32>>,
    pub environment: BTreeMap<String, Text>,
    pub secrets: Vec<SecretEntry>,
    pub access: AccessTable,
    pub execution_role: Option<Text>,
    pub task_role: Option<Text>,
    /// Documents, by the files that they are in.
    pub trust: Option<Text>,
    pub execution_policy: Option<Text>,
    pub task_definition: Option<Text>,
    pub schedule: Option<ScheduleEntry>,
    pub own: Defaults,
}

/// When a loader runs by itself: `"cron(…)"`, or a table that says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleEntry {
    pub line: usize,
    pub expression: Option<Text>,
    pub timezone: Option<Text>,
    pub retries: Option<At<u32>>,
    pub max_age: Option<Text>,
    pub dead_letter_queue: Option<Text>,
    pub enabled: Option<At<bool>>,
}

/// What the task itself reaches.
#[derive(Clone, Debug, Default)]
pub struct AccessTable {
    pub s3: Vec<Text>,
    pub rds: Vec<Text>,
    pub secrets: Vec<Text>,
    pub sqs: Vec<Text>,
    pub policy: Option<Text>,
}

/// `"NAME"`, or `VARIABLE = "arn:…"` or `"name:json-key"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    pub variable: Option<String>,
    pub source: Text,
}

impl LocusToml {
    /// The file's text, parsed; each of its tables tells what is wrong in it. `folder` is absolute.
    pub fn parse(shown: &str, folder: PathBuf, source: &str) -> Result<Self, Failure> {
        let document = Document { file: shown, source };
        let mut root = document.parse()?;
        let mut failures = Vec::new();
        let mut loaders = BTreeMap::new();
        let tables = root.tables_by_name("loaders").map_err(|failure| failures.push(failure)).unwrap_or_default();
        for table in tables {
            match loader(table) {
                Ok((name, table)) => drop(loaders.insert(name, table)),
                Err(failure) => failures.push(failure),
            }
        }
        let file = Self::top(&mut root, shown, folder, source).map(|file| Self { loaders, ..file });
        let unknown = if file.is_ok() { root.finish() } else { Ok(()) };
        match (file, unknown) {
            (Ok(file), Ok(())) if failures.is_empty() => return Ok(file),
            (file, unknown) => failures.extend(file.err().into_iter().chain(unknown.err())),
        }
        failures.sort_by_key(|failure| failure.place.as_ref().map(|place| place.line));
        Err(Failure::all(failures).expect_err("one of them is why we are here"))
    }

    /// What stands above the loaders.
    fn top(root: &mut Table<'_>, shown: &str, folder: PathBuf, source: &str) -> Result<Self, Failure> {
        Ok(Self {
            shown: shown.to_owned(),
            folder,
            source: source.to_owned(),
            profile: root.text("profile")?,
            region: root.text("region")?,
            ca_file: root.text("ca_file")?,
            registry_endpoints: root.texts_by_name("registry_endpoints")?,
            image_tag_mutability: root.text("image_tag_mutability")?,
            image_tag_mutability_exclusions: root.texts("image_tag_mutability_exclusions")?,
            lifecycle: lifecycle(root)?,
            all: defaults(root)?,
            loaders: BTreeMap::new(),
        })
    }

    /// The text with its variables filled in; a failure names the line.
    pub fn expand(&self, text: &Text, env: &Environment) -> Result<String, Failure> {
        expand(&text.value, |name| env.get(name).map(Into::into)).map_err(|error| {
            self.wrong(text, error.to_string()).hint("export the variable, or write the value into the file")
        })
    }

    /// Something is wrong with these bytes of a text of this file.
    pub fn fault_in(&self, text: &Text, part: Range<usize>, message: impl Into<String>) -> Failure {
        let line = self.source.lines().nth(text.line.saturating_sub(1)).unwrap_or_default();
        match line.find(&text.value) {
            Some(at) => {
                let part = at + part.start..at + part.end;
                Failure::configuration(message).at(Place::in_line(&self.shown, &self.source, text.line, part))
            }
            // Escapes, or several lines.
            None => self.fault(text.line, message),
        }
    }

    /// Something is wrong with a value of this file.
    pub fn wrong(&self, text: &Text, message: impl Into<String>) -> Failure {
        self.fault_in(text, 0..text.value.len(), message)
    }

    /// Something is wrong on a line of this file.
    pub fn fault(&self, line: usize, message: impl Into<String>) -> Failure {
        Failure::configuration(message).at(Place::of_line(&self.shown, &self.source, line))
    }
}

fn defaults(table: &mut Table<'_>) -> Result<Defaults, Failure> {
    Ok(Defaults {
        repository: table.text("repository")?,
        cluster: table.text("cluster")?,
        subnets: table.texts("subnets")?,
        security_groups: table.texts("security_groups")?,
        assign_public_ip: table.flag("assign_public_ip")?,
        log_group: table.text("log_group")?,
        log_retention_days: table.number("log_retention_days")?,
        keep_revisions: table.number("keep_revisions")?,
        tags: table.texts("tags")?,
        timeout: table.text("timeout")?,
        capacity_provider: table.text("capacity_provider")?,
        platform: table.text("platform")?,
        timezone: table.text("timezone")?,
    })
}

fn lifecycle(root: &mut Table<'_>) -> Result<Option<LifecycleEntry>, Failure> {
    if !root.holds_a_table("lifecycle") {
        return Ok(root.text("lifecycle")?.map(LifecycleEntry::File));
    }
    let Some(mut table) = root.table("lifecycle")? else { return Ok(None) };
    let (line, untagged_days, keep) = (table.line, table.number("untagged_days")?, table.number("keep")?);
    table.finish()?;
    Ok(Some(LifecycleEntry::Rules { line, untagged_days, keep }))
}

fn loader((name, mut table): (String, Table<'_>)) -> Result<(String, LoaderTable), Failure> {
    let loader = LoaderTable {
        line: table.line,
        dockerfile: table.text("dockerfile")?,
        context: table.text("context")?,
        target: table.text("target")?,
        build_args: table.texts_by_name("build_args")?,
        labels: table.texts_by_name("labels")?,
        cpu: table.number("cpu")?,
        memory: table.number("memory")?,
        ephemeral_storage: table.number("ephemeral_storage")?,
        environment: table.texts_by_name("environment")?,
        secrets: secrets(&mut table)?,
        access: match table.table("access")? {
            Some(table) => access(table)?,
            None => AccessTable::default(),
        },
        execution_role: table.text("execution_role")?,
        task_role: table.text("task_role")?,
        trust: table.text("trust")?,
        execution_policy: table.text("execution_policy")?,
        task_definition: table.text("task_definition")?,
        schedule: schedule(&mut table)?,
        own: defaults(&mut table)?,
    };
    table.finish()?;
    Ok((name, loader))
}

fn schedule(table: &mut Table<'_>) -> Result<Option<ScheduleEntry>, Failure> {
    if !table.holds_a_table("schedule") {
        let text = table.text("schedule")?;
        return Ok(text.map(|expression| ScheduleEntry {
            line: expression.line,
            expression: Some(expression),
            timezone: None,
            retries: None,
            max_age: None,
            dead_letter_queue: None,
            enabled: None,
        }));
    }
    let Some(mut table) = table.table("schedule")? else { return Ok(None) };
    let entry = ScheduleEntry {
        line: table.line,
        expression: table.text("expression")?,
        timezone: table.text("timezone")?,
        retries: table.number("retries")?,
        max_age: table.text("max_age")?,
        dead_letter_queue: table.text("dead_letter_queue")?,
        enabled: table.flag("enabled")?,
    };
    table.finish()?;
    Ok(Some(entry))
}

/// A list of names, or a table of variables and where each secret is.
fn secrets(table: &mut Table<'_>) -> Result<Vec<SecretEntry>, Failure> {
    if table.holds_a_table("secrets") {
        let by_name = table.texts_by_name("secrets")?;
        return Ok(by_name.into_iter().map(|(name, source)| SecretEntry { variable: Some(name), source }).collect());
    }
    let list = table.texts("secrets")?.unwrap_or_default();
    Ok(list.into_iter().map(|source| SecretEntry { variable: None, source }).collect())
}

fn access(mut table: Table<'_>) -> Result<AccessTable, Failure> {
    let mut list = |key| Ok::<_, Failure>(table.texts(key)?.unwrap_or_default());
    let (s3, rds, secrets, sqs) = (list("s3")?, list("rds")?, list("secrets")?, list("sqs")?);
    let access = AccessTable { s3, rds, secrets, sqs, policy: table.text("policy")? };
    table.finish()?;
    Ok(access)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESIGN: &str = r#"
profile = "locus"
region = "eu-west-1"
repository = "locus_data_loaders"
subnets = ["${SUBNET1}", "${SUBNET2}"]
security_groups = ["${SECURITYGROUP}"]

[loaders.os_opendata]
dockerfile = "loaders/os_opendata.Dockerfile"
context = "."
cpu = 256
memory = 512
environment = { FILTER = "Test Loader" }
secrets = ["DBCONNECTION"]              # or { DB = "arn:…" }, { DB = "name:json-key" }
access = { s3 = ["demo-data"] }         # task role; or policy = "policies/loader.json"
"#;

    fn parse(text: &str) -> Result<LocusToml, Failure> {
        LocusToml::parse("locus.toml", "/w".into(), text)
    }

    #[track_caller]
    fn refused(text: &str, line: usize, message: &str) {
        let failure = parse(text).expect_err(text);
        assert_eq!(failure.message, message);
        assert_eq!(failure.place.as_ref().map(|place| place.line), Some(line), "{failure:?}");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn the_file_of_the_design_is_read() {
        let file = parse(DESIGN).expect("it is right");
        assert_eq!(file.region, Some(At { value: "eu-west-1".into(), line: 3 }));
        let loader = &file.loaders["os_opendata"];
        assert_eq!(loader.line, 8);
        assert_eq!(loader.cpu, Some(At { value: 256, line: 11 }));
        assert_eq!(loader.environment["FILTER"].value, "Test Loader");
        assert_eq!(
            loader.secrets,
            [SecretEntry { variable: None, source: At { value: "DBCONNECTION".into(), line: 14 } }]
        );
        assert_eq!(loader.access.s3[0].value, "demo-data");
        assert_eq!(file.all.subnets.as_ref().map(Vec::len), Some(2));
    }

    #[test]
    fn secrets_may_say_where_they_are() {
        let file = parse("[loaders.a.secrets]\nDB = 'name:json-key'\n").expect("it is right");
        let source = At { value: "name:json-key".into(), line: 2 };
        assert_eq!(file.loaders["a"].secrets, [SecretEntry { variable: Some("DB".into()), source }]);
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest() {
        refused("profile = 'a'\nregoin = 'b'\n", 2, "unknown key `regoin`; did you mean `region`?");
        refused("[loaders.a]\n\nmemroy = 1\n", 3, "unknown key `loaders.a.memroy`; did you mean `memory`?");
        refused("[loaders.a.access]\nss3 = []\n", 2, "unknown key `loaders.a.access.ss3`; did you mean `s3`?");
        refused("banana = 1\n", 1, "unknown key `banana`");
        refused("loader = { a = 1 }\n", 1, "unknown key `loader`; did you mean `loaders`?");
    }

    #[test]
    fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
        refused("cpu = 256\n", 1, "unknown key `cpu`");
        let failure = parse("[loaders.a]\nprofile = 'x'\n").expect_err("it is for the top");
        assert_eq!(failure.message, "unknown key `loaders.a.profile`");
        assert!(failure.hints[0].contains("dockerfile"), "{:?}", failure.hints);
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told() {
        refused("region = 1\n", 1, "`region` is a text in quotes, not a number");
        refused("subnets = 'a'\n", 1, "`subnets` is a list of texts, not a text");
        refused("subnets = ['a', 2]\n", 1, "`subnets` is a list of texts, and a number is in it");
        refused("[loaders.a]\ncpu = '256'\n", 2, "`loaders.a.cpu` is a whole number, not a text");
        refused("[loaders.a]\ncpu = -1\n", 2, "`loaders.a.cpu` is a whole number from 0 to 4294967295");
        refused("assign_public_ip = 'no'\n", 1, "`assign_public_ip` is true or false, not a text");
        refused("[loaders.a.environment]\nA = 1\n", 2, "`loaders.a.environment.A` is a text in quotes, not a number");
        refused("loaders = 1\n", 1, "`loaders` is a table, not a number");
    }

    #[test]
    fn what_is_wrong_is_told_at_once_each_in_its_line_and_underlined() {
        let text = "regoin = 'b'\n\n[loaders.a]\ncpu = '256'\n\n[loaders.b]\nmemroy = 1\nbanana = { x = 1 }\n";
        let words = parse(text).expect_err("much is wrong").words(crate::cli::Paint::off());
        let keys = "dockerfile, context";
        assert!(
            words.starts_with(
                "error: unknown key `regoin`; did you mean `region`?\n  --> locus.toml:1:1\n   |\n 1 | regoin = 'b'\n   | ^^^^^^\n\
                 error: `loaders.a.cpu` is a whole number, not a text\n  --> locus.toml:4:7\n   |\n 4 | cpu = '256'\n   |       ^^^^^\n\
                 hint: write it without the quotes: cpu = 256\n\
                 error: unknown key `loaders.b.memroy`; did you mean `memory`?\n  --> locus.toml:7:1\n   |\n 7 | memroy = 1\n   | ^^^^^^\n\
                 error: unknown key `loaders.b.banana`\n  --> locus.toml:8:1\n   |\n 8 | banana = { x = 1 }\n   | ^^^^^^\nhint: the keys here are "
            ) && words.contains(keys),
            "{words}"
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let failure = parse("region = 'a'\nprofile = \n").expect_err("it is no TOML");
        assert_eq!(failure.place.map(|place| (place.line, place.source)), Some((2, vec!["profile = ".to_owned()])));
    }

    #[test]
    fn a_variable_that_is_not_set_is_told_with_its_line() {
        let file = parse(DESIGN).expect("it is right");
        let subnets = file.all.subnets.as_ref().expect("two");
        let failure = file.expand(&subnets[1], &Environment::of(&[("SUBNET1", "subnet-1")])).expect_err("SUBNET2");
        assert_eq!(failure.message, "the variable SUBNET2 is not set");
        assert_eq!(failure.place.map(|place| place.line), Some(5));
    }
}
