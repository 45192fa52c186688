//! Which loaders the road is asked for: Dockerfiles on the command line, or all that locus.toml names.

use std::path::PathBuf;

use super::super::Failure;
use super::super::args::DeployArgs;
use super::super::settings::Given;

/// More builds at once than this do not end sooner, each having threads of its own.
const MOST_BY_DEFAULT: usize = 4;

/// A loader that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub dockerfile: PathBuf,
    /// Its name in locus.toml, where it was asked for by that.
    pub name: Option<String>,
}

/// In their order: that of the command line, or by name.
pub(super) fn loaders(args: &DeployArgs, given: Given<'_>) -> Result<Vec<Asked>, Failure> {
    if !args.all {
        return Ok(args.dockerfiles.iter().map(|path| Asked { dockerfile: path.clone(), name: None }).collect());
    }
    let Some(file) = given.file else {
        return Err(Failure::usage("--all asks for the loaders of locus.toml, and there is none here nor above")
            .hint("`locus-push init` writes one; --config FILE names another"));
    };
    if file.loaders.is_empty() {
        return Err(Failure::configuration(format!("--all: {} has no loader", file.shown))
            .hint("a table [loaders.NAME] with `dockerfile` is one"));
    }
    let each = file.loaders.iter().map(|(name, table)| {
        let Some(dockerfile) = &table.dockerfile else {
            return Err(file
                .fault(table.line, format!("--all: the loader {name} has no `dockerfile`"))
                .hint("write `dockerfile = \"PATH\"` in its table, or name the Dockerfiles in place of --all"));
        };
        let path = file.folder.join(file.expand(dockerfile, given.env)?);
        Ok(Asked { dockerfile: path, name: Some(name.clone()) })
    });
    each.collect()
}

pub(super) fn default_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_BY_DEFAULT)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::super::super::args::Cli;
    use super::super::super::{Environment, locus_toml::LocusToml};
    use super::*;

    fn asked(line: &str, file: Option<&str>) -> Result<Vec<(String, Option<String>)>, String> {
        let file = file.map(|text| LocusToml::parse("locus.toml", "/w".into(), text).expect("it is right"));
        let cli = Cli::try_parse_from(["locus-push"].into_iter().chain(line.split(' '))).expect(line);
        let env = Environment::of(&[("D", "loaders")]);
        let given = Given { env: &env, file: file.as_ref(), cwd: Path::new("/w") };
        let all = loaders(&cli.road.deploy, given).map_err(|failure| failure.message)?;
        Ok(all.into_iter().map(|one| (one.dockerfile.display().to_string(), one.name)).collect())
    }

    #[test]
    fn all_are_those_of_the_file_by_their_names() {
        let file = "[loaders.b]\ndockerfile = '${D}/x.Dockerfile'\n[loaders.a]\ndockerfile = 'a'\n";
        let named = |path: &str, name: &str| (path.to_owned(), Some(name.to_owned()));
        assert_eq!(asked("--all", Some(file)), Ok(vec![named("/w/a", "a"), named("/w/loaders/x.Dockerfile", "b")]));
        assert_eq!(asked("c d", Some(file)), Ok(vec![("c".into(), None), ("d".into(), None)]));
    }

    #[test]
    fn all_of_nothing_is_an_error() {
        for (file, words) in [
            (None, "--all asks for the loaders of locus.toml, and there is none here nor above"),
            (Some("region = 'x'"), "--all: locus.toml has no loader"),
            (Some("[loaders.a]\ncpu = 256"), "--all: the loader a has no `dockerfile`"),
        ] {
            assert_eq!(asked("--all", file), Err(words.to_owned()));
        }
    }
}
