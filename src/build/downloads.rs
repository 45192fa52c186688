//! RUNs whose downloads are recorded or given again: which records are a RUN's, what it has of them in the build
//! cache, and what it comes to when it asked for something else.
//!
//! A RUN that is recorded, or that the lock knows, has a network of its own with the proxy as the only way out, where this
//! machine can give it one. So what is recorded is all that it was given, and a program that ignores the proxy variables
//! fails when it is recorded, and not a year later.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::Event;
use crate::graph::{Action, Key, Network, Run, Step};
use crate::image::{Digest, Hasher, Platform};
use crate::replay::{Command, Door, Outcome, Policy, Replay, RunDownloads, Session};
use crate::sandbox::{self, Inside, Mounted, Rung};
use crate::secret::Secret;

use super::workshop::{Workshop, inside};
use super::{BuildError, Problem, RunOptions, Source};

/// A RUN and what stands between it and the network.
pub(super) struct Recorded<'a> {
    pub replay: &'a Replay,
    pub command: Command,
    /// What the lock holds for it.
    pub held: Option<RunDownloads>,
    /// Whether the network is to be out of its reach but for us.
    alone: bool,
}

/// Under which keys the build cache has a step, and will have it.
pub(super) struct Keys {
    /// Those that will do, the best first.
    pub known: Vec<Digest>,
    plain: Digest,
}

/// A proxy of ours for one command.
pub(super) struct Gate {
    session: Session,
    /// What the lock holds is as old as the lock.
    aged: bool,
    alone: bool,
    keeper: Arc<Keeper>,
}

/// Answers at the gate of a command's own network.
struct Keeper {
    door: Door,
    runtime: tokio::runtime::Handle,
    went_around: AtomicBool,
}

/// Where apt finds what it is to do otherwise.
const APT_CONF: &str = "/dev/locus-push/apt.conf";

/// An index that the lock holds is told by its digest, and not by how long its maker believed in it (apt.conf(5)):
/// Debian's updates and security are valid for a week.
const APT_SAYS: &str = "Acquire::Check-Valid-Until \"false\";\n";

/// Why a command may have failed that tried another way than ours.
const AROUND: &str = "something in this RUN tried to reach the network without its proxy variables, and its downloads are \
                      locked: it has nothing but what goes by these. `RUN --network=host`, with `--allow network.host`, \
                      leaves it the network, and --locked then refuses it";

impl<'a> Recorded<'a> {
    /// What a step has to do with downloads: a RUN that has the network, where they are recorded or given again.
    pub fn of(
        step: &Step,
        place: (usize, usize),
        platform: &Platform,
        options: &'a RunOptions,
    ) -> Result<Option<Self>, BuildError> {
        let (Some(replay), Action::Run(run)) = (&options.downloads, &step.action) else { return Ok(None) };
        let network = if run.network == Network::Default { options.network } else { run.network };
        match (network, replay.policy()) {
            (Network::None, _) => return Ok(None),
            // Nothing would hold it to what is locked.
            (Network::Host, Policy::Refuse) => return Err(Problem::HostNetworkLocked.into()),
            (Network::Default | Network::Host, _) => {}
        }
        // Not what it stands on: the same command over another base asks for the same, and is not locked anew.
        let mut identity = Hasher::default();
        identity.field(b"locus-push run 2");
        identity.field(platform.to_string().as_bytes());
        let mut key = Key::default();
        step.action.key(&mut key);
        identity.field(key.finish().as_bytes());
        let command =
            Command { step: identity.finish(), text: first_line(&step.text), platform: platform.to_string(), place };
        let held = replay.held(&command.step);
        let alone = network == Network::Default && (replay.policy() != Policy::Pass || held.is_some());
        Ok(Some(Self { replay, command, held, alone }))
    }

    /// The step's keys, made of the one that it would have without downloads. A command whose downloads are all held is
    /// a function of them; one that was let through to the network is cached as every RUN is, but not for `--locked`.
    pub fn keys(&self, plain: Digest) -> Keys {
        let pure = |alone| pure(&plain, self.held.as_ref(), alone);
        let known = match (self.replay.policy(), &self.held) {
            (Policy::Record, None) => Vec::new(),
            (Policy::Record, Some(_)) | (Policy::Refuse, _) => vec![pure(self.alone)],
            (Policy::Pass, held) => vec![pure(true), pure(self.alone), passed(&plain, held.as_ref())],
        };
        Keys { known, plain }
    }

    /// What decides, beside the plain key, which keys these are.
    pub fn key(&self, part: &mut Hasher) {
        part.field(&[u8::from(self.replay.policy() == Policy::Refuse), u8::from(self.alone)]);
        if let Some(held) = &self.held {
            part.field(held.digest().as_bytes());
        }
    }

    /// The key under which what it made is kept.
    pub fn kept_as(&self, keys: &Keys, outcome: &Outcome) -> Digest {
        let given = match self.replay.policy() {
            Policy::Record => self.replay.given(&self.command),
            Policy::Pass | Policy::Refuse => self.held.clone(),
        };
        match outcome.is_pure() {
            true => pure(&keys.plain, given.as_ref(), self.alone),
            false => passed(&keys.plain, given.as_ref()),
        }
    }

    /// The command was in the build cache: what the lock holds for it stays there.
    pub fn cached(&self) {
        self.replay.keep(&self.command);
    }

    pub fn open(&self, options: &RunOptions) -> Result<Gate, BuildError> {
        let secrets = options.secrets.values().cloned().collect();
        let session = self.replay.open(&self.command, secrets);
        let session = session.map_err(|error| inside("opening a proxy for RUN", std::io::Error::other(error)))?;
        let (door, runtime) = (session.door(), tokio::runtime::Handle::current());
        let keeper = Arc::new(Keeper { door, runtime, went_around: AtomicBool::new(false) });
        Ok(Gate { session, aged: self.held.is_some(), alone: self.alone, keeper })
    }
}

impl Keys {
    /// A step's that downloads nothing that is recorded.
    pub fn only(plain: Digest) -> Self {
        Self { known: vec![plain], plain }
    }

    /// What tells it from all other steps of this build.
    pub fn plain(&self) -> &Digest {
        &self.plain
    }
}

/// What had the network within reach may be made of more than its records, and is not for who asks for them alone.
fn pure(plain: &Digest, held: Option<&RunDownloads>, alone: bool) -> Digest {
    let mut key = Hasher::default();
    key.field(if alone { b"downloads alone" } else { b"downloads" });
    key.field(plain.as_bytes());
    key.field(held.map_or_else(|| Hasher::default().finish(), RunDownloads::digest).as_bytes());
    key.finish()
}

/// Without records it is a RUN as any other.
fn passed(plain: &Digest, held: Option<&RunDownloads>) -> Digest {
    let Some(held) = held else { return *plain };
    let mut key = Hasher::default();
    key.field(b"let through");
    key.field(pure(plain, Some(held), false).as_bytes());
    key.finish()
}

impl Gate {
    /// What the command has to trust.
    pub fn certificate(&self) -> &str {
        self.session.certificate()
    }

    /// What to tell of a proxy that the Dockerfile's ENV names. One of a build argument is our own way out.
    pub fn warning(&self, run: &Run) -> Option<Event> {
        let variables = self.session.variables();
        let ours =
            |(name, value): &&(String, String)| !value.is_empty() && variables.iter().any(|(own, _)| own == name);
        let (name, _) = run.env.iter().find(ours)?;
        let message =
            format!("ENV {name} is not what this RUN has: its downloads go by the lock, and on as this machine's do");
        let hint = format!("--build-arg {name}=… names a proxy that they go on by");
        Some(Event::Warning { message, hint: Some(hint) })
    }

    /// Leads the command to us; gives what is to be told where nothing keeps it there.
    pub fn lead(&self, step: &mut sandbox::Step, rung: &Rung) -> Option<Event> {
        for (name, value) in self.session.variables() {
            set(&mut step.env, name, value);
        }
        if self.aged && !step.env.iter().any(|(name, _)| name == "APT_CONFIG") {
            let content = Secret::new(APT_SAYS);
            let what = Mounted::File { content, mode: 0o444, uid: 0, gid: 0, executable: false };
            step.mounts.push(sandbox::Mount { target: APT_CONF.into(), what });
            set(&mut step.env, "APT_CONFIG", APT_CONF.to_owned());
        }
        if !self.alone {
            return None;
        }
        if !rung.has_networks() {
            let message = "nothing keeps this RUN to what is locked: a program that ignores the proxy variables reaches \
                           the network, as there are no network namespaces here";
            let hint = "`locus-push doctor` says what would give them".to_owned();
            return Some(Event::Warning { message: message.to_owned(), hint: Some(hint) });
        }
        step.network = sandbox::Network::Gate(sandbox::Gate {
            port: self.keeper.door.port(),
            keeper: Arc::clone(&self.keeper) as Arc<dyn sandbox::Keeper>,
        });
        None
    }
}

impl sandbox::Keeper for Keeper {
    fn open(&self, Inside { listener, way_in }: Inside) -> io::Result<()> {
        let _within = self.runtime.enter();
        self.door.open(listener, Arc::new(move |port| way_in.connect(port)))
    }

    fn went_around(&self) {
        self.went_around.store(true, Ordering::Relaxed);
    }
}

fn set(env: &mut Vec<(OsString, OsString)>, name: &str, value: String) {
    env.retain(|(own, _)| own != name);
    env.push((name.into(), value.into()));
}

impl<S: Source> Workshop<S> {
    /// The command has ended, well or not; what it was not given may say why, or that it must not count as well.
    pub(super) async fn settle<T>(
        &self,
        gate: Gate,
        stage: &str,
        ran: Result<T, BuildError>,
    ) -> Result<(T, Outcome), BuildError> {
        let Gate { session, keeper, .. } = gate;
        let mut outcome = session.close().await;
        if let (downloads @ 1.., bytes) = outcome.recorded {
            self.events.emit(Event::Recorded { stage: stage.to_owned(), downloads, bytes });
        }
        let last_lines = ran.as_ref().err().map(|error| error.last_lines.clone()).unwrap_or_default();
        if let Some(moved) = outcome.moved.drain(..).next() {
            return Err(BuildError { last_lines, ..Problem::DownloadMoved(moved).into() });
        }
        if let Some(first) = outcome.refused.pop_first() {
            let lock = self.lock_file();
            let problem = Problem::NotHeld { lock, first, others: outcome.refused.len() };
            return Err(BuildError { last_lines, ..problem.into() });
        }
        let failed: Vec<_> = outcome.failed.iter().take(3).map(|failed| format!("not downloaded: {failed}")).collect();
        let failed = (!failed.is_empty()).then(|| failed.join("\n"));
        match ran {
            Ok(made) => {
                // The command went on without it, and what it made may be another thing the next time.
                failed.into_iter().for_each(|message| self.events.emit(Event::Warning { message, hint: None }));
                Ok((made, outcome))
            }
            Err(error) => {
                let around = keeper.went_around.load(Ordering::Relaxed).then(|| AROUND.to_owned());
                Err(error.first_hint(around).first_hint(failed))
            }
        }
    }
}

/// What people know a RUN by.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(step: &[u8], status: u16) -> RunDownloads {
        let text = format!(
            "command = 'RUN x'\nplatform = 'linux/amd64'\nstep = '{}'\ndownloads = [{{ url = 'http://h/a', status = {status} }}]",
            Digest::of(step)
        );
        toml::from_str(&text).expect("a RUN's downloads")
    }

    #[test]
    fn a_steps_key_is_made_of_its_own_records() {
        let plain = Digest::of(b"plain");
        let (one, other) = (held(b"x", 404), held(b"x", 410));
        assert_ne!(pure(&plain, Some(&one), true), pure(&plain, Some(&other), true));
        assert_ne!(pure(&plain, Some(&one), true), pure(&plain, Some(&one), false));
        assert_ne!(pure(&plain, Some(&one), true), passed(&plain, Some(&one)));
        assert_ne!(pure(&plain, None, true), plain, "what the network gave is not for --locked");
        assert_eq!(passed(&plain, None), plain);
    }

    #[test]
    fn a_proxy_of_the_dockerfiles_gives_way() {
        let mut env = vec![("http_proxy".into(), "own".into()), ("A".into(), "1".into())];
        set(&mut env, "http_proxy", "ours".to_owned());
        assert_eq!(env, [("A".into(), "1".into()), (OsString::from("http_proxy"), OsString::from("ours"))]);
    }
}
