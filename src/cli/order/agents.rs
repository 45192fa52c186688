//! `--ssh`: the agents and keys that RUNs may ask for (buildx, build/ssh.go; BuildKit, sshprovider).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use super::super::Failure;
use super::super::settings::Given;
use crate::build::{Agent, Key};
use crate::secret::Secret;

/// As large as BuildKit lets a key be.
const KEY_LIMIT: u64 = 100 << 10;

/// The variable that names the agent of whoever calls us (ssh-agent(1)).
const AGENT: &str = "SSH_AUTH_SOCK";

pub(super) fn agents(texts: &[String], given: Given<'_>) -> Result<BTreeMap<String, Arc<Agent>>, Failure> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = if id.is_empty() { "default" } else { id };
        let agent = agent(id, paths, given)?;
        if agents.insert(id.to_owned(), Arc::new(agent)).is_some() {
            return Err(usage(id, "it is given twice"));
        }
    }
    Ok(agents)
}

fn agent(id: &str, paths: &str, given: Given<'_>) -> Result<Agent, Failure> {
    let paths: Vec<&str> = paths.split(',').filter(|path| !path.is_empty()).collect();
    if paths.is_empty() {
        let socket = given.env.get(AGENT).filter(|path| !path.is_empty());
        let socket = socket.ok_or_else(|| usage(id, &format!("{AGENT} is not set: there is no agent")))?;
        return one(id, &[socket], given);
    }
    one(id, &paths, given)
}

/// One socket, or keys.
fn one(id: &str, paths: &[&str], given: Given<'_>) -> Result<Agent, Failure> {
    let mut keys = Vec::new();
    for path in paths {
        if path.starts_with("raw=") {
            return Err(usage(id, "`raw` is not supported: requests other than for keys and signatures do not pass"));
        }
        let place = given.cwd.join(path);
        let failed = |why: String| usage(id, &format!("{path} cannot be read: {why}"));
        let kind = place.metadata().map_err(|error| failed(error.to_string()))?.file_type();
        if !kind.is_socket() {
            keys.push(Key { shown: (*path).to_owned(), content: key(&place).map_err(failed)? });
        } else if paths.len() == 1 {
            return Ok(Agent::Socket(place));
        } else {
            return Err(usage(id, "a socket stands alone: write one socket, or one or more keys"));
        }
    }
    Ok(Agent::Keys(keys))
}

fn key(path: &Path) -> Result<Secret, String> {
    // Of its full size at once: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(KEY_LIMIT as usize + 1);
    let read = File::open(path).and_then(|file| file.take(KEY_LIMIT + 1).read_to_end(&mut bytes));
    let key = Secret::new(bytes);
    read.map_err(|error| error.to_string())?;
    if key.expose().len() as u64 > KEY_LIMIT {
        return Err(format!("it is larger than {KEY_LIMIT} bytes"));
    }
    match key.expose_str().is_some_and(|text| text.contains("PRIVATE KEY-----")) {
        true => Ok(key),
        false => Err("it is neither an agent's socket nor a private key".to_owned()),
    }
}

fn usage(id: &str, what: &str) -> Failure {
    Failure::usage(format!("--ssh {id}: {what}"))
        .hint("write default for the agent at SSH_AUTH_SOCK, or ID=SOCKET, or ID=KEY[,KEY]")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::super::Environment;
    use super::*;

    fn read(texts: &[&str], socket: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let _listening = UnixListener::bind(path("socket")).expect("a socket");
        std::fs::write(path("key"), "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary").expect("written");
        std::fs::write(path("text"), "hunter2").expect("written");
        std::fs::write(path("large"), vec![b'x'; 102_401]).expect("written");
        let env = Environment::of(&[(AGENT, socket)]);
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let agents = agents(&texts, Given { env: &env, file: None, cwd: folder.path() });
        let agents = agents.map_err(|failure| failure.message)?;
        let told = agents.iter().map(|(id, agent)| match agent.as_ref() {
            Agent::Socket(path) => format!("{id}: {}", path.strip_prefix(folder.path()).expect("inside").display()),
            Agent::Keys(keys) => format!("{id}: {} keys", keys.len()),
        });
        Ok(told.collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn an_agent_is_the_environments_or_a_socket_or_keys() {
        for (texts, told) in [
            (&["default"][..], "default: socket"),
            (&[""], "default: socket"),
            (&["default="], "default: socket"),
            (&["a=socket"], "a: socket"),
            (&["=key"], "default: 1 keys"),
            (&["a=key,key", "default"], "a: 2 keys; default: socket"),
        ] {
            assert_eq!(read(texts, "socket").as_deref(), Ok(told), "{texts:?}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_and_not_shown() {
        for (texts, socket, words) in [
            (&["default"][..], "", "SSH_AUTH_SOCK is not set"),
            (&["default"], "missing", "missing cannot be read"),
            (&["a=missing"], "", "missing cannot be read"),
            (&["a=text"], "", "neither an agent's socket nor a private key"),
            (&["a=large"], "", "larger than 102400 bytes"),
            (&["a=socket,key"], "", "a socket stands alone"),
            (&["a=key,socket"], "", "a socket stands alone"),
            (&["a=socket,raw=true"], "", "a socket stands alone"),
            (&["a=raw=true"], "", "`raw` is not supported"),
            (&["a=key", "a=key"], "", "--ssh a: it is given twice"),
        ] {
            let failure = read(texts, socket).expect_err("it is wrong");
            assert!(failure.contains(words) && !failure.contains("hunter2"), "{texts:?}: {failure}");
        }
    }
}
