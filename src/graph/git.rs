//! Git repositories, as BuildKit names them: `https://h/r.git#ref:folder`, `git@h:r?branch=b&subdir=d`.
//!
//! The rules are those of BuildKit's `frontend/dockerfile/dfgitutil` and `util/gitutil`.

use std::fmt;
use std::sync::Arc;

use super::url::{percent_decoded, query_pairs, split};
use crate::dockerfile::nearest::nearest;
use crate::secret::Secret;

/// A repository, and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GitSource {
    pub remote: Remote,
    /// A branch, a tag, `refs/…` or a whole commit; `None` is the default branch.
    pub reference: Option<String>,
    /// The folder that is wanted, where it is not all.
    pub folder: Option<String>,
    /// The first digits of the commit that the reference must lead to, or all of them, lower-case.
    pub checksum: Option<String>,
    /// Whether `.git` is wanted too; `None` where the URL does not say.
    pub keep_git_dir: Option<bool>,
    pub submodules: bool,
    /// The checksum is fetched, wherever the reference has moved to.
    pub fetch_by_commit: bool,
}

/// Where a repository is. It shows itself without its credentials, and `git` is never told them by URL.
#[derive(Clone)]
pub struct Remote {
    url: String,
    scheme: Scheme,
    host: String,
    user: Option<Arc<Secret>>,
}

/// How a repository is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
    Ssh,
    Git,
}

/// Why an address is not one of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGit {
    #[error("the address cannot be one of a repository: {0}")]
    Address(&'static str),
    #[error("`{0}` has no value")]
    NoValue(String),
    #[error("`{0}` is said more than once")]
    Repeated(String),
    #[error("`{0}` is nothing that can be asked for{near}", near = .1.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    Unknown(String, Option<String>),
    #[error("`{key}={value}` is neither true nor false")]
    NotBool { key: String, value: String },
    #[error("`mtime={0}` is neither `commit` nor `checkout`")]
    Mtime(String),
    #[error("{what} is both `{one}` and `{other}`")]
    Conflict { what: &'static str, one: String, other: String },
    #[error("a branch and a tag cannot both be wanted")]
    BranchAndTag,
    #[error("`{0}` cannot be the name of a branch, a tag or a commit")]
    Reference(String),
    #[error("the checksum `{0}` is not the first digits of a commit, in hex")]
    Checksum(String),
    #[error("fetch-by-commit needs the whole commit as `checksum`")]
    FetchByCommit,
}

/// What may stand in the query of a repository's URL.
const KEYS: [&str; 10] =
    ["ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules", "mtime", "fetch-by-commit"];

impl GitSource {
    /// Reads what may be a repository; `None` where it is none. An http URL is one when its path ends in `.git`.
    pub fn parse(text: &str) -> Result<Option<Self>, BadGit> {
        let Some((address, query, fragment)) = address(text) else { return Ok(None) };
        let remote = Remote::read(address)?;
        let mut source = Self {
            remote,
            reference: None,
            folder: None,
            checksum: None,
            keep_git_dir: None,
            submodules: true,
            fetch_by_commit: false,
        };
        let fragment = decoded(fragment);
        let (reference, folder) = fragment.split_once(':').unwrap_or((&fragment, ""));
        source.reference = said(reference);
        source.folder = said(folder);
        source.ask(query)?;
        source.check()?;
        Ok(Some(source))
    }

    /// The same for a build's own context, where `github.com/a/b` is a repository too.
    pub fn parse_context(text: &str) -> Result<Option<Self>, BadGit> {
        match text.starts_with("github.com/") {
            true => {
                let text = format!("https://{text}");
                let (address, query, fragment) = split(&text);
                // Written out in full it would need the ending.
                let named = format!("{address}.git{}{}", mark('?', query), mark('#', fragment));
                let whole = if address.ends_with(".git") { &text } else { &named };
                let mut source = Self::parse(whole)?;
                if let Some(source) = &mut source
                    && !address.ends_with(".git")
                {
                    source.remote.url.truncate(source.remote.url.len() - ".git".len());
                }
                Ok(source)
            }
            false => Self::parse(text),
        }
    }

    /// Adds what the flags of ADD say; what the URL says otherwise is an error.
    pub(super) fn with_flags(mut self, keep: Option<bool>, checksum: Option<&str>) -> Result<Self, BadGit> {
        if let (Some(flag), Some(said)) = (keep, self.keep_git_dir)
            && flag != said
        {
            let (one, other) = (flag.to_string(), said.to_string());
            return Err(BadGit::Conflict { what: "keep-git-dir", one, other });
        }
        self.keep_git_dir = keep.or(self.keep_git_dir);
        if let Some(flag) = checksum {
            agree("the checksum", &mut self.checksum, flag.to_lowercase())?;
        }
        self.check()?;
        Ok(self)
    }

    /// What the query asks for.
    fn ask(&mut self, query: &str) -> Result<(), BadGit> {
        let (mut tag, mut branch) = (None, None);
        let mut seen = std::collections::BTreeSet::new();
        for (key, value) in query_pairs(query) {
            if !seen.insert(key.clone()) {
                return Err(BadGit::Repeated(key));
            }
            let given = || Some(value.clone()).filter(|v| !v.is_empty()).ok_or_else(|| BadGit::NoValue(key.clone()));
            match key.as_str() {
                "ref" => agree("the reference", &mut self.reference, given()?)?,
                "tag" => tag = Some(below("refs/tags/", given()?)),
                "branch" => branch = Some(below("refs/heads/", given()?)),
                "subdir" => agree("the folder", &mut self.folder, given()?)?,
                "checksum" | "commit" => agree("the checksum", &mut self.checksum, given()?.to_lowercase())?,
                "keep-git-dir" => self.keep_git_dir = Some(flag(&key, &value)?),
                "submodules" => self.submodules = flag(&key, &value)?,
                "fetch-by-commit" => self.fetch_by_commit = flag(&key, &value)?,
                // Whose time it is makes no difference: everything in a layer has the same.
                "mtime" if matches!(value.as_str(), "commit" | "checkout") => {}
                "mtime" => return Err(BadGit::Mtime(value)),
                _ => {
                    let near = nearest(&key, KEYS).map(str::to_owned);
                    return Err(BadGit::Unknown(key, near));
                }
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(BadGit::BranchAndTag);
        }
        if let Some(name) = tag.or(branch) {
            agree("the reference", &mut self.reference, name)?;
        }
        if self.reference.is_none() {
            self.reference.clone_from(&self.checksum);
        }
        Ok(())
    }

    /// Nothing of it may be taken for an option or a pattern by `git`.
    fn check(&self) -> Result<(), BadGit> {
        if let Some(name) = self.reference.as_ref().filter(|name| !is_reference(name)) {
            return Err(BadGit::Reference(name.clone()));
        }
        if let Some(sum) = self.checksum.as_ref().filter(|sum| !is_hex(sum) || sum.len() > 64) {
            return Err(BadGit::Checksum(sum.clone()));
        }
        if self.fetch_by_commit && !self.checksum.as_deref().is_some_and(is_commit) {
            return Err(BadGit::FetchByCommit);
        }
        Ok(())
    }
}

impl Remote {
    /// Takes the credentials out of an address.
    fn read(address: Address<'_>) -> Result<Self, BadGit> {
        let Address { scheme, user, host, path, scp } = address;
        let bare = host.trim_start_matches('[');
        if bare.is_empty() || bare.starts_with('-') || path.starts_with('-') {
            return Err(BadGit::Address("its host or path is missing, or begins with `-`"));
        }
        if [user, host, path].iter().any(|part| part.chars().any(|c| c.is_control() || c == ' ')) {
            return Err(BadGit::Address("there is a space or a control character in it"));
        }
        let at = |user: &str| if user.is_empty() { String::new() } else { format!("{user}@") };
        let (url, user) = match scheme {
            Scheme::Ssh => {
                // The name is part of where it is; ssh takes no password from here.
                let name = user.split(':').next().unwrap_or_default();
                if name.starts_with('-') {
                    return Err(BadGit::Address("its user begins with `-`"));
                }
                let url =
                    if scp { format!("{}{host}:{path}", at(name)) } else { format!("ssh://{}{host}{path}", at(name)) };
                (url, None)
            }
            Scheme::Git => (format!("git://{host}{path}"), None),
            Scheme::Http | Scheme::Https => {
                let name = if scheme == Scheme::Http { "http" } else { "https" };
                let user = (!user.is_empty()).then(|| Arc::new(Secret::new(percent_decoded(user.as_bytes()))));
                (format!("{name}://{host}{path}"), user)
            }
        };
        Ok(Self { url, scheme, host: host.to_owned(), user })
    }

    /// The URL for `git`, without credentials.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `user:password` of an http URL.
    pub fn user(&self) -> Option<&Secret> {
        self.user.as_deref()
    }

    fn parts(&self) -> (&str, Option<&[u8]>) {
        let Self { url, scheme: _, host: _, user } = self;
        (url, user.as_ref().map(|user| user.expose()))
    }
}

impl PartialEq for Remote {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Remote {}

impl PartialOrd for Remote {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Remote {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.url)
    }
}

/// Whether it is a whole commit, of SHA-1 or SHA-256.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

struct Address<'a> {
    scheme: Scheme,
    user: &'a str,
    host: &'a str,
    path: &'a str,
    /// Written `user@host:path`.
    scp: bool,
}

/// Takes a URL of a repository apart: address, query, fragment.
fn address(text: &str) -> Option<(Address<'_>, &str, &str)> {
    let (address, query, fragment) = split(text);
    let Some((name, rest)) = address.split_once("://") else {
        let (user, rest) = address.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let name = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let is_scp = name(user, b"-_") && name(host, b"-.") && !path.is_empty();
        return is_scp.then_some((Address { scheme: Scheme::Ssh, user, host, path, scp: true }, query, fragment));
    };
    let scheme = match name.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "ssh" => Scheme::Ssh,
        "git" => Scheme::Git,
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if matches!(scheme, Scheme::Http | Scheme::Https) && !path.ends_with(".git") {
        return None;
    }
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    Some((Address { scheme, user, host, path, scp: false }, query, fragment))
}

fn said(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decoded(text.as_bytes())).into_owned()
}

fn mark(mark: char, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{mark}{text}") }
}

fn below(folder: &str, name: String) -> String {
    if name.starts_with(folder) { name } else { format!("{folder}{name}") }
}

/// Sets what is not said yet; saying it again is no harm.
fn agree(what: &'static str, place: &mut Option<String>, value: String) -> Result<(), BadGit> {
    match place.take() {
        Some(one) if one != value => Err(BadGit::Conflict { what, one, other: value }),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn flag(key: &str, value: &str) -> Result<bool, BadGit> {
    match value {
        // Go's strconv.ParseBool.
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(BadGit::NotBool { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// git-check-ref-format(1): what it forbids could also be an option, a pattern or a range.
fn is_reference(name: &str) -> bool {
    !name.starts_with('-')
        && !name.ends_with('/')
        && !name.contains("..")
        && !name.contains("@{")
        && !name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `url ref:folder` and what else is asked for; `-` where it is no repository.
    fn words(text: &str) -> String {
        match GitSource::parse_context(text) {
            Ok(None) => "-".to_owned(),
            Err(error) => format!("! {error}"),
            Ok(Some(source)) => {
                let GitSource { remote, reference, folder, checksum, keep_git_dir, submodules, fetch_by_commit } =
                    source;
                let mut words = remote.to_string();
                for (name, value) in [("", reference), (":", folder), ("=", checksum)] {
                    words += &value.map_or(String::new(), |value| format!(" {name}{value}"));
                }
                words += &keep_git_dir.map_or(String::new(), |keep| format!(" keep={keep}"));
                words += if submodules { "" } else { " flat" };
                words + if fetch_by_commit { " exact" } else { "" }
            }
        }
    }

    // The rows are those of BuildKit's frontend/dockerfile/dfgitutil/git_ref_test.go, and some of our own.
    #[test]
    fn a_repository_is_told_from_everything_else() {
        for (text, wanted) in [
            ("https://h/", "-"),
            ("https://h/foo", "-"),
            ("https://h/foo.git", "https://h/foo.git"),
            ("HTTPS://h/foo.git", "https://h/foo.git"),
            ("https://h/foo.git/", "-"),
            ("https://h/foo.git.bar", "-"),
            ("https://h/foo?x=.git", "-"),
            ("http://h/docker.git:#branch", "-"),
            ("git://h/foo", "git://h/foo"),
            ("ssh://git@h:22/foo", "ssh://git@h:22/foo"),
            ("git@h:a/b", "git@h:a/b"),
            ("bob@h:a/b.git", "bob@h:a/b.git"),
            ("github.com/a/b", "https://github.com/a/b"),
            ("github.com/a/b#master", "https://github.com/a/b master"),
            ("github.com/a/b.git?tag=v1", "https://github.com/a/b.git refs/tags/v1"),
            ("other.org/a/b.git", "-"),
            ("file:///a/b.git", "-"),
            ("ext::sh -c x", "-"),
            ("./.git", "-"),
            ("../a@b:c", "-"),
            (".git", "-"),
            ("a@b", "-"),
            ("d/a@b:c", "-"),
        ] {
            assert_eq!(words(text), wanted, "{text}");
        }
        assert_eq!(GitSource::parse("github.com/a/b"), Ok(None), "only as the context of a build");
    }

    #[test]
    fn fragment_and_query_say_what_is_wanted() {
        let commit = "a".repeat(40);
        for (rest, wanted) in [
            ("#deadbeef", " deadbeef"),
            ("#release/1.2", " release/1.2"),
            ("#baz/qux:quux/quuz", " baz/qux :quux/quuz"),
            ("#:folder", " :folder"),
            ("#", ""),
            ("#v%2B1:a%20b", " v+1 :a b"),
            ("?ref=v1&subdir=/sub", " v1 :/sub"),
            ("?subdir=/sub#v1", " v1 :/sub"),
            ("?ref=v1#v1", " v1"),
            ("?tag=v1", " refs/tags/v1"),
            ("?tag=refs/tags/v1", " refs/tags/v1"),
            ("?branch=a+b", "! `refs/heads/a b` cannot be the name of a branch, a tag or a commit"),
            ("?branch=v1", " refs/heads/v1"),
            ("?checksum=ABC", " abc =abc"),
            ("?tag=v1&commit=abc", " refs/tags/v1 =abc"),
            ("?keep-git-dir&submodules=0", " keep=true flat"),
            ("?mtime=commit&keep-git-dir=false", " keep=false"),
            (&format!("?ref=v1&fetch-by-commit=1&commit={commit}"), &format!(" v1 ={commit} exact")),
        ] {
            let wanted = if wanted.starts_with('!') { wanted.to_owned() } else { format!("git@h:r.git{wanted}") };
            assert_eq!(words(&format!("git@h:r.git{rest}")), wanted, "{rest}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (rest, wanted) in [
            ("?ref=v1#v2", "the reference is both `v2` and `v1`"),
            ("?ref=v1&tag=v2", "the reference is both `v1` and `refs/tags/v2`"),
            ("?tag=v1&branch=v1", "a branch and a tag"),
            ("?subdir=a#:b", "the folder is both `b` and `a`"),
            ("?commit=ab&checksum=cd", "the checksum is both `ab` and `cd`"),
            ("?ref=a&ref=a", "`ref` is said more than once"),
            ("?ref=", "`ref` has no value"),
            ("?sumbodules=1", "did you mean `submodules`?"),
            ("?submodules=maybe", "neither true nor false"),
            ("?mtime=now", "neither `commit` nor `checkout`"),
            ("?commit=xyz", "not the first digits of a commit"),
            ("?commit=abc&fetch-by-commit", "needs the whole commit"),
            ("#--upload-pack=x", "cannot be the name"),
            ("#a..b", "cannot be the name"),
            ("#HEAD^", "cannot be the name"),
            ("#*", "cannot be the name"),
        ] {
            let words = words(&format!("https://h/r.git{rest}"));
            assert!(words.starts_with('!') && words.contains(wanted), "{rest}: {words}");
        }
        for text in ["ssh://-oProxyCommand=x/r", "git@h:-x", "-x@h:r", "git:///r", "https://h h/r.git", "git://h/a\nb"]
        {
            assert!(words(text).starts_with("! the address"), "{text}: {}", words(text));
        }
    }

    #[test]
    fn credentials_are_in_nothing_that_is_shown() {
        let source = GitSource::parse("https://u:hunter%32@h:1/r.git#v1").unwrap().expect("a repository");
        assert_eq!(source.remote.url(), "https://h:1/r.git");
        assert_eq!(source.remote.user().map(Secret::expose), Some(&b"u:hunter2"[..]));
        assert!(!format!("{source:?} {}", source.remote).contains("hunter"));
        let other = GitSource::parse("https://u:other@h:1/r.git#v1").unwrap().expect("a repository");
        assert_ne!(source, other);
    }

    #[test]
    fn flags_and_url_must_agree() {
        let source = |text: &str| GitSource::parse(text).unwrap().expect("a repository");
        let kept = source("https://h/r.git").with_flags(Some(true), Some("ABC")).expect("nothing else is said");
        assert_eq!((kept.keep_git_dir, kept.checksum.as_deref()), (Some(true), Some("abc")));
        assert!(source("https://h/r.git?keep-git-dir=0").with_flags(Some(true), None).is_err());
        assert!(source("https://h/r.git?commit=abc").with_flags(None, Some("abd")).is_err());
        assert!(source("https://h/r.git").with_flags(None, Some("sha256:abc")).is_err());
    }
}
