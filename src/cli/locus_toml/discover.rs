//! Where the file is.

use std::path::{Path, PathBuf};

use super::LocusToml;
use crate::cli::Failure;
use crate::cli::files::read_text;

/// The file that `--config` names, or the one that is found from `cwd`, if any.
pub fn read(config: Option<&Path>, cwd: &Path) -> Result<Option<LocusToml>, Failure> {
    let path = match config {
        Some(path) => cwd.join(path),
        None => match discover(cwd) {
            Some(path) => path,
            None => return Ok(None),
        },
    };
    let text = read_text(&path, "settings file")?;
    let shown = path.strip_prefix(cwd).unwrap_or(&path).display().to_string();
    let folder = path.parent().unwrap_or(cwd).to_owned();
    LocusToml::parse(&shown, folder, &text).map(Some)
}

/// `locus.toml` in `cwd`, else in a parent up to the git root. Outside of a git checkout only `cwd` is looked at, so
/// that nobody's file in `/tmp` or `/home` speaks for what lies below it.
pub fn discover(cwd: &Path) -> Option<PathBuf> {
    let root = cwd.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(cwd);
    cwd.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .map(|folder| folder.join("locus.toml"))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_file_up_to_the_git_root_is_found() {
        let outside = tempfile::tempdir().expect("a folder");
        let root = outside.path().join("checkout");
        let deep = root.join("a/b");
        fs::create_dir_all(&deep).expect("made");
        fs::write(outside.path().join("locus.toml"), "").expect("written");
        assert_eq!(discover(&deep), None, "outside of git, parents do not speak");
        fs::create_dir(root.join(".git")).expect("made");
        assert_eq!(discover(&deep), None, "above the git root, nobody speaks");
        fs::write(root.join("locus.toml"), "").expect("written");
        assert_eq!(discover(&deep), Some(root.join("locus.toml")));
        fs::write(root.join("a/locus.toml"), "").expect("written");
        assert_eq!(discover(&deep), Some(root.join("a/locus.toml")));
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let failure = read(Some(Path::new("other.toml")), folder.path()).expect_err("it is missing");
        assert!(failure.message.starts_with("there is no settings file "), "{}", failure.message);
        assert!(read(None, folder.path()).expect("none is fine").is_none());
    }
}
