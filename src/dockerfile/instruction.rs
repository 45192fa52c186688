//! The eighteen instructions, as types. Everything that a later room expands is kept raw as a [`Word`].

use super::{Device, Heredoc, MountSpec, Span};
use std::fmt;

/// One instruction and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// From the first character of the keyword to the end of the last line, heredoc bodies included.
    pub span: Span,
    /// The text with continuation lines joined and comments dropped, without heredoc bodies: what
    /// BuildKit shows in progress and keeps in the history.
    pub source: String,
    /// The keyword as it was written.
    pub keyword: String,
    /// The comment lines right above, without their `#`.
    pub comments: Vec<String>,
    /// An empty line stood among the continuation lines; accepted, and a lint warning.
    pub empty_continuation: bool,
    pub kind: Kind,
}

/// What an instruction is, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    From(FromImage),
    Arg(Vec<Argument>),
    Env(Vec<Assignment>),
    Label(Vec<Assignment>),
    Maintainer(String),
    Run(RunCommand),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Workdir(Word),
    User(Word),
    /// In the order written; each word may expand to several.
    Expose(Vec<Word>),
    Volume(Vec<Word>),
    Stopsignal(Word),
    Healthcheck(Healthcheck),
    Onbuild(Onbuild),
    Copy(CopyFiles),
    Add(AddFiles),
}

/// Text in which variables and quotes are still to be processed, by [`super::expand`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(pub String);

/// `FROM [--platform=…] image [AS name]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromImage {
    pub image: Word,
    pub platform: Option<Word>,
    /// Lower-cased.
    pub name: Option<String>,
}

/// `ARG name` or `ARG name=default`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub default: Option<Word>,
}

/// `name=value` of ENV and LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: Word,
    pub value: Word,
    /// Written as `ENV name value`: accepted, and a lint warning.
    pub legacy: bool,
}

/// The two forms of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Handed to the shell as it stands.
    Shell(String),
    /// A JSON array; run without a shell.
    Exec(Vec<String>),
}

/// `RUN`, with all its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCommand {
    pub command: Command,
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<MountSpec>,
    pub network: Option<Network>,
    pub security: Option<Security>,
    pub devices: Vec<Device>,
}

/// The value of `RUN --network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Default,
    None,
    Host,
}

/// The value of `RUN --security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Sandbox,
    Insecure,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: switches off an inherited one.
    None,
    Probe(Probe),
}

/// `HEALTHCHECK CMD`. Durations are nanoseconds; 0 means inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub command: Command,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    pub retries: i32,
}

/// `ONBUILD`, which is done where the image is a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The text to store in the image's config, heredoc bodies included.
    pub trigger: String,
    /// The same, parsed: a trigger that no child could run is refused here.
    pub kind: Box<Kind>,
}

/// What COPY or ADD takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Path(Word),
    /// A file given in the Dockerfile itself; its name in the destination is the heredoc's.
    Inline(Heredoc),
}

/// `COPY`, its flags as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFiles {
    pub sources: Vec<Source>,
    pub destination: Word,
    /// A stage's name or number, an image, or a named context. Never expanded.
    pub from: Option<String>,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub link: bool,
    pub parents: bool,
    /// Never expanded.
    pub exclude: Vec<String>,
}

/// `ADD`, its flags as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddFiles {
    pub sources: Vec<Source>,
    pub destination: Word,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    pub link: bool,
    pub exclude: Vec<String>,
    pub checksum: Option<Word>,
    /// `None` when the flag was not given: a git URL may then say it itself.
    pub keep_git_dir: Option<bool>,
    /// `None` when the flag was not given: local archives are unpacked, remote ones are not.
    pub unpack: Option<bool>,
}

impl Word {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
