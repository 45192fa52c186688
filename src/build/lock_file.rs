//! `locus.lock`: the pins of Dockerfiles, as text.
//!
//! ```toml
//! version = 1
//!
//! [dockerfiles."os_opendata.Dockerfile".images."docker.io/library/node:12.21.0"]
//! "linux/amd64" = "sha256:…"
//!
//! [dockerfiles."os_opendata.Dockerfile".urls]
//! "https://example.org/data.tar" = "sha256:…"
//!
//! [dockerfiles."os_opendata.Dockerfile".repositories]
//! "https://example.org/r.git#main" = "<commit>"
//! ```
//!
//! What RUNs download is beside them: see `lock_runs`. Each Dockerfile has pins of its own, so that one of several in a folder can be locked anew by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::graph::is_commit;
use crate::image::{Digest, Platform, Reference};

use super::Pins;
use super::lock_runs::{read, write};

const VERSION: &str = "1";

const HEAD: &str = "\
# What builds take from outside, pinned. Written by `locus-push lock`, and obeyed when it is there; it belongs into
# version control.
version = 1
";

/// `locus.lock`: what the builds of several Dockerfiles take from outside. TOML, read and written whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    /// By the Dockerfile's path, seen from the lock file's folder.
    pub dockerfiles: BTreeMap<String, Pins>,
}

/// A lock file that cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadLock {
    /// Counted from 1.
    pub line: usize,
    pub why: LockFault,
}

/// What is wrong in a lock file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockFault {
    #[error("it is not TOML: {0}")]
    NotToml(String),
    #[error("it has no `version`")]
    NoVersion,
    #[error("its version is {0}, and this program knows version {VERSION}")]
    Version(String),
    #[error("unknown key `{0}`")]
    Unknown(String),
    #[error("what RUN downloads: {0}")]
    Downloads(String),
    #[error("`{0}` is {1}")]
    Not(String, &'static str),
}

impl LockFile {
    pub fn parse(text: &str) -> Result<Self, BadLock> {
        let document = Document(text);
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            document.fault(at, LockFault::NotToml(error.message().to_owned()))
        })?;
        let (mut lock, mut versioned) = (Self::default(), false);
        for (key, value) in table.into_inner() {
            match &**key.get_ref() {
                "version" => {
                    document.version(&value)?;
                    versioned = true;
                }
                "dockerfiles" => {
                    for (name, value) in document.table("dockerfiles", value)? {
                        lock.dockerfiles.insert(name.get_ref().to_string(), document.pins(value)?);
                    }
                }
                unknown => return Err(document.fault(key.span().start, LockFault::Unknown(unknown.to_owned()))),
            }
        }
        match versioned {
            true => Ok(lock),
            false => Err(document.fault(0, LockFault::NoVersion)),
        }
    }
}

struct Document<'a>(&'a str);

/// A table of keys that are the user's.
type Rows<'a> = DeTable<'a>;

impl Document<'_> {
    fn fault(&self, at: usize, why: LockFault) -> BadLock {
        let before = self.0.get(..at).unwrap_or(self.0);
        BadLock { line: before.matches('\n').count() + 1, why }
    }

    fn version(&self, value: &Spanned<DeValue<'_>>) -> Result<(), BadLock> {
        let at = value.span().start;
        match value.get_ref() {
            DeValue::Integer(number) if number.as_str() == VERSION => Ok(()),
            DeValue::Integer(number) => Err(self.fault(at, LockFault::Version(number.as_str().to_owned()))),
            _ => Err(self.fault(at, LockFault::Not("version".to_owned(), "no number"))),
        }
    }

    fn table<'t>(&self, name: &str, value: Spanned<DeValue<'t>>) -> Result<Rows<'t>, BadLock> {
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.fault(at, LockFault::Not(name.to_owned(), "no table"))),
        }
    }

    fn pins(&self, value: Spanned<DeValue<'_>>) -> Result<Pins, BadLock> {
        let mut pins = Pins::default();
        for (key, value) in self.table("a Dockerfile's pins", value)? {
            let at = key.span().start;
            match &**key.get_ref() {
                "images" => {
                    for (image, digests) in self.table("images", value)? {
                        let name: Reference = self.parsed(&image, "no name of an image")?;
                        if name.digest().is_some() || name.to_string() != **image.get_ref() {
                            let what = "no whole name of an image without a digest";
                            return Err(
                                self.fault(image.span().start, LockFault::Not(image.get_ref().to_string(), what))
                            );
                        }
                        for (platform, digest) in self.table(image.get_ref(), digests)? {
                            let platform: Platform = self.parsed(&platform, "no platform")?;
                            pins.images.insert((name.clone(), platform), self.digest(digest)?);
                        }
                    }
                }
                "urls" => {
                    for (url, digest) in self.table("urls", value)? {
                        pins.urls.insert(url.get_ref().to_string(), self.digest(digest)?);
                    }
                }
                "repositories" => {
                    for (name, commit) in self.table("repositories", value)? {
                        let at = commit.span().start;
                        let commit = self.text(commit)?;
                        if !is_commit(&commit) {
                            return Err(self.fault(at, LockFault::Not(commit, "no commit")));
                        }
                        pins.repositories.insert(name.get_ref().to_string(), commit);
                    }
                }
                "runs" => {
                    let at = value.span().start;
                    let runs = read(value)
                        .map_err(|(place, why)| self.fault(place.unwrap_or(at), LockFault::Downloads(why)))?;
                    pins.runs = Some(runs);
                }
                unknown => return Err(self.fault(at, LockFault::Unknown(unknown.to_owned()))),
            }
        }
        Ok(pins)
    }

    fn parsed<T: FromStr>(&self, text: &Spanned<impl AsRef<str>>, not: &'static str) -> Result<T, BadLock> {
        let written = text.get_ref().as_ref();
        written.parse().map_err(|_| self.fault(text.span().start, LockFault::Not(written.to_owned(), not)))
    }

    fn digest(&self, value: Spanned<DeValue<'_>>) -> Result<Digest, BadLock> {
        let at = value.span().start;
        let text = self.text(value)?;
        text.parse().map_err(|_| self.fault(at, LockFault::Not(text, "no sha256 digest")))
    }

    fn text(&self, value: Spanned<DeValue<'_>>) -> Result<String, BadLock> {
        let at = value.span().start;
        match value.into_inner() {
            DeValue::String(text) => Ok(text.into_owned()),
            _ => Err(self.fault(at, LockFault::Not("a pin".to_owned(), "no text in quotes"))),
        }
    }
}

/// The same text for the same pins.
impl fmt::Display for LockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for (dockerfile, Pins { images, urls, repositories, runs }) in &self.dockerfiles {
            let head = format!("dockerfiles.{}", quoted(dockerfile));
            // A Dockerfile that takes nothing from outside is locked too.
            let nothing_ran = runs.as_ref().is_some_and(|runs| runs.runs.is_empty());
            if nothing_ran || (images.is_empty() && urls.is_empty() && repositories.is_empty() && runs.is_none()) {
                writeln!(f, "\n[{head}]")?;
            }
            if nothing_ran {
                writeln!(f, "runs = []")?;
            }
            let mut last = None;
            for ((image, platform), digest) in images {
                if last != Some(image) {
                    writeln!(f, "\n[{head}.images.{}]", quoted(&image.to_string()))?;
                    last = Some(image);
                }
                writeln!(f, "{} = {}", quoted(&platform.to_string()), quoted(&digest.to_string()))?;
            }
            let urls: BTreeMap<_, _> = urls.iter().map(|(url, digest)| (url, digest.to_string())).collect();
            table(f, &format!("{head}.urls"), urls)?;
            table(f, &format!("{head}.repositories"), repositories.iter())?;
            runs.iter().try_for_each(|runs| write(f, &head, runs))?;
        }
        Ok(())
    }
}

fn table<'a>(
    f: &mut fmt::Formatter<'_>,
    head: &str,
    rows: impl IntoIterator<Item = (&'a String, impl AsRef<str>)>,
) -> fmt::Result {
    for (number, (key, value)) in rows.into_iter().enumerate() {
        if number == 0 {
            writeln!(f, "\n[{head}]")?;
        }
        writeln!(f, "{} = {}", quoted(key), quoted(value.as_ref()))?;
    }
    Ok(())
}

/// A basic string of TOML (toml.io/en/v1.0.0, "String"), good as a key too.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:9c1e4f0a77d2b13500000000000000000000000000000000000000000000abcd";
    const COMMIT: &str = "1234567890123456789012345678901234567890";

    fn whole() -> String {
        format!(
            "{HEAD}
[dockerfiles.\"a \\\"b\\\"\\u001b.Dockerfile\".images.\"docker.io/library/node:12\"]
\"linux/amd64\" = \"{D}\"
\"linux/arm64\" = \"{D}\"

[dockerfiles.\"a \\\"b\\\"\\u001b.Dockerfile\".urls]
\"https://h/x?y=\\\\\" = \"{D}\"

[dockerfiles.\"a \\\"b\\\"\\u001b.Dockerfile\".repositories]
\"https://h/r.git#main\" = \"{COMMIT}\"

[dockerfiles.\"none\"]
"
        )
    }

    #[test]
    fn what_is_written_is_read_and_written_again() {
        let lock = LockFile::parse(&whole()).unwrap();
        assert_eq!(lock.to_string(), whole());
        assert_eq!(lock.dockerfiles.keys().collect::<Vec<_>>(), ["a \"b\"\u{1b}.Dockerfile", "none"]);
        assert_eq!(LockFile::parse(HEAD), Ok(LockFile::default()));
    }

    #[track_caller]
    fn refused(text: &str, line: usize, words: &str) {
        let bad = LockFile::parse(text).expect_err(text);
        assert_eq!((bad.line, bad.to_string().as_str()), (line, words), "{text}");
    }

    #[test]
    fn what_is_no_lock_is_refused_with_its_line() {
        refused("", 1, "it has no `version`");
        refused("\nversion = 2\n", 2, "its version is 2, and this program knows version 1");
        refused("version = '1'", 1, "`version` is no number");
        refused("version = 1\nimages = 3", 2, "unknown key `images`");
        refused("version = 1\n\n[dockerfiles.D.image]\n", 3, "unknown key `image`");
        refused("version = 1\ndockerfiles = 7", 2, "`dockerfiles` is no table");
        refused("version = 1\n[dockerfiles.D.urls]\n'http://h' = 'md5:1'", 3, "`md5:1` is no sha256 digest");
        refused("version = 1\n[dockerfiles.D.urls]\n'http://h' = 1", 3, "`a pin` is no text in quotes");
        refused("version = 1\n[dockerfiles.D.repositories]\nr = 'main'", 3, "`main` is no commit");
        refused("version = 1\n[dockerfiles.D.images.NODE]\n", 2, "`NODE` is no name of an image");
        let familiar = "`node` is no whole name of an image without a digest";
        refused("version = 1\n[dockerfiles.D.images.node]\n", 2, familiar);
        let platform = format!("version = 1\n[dockerfiles.D.images.'docker.io/library/node:1']\nx86 = '{D}'");
        refused(&platform, 3, "`x86` is no platform");
        let bad = LockFile::parse("version = 1\n[[").expect_err("no TOML");
        assert!(bad.line == 2 && matches!(bad.why, LockFault::NotToml(_)), "{bad:?}");
    }
}
