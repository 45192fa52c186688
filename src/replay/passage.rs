//! One step's leave to use the proxy: what it was given, and what it was not.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::door::{Own, WayIn};
use crate::image::Digest;
use crate::secret::Secret;

/// How long downloads that the step did not wait for may go on behind its end.
const CLEARING: Duration = Duration::from_secs(60);

/// The most addresses that are remembered to be told of.
const TOLD: usize = 100;

/// A secret that is shorter is found in too much.
const SECRET: usize = 8;

/// What came of a step's downloads beside what it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// GETs and HEADs that were refused, as the lock does not hold them.
    pub refused: BTreeSet<String>,
    /// What was refused, and can never be held: uploads, git, connections that are no HTTP.
    pub declined: BTreeSet<String>,
    /// The same, where it went through.
    pub unheld: BTreeSet<String>,
    /// What went through, and the lock does not hold it.
    pub passed: BTreeSet<String>,
    /// What could not be had or kept, and why.
    pub failed: BTreeSet<String>,
    /// Hosts that a program of the step would not speak to through us.
    pub distrusted: BTreeSet<String>,
    /// What is not what the lock says any more.
    pub moved: Vec<Moved>,
    /// How many answers were recorded, and how many bytes they have.
    pub recorded: (usize, u64),
}

/// An address whose content is not what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub url: String,
    pub recorded: String,
    pub now: String,
}

impl Outcome {
    /// Whether the step was given nothing but what is held.
    pub fn is_pure(&self) -> bool {
        self.passed.is_empty() && self.unheld.is_empty() && self.moved.is_empty()
    }
}

pub(super) struct Passage {
    pub step: Digest,
    secrets: Vec<Arc<Secret>>,
    /// The ports of this machine that somebody listened at before the step began.
    listening: BTreeSet<u16>,
    /// Into the step's own network, where it has one.
    way_in: OnceLock<WayIn>,
    outcome: Mutex<Outcome>,
    /// Downloads that go on, whether the step waits for them or not. They end with this.
    running: Mutex<JoinSet<()>>,
    /// Connections through us.
    tunnels: Mutex<JoinSet<()>>,
}

impl Passage {
    pub fn new(step: Digest, secrets: Vec<Arc<Secret>>) -> Self {
        let (way_in, outcome, running, tunnels) = Default::default();
        Self { step, secrets, listening: listening(), way_in, outcome, running, tunnels }
    }

    pub fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an address in one of the outcome's lists; true where it is new there and to be told of.
    pub fn note(&self, list: fn(&mut Outcome) -> &mut BTreeSet<String>, text: String) -> bool {
        let mut outcome = self.outcome();
        let list = list(&mut outcome);
        list.len() < TOLD && list.insert(text)
    }

    /// Whether the text shows one of the step's secrets.
    pub fn shows_a_secret(&self, text: &str) -> bool {
        let secrets = self.secrets.iter().filter_map(|secret| secret.expose_str()).map(str::trim);
        secrets.filter(|secret| secret.len() >= SECRET).any(|secret| text.contains(secret))
    }

    /// The step shares no network with us.
    pub fn in_its_own_network(&self, way_in: WayIn) {
        // A step has one network; a second way into it would be as good as the first.
        let _ = self.way_in.set(way_in);
    }

    /// What the step itself serves at a port of its loopback. What it asks there is no download.
    pub async fn own(&self, port: u16) -> Option<Own> {
        let not_outside = |own| (!self.listening.contains(&port)).then_some(own);
        let Some(way_in) = self.way_in.get().cloned() else { return not_outside(Own::Shared) };
        let within = move || {
            let stream = way_in(port)?;
            stream.set_nonblocking(true)?;
            Ok::<_, io::Error>(stream)
        };
        match tokio::task::spawn_blocking(within).await {
            Ok(Ok(stream)) => TcpStream::from_std(stream).ok().map(Own::Within),
            Ok(Err(_)) | Err(_) => not_outside(Own::Nobody),
        }
    }

    pub fn download(&self, download: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.running, download);
    }

    pub fn tunnel(&self, tunnel: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.tunnels, tunnel);
    }

    /// Nobody is left at the other end of the connections.
    pub fn hang_up(&self) {
        drop(taken(&self.tunnels));
    }

    /// Waits for the downloads that are still on their way.
    pub async fn clear(&self) {
        self.hang_up();
        let mut running = taken(&self.running);
        let clearing = async { while running.join_next().await.is_some() {} };
        // What is not done by then is not recorded, and dropped.
        let _ = tokio::time::timeout(CLEARING, clearing).await;
    }
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

fn taken(tasks: &Mutex<JoinSet<()>>) -> JoinSet<()> {
    std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The TCP ports that are listened at (proc(5), /proc/net/tcp). A file that cannot be read has none.
fn listening() -> BTreeSet<u16> {
    let files = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    files.iter().flat_map(|text| text.lines().skip(1)).filter_map(port).collect()
}

fn port(line: &str) -> Option<u16> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    (state == LISTEN).then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_listened_at_are_told_from_connections() {
        let line = |state| format!("  3: 0100007F:B8CF 00000000:0000 {state} 00000000:00000000 00:00000000");
        assert_eq!((port(&line("0A")), port(&line("01")), port("")), (Some(47311), None, None));
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listening().contains(&open.local_addr().unwrap().port()));
    }

    #[test]
    fn a_secret_in_an_address_is_seen() {
        let passage =
            Passage::new(Digest::of(b""), ["hunter2\n", "short"].map(|text| Arc::new(Secret::new(text))).into());
        assert!(!passage.shows_a_secret("https://h/short/hunter2"), "too short to tell");
        let passage = Passage::new(Digest::of(b""), vec![Arc::new(Secret::new("hunter22\n"))]);
        assert!(passage.shows_a_secret("https://h/hunter22/simple"));
    }
}
