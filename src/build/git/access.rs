//! Who we are for a repository: tokens of `--secret`, the URL's own user, an agent for ssh.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::graph::{Remote, Scheme};
use crate::secret::Secret;

/// What a build may show to repositories.
#[derive(Clone, Debug, Default)]
pub struct GitAccess {
    /// `--secret`, by id. Of those BuildKit's `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER` are looked for, first with
    /// `.HOST` behind them.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
}

/// A header that goes to the URLs below `scope` alone.
pub(super) struct Header {
    pub scope: String,
    /// `Authorization: …`
    pub line: Secret,
}

impl GitAccess {
    /// What is shown to a remote, if anything: a secret before the URL's own user.
    pub(super) fn header(&self, remote: &Remote) -> Option<Header> {
        if !matches!(remote.scheme(), Scheme::Http | Scheme::Https) {
            return None;
        }
        let host = remote.host();
        for (id, is_token) in [
            (format!("GIT_AUTH_HEADER.{host}"), false),
            (format!("GIT_AUTH_TOKEN.{host}"), true),
            ("GIT_AUTH_HEADER".to_owned(), false),
            ("GIT_AUTH_TOKEN".to_owned(), true),
        ] {
            if let Some(secret) = self.secrets.get(&id) {
                let value = secret.expose().trim_ascii();
                let line = match is_token {
                    true => basic(&[&b"x-access-token:"[..], value].concat()),
                    false => Secret::new([&b"Authorization: "[..], value].concat()),
                };
                return Some(Header { scope: token_scope(remote), line });
            }
        }
        let user = remote.user()?.expose();
        let pair = if user.contains(&b':') { user.to_vec() } else { [user, b":"].concat() };
        // What a relative submodule is derived from has the same user.
        let scheme = if remote.scheme() == Scheme::Http { "http" } else { "https" };
        Some(Header { scope: format!("{scheme}://{host}/"), line: basic(&pair) })
    }
}

fn basic(pair: &[u8]) -> Secret {
    let encoded = Zeroizing::new(STANDARD.encode(Zeroizing::new(pair.to_vec())));
    Secret::new(format!("Authorization: Basic {}", *encoded))
}

/// A token is for its repository alone, but at GitHub for all, as submodules need: BuildKit does the same.
fn token_scope(remote: &Remote) -> String {
    let github = ["https://github.com/", "https://www.github.com/"];
    let found = github.iter().find(|prefix| remote.url().starts_with(**prefix));
    found.map_or_else(|| remote.url().to_owned(), |prefix| (*prefix).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GitSource;

    fn header(url: &str, secrets: &[(&str, &str)]) -> Option<(String, String)> {
        let source = GitSource::parse(url).unwrap().expect("a repository");
        let secrets = secrets.iter().map(|(id, value)| ((*id).to_owned(), Arc::new(Secret::new(*value)))).collect();
        let header = GitAccess { secrets, agent: None }.header(&source.remote)?;
        Some((header.scope, header.line.expose_str().expect("text").to_owned()))
    }

    #[test]
    fn a_token_goes_to_its_host_and_repository_alone() {
        let token =
            |token: &str| format!("Authorization: Basic {}", STANDARD.encode(format!("x-access-token:{token}")));
        let all = [("GIT_AUTH_TOKEN", "all\n"), ("GIT_AUTH_TOKEN.h:1", "own"), ("OTHER", "no")];
        assert_eq!(header("https://h:1/r.git", &all), Some(("https://h:1/r.git".into(), token("own"))));
        assert_eq!(header("https://h/r.git", &all), Some(("https://h/r.git".into(), token("all"))));
        assert_eq!(header("https://github.com/a/b.git", &all), Some(("https://github.com/".into(), token("all"))));
        assert_eq!(header("ssh://git@h/r", &all), None);
        assert_eq!(header("https://h/r.git", &[]), None);
        let whole = header("https://h/r.git", &[("GIT_AUTH_HEADER", "bearer x")]);
        assert_eq!(whole, Some(("https://h/r.git".into(), "Authorization: bearer x".into())));
    }

    #[test]
    fn the_user_of_a_url_becomes_a_header() {
        let basic =
            |pair: &str| Some(("https://h:1/".to_owned(), format!("Authorization: Basic {}", STANDARD.encode(pair))));
        assert_eq!(header("https://u:p%40ss@h:1/r.git", &[]), basic("u:p@ss"));
        assert_eq!(header("https://token@h:1/r.git", &[]), basic("token:"));
    }
}
