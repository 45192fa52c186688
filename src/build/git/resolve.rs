//! What a branch, a tag or nothing at all means at this moment: a commit.

use super::error::GitError;
use super::program::Git;
use crate::graph::{GitSource, is_commit};

/// What is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// A commit, or an annotated tag.
    pub object: String,
    /// The commit of an annotated tag, where the remote told it.
    pub commit: Option<String>,
    /// The name that it is fetched by, `refs/…`; a commit has none.
    pub name: Option<String>,
}

/// Asks the remote, unless it is a commit that is wanted, or pinned.
pub(super) async fn resolve(git: &Git, source: &GitSource, pinned: Option<&String>) -> Result<Resolved, GitError> {
    let remote = source.remote.to_string();
    let exact = source.checksum.as_ref().filter(|_| source.fetch_by_commit).or(pinned).or(source.reference.as_ref());
    let resolved = match exact {
        Some(commit) if is_commit(commit) => Resolved { object: commit.clone(), commit: None, name: None },
        Some(reference) => {
            let asked = ["ls-remote", "--", source.remote.url(), reference, &format!("{reference}^{{}}")];
            let answer = git.ask("asking", &asked).await?;
            let missing = || GitError::NoSuchReference { remote: remote.clone(), reference: reference.clone() };
            named(reference, &answer).ok_or_else(missing)?
        }
        None => {
            let answer = git.ask("asking", &["ls-remote", "--symref", "--", source.remote.url(), "HEAD"]).await?;
            default_branch(&answer).ok_or_else(|| GitError::NoDefaultBranch { remote: remote.clone() })?
        }
    };
    let Some(wanted) = &source.checksum else { return Ok(resolved) };
    let candidates = [Some(&resolved.object), resolved.commit.as_ref()];
    if candidates.into_iter().flatten().any(|candidate| candidate.starts_with(wanted)) {
        return Ok(resolved);
    }
    Err(GitError::Checksum {
        remote,
        reference: source.reference.clone().unwrap_or_else(|| "HEAD".to_owned()),
        wanted: wanted.clone(),
        got: resolved.commit.unwrap_or(resolved.object),
    })
}

/// The reference among the lines of `ls-remote`. As `git checkout` has it, a branch comes before a tag; the exact name
/// comes before both.
fn named(reference: &str, answer: &str) -> Option<Resolved> {
    let full = |folder: &str| format!("{folder}{}", reference.strip_prefix(folder).unwrap_or(reference));
    let of = |wanted: &str| {
        let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(object, name)| *name == wanted && is_commit(object)).map(|(object, _)| object.to_owned())
    };
    [full("refs/"), full("refs/heads/"), full("refs/tags/")].into_iter().find_map(|name| {
        let object = of(&name)?;
        Some(Resolved { object, commit: of(&format!("{name}^{{}}")), name: Some(name) })
    })
}

/// Where HEAD leads; of a HEAD that is on no branch, the commit alone.
fn default_branch(answer: &str) -> Option<Resolved> {
    let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
    let name = lines.clone().find_map(|(target, name)| target.strip_prefix("ref: ").filter(|_| name == "HEAD"));
    let object = lines.find(|(object, name)| *name == "HEAD" && is_commit(object))?.0.to_owned();
    let name = name.filter(|name| name.starts_with("refs/heads/")).map(str::to_owned);
    Some(Resolved { object, commit: None, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `ls-remote`; a letter is forty of it.
    fn answer(lines: &[(&str, &str)]) -> String {
        lines.iter().map(|(object, name)| format!("{}\t{name}\n", object.repeat(40))).collect()
    }

    fn check(found: Option<Resolved>, wanted: Option<(&str, Option<&str>, Option<&str>)>) {
        let wanted = wanted.map(|(object, commit, name)| Resolved {
            object: object.repeat(40),
            commit: commit.map(|commit| commit.repeat(40)),
            name: name.map(str::to_owned),
        });
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_the_exact_name_before_both() {
        let answer = answer(&[
            ("a", "refs/heads/v1"),
            ("b", "refs/tags/v1"),
            ("c", "refs/tags/v1^{}"),
            ("d", "refs/tags/v2"),
            ("e", "refs/tags/v2^{}"),
            ("f", "refs/pull/1/head"),
            ("9", "refs/heads/x/v3"),
        ]);
        check(named("v1", &answer), Some(("a", None, Some("refs/heads/v1"))));
        check(named("refs/tags/v1", &answer), Some(("b", Some("c"), Some("refs/tags/v1"))));
        check(named("v2", &answer), Some(("d", Some("e"), Some("refs/tags/v2"))));
        check(named("pull/1/head", &answer), Some(("f", None, Some("refs/pull/1/head"))));
        check(named("v3", &answer), None);
    }

    #[test]
    fn what_is_no_commit_is_not_believed() {
        check(named("v1", "--upload-pack=x\trefs/heads/v1\nnonsense\n"), None);
        check(default_branch("ref: refs/heads/main\tHEAD\n"), None);
    }

    #[test]
    fn the_default_branch_is_where_head_leads() {
        let head = answer(&[("a", "HEAD")]);
        check(
            default_branch(&format!("ref: refs/heads/main\tHEAD\n{head}")),
            Some(("a", None, Some("refs/heads/main"))),
        );
        check(default_branch(&head), Some(("a", None, None)));
        check(default_branch(""), None);
    }
}
