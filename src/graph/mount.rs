//! `RUN --mount=`: each kind with its own fields, defaults filled in (BuildKit, dockerfile2llb/convert_runmount.go and
//! instructions/commands_runmount.go).

use crate::dockerfile::{self, MountError, MountKind, MountSpec, Span, Word, boolean};
use crate::image::Hasher;

use super::scope::{Scope, clean};
use super::{CopyFrom, PlanError, Problem};

/// What a RUN sees beside its own file system. Targets are absolute and clean, and never `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    Bind(BindMount),
    Cache(CacheMount),
    Tmpfs { target: String, size: Option<u64> },
    Secret(SecretMount),
    Ssh(SshMount),
}

/// Files of a context, stage or image. What is written to a writable one is thrown away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindMount {
    pub target: String,
    /// `None` is scratch: an empty folder.
    pub from: Option<CopyFrom>,
    /// Clean, relative to the root of where it is taken from; empty for all of it.
    pub source: String,
    pub writable: bool,
}

/// A folder that outlives the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    pub target: String,
    pub id: String,
    /// What it holds at first; nothing where this is `None`.
    pub from: Option<CopyFrom>,
    /// Clean, relative to the cache's root; empty for all of it.
    pub source: String,
    pub sharing: Sharing,
    pub writable: bool,
    /// Of the cache's root when it is made.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One at a time; others get a cache of their own.
    Private,
    /// One at a time; others wait.
    Locked,
}

/// A secret as a file, as a variable, or as both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMount {
    pub id: String,
    pub target: Option<String>,
    pub variable: Option<String>,
    pub required: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The socket of an SSH agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshMount {
    pub id: String,
    pub target: String,
    pub required: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Mount {
    /// Where it is mounted; a secret may be a variable alone.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Bind(BindMount { target, .. }) | Self::Cache(CacheMount { target, .. }) => Some(target),
            Self::Tmpfs { target, .. } | Self::Ssh(SshMount { target, .. }) => Some(target),
            Self::Secret(SecretMount { target, .. }) => target.as_deref(),
        }
    }

    /// Its target, or what stands for one.
    pub fn place(&self) -> String {
        match (self.target(), self) {
            (Some(target), _) => target.to_owned(),
            (None, Self::Secret(SecretMount { variable: Some(variable), .. })) => format!("${variable}"),
            (None, _) => String::new(),
        }
    }

    /// The socket of an agent, for `SSH_AUTH_SOCK`.
    pub(super) fn agent(&self) -> Option<&str> {
        match self {
            Self::Ssh(SshMount { target, .. }) => Some(target),
            Self::Bind(_) | Self::Cache(_) | Self::Tmpfs { .. } | Self::Secret(_) => None,
        }
    }

    /// Every field but what a bind takes its files from, which the build keys by what is there.
    pub(super) fn key(&self, key: &mut Hasher) {
        match self {
            Self::Bind(BindMount { target, from, source, writable }) => {
                key.field(b"bind");
                key.field(target.as_bytes());
                key.field(&[u8::from(from.is_some())]);
                key.field(source.as_bytes());
                key.field(&[u8::from(*writable)]);
            }
            Self::Cache(CacheMount { target, id, from, source, sharing, writable, mode, uid, gid }) => {
                key.field(b"cache");
                key.field(target.as_bytes());
                key.field(id.as_bytes());
                // What a cache holds is not a part of what a step is a function of; a stage's number is not its text.
                key.field(&[u8::from(from.is_some())]);
                key.field(source.as_bytes());
                key.field(&[*sharing as u8, u8::from(*writable)]);
                [mode, uid, gid].into_iter().for_each(|number| key.field(format!("{number:?}").as_bytes()));
            }
            Self::Tmpfs { target, size } => {
                key.field(b"tmpfs");
                key.field(target.as_bytes());
                key.field(format!("{size:?}").as_bytes());
            }
            // No value of a secret, nor whether there is one.
            Self::Secret(SecretMount { id, target, variable, required, mode, uid, gid }) => {
                key.field(b"secret");
                key.field(id.as_bytes());
                key.field(target.as_deref().unwrap_or_default().as_bytes());
                key.field(variable.as_deref().unwrap_or_default().as_bytes());
                key.field(&[u8::from(*required)]);
                [mode, uid, gid].into_iter().for_each(|number| key.field(&number.to_le_bytes()));
            }
            Self::Ssh(SshMount { id, target, required, mode, uid, gid }) => {
                key.field(b"ssh");
                key.field(id.as_bytes());
                key.field(target.as_bytes());
                key.field(&[u8::from(*required)]);
                [mode, uid, gid].into_iter().for_each(|number| key.field(&number.to_le_bytes()));
            }
        }
    }
}

impl Scope<'_> {
    /// All mounts of a RUN, as they are written.
    pub(super) fn mounts(&self, specs: &[MountSpec], span: Span) -> Result<Vec<Mount>, PlanError> {
        let mut mounts = Vec::new();
        for spec in specs {
            let mount = spec.expand(|word| self.mount_word(word));
            let mount = mount.map_err(|problem| Problem::from(problem).at(span))?;
            let agents = mounts.iter().filter(|mount| matches!(mount, Mount::Ssh(_))).count();
            mounts.push(self.mount(&mount, agents, span)?);
        }
        Ok(mounts)
    }

    fn mount_word(&self, word: &Word) -> Result<String, MountProblem> {
        let failed = |e: &dyn std::error::Error| MountProblem::Expand { word: word.to_string(), why: e.to_string() };
        self.lexer.expand_word(word.as_str(), self).map_err(|e| failed(&e))
    }

    fn mount(&self, mount: &dockerfile::Mount, agents: usize, span: Span) -> Result<Mount, PlanError> {
        let field = |rule: Refused| Problem::Value { flag: rule.0, value: rule.1, rule: rule.2 }.at(span);
        let given = |key| mount.value(key).filter(|value| !value.is_empty());
        let number = |key| number(mount, key, 10, "it is a number").map_err(field);
        let mode = number_mode(mount).map_err(field)?;
        let from = match mount.value("from").filter(|from| !matches!(*from, "" | "scratch")) {
            Some(from) => Some(self.from(from, span)?),
            None => None,
        };
        let source = clean(given("source").unwrap_or_default())[1..].to_owned();
        Ok(match mount.kind {
            MountKind::Bind => Mount::Bind(BindMount {
                target: self.target(given("target"), span)?,
                from: match (from, mount.value("from")) {
                    (Some(from), _) => Some(from),
                    (None, Some("scratch")) if source.is_empty() => None,
                    (None, Some("scratch")) => {
                        return Err(field(("--mount source", source, "there is nothing in scratch")));
                    }
                    (None, _) => Some(CopyFrom::Context),
                },
                source,
                writable: writable(mount, false).map_err(field)?,
            }),
            MountKind::Cache => {
                let target = given("target").unwrap_or_default();
                Mount::Cache(CacheMount {
                    target: self.target(given("target"), span)?,
                    id: given("id").map_or_else(|| relative_clean(target), str::to_owned),
                    from,
                    source,
                    sharing: sharing(mount).map_err(field)?,
                    writable: writable(mount, true).map_err(field)?,
                    mode,
                    uid: number("uid")?,
                    gid: number("gid")?,
                })
            }
            MountKind::Tmpfs => {
                let size = given("size").map(bytes).transpose().map_err(field)?;
                Mount::Tmpfs { target: self.target(given("target"), span)?, size }
            }
            MountKind::Secret => {
                let named = given("source").or(given("id")).or(given("target").map(base_name));
                // The parser refuses a secret without any of the three.
                let id = named.unwrap_or_default().to_owned();
                let variable = mount.has("env").then(|| given("env").map_or_else(|| id.clone(), str::to_owned));
                let target = match given("target") {
                    None if variable.is_some() => None,
                    None => Some(format!("/run/secrets/{}", base_name(&id))),
                    target => Some(self.target(target, span)?),
                };
                Mount::Secret(SecretMount {
                    id,
                    target,
                    variable,
                    required: flag(mount, "required").map_err(field)?.unwrap_or(false),
                    mode: mode.unwrap_or(0o400),
                    uid: number("uid")?.unwrap_or(0),
                    gid: number("gid")?.unwrap_or(0),
                })
            }
            MountKind::Ssh => Mount::Ssh(SshMount {
                id: given("id").or(given("source")).unwrap_or("default").to_owned(),
                target: match given("target") {
                    None => format!("/run/buildkit/ssh_agent.{agents}"),
                    target => self.target(target, span)?,
                },
                required: flag(mount, "required").map_err(field)?.unwrap_or(false),
                mode: mode.unwrap_or(0o600),
                uid: number("uid")?.unwrap_or(0),
                gid: number("gid")?.unwrap_or(0),
            }),
        })
    }

    /// Relative to the working directory, which is also what is meant by none.
    fn target(&self, target: Option<&str>, span: Span) -> Result<String, PlanError> {
        match self.in_workdir(target.unwrap_or_default()) {
            root if root == "/" => {
                let value = target.unwrap_or_default().to_owned();
                let rule = "nothing is mounted over the root";
                Err(Problem::Value { flag: "--mount target", value, rule }.at(span))
            }
            target => Ok(target),
        }
    }
}

/// The words of a mount, or their expansion, are wrong.
#[derive(Debug)]
enum MountProblem {
    Expand { word: String, why: String },
    Mount(MountError),
}

impl From<MountError> for MountProblem {
    fn from(error: MountError) -> Self {
        Self::Mount(error)
    }
}

impl From<MountProblem> for Problem {
    fn from(problem: MountProblem) -> Self {
        match problem {
            MountProblem::Expand { word, why } => Self::Expand { word, why },
            MountProblem::Mount(error) => Self::Mount(Box::new(error)),
        }
    }
}

/// Which field, what was given, and what it may be.
type Refused = (&'static str, String, &'static str);

fn writable(mount: &dockerfile::Mount, default: bool) -> Result<bool, Refused> {
    let read_only = flag(mount, "readonly")?;
    let writable = flag(mount, "readwrite")?;
    Ok(match (read_only, writable) {
        (Some(true), _) => false,
        (_, Some(writable)) => writable,
        (Some(false), None) => true,
        (None, None) => default,
    })
}

/// A bare key is true; a value is one of Go's `strconv.ParseBool`.
fn flag(mount: &dockerfile::Mount, key: &'static str) -> Result<Option<bool>, Refused> {
    match (mount.has(key), mount.value(key)) {
        (false, _) => Ok(None),
        (true, None) => Ok(Some(true)),
        (true, Some(value)) => match boolean(value) {
            None => Err((flag_name(key), value.to_owned(), "it is true or false")),
            said => Ok(said),
        },
    }
}

fn number(
    mount: &dockerfile::Mount,
    key: &'static str,
    radix: u32,
    rule: &'static str,
) -> Result<Option<u32>, Refused> {
    let Some(text) = mount.value(key) else { return Ok(None) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = u32::from_str_radix(text, radix).ok().filter(|number| digits && *number != u32::MAX);
    number.map(Some).ok_or_else(|| (flag_name(key), text.to_owned(), rule))
}

fn number_mode(mount: &dockerfile::Mount) -> Result<Option<u32>, Refused> {
    const RULE: &str = "it is an octal number up to 7777";
    match number(mount, "mode", 8, RULE)? {
        Some(mode) if mode > 0o7777 => Err((flag_name("mode"), format!("{mode:o}"), RULE)),
        mode => Ok(mode),
    }
}

fn sharing(mount: &dockerfile::Mount) -> Result<Sharing, Refused> {
    match mount.value("sharing").map(str::to_lowercase).as_deref() {
        None | Some("" | "shared") => Ok(Sharing::Shared),
        Some("private") => Ok(Sharing::Private),
        Some("locked") => Ok(Sharing::Locked),
        Some(other) => Err((flag_name("sharing"), other.to_owned(), "it is shared, private or locked")),
    }
}

/// A number of bytes as Docker takes it (docker/go-units, RAMInBytes): `64m`, `1.5g`, `512KiB`.
pub fn size_in_bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (amount, unit) = (lower[..end].parse::<f64>().ok()?, lower[end..].trim_start());
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = amount * f64::from(1024_u32).powi(power);
    (bytes.is_finite() && (0.0..1e18).contains(&bytes)).then_some(bytes as u64)
}

fn bytes(text: &str) -> Result<u64, Refused> {
    size_in_bytes(text).ok_or_else(|| (flag_name("size"), text.to_owned(), "it is a number of bytes, e.g. 64m"))
}

fn flag_name(key: &'static str) -> &'static str {
    match key {
        "readonly" => "--mount readonly",
        "readwrite" => "--mount readwrite",
        "required" => "--mount required",
        "sharing" => "--mount sharing",
        "size" => "--mount size",
        "mode" => "--mount mode",
        "uid" => "--mount uid",
        "gid" => "--mount gid",
        _ => "--mount",
    }
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Go's `path.Clean`: a relative path stays one.
fn relative_clean(path: &str) -> String {
    let cleaned = clean(path);
    match path.starts_with('/') {
        true => cleaned,
        false if cleaned == "/" => ".".to_owned(),
        false => cleaned[1..].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Action, Contexts, Ground, Options, plan};
    use super::*;
    use crate::image::Platform;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, wanted) in [
            ("64m", Some(64 << 20)),
            ("128M", Some(128 << 20)),
            ("1.5g", Some(3 << 29)),
            ("512KiB", Some(512 << 10)),
            ("10", Some(10)),
            ("2 gb", Some(2 << 30)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("9999999p", None),
        ] {
            assert_eq!(size_in_bytes(text), wanted, "{text}");
        }
    }

    /// The mount of a RUN in `/w`, with what is not worth a word left out.
    #[track_caller]
    fn check(flag: &str, expected: &str) {
        let text = format!("FROM scratch AS tools\nFROM scratch\nARG dir=/of-arg\nWORKDIR /w\nRUN --mount={flag} x");
        let file = dockerfile::parse(&text).expect("the form of the mount is right");
        let options = Options {
            platform: Platform::linux_amd64(),
            build_platform: Platform::linux_amd64(),
            build_args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            contexts: Contexts::default(),
        };
        let graph = plan(&file, &options).expect("a graph");
        let shown = match graph.steps(graph.stage(1), Ground::default()) {
            Err(error) => format!("error: {error}"),
            Ok(plan) => match plan.steps.into_iter().map(|step| step.action).next_back() {
                Some(Action::Run(run)) => shown(&run.mounts[0]),
                other => panic!("a RUN is the last step, not {other:?}"),
            },
        };
        assert_eq!(shown, expected, "{flag}");
    }

    fn shown(mount: &Mount) -> String {
        let writable = |writable: &bool| if *writable { "rw" } else { "ro" };
        match mount {
            Mount::Bind(BindMount { target, from, source, writable: rw }) => {
                let from = match from {
                    Some(CopyFrom::Context) => "context".to_owned(),
                    Some(CopyFrom::Stage(number)) => format!("stage {number}"),
                    Some(CopyFrom::Image(image, _)) => image.to_string(),
                    Some(CopyFrom::Origin(..)) => "a named context".to_owned(),
                    None => "scratch".to_owned(),
                };
                format!("bind {from} /{source} at {target} {}", writable(rw))
            }
            Mount::Cache(CacheMount { target, id, from, source, sharing, writable: rw, mode, uid, gid }) => {
                let of = [mode, uid, gid].map(|number| number.map_or("-".to_owned(), |number| format!("{number:o}")));
                let from = if from.is_some() { " from" } else { "" };
                let (of, rw) = (of.join(" "), writable(rw));
                format!("cache {id} /{source} at {target} {rw} {sharing:?} {of}{from}")
            }
            Mount::Tmpfs { target, size } => format!("tmpfs at {target} {size:?}"),
            Mount::Secret(SecretMount { id, target, variable, required, mode, uid, gid }) => {
                format!("secret {id} at {target:?} in {variable:?} {required} {mode:o} {uid}:{gid}")
            }
            Mount::Ssh(SshMount { id, target, required, mode, uid, gid }) => {
                format!("ssh {id} at {target} {required} {mode:o} {uid}:{gid}")
            }
        }
    }

    #[test]
    fn a_bind_has_buildkits_fields_names_and_defaults() {
        check("target=/t", "bind context / at /t ro");
        check("type=bind,src=a/../b/,dst=c", "bind context /b at /w/c ro");
        check("source=a", "bind context /a at /w ro");
        check("TYPE=Bind,Source=a,destination=.", "bind context /a at /w ro");
        check("from=tools,source=/a,target=/t,rw", "bind stage 0 /a at /t rw");
        check("from=alpine,target=/t,readwrite=true", "bind docker.io/library/alpine:latest / at /t rw");
        check("from=scratch,target=$dir", "bind scratch / at /of-arg ro");
        check("target=/t,rw=false", "bind context / at /t ro");
        check("target=/t,ro=false", "bind context / at /t rw");
        check("target=/", "error: --mount target `/` is not valid: nothing is mounted over the root");
        check("target=/t,rw=si", "error: --mount readwrite `si` is not valid: it is true or false");
    }

    #[test]
    fn a_cache_has_buildkits_fields_names_and_defaults() {
        check("type=cache,target=/c/", "cache /c / at /c rw Shared - - -");
        check(
            "type=cache,id=x,target=c,ro,sharing=LOCKED,mode=0700,uid=1,gid=2",
            "cache x / at /w/c ro Locked 700 1 2",
        );
        check("type=cache,target=/c,sharing=private,from=tools,source=/s", "cache /c /s at /c rw Private - - - from");
        check(
            "type=cache,target=/c,sharing=all",
            "error: --mount sharing `all` is not valid: it is shared, private or locked",
        );
        check("type=cache,target=/c,mode=9", "error: --mount mode `9` is not valid: it is an octal number up to 7777");
    }

    #[test]
    fn memory_secrets_and_agents_have_buildkits_fields_names_and_defaults() {
        check("type=tmpfs,target=/t,size=1.5g", "tmpfs at /t Some(1610612736)");
        check("type=tmpfs,target=/t", "tmpfs at /t None");
        check("type=secret,id=a/b", "secret a/b at Some(\"/run/secrets/b\") in None false 400 0:0");
        check("type=secret,target=/x/b", "secret b at Some(\"/x/b\") in None false 400 0:0");
        check(
            "type=secret,src=a,required,mode=0440,uid=1,gid=2",
            "secret a at Some(\"/run/secrets/a\") in None true 440 1:2",
        );
        check("type=secret,id=a,env", "secret a at None in Some(\"a\") false 400 0:0");
        check("type=secret,id=a,env=B,target=t", "secret a at Some(\"/w/t\") in Some(\"B\") false 400 0:0");
        check("type=ssh", "ssh default at /run/buildkit/ssh_agent.0 false 600 0:0");
        check("type=ssh,id=a,target=s,required=1,mode=0666,uid=1,gid=2", "ssh a at /w/s true 666 1:2");
    }

    #[test]
    fn a_cache_without_an_id_is_named_by_its_target() {
        assert_eq!(relative_clean("/root//.npm/"), "/root/.npm");
        assert_eq!(relative_clean("a/./b"), "a/b");
        assert_eq!(relative_clean(""), ".");
    }
}
