//! RUN.

use super::Fault;
use super::flags::{Flags, Takes};
use super::kind::command;
use super::split::Split;
use crate::dockerfile::nearest::nearest;
use crate::dockerfile::{Device, Heredoc, MountSpec, Network, RunCommand, Security};

pub const FLAGS: [(&str, Takes); 4] =
    [("mount", Takes::Many), ("network", Takes::One), ("security", Takes::One), ("device", Takes::Many)];

pub fn read(split: &Split, heredocs: Vec<Heredoc>) -> Result<RunCommand, Fault> {
    let flags = Flags::read(&split.flags, &FLAGS)?;
    let mount = |value: &String| {
        MountSpec::parse(value).map_err(|error| {
            let word = error.word().unwrap_or(value).to_owned();
            Fault::new(error.to_string()).word(word)
        })
    };
    let device =
        |value: &String| Device::parse(value).map_err(|error| Fault::new(error.to_string()).word(value.clone()));
    Ok(RunCommand {
        command: command(&split.rest)?,
        heredocs,
        mounts: flags.many("mount").iter().map(mount).collect::<Result<_, _>>()?,
        network: one_of(&flags, "network", &NETWORKS)?,
        security: one_of(&flags, "security", &SECURITIES)?,
        devices: flags.many("device").iter().map(device).collect::<Result<_, _>>()?,
    })
}

pub const NETWORKS: [(&str, Network); 3] =
    [("default", Network::Default), ("none", Network::None), ("host", Network::Host)];

pub const SECURITIES: [(&str, Security); 2] = [("sandbox", Security::Sandbox), ("insecure", Security::Insecure)];

fn one_of<T: Copy>(flags: &Flags, name: &str, known: &[(&str, T)]) -> Result<Option<T>, Fault> {
    let Some(given) = flags.one(name) else {
        return Ok(None);
    };
    match known.iter().find(|(known, _)| *known == given) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let meant = nearest(&given, known.iter().map(|(known, _)| *known));
            let meant = meant.map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
            let names: Vec<_> = known.iter().map(|(known, _)| *known).collect();
            Err(Fault::new(format!("--{name}={given} is not valid{meant}"))
                .word(given)
                .hint(format!("--{name} takes {}", names.join(", "))))
        }
    }
}
