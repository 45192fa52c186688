//! Private keys that are files: the machine's own `ssh-agent` holds them, in memory and for one command.
//!
//! Signing is left to OpenSSH, which knows each kind of key; the agent's socket is ours alone to reach.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{AgentError, Key, SOCKET};

/// It says that the agent is there, and ends it when we let go of its input, or die.
const UNTIL_THE_END: &str = "echo; cat > /dev/null; kill \"$SSH_AGENT_PID\"";

/// Neither program waits for anything but the disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent that ends when this is dropped.
pub(super) struct KeyAgent {
    _shell: Child,
}

impl KeyAgent {
    pub async fn start(folder: &Path, keys: &[Key]) -> Result<Self, AgentError> {
        // By its short name: a socket's may have 107 bytes.
        let mut command = program("ssh-agent", folder);
        command.args(["-a", SOCKET, "sh", "-c", UNTIL_THE_END]);
        let mut shell = spawn(command, "ssh-agent")?;
        let mut ready = [0];
        let heard = match &mut shell.stdout {
            Some(stdout) => {
                timeout(PATIENCE, stdout.read(&mut ready)).await.is_ok_and(|read| read.is_ok_and(|n| n == 1))
            }
            None => false,
        };
        if !heard {
            return Err(AgentError::NotStarted(said(shell).await));
        }
        for key in keys {
            add(folder, key).await?;
        }
        Ok(Self { _shell: shell })
    }
}

/// Over its input: the key is in no argument and in no file of ours.
async fn add(folder: &Path, Key { shown, content }: &Key) -> Result<(), AgentError> {
    let mut command = program("ssh-add", folder);
    command.args(["-q", "-"]).env("SSH_AUTH_SOCK", SOCKET);
    // Nobody is asked for a passphrase.
    command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
    let mut child = spawn(command, "ssh-add")?;
    if let Some(mut stdin) = child.stdin.take() {
        // It may have closed its end already, and then says why.
        let _ = stdin.write_all(content.expose()).await;
    }
    let done = timeout(PATIENCE, child.wait()).await;
    if done.is_ok_and(|status| status.is_ok_and(|status| status.success())) {
        return Ok(());
    }
    let said = match said(child).await {
        words if words.is_empty() => "it is no private key, or has a passphrase".to_owned(),
        words => words,
    };
    Err(AgentError::Key { key: shown.clone(), said })
}

/// In a process group of its own: a Ctrl-C at the terminal is for us.
fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command
}

fn spawn(mut command: Command, tool: &'static str) -> Result<Child, AgentError> {
    command.spawn().map_err(|source: io::Error| AgentError::Tool { tool, source })
}

/// What it wrote to stderr, as one line.
async fn said(mut child: Child) -> String {
    drop(child.stdin.take());
    let Some(stderr) = child.stderr.take() else { return String::new() };
    let mut words = Vec::new();
    let _ = timeout(PATIENCE, stderr.take(4096).read_to_end(&mut words)).await;
    String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::secret::Secret;

    #[tokio::test]
    async fn an_agent_ends_when_it_is_dropped_even_if_nobody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut make = std::process::Command::new("ssh-keygen");
        make.args(["-q", "-t", "ecdsa", "-N", "", "-f", "key"]).current_dir(folder.path());
        assert!(make.status().expect("package openssh-client").success());
        let content = Secret::new(std::fs::read(folder.path().join("key")).expect("it was made"));
        let agent = KeyAgent::start(folder.path(), &[Key { shown: "key".into(), content }]).await.expect("it starts");
        let answers = || UnixStream::connect(folder.path().join(SOCKET)).is_ok();
        assert!(answers());
        drop(agent);
        for _ in 0..500 {
            if !answers() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it answers still");
    }
}
