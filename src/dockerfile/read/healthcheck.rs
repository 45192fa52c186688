//! HEALTHCHECK.

use super::Fault;
use super::duration::{MILLISECOND, parse_duration};
use super::flags::{Flags, Takes};
use super::kind::{at_least_one, command};
use super::split::Split;
use crate::dockerfile::{Command, Healthcheck, Probe};

pub const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::One),
    ("timeout", Takes::One),
    ("start-period", Takes::One),
    ("start-interval", Takes::One),
    ("retries", Takes::One),
];

pub fn read(split: &Split) -> Result<Healthcheck, Fault> {
    let rest = split.rest.as_str();
    let (kind, rest) = match rest.find(char::is_whitespace) {
        Some(end) => (&rest[..end], rest[end..].trim_start()),
        None => (rest, ""),
    };
    match kind.to_ascii_uppercase().as_str() {
        "" => Err(at_least_one("HEALTHCHECK")),
        "NONE" if !rest.is_empty() => Err(Fault::new("HEALTHCHECK NONE takes no arguments")),
        // BuildKit drops them in silence.
        "NONE" if !split.flags.is_empty() => Err(Fault::new("HEALTHCHECK NONE takes no flags")),
        "NONE" => Ok(Healthcheck::None),
        "CMD" => probe(split, rest).map(Healthcheck::Probe),
        unknown => Err(Fault::new(format!("Unknown type {unknown:?} in HEALTHCHECK (try CMD)")).word(kind)),
    }
}

fn probe(split: &Split, rest: &str) -> Result<Probe, Fault> {
    let flags = Flags::read(&split.flags, &FLAGS)?;
    let command = command(rest)?;
    if matches!(&command, Command::Shell(text) if text.is_empty()) || command == Command::Exec(Vec::new()) {
        return Err(Fault::new("Missing command after HEALTHCHECK CMD"));
    }
    Ok(Probe {
        command,
        interval: duration(&flags, "interval")?,
        timeout: duration(&flags, "timeout")?,
        start_period: duration(&flags, "start-period")?,
        start_interval: duration(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn duration(flags: &Flags, name: &str) -> Result<i64, Fault> {
    let Some(given) = flags.one(name).filter(|given| !given.is_empty()) else {
        return Ok(0);
    };
    let nanoseconds = parse_duration(&given).map_err(|error| {
        Fault::new(format!("--{name}: {error}")).word(&given).hint("write it like 30s, 1m30s or 500ms")
    })?;
    if nanoseconds != 0 && nanoseconds < MILLISECOND {
        return Err(Fault::new(format!("Interval {name:?} cannot be less than 1ms")).word(given));
    }
    Ok(nanoseconds)
}

fn retries(flags: &Flags) -> Result<i32, Fault> {
    let Some(given) = flags.one("retries").filter(|given| !given.is_empty()) else {
        return Ok(0);
    };
    match given.parse::<i32>() {
        Ok(retries) if retries < 0 => Err(Fault::new(format!("--retries cannot be negative ({retries})"))),
        Ok(retries) => Ok(retries),
        Err(_) => Err(Fault::new(format!("--retries={given} is not a number"))),
    }
}
