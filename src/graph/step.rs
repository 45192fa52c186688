//! One step of a stage: what to do, and the recipe of its cache key.

use crate::dockerfile::Span;
use crate::image::{Digest, Hasher, History, Platform, Reference};

use super::{Chmod, GitSource, Key, Mount, Origin, Part};

/// One instruction, with all its variables expanded.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where the instruction stands; `None` for a trigger of the base image.
    pub span: Option<Span>,
    /// What people are shown.
    pub text: String,
    /// The history line, but for its time.
    pub created_by: String,
    pub action: Action,
}

/// What a step does to the file system.
#[derive(Clone, Debug)]
pub enum Action {
    /// The config alone changes; it is part of the stage's plan already.
    Config,
    Run(Run),
    Copy(Copy),
    /// A directory is made where it is missing, 0755, owned by the current user.
    Workdir {
        path: String,
        user: String,
    },
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub argv: Vec<String>,
    /// All of the environment but `HOME`, which depends on the image's passwd.
    pub env: Vec<(String, String)>,
    /// Proxies: seen by the command, but neither in the key nor in the history.
    pub proxies: Vec<(String, String)>,
    pub cwd: String,
    /// As `USER` said: names or ids, empty for root.
    pub user: String,
    pub network: Network,
    /// `--security=insecure`: only where it is allowed.
    pub insecure: bool,
    /// What `--device` names and does not require: none of them is there.
    pub devices: Vec<String>,
    /// In the order of mounting.
    pub mounts: Vec<Mount>,
    /// A heredoc that names its interpreter.
    pub script: Option<Script>,
}

/// A file of mode 0755 in `/dev/pipes`, which the command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub name: String,
    pub content: String,
}

/// The network of a RUN, as far as the Dockerfile says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// What the build's own `--network` says.
    Default,
    /// Only where it is allowed.
    Host,
    None,
}

/// Files to bring in: COPY and ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub from: CopyFrom,
    pub sources: Vec<Source>,
    /// Absolute; a trailing `/` says that it is a directory.
    pub destination: String,
    /// `user[:group]`, names or ids.
    pub chown: Option<String>,
    pub chmod: Option<Chmod>,
    /// The layer does not depend on what is below it.
    pub link: bool,
    /// Patterns of what is left out, as in `.dockerignore`.
    pub exclude: Vec<String>,
    /// Archives are unpacked: ADD's local ones unless told otherwise, its remote ones when told so.
    pub unpack: bool,
}

/// Where COPY or ADD takes its files from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFrom {
    Context,
    /// The number of a stage of this file.
    Stage(usize),
    Image(Reference, Platform),
    /// A named context that is neither.
    Origin(Origin, Platform),
}

/// One thing that COPY or ADD brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path or a pattern, cleaned: relative to the root of where it is taken from, without `..`.
    Path { pattern: String, is_pattern: bool },
    /// COPY --parents: what the pattern matches below `root`, with the directories on the way. Without wildcards it
    /// must be there.
    Parents { root: String, root_is_pattern: bool, pattern: String, required: bool },
    /// A heredoc.
    Inline { name: String, bytes: Vec<u8> },
    /// A file from the network, under this name.
    Url { url: String, name: String, checksum: Option<Digest> },
    /// What is in a repository.
    Git(GitSource),
}

impl Step {
    pub fn has_layer(&self) -> bool {
        match &self.action {
            Action::Config => false,
            Action::Run(_) | Action::Copy(_) => true,
            Action::Workdir { path, .. } => path != "/",
        }
    }

    pub fn history(&self, created: &str) -> History {
        History {
            created: Some(created.to_owned()),
            created_by: Some(self.created_by.clone()),
            author: None,
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            empty_layer: !self.has_layer(),
        }
    }
}

/// The parts of a step's cache key that text alone decides; `build` adds the digests of contents.
///
/// Each struct is taken apart field by field, so that a new field does not compile until it is keyed.
impl Action {
    pub fn key(&self, key: &mut Key) {
        match self {
            Action::Config => key.part(Part::Instruction).field(b"config"),
            Action::Run(run) => run.key(key),
            Action::Copy(copy) => copy.key(key.part(Part::Instruction)),
            Action::Workdir { path, user } => {
                let instruction = key.part(Part::Instruction);
                instruction.field(b"workdir");
                instruction.field(path.as_bytes());
                key.part(Part::User).field(user.as_bytes());
            }
        }
    }
}

impl Run {
    fn key(&self, key: &mut Key) {
        let Self { argv, env, proxies: _, cwd, user, network, insecure, devices, mounts, script } = self;
        let instruction = key.part(Part::Instruction);
        instruction.field(b"run");
        list(instruction, argv.iter().map(String::as_bytes));
        instruction.field(match network {
            Network::Default => b"default".as_slice(),
            Network::Host => b"host",
            Network::None => b"none",
        });
        instruction.field(&[u8::from(*insecure)]);
        list(instruction, devices.iter().map(String::as_bytes));
        list(instruction, script.iter().flat_map(|Script { name, content }| [name.as_bytes(), content.as_bytes()]));
        list(key.part(Part::Variables), env.iter().map(|(name, _)| name.as_bytes()));
        for (name, value) in env {
            key.part(Part::Variable(name.clone())).field(value.as_bytes());
        }
        key.part(Part::WorkingDirectory).field(cwd.as_bytes());
        key.part(Part::User).field(user.as_bytes());
        mounts.iter().for_each(|mount| mount.key(key.part(Part::Mount(mount.place()))));
    }
}

impl Copy {
    fn key(&self, key: &mut Hasher) {
        // What `from` and `sources` name is keyed by the digest of the files found; `link` decides whether the
        // parent is part of the key, which is the build room's to add.
        let Self { from: _, sources, destination, chown, chmod, link, exclude, unpack } = self;
        key.field(b"copy");
        list(
            key,
            sources.iter().map(|source| match source {
                Source::Path { pattern, .. } | Source::Parents { pattern, .. } => pattern.as_bytes(),
                Source::Inline { name, .. } | Source::Url { name, .. } => name.as_bytes(),
                // Its files are keyed, wherever they come from.
                Source::Git(_) => b"git",
            }),
        );
        key.field(destination.as_bytes());
        key.field(chown.as_deref().map_or(b"-".as_slice(), str::as_bytes));
        key.field(chmod.as_ref().map_or_else(String::new, Chmod::to_string).as_bytes());
        key.field(&[u8::from(*link), u8::from(*unpack)]);
        list(key, exclude.iter().map(String::as_bytes));
    }
}

/// A list behind its length, so that where one list ends and the next begins is part of the key.
fn list<'a>(key: &mut Hasher, items: impl Iterator<Item = &'a [u8]>) {
    let items: Vec<_> = items.collect();
    key.field(&(items.len() as u64).to_le_bytes());
    items.into_iter().for_each(|item| key.field(item));
}

#[cfg(test)]
mod tests {
    use super::super::{BindMount, CacheMount, SecretMount, Sharing};
    use super::*;

    fn run() -> Run {
        let text = str::to_owned;
        Run {
            argv: vec![text("sh"), text("-c"), text("x")],
            env: vec![(text("A"), text("1"))],
            proxies: vec![],
            cwd: text("/"),
            user: text(""),
            network: Network::Default,
            insecure: false,
            devices: vec![],
            mounts: vec![],
            script: None,
        }
    }

    fn secret() -> Mount {
        let (id, target) = ("id".to_owned(), Some("/run/secrets/id".to_owned()));
        Mount::Secret(SecretMount { id, target, variable: None, required: false, mode: 0o400, uid: 0, gid: 0 })
    }

    #[test]
    fn every_field_of_a_mount_is_in_the_key() {
        let of = |mount: Mount| key(&Action::Run(Run { mounts: vec![mount], ..run() }));
        let cache = || CacheMount {
            target: "/c".into(),
            id: "c".into(),
            from: None,
            source: String::new(),
            sharing: Sharing::Shared,
            writable: true,
            mode: None,
            uid: None,
            gid: None,
        };
        let bind = |source: &str, writable| {
            let source = source.to_owned();
            Mount::Bind(BindMount { target: "/c".into(), from: Some(CopyFrom::Context), source, writable })
        };
        let keys = [
            of(secret()),
            of(Mount::Cache(cache())),
            of(Mount::Cache(CacheMount { target: "/d".into(), ..cache() })),
            of(Mount::Cache(CacheMount { id: "d".into(), ..cache() })),
            of(Mount::Cache(CacheMount { from: Some(CopyFrom::Stage(0)), ..cache() })),
            of(Mount::Cache(CacheMount { source: "s".into(), ..cache() })),
            of(Mount::Cache(CacheMount { sharing: Sharing::Locked, ..cache() })),
            of(Mount::Cache(CacheMount { writable: false, ..cache() })),
            of(Mount::Cache(CacheMount { mode: Some(0), ..cache() })),
            of(Mount::Cache(CacheMount { uid: Some(0), ..cache() })),
            of(Mount::Cache(CacheMount { gid: Some(0), ..cache() })),
            of(bind("", false)),
            of(bind("a", false)),
            of(Mount::Bind(BindMount { target: "/c".into(), from: None, source: String::new(), writable: false })),
            of(bind("", true)),
            of(Mount::Tmpfs { target: "/c".into(), size: None }),
            of(Mount::Tmpfs { target: "/c".into(), size: Some(1) }),
        ];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    }

    fn key(action: &Action) -> Digest {
        let mut key = Key::default();
        action.key(&mut key);
        key.finish()
    }

    #[test]
    fn whatever_a_run_sees_is_in_its_key() {
        let same = key(&Action::Run(run()));
        assert_eq!(same, key(&Action::Run(run())));
        let changes: [fn(&mut Run); 13] = [
            |run| run.argv[2].push('y'),
            |run| run.argv.push(String::new()),
            |run| run.env[0].1.push('2'),
            |run| run.env[0] = ("A1".into(), "".into()),
            |run| run.cwd.push('a'),
            |run| run.user.push('0'),
            |run| run.network = Network::None,
            |run| run.network = Network::Host,
            |run| run.insecure = true,
            |run| run.devices.push("vendor.com/gpu".into()),
            |run| run.mounts.push(Mount::Tmpfs { target: "/t".into(), size: None }),
            |run| run.mounts.push(secret()),
            |run| run.script = Some(Script { name: "E".into(), content: "#!/bin/sh".into() }),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = run();
            change(&mut changed);
            assert_ne!(same, key(&Action::Run(changed)), "change {number}");
        }
    }

    #[test]
    fn a_proxy_is_not_in_the_key() {
        let proxied = Run { proxies: vec![("HTTP_PROXY".into(), "http://p".into())], ..run() };
        assert_eq!(key(&Action::Run(run())), key(&Action::Run(proxied)));
    }
}
