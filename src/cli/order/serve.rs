//! `serve`: the files that say who may come in, and the registry whose images are kept.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::super::args::{RegistryArgs, ServeArgs};
use super::super::settings::{self, Given, RegistrySettings};
use super::super::{Failure, files, home, locus_toml};
use super::World;
use crate::image::Reference;
use crate::registry::{Endpoints, Identity, Login};
use crate::secret::Secret;

/// What `serve` came to.
#[derive(Debug)]
pub struct ServeOrder {
    pub listen: SocketAddr,
    /// Where images and tags are kept.
    pub data: PathBuf,
    pub login: Option<Login>,
    pub identity: Option<Identity>,
    pub insecure: bool,
    pub may_delete: bool,
    /// The registry whose images are kept, as references name it.
    pub proxy: Option<String>,
    pub registry: RegistrySettings,
}

pub(super) fn order(args: &ServeArgs, world: &World) -> Result<ServeOrder, Failure> {
    let data = match &args.data {
        Some(data) => world.cwd.join(data),
        None => home::folder(&world.env)?.join("registry"),
    };
    let mut registry = RegistrySettings::default();
    let proxy = match &args.proxy {
        Some(text) => {
            let file = locus_toml::read(args.registry.config.as_deref(), &world.cwd)?;
            let given = Given { env: &world.env, file: file.as_ref(), cwd: &world.cwd };
            registry = settings::registry(&args.registry, given)?;
            Some(upstream(text, &mut registry.endpoints)?)
        }
        None => {
            refuse_idle(&args.registry)?;
            None
        }
    };
    let ServeArgs { listen, insecure, allow_delete, .. } = *args;
    let (login, identity) = (login(args, &world.cwd)?, identity(args, &world.cwd)?);
    Ok(ServeOrder { listen, data, login, identity, insecure, may_delete: allow_delete, proxy, registry })
}

fn login(args: &ServeArgs, cwd: &Path) -> Result<Option<Login>, Failure> {
    let (Some(user), Some(file)) = (&args.user, &args.password_file) else { return Ok(None) };
    let text = zeroize::Zeroizing::new(files::read_text(&cwd.join(file), "file of --password-file")?);
    let password = Secret::new(text.lines().next().unwrap_or_default());
    Login::new(user, &password).map(Some).map_err(|error| Failure::usage(format!("--user {user}: {error}")))
}

fn identity(args: &ServeArgs, cwd: &Path) -> Result<Option<Identity>, Failure> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let chain = files::read_text(&cwd.join(certificate), "file of --tls-cert")?;
    let secret = Secret::new(files::read_text(&cwd.join(key), "file of --tls-key")?);
    let refused = |error| {
        let (certificate, key) = (certificate.display(), key.display());
        Failure::configuration(format!("--tls-cert {certificate} --tls-key {key}: {error}"))
    };
    Identity::from_pem(chain.as_bytes(), &secret).map(Some).map_err(refused)
}

/// A registry's host, or a URL that it is reached at.
fn upstream(text: &str, endpoints: &mut Endpoints) -> Result<String, Failure> {
    let bad = |why: String| {
        Failure::usage(format!("--proxy: {why}")).hint("write a registry's host, e.g. docker.io, or https://HOST")
    };
    let host = match text.split_once("://") {
        // What stands before an `@` is refused below, and shown nowhere.
        Some((_, rest)) => rest.split('/').next().and_then(|host| host.rsplit('@').next()).unwrap_or_default(),
        None => text,
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    if host != text {
        endpoints.add(&format!("{host}={text}")).map_err(|error| bad(error.to_string()))?;
    }
    match format!("{host}/x").parse::<Reference>() {
        Ok(reference) if reference.registry() == host => Ok(host.to_owned()),
        _ => {
            let shown = host.rsplit('@').next().unwrap_or_default();
            Err(bad(format!("`{}` is not a registry's host", shown.escape_debug())))
        }
    }
}

/// Without a registry further up nothing is asked of any.
fn refuse_idle(args: &RegistryArgs) -> Result<(), Failure> {
    let RegistryArgs { registry_endpoint, allow_private, ca_file, config } = args;
    let idle = [
        (!registry_endpoint.is_empty(), "--registry-endpoint"),
        (!allow_private.is_empty(), "--allow-private"),
        (ca_file.is_some(), "--ca-file"),
        (config.is_some(), "--config"),
    ];
    match idle.iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(Failure::usage(format!("`serve {flag}` is for the registry that --proxy names"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_to_be_kept_is_a_host_or_a_url() {
        let read = |text: &str| {
            let mut endpoints = Endpoints::default();
            let host = upstream(text, &mut endpoints).map_err(|failure| failure.message)?;
            let reached = endpoints.of(&host).to_string();
            Ok::<_, String>((host, reached))
        };
        for (text, host, reached) in [
            ("docker.io", "docker.io", "https://registry-1.docker.io"),
            ("https://registry-1.docker.io", "docker.io", "https://registry-1.docker.io"),
            ("https://r.test:5000/mirror/", "r.test:5000", "https://r.test:5000/mirror"),
            ("http://10.0.0.1:5000", "10.0.0.1:5000", "http://10.0.0.1:5000"),
            ("ghcr.io", "ghcr.io", "https://ghcr.io"),
        ] {
            assert_eq!(read(text), Ok((host.to_owned(), reached.to_owned())), "{text}");
        }
        for text in
            ["", "a b", "ftp://r.test", "https://u:hunter2@r.test", "u:hunter2@r.test", "docker.io/library", "https://"]
        {
            let error = read(text).expect_err(text);
            assert!(error.starts_with("--proxy: ") && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
