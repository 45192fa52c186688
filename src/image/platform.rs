//! `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform with its names normalised as containerd does (`x86_64` is `amd64`, `arm64/v8` is `arm64`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that is not `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a platform; write os/architecture, e.g. linux/amd64", .0.escape_debug())]
pub struct BadPlatform(String);

impl BadPlatform {
    /// What is no platform, or the beginning of it.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Platform {
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            other => other,
        };
        let variant = variant.filter(|&v| !(v.is_empty() || architecture == "arm64" && matches!(v, "v8" | "8")));
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    pub fn linux_amd64() -> Self {
        Self::linux("amd64")
    }

    /// Linux on an architecture, by an image's word for it.
    pub fn linux(architecture: &str) -> Self {
        Self::new("linux", architecture, None)
    }

    /// The platform that this program was compiled for, in an image's words.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Whether an image made for `self` serves one who asks for `wanted`.
    pub fn serves(&self, wanted: &Platform) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant.is_none() || self.variant == wanted.variant)
    }
}

impl FromStr for Platform {
    type Err = BadPlatform;

    fn from_str(text: &str) -> Result<Self, BadPlatform> {
        let bad = || BadPlatform(text.chars().take(100).collect());
        let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        if !parts.iter().all(|p| part(p)) {
            return Err(bad());
        }
        match parts[..] {
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            // One word is an architecture or an operating system, as containerd reads it.
            ["linux"] => Ok(Self::new("linux", std::env::consts::ARCH, None)),
            [
                architecture @ ("amd64" | "x86_64" | "arm64" | "aarch64" | "arm" | "386" | "riscv64" | "ppc64le"
                | "s390x"),
            ] => Ok(Self::new("linux", architecture, None)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (text, wanted) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(text.parse::<Platform>().map(|p| p.to_string()), Ok(wanted.to_owned()), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "/", "linux/", "linux/amd64/v1/x", "linux/am d64", "plan9"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
