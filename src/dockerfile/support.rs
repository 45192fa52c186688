//! What of the language there is, out of the tables by which it is read.

use super::mount::{ALIASES, KEYS, KINDS};
use super::{directive, read};

/// An instruction, or a value that a flag takes, and the words that may stand in it.
pub type Supported = (&'static str, Vec<&'static str>);

/// Each instruction, with its flags.
pub fn instructions() -> Vec<Supported> {
    let flags = |keyword| read::flags(keyword).iter().map(|(name, _)| *name).collect();
    read::KEYWORDS.into_iter().map(|keyword| (keyword, flags(keyword))).collect()
}

/// Each type of RUN's mounts, with its keys.
pub fn mounts() -> Vec<Supported> {
    let keys = |kind: super::MountKind| KEYS.into_iter().filter(|key| *key != "type" && kind.takes(key)).collect();
    KINDS.into_iter().map(|(name, kind)| (name, keys(kind))).collect()
}

/// Other names of keys.
pub fn aliases() -> &'static [(&'static str, &'static str)] {
    &ALIASES
}

/// The values of RUN's flags that take one of a few.
pub fn choices() -> [Supported; 2] {
    let networks = read::NETWORKS.into_iter().map(|(name, _)| name).collect();
    let securities = read::SECURITIES.into_iter().map(|(name, _)| name).collect();
    [("network", networks), ("security", securities)]
}

/// The parser directives.
pub fn directives() -> &'static [&'static str] {
    &directive::KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{MountSpec, parse};

    #[test]
    fn what_is_said_to_be_there_is_read() {
        for (keyword, flags) in instructions() {
            for flag in flags.iter().chain(&["never-heard-of"]) {
                let rest = match keyword {
                    "FROM" => "a",
                    "HEALTHCHECK" => "CMD a",
                    "SHELL" => "[\"a\"]",
                    "ONBUILD" => "RUN a",
                    _ => "a=b c=d",
                };
                let text = format!("FROM x\n{keyword} --{flag}=true {rest}\n");
                let unknown = format!("unknown flag: --{flag}");
                let known = match parse(&text) {
                    Ok(_) => true,
                    Err(faults) => !faults.iter().any(|fault| fault.message.starts_with(&unknown)),
                };
                assert_eq!(known, *flag != "never-heard-of", "{text}");
            }
        }
        for (kind, keys) in mounts() {
            for key in KEYS.into_iter().filter(|key| *key != "type") {
                let id = if kind == "secret" && !["id", "source"].contains(&key) { ",id=i" } else { "" };
                let spec = MountSpec::parse(&format!("type={kind},{key}=1{id}"));
                assert_eq!(spec.is_ok(), keys.contains(&key), "{kind} {key}: {spec:?}");
            }
        }
    }
}
