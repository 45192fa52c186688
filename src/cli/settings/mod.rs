//! Flags before the environment, the environment before locus.toml, locus.toml before the defaults. What was
//! read is handed in, but for the documents that locus.toml names.

mod doomed;
mod known;
mod loader;
mod pairs;
mod repository;
mod schedule;
mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::args::{IdentityArgs, RecipeArgs, RegistryArgs};
use super::locus_toml::LocusToml;
use super::{Environment, Failure};
use crate::aws::CloudOptions;
use crate::image::{Platform, Reference};
use crate::registry::{Endpoints, PrivateHosts};

pub use doomed::doomed;
pub use known::{known, network, variables};
pub use loader::{LoaderSettings, NetworkSettings, Which, loader};
pub use pairs::annotations;

/// What the settings are merged from, besides the flags.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub env: &'a Environment,
    pub file: Option<&'a LocusToml>,
    /// The current folder; absolute.
    pub cwd: &'a Path,
}

/// What of a Dockerfile is built, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeSettings {
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub platform: Platform,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    pub endpoints: Endpoints,
    pub allow_private: PrivateHosts,
    pub ca_file: Option<PathBuf>,
    /// Who asks AWS for the tokens of ECR's registries.
    pub cloud: CloudOptions,
}

/// Who calls AWS, and where.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Profile and region. The variables that speak of them are read where the SDK's own are.
    pub cloud: CloudOptions,
    /// `AWSACCOUNT`: the account that the caller believes to be in.
    pub account: Option<String>,
    /// `REPOSITORYURI`, unless a flag names the repository.
    pub repository_uri: Option<Reference>,
}

pub fn registry(args: &RegistryArgs, given: Given<'_>) -> Result<RegistrySettings, Failure> {
    let mut endpoints = Endpoints::default();
    let mut ca_file = None;
    if let Some(file) = given.file {
        for (host, url) in &file.registry_endpoints {
            let text = format!("{host}={}", file.expand(url, given.env)?);
            endpoints.add(&text).map_err(|error| file.wrong(url, error.to_string()))?;
        }
        if let Some(path) = &file.ca_file {
            ca_file = Some(file.folder.join(file.expand(path, given.env)?));
        }
    }
    let from_env = given.env.set("LOCUS_REGISTRY_ENDPOINTS").unwrap_or_default();
    endpoints
        .add_list(from_env)
        .map_err(|error| Failure::configuration(format!("LOCUS_REGISTRY_ENDPOINTS: {error}")))?;
    for text in &args.registry_endpoint {
        endpoints.add(text).map_err(|error| Failure::usage(format!("--registry-endpoint: {error}")))?;
    }
    let mut allow_private = PrivateHosts::default();
    for host in &args.allow_private {
        allow_private.add(host).map_err(|error| Failure::usage(format!("--allow-private: {error}")))?;
    }
    let cloud = cloud(&IdentityArgs::default(), given)?;
    Ok(RegistrySettings { endpoints, allow_private, ca_file: args.ca_file.clone().or(ca_file), cloud })
}

/// For `build`, which no table of locus.toml describes.
pub fn recipe(args: &RecipeArgs, given: Given<'_>) -> Result<RecipeSettings, Failure> {
    let table = BTreeMap::new();
    Ok(RecipeSettings {
        target: args.target.clone(),
        build_args: pairs::build_args(&args.build_arg, &table, given)?,
        labels: pairs::labels(&args.label, &table, given)?,
        platform: platform(&args.platform, None)?,
    })
}

/// `repository` is the one that a flag names.
pub fn session(args: &IdentityArgs, repository: Option<&str>, given: Given<'_>) -> Result<Session, Failure> {
    let Given { env, .. } = given;
    let cloud = cloud(args, given)?;
    let account = env.set("AWSACCOUNT").map(account).transpose()?;
    let repository_uri = match repository {
        Some(_) => None,
        None => env.set("REPOSITORYURI").map(repository_uri).transpose()?,
    };
    Ok(Session { cloud, account, repository_uri })
}

fn cloud(args: &IdentityArgs, given: Given<'_>) -> Result<CloudOptions, Failure> {
    let Given { env, file, .. } = given;
    let from_file = |pick: fn(&LocusToml) -> Option<&super::locus_toml::Text>| {
        file.and_then(|file| pick(file).map(|text| file.expand(text, env))).transpose()
    };
    Ok(CloudOptions {
        profile: args.profile.clone(),
        region: args.region.clone(),
        file_profile: from_file(|file| file.profile.as_ref())?,
        file_region: from_file(|file| file.region.as_ref())?,
    })
}

/// One platform; a list is refused.
pub fn platform(flags: &[String], from_file: Option<String>) -> Result<Platform, Failure> {
    let text = match flags {
        [] => match from_file {
            Some(text) => text,
            None => return Ok(Platform::linux_amd64()),
        },
        [one] if !one.contains(',') => one.clone(),
        many => {
            return Err(Failure::usage(format!("--platform {}: one platform at a time", many.join(",")))
                .hint("an image here is one image and not an index of several; build each platform by itself"));
        }
    };
    text.parse().map_err(|error| Failure::usage(format!("--platform: {error}")))
}

fn account(text: &str) -> Result<String, Failure> {
    if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(Failure::configuration(format!("AWSACCOUNT=`{text}` is not an account's number: it has twelve digits")))
}

fn repository_uri(text: &str) -> Result<Reference, Failure> {
    let bad = |why: &str| {
        Failure::configuration(format!("REPOSITORYURI=`{text}`: {why}"))
            .hint("it reads ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY")
    };
    let reference: Reference = text.parse().map_err(|error| bad(&format!("{error}")))?;
    let name = text.rsplit('/').next().unwrap_or(text);
    if name.contains([':', '@']) {
        return Err(bad("it names a repository, without a tag or a digest"));
    }
    if reference.registry() == "docker.io" {
        return Err(bad("it names no registry"));
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "profile = 'of-file'\nregion = 'eu-west-1'\nca_file = 'ca.pem'\n\
        [registry_endpoints]\n'docker.io' = 'http://file:1'\n'ghcr.io' = 'http://${HOST}:1'\n";

    fn file() -> LocusToml {
        LocusToml::parse("locus.toml", "/w".into(), FILE).expect("it is right")
    }

    fn given<'a>(env: &'a Environment, file: Option<&'a LocusToml>) -> Given<'a> {
        Given { env, file, cwd: Path::new("/w") }
    }

    #[test]
    fn endpoints_merge_per_host() {
        let vars = [("LOCUS_REGISTRY_ENDPOINTS", "docker.io=http://env:2, quay.io=http://env:2"), ("HOST", "h")];
        let env = Environment::of(&vars);
        let file = file();
        let flags = ["index.docker.io=http://flag:3".to_owned(), "r.io=http://flag:3".to_owned()];
        let args = RegistryArgs { registry_endpoint: flags.to_vec(), ..RegistryArgs::default() };
        let settings = registry(&args, given(&env, Some(&file))).expect("all is right");
        for (registry, url) in [
            ("docker.io", "http://flag:3"),
            ("ghcr.io", "http://h:1"),
            ("quay.io", "http://env:2"),
            ("r.io", "http://flag:3"),
        ] {
            let endpoint = settings.endpoints.of(registry);
            assert!(endpoint.is_given() && endpoint.to_string().contains(url), "{registry}: {endpoint}");
        }
        assert!(!settings.endpoints.of("other.io").is_given());
        assert_eq!(settings.ca_file, Some("/w/ca.pem".into()));
    }

    #[test]
    fn a_bad_endpoint_says_where_it_was_written() {
        let message = |vars: &[(&str, &str)], flag: &str| {
            let registry_endpoint = vec![flag.to_owned()];
            let args = RegistryArgs { registry_endpoint, ..RegistryArgs::default() };
            registry(&args, given(&Environment::of(vars), None)).expect_err("bad").message
        };
        assert!(message(&[("LOCUS_REGISTRY_ENDPOINTS", "x")], "").starts_with("LOCUS_REGISTRY_ENDPOINTS: `x` "));
        assert!(message(&[], "x").starts_with("--registry-endpoint: `x` "));
    }

    #[test]
    fn what_is_allowed_of_private_networks_is_a_host() {
        let allow = |host: &str| {
            let args = RegistryArgs { allow_private: vec![host.to_owned()], ..RegistryArgs::default() };
            registry(&args, given(&Environment::of(&[]), None))
        };
        assert!(allow("minio.corp").is_ok());
        let error = allow("10.0.0.0/8").expect_err("a network is no host").message;
        assert!(error.starts_with("--allow-private: `10.0.0.0/8` is not a host"), "{error}");
    }

    #[test]
    fn profile_and_region_of_flag_and_file_are_kept_apart() {
        let file = file();
        let args = IdentityArgs { profile: Some("of-flag".into()), ..IdentityArgs::default() };
        let cloud = session(&args, None, given(&Environment::of(&[]), Some(&file))).expect("right").cloud;
        assert_eq!((cloud.profile.as_deref(), cloud.file_profile.as_deref()), (Some("of-flag"), Some("of-file")));
        assert_eq!((cloud.region, cloud.file_region.as_deref()), (None, Some("eu-west-1")));
    }

    #[test]
    fn the_exported_account_and_repository_are_checked() {
        let of = |vars: &[(&str, &str)]| session(&IdentityArgs::default(), None, given(&Environment::of(vars), None));
        let uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/locus_data_loaders";
        let session = of(&[("AWSACCOUNT", "123456789012"), ("REPOSITORYURI", uri)]).expect("right");
        assert_eq!(session.account.as_deref(), Some("123456789012"));
        assert_eq!(session.repository_uri.map(|uri| uri.repository().to_owned()), Some("locus_data_loaders".into()));
        for (vars, words) in [
            (("AWSACCOUNT", "12"), "twelve digits"),
            (("REPOSITORYURI", "locus_data_loaders"), "names no registry"),
            (("REPOSITORYURI", &format!("{uri}:x")), "without a tag"),
        ] {
            let message = of(&[vars]).expect_err("bad").message;
            assert!(message.contains(words) && message.contains(vars.0), "{message}");
        }
    }

    #[test]
    fn one_platform_is_taken_and_a_list_refused_with_the_reason() {
        let of = |flags: &[&str]| platform(&flags.iter().map(|&f| f.to_owned()).collect::<Vec<_>>(), None);
        assert_eq!(of(&[]).map(|p| p.to_string()), Ok("linux/amd64".into()));
        assert_eq!(of(&["linux/arm64"]).map(|p| p.to_string()), Ok("linux/arm64".into()));
        let arm = platform(&[], Some("linux/arm64".into()));
        assert_eq!(arm.map(|p| p.to_string()), Ok("linux/arm64".into()));
        for list in [&["linux/amd64,linux/arm64"][..], &["linux/amd64", "linux/arm64"]] {
            let failure = of(list).expect_err("a list");
            assert_eq!(failure.message, "--platform linux/amd64,linux/arm64: one platform at a time");
            assert_eq!(failure.hints.len(), 1);
        }
    }
}
