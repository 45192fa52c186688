//! Image references: `[registry/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// A reference with Docker's short names filled in: `node` is `docker.io/library/node:latest`.
///
/// The grammar is that of `distribution/reference`; the registry is told from a first path part by a dot, a
/// colon or the name `localhost`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that names no image, and why: see the distribution project's `reference` grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not an image reference: {why}", text.escape_debug())]
pub struct BadReference {
    text: String,
    why: &'static str,
}

impl BadReference {
    /// What is no reference, or the beginning of it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Reference {
    /// The registry's host and, where one was given, its port: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's whole path: `library/node`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a manifest is asked for by: the digest where there is one, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, by digest alone.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// As people write it: without what is filled in where it is left out.
    pub fn familiar(&self) -> String {
        let whole = self.to_string();
        let name = whole.strip_prefix("docker.io/").unwrap_or(&whole);
        let name = name.strip_prefix("library/").unwrap_or(name);
        name.strip_suffix(":latest").unwrap_or(name).to_owned()
    }

    /// The same repository under another tag.
    pub fn tagged(&self, tag: &str) -> Result<Self, BadReference> {
        if !is_tag(tag) {
            return Err(BadReference { text: tag.chars().take(200).collect(), why: TAG });
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }
}

const TAG: &str = "a tag is 1–128 letters, digits, `_`, `.` or `-`, and does not begin with `.` or `-`";

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let bad = |why| BadReference { text: text.chars().take(200).collect(), why };
        if text.len() > 1024 {
            return Err(bad("it is longer than 1024 bytes"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| bad("the digest is not sha256:<64 lower-case hex digits>"))?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(TAG));
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first == "localhost" || first.contains(['.', ':']) => (first, path),
            _ => ("docker.io", name),
        };
        if !is_registry(registry) {
            return Err(bad("the registry is not a host name with an optional port"));
        }
        if path.is_empty() || path.len() > 255 {
            return Err(bad("the repository's name is empty or longer than 255 bytes"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(bad(
                "a repository's name is lower-case letters, digits and single `.`, `_`, `__` or `-` between them",
            ));
        }
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let repository =
            if registry == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None }).map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((host, port)) if !host.is_empty() && host.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') => {
                ("v6", port.strip_prefix(':').or(port.is_empty().then_some("0")))
            }
            _ => return false,
        },
        None => match registry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (registry, Some("0")),
        },
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253 && host.split('.').all(label) && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().zip(bytes.last()).is_some_and(|(&first, &last)| word(first) && word(last));
    ends && bytes
        .split(|&b| word(b))
        .all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|&b| b == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, wanted: &str) {
        assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(wanted.to_owned()));
    }

    #[test]
    fn short_names_are_filled_in() {
        check("node", "docker.io/library/node:latest");
        check("node:12.21.0", "docker.io/library/node:12.21.0");
        check("bitnami/redis", "docker.io/bitnami/redis:latest");
        check("index.docker.io/node", "docker.io/library/node:latest");
    }

    #[test]
    fn a_short_name_is_what_people_write() {
        for text in ["builder", "a/b:1", "r.io/library/c"] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), text);
        }
    }

    #[test]
    fn a_registry_is_told_by_a_dot_a_port_or_localhost() {
        check("localhost/a", "localhost/a:latest");
        check("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x");
        check("[::1]:5000/a", "[::1]:5000/a:latest");
        check("1.dkr.ecr.eu-west-1.amazonaws.com/l", "1.dkr.ecr.eu-west-1.amazonaws.com/l:latest");
    }

    #[test]
    fn a_digest_needs_no_tag_and_may_have_one() {
        let digest = Digest::of(b"x");
        check(&format!("a@{digest}"), &format!("docker.io/library/a@{digest}"));
        check(&format!("a:t@{digest}"), &format!("docker.io/library/a:t@{digest}"));
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        for text in [
            "",
            ":",
            "a:",
            "A",
            "a//b",
            "a/",
            "-a",
            "a..b",
            "a___b",
            "a:.x",
            "a@sha256:12",
            "host:99999/a",
            "a b",
            "../a",
            "evil.com@sha256:1/a",
            "a\n",
            "-h.com/a",
            "[::1/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }
}
