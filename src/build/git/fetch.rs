//! What is fetched stays in a bare repository in the store, each object that was asked for under a name of its own.

use std::fs;
use std::path::Path;

use super::error::GitError;
use super::program::Git;
use super::resolve::Resolved;
use crate::graph::GitSource;
use crate::store::Repository;

/// A name by the object's digest: no two stand in each other's way, and that it is there says that all of the object is.
pub(super) fn kept(object: &str) -> String {
    format!("refs/kept/{object}")
}

/// Sees to it that the object and all that a checkout of it needs is in the repository.
pub(super) async fn fetch(
    git: &Git,
    repository: &Repository,
    source: &GitSource,
    wanted: &Resolved,
) -> Result<(), GitError> {
    let path = repository.path();
    make(git, path, &wanted.object).await?;
    if has(git, path, &kept(&wanted.object)).await {
        return Ok(());
    }
    // Of a process that was killed. Nobody else is here.
    let _ = fs::remove_file(path.join("shallow.lock"));
    if let Some(name) = &wanted.name {
        one(git, path, source, name, &wanted.object).await?;
        if has(git, path, &kept(&wanted.object)).await {
            return Ok(());
        }
    }
    // A commit, or a branch that has moved on since it was asked for.
    match one(git, path, source, &wanted.object, &wanted.object).await {
        Err(GitError::Failed { said, .. }) if is_not_offered(&said) => everything(git, path, source).await?,
        done => done?,
    }
    let object = format!("{}^{{commit}}", wanted.object);
    let known = git.local("looking into", path, &["cat-file", "-e", &object]).await.is_ok();
    if known {
        git.local("keeping", path, &["update-ref", "--no-deref", &kept(&wanted.object), &wanted.object]).await?;
        return Ok(());
    }
    let (remote, was) = (source.remote.to_string(), wanted.object.clone());
    Err(match &source.reference {
        Some(reference) if wanted.name.is_none() => GitError::NoSuchReference { remote, reference: reference.clone() },
        reference => GitError::Moved { remote, reference: reference.clone().unwrap_or_else(|| "HEAD".to_owned()), was },
    })
}

/// Makes the repository where it is missing.
async fn make(git: &Git, path: &Path, object: &str) -> Result<(), GitError> {
    if path.join("HEAD").exists() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(GitError::Run)?;
    let format = if object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    git.local("making a repository for", path, &["init", "--quiet", "--bare", "--template=", format]).await.map(drop)
}

async fn has(git: &Git, path: &Path, name: &str) -> bool {
    git.local("looking into", path, &["show-ref", "--verify", "--quiet", name]).await.is_ok()
}

/// Fetches one name, or one object, without its history. A name is only kept when it leads to the object.
async fn one(git: &Git, path: &Path, source: &GitSource, what: &str, object: &str) -> Result<(), GitError> {
    let arriving = "refs/arriving/it";
    let refspec = format!("+{what}:{arriving}");
    let quiet = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"];
    let args = [&quiet[..], &["--depth=1", "--", source.remote.url(), &refspec]].concat();
    git.fetch("fetching", path, &args).await?;
    let came = git.local("looking into", path, &["rev-parse", "--verify", "--quiet", arriving]).await?;
    if came.trim() == object {
        git.local("keeping", path, &["update-ref", "--no-deref", &kept(object), object]).await?;
    }
    git.local("keeping", path, &["update-ref", "-d", arriving]).await.map(drop)
}

/// Servers may refuse an object that no name leads to: then all names are fetched, with their history.
async fn everything(git: &Git, path: &Path, source: &GitSource) -> Result<(), GitError> {
    let unshallow = if path.join("shallow").exists() { "--unshallow" } else { "--no-auto-gc" };
    let quiet = ["fetch", "--quiet", "--prune", "--no-write-fetch-head", "--no-recurse-submodules", unshallow];
    let names = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
    let args = [&quiet[..], &["--update-head-ok", "--", source.remote.url()], &names].concat();
    git.fetch("fetching", path, &args).await.map(drop)
}

/// In git's words: upload-pack.c and fetch-pack.c.
fn is_not_offered(said: &str) -> bool {
    ["not our ref", "unadvertised object", "couldn't find remote ref"].iter().any(|words| said.contains(words))
}
