//! Where something is inside an image.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::escape;

/// A path inside an image: raw bytes without a leading `/`, of components that are neither empty nor `.` nor `..`.
/// The root is the path of no components.
///
/// The order is that of a walk: a directory, then all that is below it, then its next sibling (so `a`, `a/b`, `a-b`).
/// Everything below a directory is therefore one range of a `BTreeMap`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LayerPath(Box<[u8]>);

/// The longest path, in bytes: Linux's PATH_MAX.
pub const PATH_LIMIT: usize = 4096;
/// The longest name, in bytes: NAME_MAX of every file system that images are unpacked on.
pub const NAME_LIMIT: usize = 255;
/// The deepest path, in components.
pub const DEPTH_LIMIT: usize = 512;

/// Why bytes are not a path in a layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path is empty")]
    Empty,
    #[error("the path `{0}` leads out of the image with `..`")]
    Dots(String),
    #[error("the path `{0}` holds a NUL byte")]
    Nul(String),
    #[error(
        "the path `{0}…` is longer than {PATH_LIMIT} bytes, deeper than {DEPTH_LIMIT}, or has a name longer than {NAME_LIMIT} bytes"
    )]
    TooLong(String),
}

impl LayerPath {
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Reads a path as archives and Dockerfiles write it: `usr/bin`, `/usr/bin`, `./usr//bin/` are the same.
    /// Any `..` is refused, even one that would stay inside.
    pub fn parse(text: &[u8]) -> Result<Self, PathError> {
        let shown = || escape::shown(&text[..text.len().min(100)]);
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > 2 * PATH_LIMIT {
            return Err(PathError::TooLong(shown()));
        }
        if text.contains(&0) {
            return Err(PathError::Nul(shown()));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut depth = 0;
        for name in text.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            if name == b".." {
                return Err(PathError::Dots(shown()));
            }
            depth += 1;
            if depth > 1 {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(name);
            if name.len() > NAME_LIMIT || bytes.len() > PATH_LIMIT || depth > DEPTH_LIMIT {
                return Err(PathError::TooLong(shown()));
            }
        }
        Ok(Self(bytes.into()))
    }

    /// This path with one more name, which is one component.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let shown = || escape::shown(&name[..name.len().min(100)]);
        match name {
            b"" | b"." => return Err(PathError::Empty),
            b".." => return Err(PathError::Dots(shown())),
            _ if name.contains(&0) => return Err(PathError::Nul(shown())),
            // A name with a slash would be two.
            _ if name.contains(&b'/') || name.len() > NAME_LIMIT => return Err(PathError::TooLong(shown())),
            _ => {}
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !self.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        let joined = Self(bytes.into());
        match joined.0.len() > PATH_LIMIT || joined.depth() > DEPTH_LIMIT {
            true => Err(PathError::TooLong(shown())),
            false => Ok(joined),
        }
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Without a leading `/`; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.0.rsplit(|&byte| byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// The directory that this is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Every directory above, the root first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let root = (!self.is_root()).then_some(0);
        root.into_iter().chain(slashes).map(|end| Self(self.0[..end].into()))
    }

    /// The first of all paths that come after this one and everything below it; `None` for the root.
    pub(super) fn after(&self) -> Option<Self> {
        // 1 is the least byte that a name can have, and `/` is ordered before it.
        (!self.is_root()).then(|| Self([&*self.0, &[1]].concat().into()))
    }

    /// Whether this is `dir` or below it.
    pub fn is_within(&self, dir: &Self) -> bool {
        self.below(dir).is_some()
    }

    /// What is left of this path when `dir` is taken off its front: no leading `/`, empty where they are the same.
    pub fn below(&self, dir: &Self) -> Option<&[u8]> {
        if dir.is_root() {
            return Some(&self.0);
        }
        match self.0.strip_prefix(&*dir.0)? {
            [] => Some(&[]),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }
}

impl Ord for LayerPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` as the least of bytes; NUL, which would tie with it, is in no path.
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        match self.0.iter().zip(&other.0).find(|(a, b)| a != b) {
            Some((&a, &b)) => rank(a).cmp(&rank(b)),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

impl PartialOrd for LayerPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// With a leading `/`, escaped for a terminal.
impl fmt::Display for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", escape::shown(&self.0))
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for LayerPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        escape::bytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for LayerPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = escape::bytes::deserialize(deserializer)?;
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        let path = Self::parse(&bytes).map_err(serde::de::Error::custom)?;
        match *path.0 == *bytes {
            true => Ok(path),
            false => Err(serde::de::Error::custom("a path that is not in its plain form")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> LayerPath {
        LayerPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_ways_to_write_a_path_are_one_path() {
        for text in ["usr/bin", "/usr/bin", "./usr/bin", "usr/bin/", "//usr/./bin//"] {
            assert_eq!(path(text), path("usr/bin"), "{text}");
        }
        for text in ["/", ".", "./", "./."] {
            assert!(path(text).is_root(), "{text}");
        }
    }

    #[test]
    fn what_could_leave_the_root_is_no_path() {
        assert_eq!(LayerPath::parse(b""), Err(PathError::Empty));
        for text in ["..", "../x", "a/..", "a/../../x", "/.."] {
            assert!(matches!(LayerPath::parse(text.as_bytes()), Err(PathError::Dots(_))), "{text}");
        }
        assert!(matches!(LayerPath::parse(b"a\0b"), Err(PathError::Nul(_))));
    }

    #[test]
    fn a_path_has_limits() {
        let long = |text: &str| matches!(LayerPath::parse(text.as_bytes()), Err(PathError::TooLong(_)));
        assert!(!long(&"n".repeat(255)) && long(&"n".repeat(256)));
        assert!(!long(&"n/".repeat(512)) && long(&"n/".repeat(513)));
        assert!(long(&"0123456789abcdef/".repeat(300)));
        assert!(long(&"/".repeat(9000)));
    }

    #[test]
    fn names_of_other_systems_are_ordinary_bytes() {
        for text in [r"\x", "C:x", "...", "a b"] {
            assert_eq!(path(text).name(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn a_directory_is_followed_by_all_that_is_below_it() {
        let mut paths = ["a-b", "a/b/c", "a", "b", "a/b", "a.d"].map(path);
        paths.sort();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a-b", "a.d", "b"].map(path));
        assert!(LayerPath::root() < path("a"));
    }

    #[test]
    fn a_subtree_has_an_end() {
        let after = path("a").after().unwrap();
        for inside in ["a", "a/b", "a/\u{1}", "a/z/z"] {
            assert!(path(inside) < after, "{inside:?}");
        }
        for outside in ["a\u{1}", "a\u{1}/b", "a-b", "a.d", "b"] {
            assert!(path(outside) >= after, "{outside:?}");
        }
        assert_eq!(LayerPath::root().after(), None);
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(LayerPath::root()));
        assert_eq!(LayerPath::root().parent(), None);
        assert_eq!(path("a/b").join(b"c"), Ok(path("a/b/c")));
        assert!(path("a").join(b"b/c").is_err() && path("a").join(b"..").is_err());
        assert_eq!(path("a/b/c").ancestors().collect::<Vec<_>>(), [path("/"), path("a"), path("a/b")]);
        assert_eq!(LayerPath::root().ancestors().count(), 0);
        assert_eq!(path("a/b").below(&path("a")), Some(&b"b"[..]));
        assert_eq!(path("ab").below(&path("a")), None);
    }

    #[test]
    fn bytes_that_are_not_text_survive_a_record() {
        for bytes in [&b"caf\xe9/%41"[..], "ü/%".as_bytes(), b"\x1b[31m"] {
            let path = LayerPath::parse(bytes).unwrap();
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<LayerPath>(&text).unwrap(), path, "{text}");
        }
        assert!(serde_json::from_str::<LayerPath>("\"a/../b\"").is_err());
        assert!(serde_json::from_str::<LayerPath>("\"/a\"").is_err());
    }

    #[test]
    fn a_path_cannot_steer_a_terminal() {
        assert_eq!(LayerPath::parse(b"\x1b[31m\xff").unwrap().to_string(), r"/\u{1b}[31m\xff");
    }
}
