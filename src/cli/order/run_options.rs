//! The flags that are for RUN.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::super::Failure;
use super::super::args::StepArgs;
use super::super::settings::Given;
use super::agents::agents;
use super::certificates::certificates;
use crate::build::{Allowed, Limit, Resource, RunOptions};
use crate::graph::{Network, size_in_bytes};
use crate::secret::Secret;

/// As large as BuildKit lets one be.
const SECRET_LIMIT: u64 = 500 << 10;

/// `secrets` are those of the flag that is named: `--secret`, which on the road is the task's.
pub(super) fn run_options(
    args: &StepArgs,
    (flag, texts): (&str, &[String]),
    given: Given<'_>,
) -> Result<RunOptions, Failure> {
    let network = network(args.network.as_deref())?;
    let mut allowed = allowed(&args.allow)?;
    // Whoever gives every RUN the host's network allows it, as in buildx.
    allowed.host_network |= network == Network::Host;
    Ok(RunOptions {
        secrets: secrets(flag, texts, given)?,
        agents: agents(&args.ssh, given)?,
        certificates: certificates(args.run_ca_file.as_deref(), given)?,
        hosts: args.add_host.iter().map(|text| host(text)).collect::<Result<_, _>>()?,
        network,
        allowed,
        shm_size: args.shm_size.as_deref().map(shm_size).transpose()?,
        limits: limits(&args.ulimit)?,
        cgroup_parent: args.cgroup_parent.clone(),
        keep_volatile: args.keep_volatile,
        ..RunOptions::default()
    })
}

fn secrets(flag: &str, texts: &[String], given: Given<'_>) -> Result<BTreeMap<String, Arc<Secret>>, Failure> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let (id, secret) = secret(flag, text, given)?;
        if secrets.insert(id.clone(), Arc::new(secret)).is_some() {
            return Err(Failure::usage(format!("{flag}: {id} is given twice")));
        }
    }
    Ok(secrets)
}

/// What is wrong is never shown: it may be the secret itself.
fn secret(flag: &str, text: &str, given: Given<'_>) -> Result<(String, Secret), Failure> {
    let usage =
        |what: &str| Failure::usage(format!("{flag}: {what}")).hint("write id=ID,src=FILE or id=ID,env=VARIABLE");
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => file = Some(value),
            Some(("env", value)) => variable = Some(value),
            Some(("type", value)) => kind = Some(value),
            _ => return Err(usage("a field is none of id=, src=, env= and type=")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| usage("it has no id"))?;
    match kind {
        None | Some("file") => {}
        // With this type buildx takes the source for a variable.
        Some("env") => variable = variable.or(file.take()).or(Some(id)),
        Some(_) => return Err(usage("its type is neither file nor env")),
    }
    if file.is_some() && variable.is_some() {
        return Err(usage(&format!("{id} is both a file and a variable")));
    }
    if file.is_none() && variable.is_none() && given.env.get(id).is_some() {
        variable = Some(id);
    }
    if let Some(variable) = variable {
        let value = given.env.get(variable).ok_or_else(|| usage(&format!("{variable}, for {id}, is not set")))?;
        return Ok((id.to_owned(), Secret::new(value)));
    }
    let path = given.cwd.join(Path::new(file.unwrap_or(id)));
    let failed = |why: String| Failure::usage(format!("{flag}: {id} cannot be read from {}: {why}", path.display()));
    // Of its full size at once: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(SECRET_LIMIT as usize + 1);
    let read = File::open(&path).and_then(|file| file.take(SECRET_LIMIT + 1).read_to_end(&mut bytes));
    let secret = Secret::new(bytes);
    read.map_err(|error| failed(error.to_string()))?;
    match secret.expose().len() as u64 > SECRET_LIMIT {
        true => Err(failed(format!("it is larger than {SECRET_LIMIT} bytes"))),
        false => Ok((id.to_owned(), secret)),
    }
}

fn host(text: &str) -> Result<(String, IpAddr), Failure> {
    let failed = || Failure::usage(format!("--add-host: `{text}` is not NAME:IP"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(failed)?;
    if address == "host-gateway" {
        return Err(Failure::usage("--add-host: host-gateway is not supported")
            .hint("RUN shares the host's network: 127.0.0.1 is the host"));
    }
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let address = address.parse().map_err(|_| failed())?;
    if is_name { Ok((name.to_owned(), address)) } else { Err(failed()) }
}

fn network(text: Option<&str>) -> Result<Network, Failure> {
    match text {
        None | Some("default" | "") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(Failure::usage(format!("--network: `{other}` is none of default, none and host"))),
    }
}

fn allowed(rights: &[String]) -> Result<Allowed, Failure> {
    let mut allowed = Allowed::default();
    // buildx takes several in one word.
    for right in rights.iter().flat_map(|rights| rights.split(',')) {
        match right {
            "network.host" => allowed.host_network = true,
            "security.insecure" => allowed.insecure = true,
            "device" => {
                return Err(Failure::usage("--allow device: a RUN has no devices of this machine")
                    .hint("RUN --device is built without the device where it is not required"));
            }
            other => {
                return Err(Failure::usage(format!("--allow: there is no right `{other}`"))
                    .hint("network.host and security.insecure are the rights"));
            }
        }
    }
    Ok(allowed)
}

fn shm_size(text: &str) -> Result<u64, Failure> {
    let size = size_in_bytes(text).filter(|size| *size > 0);
    size.ok_or_else(|| Failure::usage(format!("--shm-size: `{text}` is no size")).hint("write e.g. 128m"))
}

fn limits(texts: &[String]) -> Result<Vec<Limit>, Failure> {
    let mut limits = BTreeMap::new();
    for text in texts {
        let limit = limit(text)?;
        // The last one counts.
        limits.insert(limit.resource, limit);
    }
    Ok(limits.into_values().collect())
}

fn limit(text: &str) -> Result<Limit, Failure> {
    let failed = |what: &str| Failure::usage(format!("--ulimit: `{text}` {what}"));
    let (name, values) = text.split_once('=').ok_or_else(|| failed("is not NAME=SOFT[:HARD]"))?;
    let resource = Resource::named(name).ok_or_else(|| failed("names no limit"))?;
    let value = |text: &str| match text {
        "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| failed("has a value that is no number")),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(values)?, value(values)?),
    };
    match (soft, hard) {
        (None, Some(_)) => Err(failed("has a soft limit above the hard one")),
        (Some(soft), Some(hard)) if soft > hard => Err(failed("has a soft limit above the hard one")),
        _ => Ok(Limit { resource, soft, hard }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Environment;
    use super::*;

    fn read(text: &str) -> Result<(String, String), Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "from a file").expect("written");
        std::fs::write(folder.path().join("large"), vec![b'x'; 512_001]).expect("written");
        let env = Environment::of(&[("VARIABLE", "from a variable")]);
        let (id, secret) = secret("--secret", text, Given { env: &env, file: None, cwd: folder.path() })?;
        Ok((id, secret.expose_str().expect("text").to_owned()))
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable() {
        for (text, id, value) in [
            ("id=a,src=file", "a", "from a file"),
            ("source=file,id=a", "a", "from a file"),
            ("id=a,env=VARIABLE", "a", "from a variable"),
            ("type=env,id=VARIABLE", "VARIABLE", "from a variable"),
            ("type=env,id=a,src=VARIABLE", "a", "from a variable"),
            ("id=VARIABLE", "VARIABLE", "from a variable"),
            ("id=file", "file", "from a file"),
        ] {
            assert_eq!(read(text).expect(text), (id.to_owned(), value.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_refused_and_not_shown() {
        for text in
            ["hunter2", "id=", "src=file", "id=a,src=missing", "id=a,env=MISSING", "id=a,src=large", "id=a,b=hunter2"]
        {
            let failure = read(text).expect_err(text);
            assert_eq!(failure.exit_code(), 2);
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
    }

    #[test]
    fn hosts_sizes_and_limits_are_read_as_docker_reads_them() {
        assert_eq!(host("db:10.0.0.1").expect("right"), ("db".to_owned(), [10, 0, 0, 1].into()));
        assert_eq!(host("db=[::1]").expect("right").1, "::1".parse::<IpAddr>().expect("an address"));
        for text in ["db", "db:", ":1.1.1.1", "a b:1.1.1.1", "db:x", "db:host-gateway", "a\nb:1.1.1.1"] {
            assert!(host(text).is_err(), "{text}");
        }
        assert_eq!(shm_size("128m").expect("right"), 128 << 20);
        assert!(shm_size("0").is_err() && shm_size("x").is_err());
        let nofile = limit("nofile=1:2").expect("right");
        assert_eq!((nofile.resource, nofile.soft, nofile.hard), (Resource::Nofile, Some(1), Some(2)));
        assert_eq!(limit("core=-1").expect("right").soft, None);
        for text in ["nofile", "what=1", "nofile=2:1", "nofile=x", "nofile=-1:1"] {
            assert!(limit(text).is_err(), "{text}");
        }
        assert!(network(Some("bridge")).is_err());
    }

    #[test]
    fn only_rights_that_there_are_can_be_allowed() {
        let allowed = |text: &str| super::allowed(&[text.to_owned()]);
        let both = allowed("network.host,security.insecure").expect("two rights");
        assert!(both.host_network && both.insecure);
        for text in ["all", "", "device", "network", "security.sandbox"] {
            assert!(allowed(text).is_err(), "{text}");
        }
    }
}
