//! The program `git`, with no settings but ours: no hooks, no filters, no helpers, no questions.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::access::{GitAccess, Header};
use super::error::GitError;
use crate::graph::Remote;
use crate::store::{Store, StoreError};

/// Ours is the only configuration that is read. Programs that it starts for a fetch between two folders read it too,
/// which they do not for what stands on the command line.
const CONFIG: &str = "\
[core]
	hooksPath = /dev/null
	fsmonitor = false
	logAllRefUpdates = false
	autocrlf = false
	symlinks = true
	fileMode = true
[safe]
	directory = *
[init]
	defaultBranch = master
[advice]
	detachedHead = false
[gc]
	auto = 0
[maintenance]
	auto = false
[pack]
	threads = 1
[repack]
	writeBitmaps = false
[http]
	lowSpeedLimit = 1000
	lowSpeedTime = 60
";

/// The longest that a question to a remote may take, and the longest that anything may.
const QUESTION: Duration = Duration::from_secs(120);
const FETCH: Duration = Duration::from_secs(3600);

/// The longest answer that is read, in bytes.
const ANSWER: usize = 4 << 20;

/// How much of what git complained of is told, in bytes.
const WORDS: usize = 2000;

/// What of the environment git sees: how to get out, and whom to trust there.
const PASSED_ON: [&str; 9] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// `git` for one remote.
pub(super) struct Git {
    remote: String,
    folder: PathBuf,
    /// Above it no repository is looked for.
    ceiling: PathBuf,
    header: Option<Header>,
    agent: Option<PathBuf>,
}

impl Git {
    pub fn new(store: &Store, remote: &Remote, access: &GitAccess) -> Result<Self, StoreError> {
        let folder = store.repositories()?;
        let config = folder.join("config");
        if !fs::read_to_string(&config).is_ok_and(|text| text == CONFIG) {
            let failed = |source| StoreError::Io { doing: "write", path: config.clone(), source };
            let temp = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
            fs::write(temp.path(), CONFIG).map_err(failed)?;
            temp.persist(&config).map_err(|e| failed(e.error))?;
        }
        let ceiling = store.root().to_owned();
        let (header, agent) = (access.header(remote), access.agent.clone());
        Ok(Self { remote: remote.to_string(), folder, ceiling, header, agent })
    }

    /// Works in a folder of ours; the network is out of reach.
    pub async fn local<A: AsRef<OsStr>>(&self, doing: &'static str, at: &Path, args: &[A]) -> Result<String, GitError> {
        let mut command = self.command(at, args);
        command.env("GIT_ALLOW_PROTOCOL", "file");
        self.run(doing, command, FETCH).await
    }

    /// Asks the remote something small.
    pub async fn ask<A: AsRef<OsStr>>(&self, doing: &'static str, args: &[A]) -> Result<String, GitError> {
        let mut command = self.command(&self.folder, args);
        self.away(&mut command);
        self.run(doing, command, QUESTION).await
    }

    /// Fetches. A server that cannot give a part of the history is asked for all of it.
    pub async fn fetch(&self, doing: &'static str, at: &Path, args: &[&str]) -> Result<String, GitError> {
        let attempt = async |args: &[&str]| {
            let mut command = self.command(at, args);
            self.away(&mut command);
            self.run(doing, command, FETCH).await
        };
        match attempt(args).await {
            Err(GitError::Failed { said, .. }) if said.contains("shallow") || said.contains("--depth") => {
                let whole: Vec<&str> = args.iter().copied().filter(|arg| !arg.starts_with("--depth")).collect();
                attempt(&whole).await
            }
            done => done,
        }
    }

    fn command<A: AsRef<OsStr>>(&self, at: &Path, args: &[A]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().args(args).current_dir(at).kill_on_drop(true).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.folder.join("config"));
        command.env("GIT_ATTR_NOSYSTEM", "1").env("HOME", "/dev/null").env("LC_ALL", "C");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CEILING_DIRECTORIES", &self.ceiling);
        // A repository from outside decides nothing of how git works: no lazy fetches from where it says.
        command.env("GIT_NO_LAZY_FETCH", "1");
        command
    }

    /// What a command needs that speaks to the remote. The header is in the environment, which only we can read, and
    /// not on the command line, which everybody can.
    fn away(&self, command: &mut Command) {
        command.env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git").env("GIT_SSH_COMMAND", self.ssh());
        if let Some(authorities) = std::env::var_os("SSL_CERT_FILE") {
            command.env("GIT_SSL_CAINFO", authorities);
        }
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some(Header { scope, line }) = &self.header {
            use std::os::unix::ffi::OsStrExt;
            command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", format!("http.{scope}.extraheader"));
            command.env("GIT_CONFIG_VALUE_0", OsStr::from_bytes(line.expose()));
        }
    }

    /// Neither the user's keys nor settings: a Dockerfile's author is not the user. A host's key is believed the first
    /// time, and must be the same from then on.
    fn ssh(&self) -> OsString {
        let mut ssh = OsString::from(
            "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=accept-new \
             -o ConnectTimeout=30 -o ServerAliveInterval=30 -o UserKnownHostsFile=",
        );
        // The shell takes it apart once, ssh a second time.
        let path = self.folder.join("known_hosts");
        let quoted = path.to_string_lossy().replace('\'', r"'\''");
        ssh.push(format!("'\"{quoted}\"'"));
        ssh
    }

    async fn run(&self, doing: &'static str, mut command: Command, limit: Duration) -> Result<String, GitError> {
        let remote = || self.remote.clone();
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NoProgram { remote: remote() },
            _ => GitError::Run(error),
        })?;
        let group = Group(child.id());
        let (out, complaints) = (child.stdout.take(), child.stderr.take());
        let work = async { tokio::try_join!(answer(out), last_words(complaints), child.wait()) };
        let done = tokio::time::timeout(limit, work).await;
        let seconds = limit.as_secs();
        let done = done.map_err(|_| GitError::Slow { doing, remote: remote(), seconds })?;
        let (answer, said, status) = done.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => GitError::TooLong { doing, remote: remote(), limit: ANSWER },
            _ => GitError::Run(error),
        })?;
        // It has ended by itself.
        std::mem::forget(group);
        match status.success() {
            true => Ok(answer),
            false => Err(GitError::Failed { doing, remote: remote(), said }),
        }
    }
}

/// A command and all that it started; killed when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended by itself, which is as good.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// All that is written.
async fn answer(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(ANSWER as u64 + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() > ANSWER {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The end of what is written, as one line.
async fn last_words(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    if let Some(mut from) = from {
        loop {
            match from.read(&mut buffer).await? {
                0 => break,
                read => kept.extend_from_slice(&buffer[..read]),
            }
            let over = kept.len().saturating_sub(WORDS);
            kept.drain(..over);
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("hint:"));
    Ok(lines.collect::<Vec<_>>().join("; "))
}
