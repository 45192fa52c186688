//! One loader: what is built, and the task that it becomes.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::super::args::{DeployArgs, NetworkArgs};
use super::super::documents::Named;
use super::super::locus_toml::{AccessTable, Defaults, LoaderTable, LocusToml, Text};
use super::super::{duration, name};
use super::{Failure, Given, RecipeSettings, pairs, repository, schedule, secrets};
use crate::aws::Capacity;
use crate::deploy::{AccessSettings, Description, Document, REPOSITORY, Template, policy_variables};

/// One loader with everything merged.
#[derive(Clone, Debug)]
pub struct LoaderSettings {
    pub description: Description,
    pub context: PathBuf,
    pub recipe: RecipeSettings,
    /// What the file says of the run.
    pub timeout: Option<Duration>,
    pub capacity: Option<Capacity>,
}

/// A loader that is asked for, one of `of`.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// As it was named on the command line, or in the loader's table.
    pub dockerfile: &'a Path,
    /// Its name in locus.toml, where it was asked for by that.
    pub name: Option<&'a str>,
    pub of: usize,
}

pub fn loader(
    args: &DeployArgs,
    local: bool,
    Which { dockerfile, name: asked, of }: Which<'_>,
    given: Given<'_>,
) -> Result<LoaderSettings, Failure> {
    let Given { env, file, cwd } = given;
    let exported = env.set("DOCKERNAME");
    if let (Some(name), Some(asked)) = (exported, asked)
        && of == 1
        && name != asked
    {
        return Err(Failure::configuration(format!("DOCKERNAME={name}, and the only loader of locus.toml is {asked}")));
    }
    if let (Some(name), 2..) = (exported, of) {
        return Err(Failure::configuration(format!("DOCKERNAME={name} names one loader, and {of} are asked for"))
            .hint("unset DOCKERNAME: each loader has its Dockerfile's name, or its own in locus.toml"));
    }
    let exported = asked.or(exported);
    let path = lexical(&cwd.join(dockerfile));
    let entry = entry(&path, exported, given)?;
    let name = match (exported, entry) {
        (Some(name), _) => name.to_owned(),
        (None, Some((name, _))) => name.to_owned(),
        (None, None) => name::of_dockerfile(&path)?,
    };
    let table = entry.map(|(_, table)| table);
    let empty = LoaderTable::default();
    let said = Said { given, table: table.unwrap_or(&empty) };

    let (task, cloud) = (&args.task, &args.cloud);
    let repository_uri = super::session(&cloud.at.identity, cloud.repository.as_deref(), given)?.repository_uri;
    // A run on this machine stands in no subnet, and must not ask for the variables that name one.
    let NetworkSettings { subnets, security_groups, public_ip } =
        if local { NetworkSettings::default() } else { said.network(&cloud.network)? };

    let repository = said
        .first(cloud.repository.clone().or(repository_uri.map(|uri| uri.repository().to_owned())), |all| {
            all.repository.as_ref()
        })?;
    let [trust, execution_policy, task_definition] = Failure::of_each([
        said.document(said.table.trust.as_ref(), "trust policy"),
        said.document(said.table.execution_policy.as_ref(), "execution policy"),
        task_definition(&said),
    ])?;
    let description = Description {
        mutability: repository::mutability(given)?,
        lifecycle: repository::lifecycle(repository.as_deref().unwrap_or(REPOSITORY), given)?,
        repository,
        tags: said.list(&args.image.tag, Vec::new(), |all| all.tags.as_ref())?,
        cluster: said.first(cloud.at.cluster.clone(), |all| all.cluster.as_ref())?,
        log_group: said.first(None, |all| all.log_group.as_ref())?,
        log_retention_days: said.of(|all| all.log_retention_days.as_ref()).map(|days| days.value),
        subnets,
        security_groups,
        assign_public_ip: public_ip,
        cpu: task.cpu.or(said.table.cpu.as_ref().map(|cpu| cpu.value)),
        memory: task.memory.or(said.table.memory.as_ref().map(|memory| memory.value)),
        ephemeral_storage: task.ephemeral_storage.or(said.table.ephemeral_storage.as_ref().map(|gib| gib.value)),
        environment: pairs::environment(&task.env, &said.table.environment, given)?,
        secrets: secrets::secrets(&task.secret, table, given)?,
        secrets_resource_arn: env.set("SECRETSRESOURCEARN").map(str::to_owned),
        update_secrets: task.update_secrets,
        access: access(&said)?,
        trust,
        execution_policy,
        task_definition,
        execution_role: said.text(said.table.execution_role.as_ref())?,
        task_role: said.text(said.table.task_role.as_ref())?,
        schedule: schedule::schedule(&said)?,
        keep_revisions: said.of(|all| all.keep_revisions.as_ref()).map(|count| count.value),
        adopt: cloud.adopt,
        name,
    };

    let context = match (&args.image.context, &said.table.context, file) {
        (Some(context), ..) => context.clone(),
        (None, Some(context), Some(file)) => file.folder.join(file.expand(context, env)?),
        _ => PathBuf::from("."),
    };
    let recipe = &args.image.recipe;
    Ok(LoaderSettings {
        description,
        context,
        recipe: RecipeSettings {
            target: recipe.target.clone().map_or_else(|| said.text(said.table.target.as_ref()), |t| Ok(Some(t)))?,
            build_args: pairs::build_args(&recipe.build_arg, &said.table.build_args, given)?,
            labels: pairs::labels(&recipe.label, &said.table.labels, given)?,
            platform: super::platform(&recipe.platform, said.first(None, |all| all.platform.as_ref())?)?,
        },
        timeout: said.timeout()?,
        capacity: said.capacity()?,
    })
}

fn access(said: &Said<'_>) -> Result<AccessSettings, Failure> {
    let AccessTable { s3, rds, secrets, sqs, policy } = &said.table.access;
    Ok(AccessSettings {
        s3: said.texts(s3)?,
        rds: said.texts(rds)?,
        secrets: said.texts(secrets)?,
        sqs: said.texts(sqs)?,
        policy: said.document(policy.as_ref(), "policy")?,
    })
}

fn task_definition(said: &Said<'_>) -> Result<Option<Document>, Failure> {
    let Some(path) = &said.table.task_definition else { return Ok(None) };
    Named::read(path, "task definition", said.given)?.task_definition(&Template::variables(), said.given).map(Some)
}

/// Where a task stands, as flag, variable and file say.
#[derive(Clone, Debug, Default)]
pub struct NetworkSettings {
    pub subnets: Vec<String>,
    pub security_groups: Vec<String>,
    pub public_ip: Option<bool>,
}

/// What locus.toml says: the loader's table before the top of the file.
pub(super) struct Said<'a> {
    pub given: Given<'a>,
    pub table: &'a LoaderTable,
}

impl<'a> Said<'a> {
    pub fn network(&self, args: &NetworkArgs) -> Result<NetworkSettings, Failure> {
        let exported = |names: &[&str]| -> Vec<String> {
            names.iter().filter_map(|name| self.given.env.set(name)).map(str::to_owned).collect()
        };
        let public_ip = match (args.public_ip, args.no_public_ip) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => self.of(|all| all.assign_public_ip.as_ref()).map(|flag| flag.value),
        };
        let groups = exported(&["SECURITYGROUP"]);
        Ok(NetworkSettings {
            subnets: self.list(&args.subnet, exported(&["SUBNET1", "SUBNET2"]), |all| all.subnets.as_ref())?,
            security_groups: self.list(&args.security_group, groups, |all| all.security_groups.as_ref())?,
            public_ip,
        })
    }

    pub fn timeout(&self) -> Result<Option<Duration>, Failure> {
        let (Some(text), Some(file)) = (self.of(|all| all.timeout.as_ref()), self.given.file) else { return Ok(None) };
        let timeout = duration::parse(&file.expand(text, self.given.env)?);
        timeout.map(Some).map_err(|why| file.wrong(text, why))
    }

    pub fn capacity(&self) -> Result<Option<Capacity>, Failure> {
        let (Some(text), Some(file)) = (self.of(|all| all.capacity_provider.as_ref()), self.given.file) else {
            return Ok(None);
        };
        let name = file.expand(text, self.given.env)?;
        match [Capacity::Fargate, Capacity::Spot].into_iter().find(|capacity| capacity.name() == name) {
            Some(capacity) => Ok(Some(capacity)),
            None => Err(file.wrong(text, format!("`{name}` is no capacity provider; FARGATE and FARGATE_SPOT are"))),
        }
    }

    pub fn of<T>(&self, pick: impl Fn(&'a Defaults) -> Option<&'a T>) -> Option<&'a T> {
        pick(&self.table.own).or_else(|| self.given.file.and_then(|file| pick(&file.all)))
    }

    pub fn first(
        &self,
        before: Option<String>,
        pick: impl Fn(&'a Defaults) -> Option<&'a Text>,
    ) -> Result<Option<String>, Failure> {
        match before {
            Some(before) => Ok(Some(before)),
            None => self.text(self.of(pick)),
        }
    }

    fn list(
        &self,
        flags: &[String],
        exported: Vec<String>,
        pick: impl Fn(&'a Defaults) -> Option<&'a Vec<Text>>,
    ) -> Result<Vec<String>, Failure> {
        match self.of(pick) {
            _ if !flags.is_empty() => Ok(flags.to_vec()),
            _ if !exported.is_empty() => Ok(exported),
            Some(texts) => self.texts(texts),
            None => Ok(Vec::new()),
        }
    }

    pub fn text(&self, text: Option<&Text>) -> Result<Option<String>, Failure> {
        match (text, self.given.file) {
            (Some(text), Some(file)) => file.expand(text, self.given.env).map(Some),
            _ => Ok(None),
        }
    }

    fn document(&self, path: Option<&Text>, what: &str) -> Result<Option<Document>, Failure> {
        let Some(path) = path else { return Ok(None) };
        Named::read(path, what, self.given)?.policy(&policy_variables(), self.given).map(Some)
    }

    fn texts(&self, texts: &[Text]) -> Result<Vec<String>, Failure> {
        texts.iter().filter_map(|text| self.text(Some(text)).transpose()).collect()
    }
}

/// The loader of locus.toml that is built from this Dockerfile.
fn entry<'a>(
    path: &Path,
    exported: Option<&str>,
    given: Given<'a>,
) -> Result<Option<(&'a str, &'a LoaderTable)>, Failure> {
    let Some(file) = given.file else { return Ok(None) };
    let mut found = Vec::new();
    for (name, table) in &file.loaders {
        if let Some(dockerfile) = &table.dockerfile
            && lexical(&file.folder.join(file.expand(dockerfile, given.env)?)) == path
        {
            found.push((name.as_str(), table));
        }
    }
    match (&found[..], exported) {
        ([one], _) => return Ok(Some(*one)),
        ([], _) => {}
        (several, exported) => {
            return match several.iter().find(|(name, _)| Some(*name) == exported) {
                Some(one) => Ok(Some(*one)),
                None => Err(ambiguous(file, several)),
            };
        }
    }
    let name = match exported {
        Some(name) => name.to_owned(),
        None => name::of_dockerfile(path)?,
    };
    match file.loaders.get_key_value(&name) {
        None => Ok(None),
        Some((name, table)) => match &table.dockerfile {
            None => Ok(Some((name, table))),
            Some(other) => Err(file
                .fault(other.line, format!("the loader {name} is built from another file than {}", path.display()))
                .hint("correct the line, or give the other loader a name of its own with DOCKERNAME")),
        },
    }
}

fn ambiguous(file: &LocusToml, several: &[(&str, &LoaderTable)]) -> Failure {
    let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
    let line = several.first().map_or(1, |(_, table)| table.line);
    file.fault(line, format!("the loaders {} are built from this Dockerfile", names.join(" and ")))
        .hint(format!("DOCKERNAME={} says which is meant", names.first().copied().unwrap_or("name")))
}

/// The path without `.` and `..`, nothing on disk being asked: `a/../b` is `b`, symlinks or not.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::Environment;
    use super::super::super::args::Cli;
    use super::*;

    const FILE: &str = "\
subnets = ['${SUBNET1}', 'subnet-9']
security_groups = ['sg-9']
repository = 'of_file'
tags = ['latest']

[loaders.places]
dockerfile = 'loaders/os_opendata.Dockerfile'
context = 'data'
cpu = 512
environment = { FILTER = 'Test Loader', KEPT = '${HOME}' }
cluster = 'shared'
timeout = '30m'

[loaders.plain]
memory = 1024

[loaders.twice_a]
dockerfile = 'twice.Dockerfile'
[loaders.twice_b]
dockerfile = 'twice.Dockerfile'
";

    fn check(line: &str, vars: &[(&str, &str)], file: Option<&str>) -> Result<LoaderSettings, Failure> {
        let file = file.map(|text| LocusToml::parse("locus.toml", "/w".into(), text).expect("it is right"));
        let cli = Cli::try_parse_from(std::iter::once("locus-push").chain(line.split(' '))).expect(line);
        let env = Environment::of(vars);
        let given = Given { env: &env, file: file.as_ref(), cwd: Path::new("/w/loaders") };
        let (args, local) = (&cli.road.deploy, cli.road.local);
        loader(args, local, Which { dockerfile: &args.dockerfiles[0], name: None, of: args.dockerfiles.len() }, given)
    }

    #[test]
    fn without_a_file_the_environment_and_the_defaults_speak() {
        let uri = "1.dkr.ecr.eu-west-1.amazonaws.com/of_env";
        let vars =
            [("SUBNET1", "subnet-1"), ("SUBNET2", "subnet-2"), ("SECURITYGROUP", "sg-1"), ("REPOSITORYURI", uri)];
        let settings = check("os_opendata.Dockerfile", &vars, None).expect("right");
        let described = settings.description;
        assert_eq!(described.name, "os_opendata");
        assert_eq!(described.subnets, ["subnet-1", "subnet-2"]);
        assert_eq!(described.security_groups, ["sg-1"]);
        assert_eq!(described.repository.as_deref(), Some("of_env"));
        assert_eq!((described.cpu, described.cluster, described.assign_public_ip), (None, None, None));
        assert_eq!(settings.context, PathBuf::from("."));
        assert_eq!(settings.recipe.platform.to_string(), "linux/amd64");
    }

    #[test]
    fn the_files_table_is_found_by_its_dockerfile() {
        let vars = [("SUBNET1", ""), ("HOME", "/h")];
        let settings = check("./os_opendata.Dockerfile", &vars, Some(FILE)).expect("right");
        let described = settings.description;
        assert_eq!(described.name, "places");
        assert_eq!(described.subnets, ["", "subnet-9"]);
        assert_eq!(described.cpu, Some(512));
        assert_eq!(described.cluster.as_deref(), Some("shared"));
        assert_eq!(described.tags, ["latest"]);
        assert_eq!(described.environment["KEPT"], "/h");
        assert_eq!(settings.context, PathBuf::from("/w/data"));
        assert_eq!(settings.timeout, Some(Duration::from_secs(1800)));
    }

    #[test]
    fn flags_beat_environment_and_environment_beats_the_file() {
        let vars = [("SUBNET1", "subnet-1"), ("HOME", "/h"), ("REPOSITORYURI", "r.io/of_env"), ("X", "x")];
        let line = "--subnet subnet-a,subnet-b --cpu 1024 --env FILTER=flag --env X --repository of_flag \
                    --context ctx --no-public-ip --tag v1 os_opendata.Dockerfile";
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let settings = check(&line, &vars, Some(FILE)).expect("right");
        let described = settings.description;
        assert_eq!(described.subnets, ["subnet-a", "subnet-b"]);
        assert_eq!(described.cpu, Some(1024));
        assert_eq!(described.repository.as_deref(), Some("of_flag"));
        let pairs: Vec<_> = described.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs, ["FILTER=flag", "KEPT=/h", "X=x"]);
        assert_eq!(described.assign_public_ip, Some(false));
        assert_eq!(described.tags, ["v1"]);
        assert_eq!(settings.context, PathBuf::from("ctx"));
        let env_before_file = check("os_opendata.Dockerfile", &vars, Some(FILE)).expect("right").description;
        assert_eq!(env_before_file.subnets, ["subnet-1"]);
        assert_eq!(env_before_file.repository.as_deref(), Some("of_env"));
    }

    #[test]
    fn a_table_without_a_dockerfile_is_found_by_name() {
        let file = Some("[loaders.plain]\nmemory = 1024");
        let described = check("plain.Dockerfile", &[], file).expect("right").description;
        assert_eq!((described.name.as_str(), described.memory), ("plain", Some(1024)));
        let described = check("x.Dockerfile", &[("DOCKERNAME", "plain")], file).expect("right").description;
        assert_eq!((described.name.as_str(), described.memory), ("plain", Some(1024)));
    }

    #[test]
    fn dockername_names_one_loader_and_no_more() {
        let described = check("a.Dockerfile", &[("DOCKERNAME", "mine")], None).expect("right").description;
        assert_eq!(described.name, "mine");
        let failure = check("a.Dockerfile b.Dockerfile", &[("DOCKERNAME", "mine")], None).expect_err("two");
        assert_eq!(failure.message, "DOCKERNAME=mine names one loader, and 2 are asked for");
        assert_eq!(failure.exit_code(), 2);
    }

    #[test]
    fn two_tables_for_one_dockerfile_are_told_apart_by_dockername() {
        let failure = check("../twice.Dockerfile", &[], Some(FILE)).expect_err("two");
        assert_eq!(failure.message, "the loaders twice_a and twice_b are built from this Dockerfile");
        let vars = [("DOCKERNAME", "twice_b"), ("SUBNET1", "subnet-1")];
        assert_eq!(check("../twice.Dockerfile", &vars, Some(FILE)).expect("b").description.name, "twice_b");
    }

    #[test]
    fn a_loader_that_is_asked_for_by_its_name_needs_no_dockername() {
        let file = LocusToml::parse("locus.toml", "/w".into(), FILE).expect("it is right");
        let env = Environment::of(&[("SUBNET1", "subnet-1")]);
        let given = Given { env: &env, file: Some(&file), cwd: Path::new("/w/loaders") };
        let cli = Cli::try_parse_from(["locus-push", "--all"]).expect("right");
        let which = Which { dockerfile: Path::new("/w/twice.Dockerfile"), name: Some("twice_b"), of: 2 };
        let settings = loader(&cli.road.deploy, false, which, given).expect("right");
        assert_eq!(settings.description.name, "twice_b");
    }

    #[test]
    fn a_name_that_belongs_to_another_dockerfile_is_refused() {
        let failure = check("places.Dockerfile", &[], Some(FILE)).expect_err("another");
        assert_eq!(failure.message, "the loader places is built from another file than /w/loaders/places.Dockerfile");
        assert_eq!(failure.place.map(|place| place.line), Some(7));
    }

    #[test]
    fn a_local_run_needs_no_subnet() {
        let described = check("--local os_opendata.Dockerfile", &[("HOME", "/h")], Some(FILE)).expect("right");
        assert!(described.description.subnets.is_empty());
    }

    #[test]
    fn a_missing_variable_of_the_file_is_named_with_its_line() {
        let failure = check("os_opendata.Dockerfile", &[("HOME", "/h")], Some(FILE)).expect_err("SUBNET1");
        assert_eq!(failure.message, "the variable SUBNET1 is not set");
        assert_eq!(failure.place.map(|place| (place.file, place.line)), Some(("locus.toml".into(), 1)));
    }
}
