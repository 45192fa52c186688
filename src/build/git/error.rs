//! Why a repository could not be had.

use std::io;

/// A failure of `git`, or of what it was asked for. No credentials are in it: `git` is never told them by URL.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("{remote} is a git repository, and there is no program `git` on PATH")]
    NoProgram { remote: String },
    #[error("git cannot be run: {0}")]
    Run(#[source] io::Error),
    #[error("{doing} {remote}: git says: {said}")]
    Failed { doing: &'static str, remote: String, said: String },
    #[error("{doing} {remote}: no end after {seconds} s")]
    Slow { doing: &'static str, remote: String, seconds: u64 },
    #[error("{doing} {remote}: the answer is longer than {limit} bytes")]
    TooLong { doing: &'static str, remote: String, limit: usize },
    #[error("{remote} has no default branch")]
    NoDefaultBranch { remote: String },
    #[error("{remote} has no branch, tag or commit `{reference}`")]
    NoSuchReference { remote: String, reference: String },
    #[error("{remote}: `{reference}` is {got}, not {wanted}… as the checksum says")]
    Checksum { remote: String, reference: String, wanted: String, got: String },
    #[error("{remote}: `{reference}` was {was}, and is something else by now")]
    Moved { remote: String, reference: String, was: String },
    #[error("{remote}: the folder `{folder}` leads out of the repository")]
    Outside { remote: String, folder: String },
    #[error("{remote}: there is no folder `{folder}` at {commit}")]
    NoFolder { remote: String, folder: String, commit: String },
}

impl GitError {
    /// What to do about it.
    pub(in crate::build) fn hint(&self) -> Option<String> {
        let said = match self {
            Self::NoProgram { .. } => return Some("install the package `git`".to_owned()),
            Self::NoSuchReference { reference, .. } if reference.len() < 40 && is_hex(reference) => {
                return Some("a commit is asked for by all of its digits".to_owned());
            }
            Self::Failed { said, .. } => said,
            _ => return None,
        };
        // git's own words; in English, for LC_ALL is C.
        let refused = ["could not read Username", "Authentication failed", "returned error: 403", "not found"];
        if said.contains("Permission denied (") {
            return Some("git over ssh needs an agent: --ssh default passes on the one of SSH_AUTH_SOCK".to_owned());
        }
        let hint = "where it is private, --secret id=GIT_AUTH_TOKEN,env=VARIABLE gives git a token";
        refused.iter().any(|words| said.contains(words)).then(|| hint.to_owned())
    }
}

fn is_hex(text: &str) -> bool {
    text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
