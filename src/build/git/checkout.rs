//! A commit as files, in a folder of its own.
//!
//! `git checkout` itself does it, and not `git archive`: line ends and the like are as in a clone, and what is marked
//! `export-ignore` is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::GitError;
use super::fetch::kept;
use super::program::Git;
use super::resolve::Resolved;
use crate::graph::GitSource;

/// Where the files are, below the folder.
pub(super) fn tree(folder: &Path) -> PathBuf {
    folder.join("tree")
}

/// Lays the files of what was fetched into `folder`.
pub(super) async fn check_out(
    git: &Git,
    repository: &Path,
    source: &GitSource,
    wanted: &Resolved,
    keep: bool,
    folder: &Path,
) -> Result<(), GitError> {
    let tree = tree(folder);
    fs::create_dir(&tree).map_err(GitError::Run)?;
    let object = &wanted.object;
    let format = if object.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    let doing = "checking out";
    let local = async |args: &[&str]| git.local(doing, &tree, args).await;
    if keep {
        local(&["init", "--quiet", "--template=", format]).await?;
        let name = wanted.name.as_deref().map_or(String::new(), |name| format!(":{name}"));
        let refspec = format!("+{}{name}", kept(object));
        let from = file_url(repository);
        let quiet = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-head-ok", "--depth=1"];
        local(&[&quiet[..], &["--", &from, &refspec]].concat()).await?;
    } else {
        let apart = folder.join("git");
        let apart_flag = format!("--separate-git-dir={}", apart.display());
        local(&["init", "--quiet", "--template=", format, &apart_flag]).await?;
        // The objects stay where they are.
        let objects = format!("{}\n", repository.join("objects").display());
        let info = apart.join("objects/info");
        fs::create_dir_all(&info).and_then(|()| fs::write(info.join("alternates"), objects)).map_err(GitError::Run)?;
    }
    // Where submodules that are named relative to it are.
    local(&["remote", "add", "origin", "--", source.remote.url()]).await?;
    local(&["checkout", "--quiet", "--force", "--detach", &format!("{object}^{{commit}}"), "--"]).await?;
    if source.submodules && fs::symlink_metadata(tree.join(".gitmodules")).is_ok_and(|meta| meta.is_file()) {
        let args = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
        git.fetch("fetching the submodules of", &tree, &args).await?;
    }
    if keep { still(git, &tree).await } else { Ok(()) }
}

/// Makes `.git` a function of what was fetched: one pack, made of nothing that was packed before, and an index that
/// knows of no times and inodes; git fills those in when it is next asked.
async fn still(git: &Git, tree: &Path) -> Result<(), GitError> {
    let local = async |args: &[&str]| git.local("packing", tree, args).await;
    local(&["repack", "-a", "-d", "-F", "-q", "--window=10", "--depth=50"]).await?;
    local(&["read-tree", "HEAD"]).await?;
    for left in ["FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG"] {
        // It need not be there.
        let _ = fs::remove_file(tree.join(".git").join(left));
    }
    Ok(())
}

/// Git takes the percent signs out again.
fn file_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut url = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            byte => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
