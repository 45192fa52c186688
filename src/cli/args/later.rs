//! What is known and not there yet: refused by its name, so that nothing is taken for something else or ignored.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Failure;

/// Commands of the design that do not exist yet.
const COMMANDS: &[&str] = &["inspect"];

/// Flags of `docker buildx build` (docs.docker.com/reference/cli/docker/buildx/build, and those that it keeps hidden
/// for `docker build`'s sake). `true` is a flag that takes a value.
const BUILD: &[(&str, Option<char>, bool)] = &[
    ("attest", None, true),
    ("builder", None, true),
    ("compress", None, false),
    ("cpu-period", None, true),
    ("cpu-quota", None, true),
    ("cpu-shares", Some('c'), true),
    ("cpuset-cpus", None, true),
    ("cpuset-mems", None, true),
    ("debug", Some('D'), false),
    ("force-rm", None, false),
    ("isolation", None, true),
    ("memory", Some('m'), true),
    ("memory-swap", None, true),
    ("policy", None, true),
    ("print", None, true),
    ("rm", None, false),
    ("security-opt", None, true),
    ("squash", None, false),
];

/// The names of the flags that are refused.
pub fn refused_flags() -> impl Iterator<Item = &'static str> {
    BUILD.iter().map(|(name, ..)| *name)
}

/// The command with hidden arguments for all that is to be refused.
pub(super) fn with_flags(command: Command) -> Command {
    let flag = |&(name, short, value): &(&'static str, Option<char>, bool)| {
        let arg = Arg::new(name).long(name).hide(true);
        let arg = if value { arg.action(ArgAction::Append) } else { arg.num_args(0..=1).require_equals(true) };
        match short {
            Some(short) => arg.short(short),
            None => arg,
        }
    };
    command.mut_subcommands(|sub| match sub.get_name() {
        "build" | "verify" => sub.args(BUILD.iter().map(flag)),
        _ => sub,
    })
}

/// Refuses the first flag of the tables that was typed.
pub(super) fn refuse_flags(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("build" | "verify", build)) => refuse(build, BUILD).and_then(|()| refuse_load(build)),
        _ => Ok(()),
    }
}

pub(super) fn refuse_command(name: &str) -> Result<(), Failure> {
    if !COMMANDS.contains(&name) {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` is not there yet"))
        .hint(format!("if a Dockerfile of that name is meant, write `./{name}`")))
}

fn refuse(matches: &ArgMatches, flags: &[(&'static str, Option<char>, bool)]) -> Result<(), Failure> {
    match flags.iter().find(|(name, ..)| matches.value_source(name) == Some(ValueSource::CommandLine)) {
        Some((name, ..)) => Err(Failure::usage(format!("`--{name}` is not supported yet"))),
        None => Ok(()),
    }
}

fn refuse_load(build: &ArgMatches) -> Result<(), Failure> {
    if !build.get_flag("load") {
        return Ok(());
    }
    Err(Failure::usage("`--load` needs a Docker daemon, and there is none here").hint(
        "write the image with `-o type=oci,dest=image.tar` or push it with `--push`; what reads it then, \
         `skopeo copy oci-archive:image.tar docker-daemon:NAME:TAG` for one, may hand it to a daemon",
    ))
}
