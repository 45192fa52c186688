//! What a loader is called when nobody says: its Dockerfile's own name.

use std::path::Path;

use super::Failure;

/// `os_opendata.Dockerfile`, `Dockerfile.os_opendata` and `Dockerfile-os_opendata` are `os_opendata`; a bare
/// `Dockerfile` takes the name of its folder. `path` is absolute.
pub fn of_dockerfile(path: &Path) -> Result<String, Failure> {
    let file = path.file_name().and_then(|name| name.to_str());
    let folder = || path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let name = file.and_then(|file| {
        let lower = file.to_ascii_lowercase();
        if lower == "dockerfile" || lower == "containerfile" {
            return folder();
        }
        for word in ["dockerfile", "containerfile"] {
            // The words are ASCII, so that lengths in `lower` are lengths in `file`.
            if lower.ends_with(&format!(".{word}")) {
                return Some(&file[..file.len() - word.len() - 1]);
            }
            if lower.starts_with(&format!("{word}.")) || lower.starts_with(&format!("{word}-")) {
                return Some(&file[word.len() + 1..]);
            }
        }
        Path::new(file).file_stem().and_then(|stem| stem.to_str())
    });
    match name.filter(|name| !name.is_empty()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(Failure::configuration(format!("{} does not say what its loader is called", path.display()))
            .hint("DOCKERNAME=name, or [loaders.name] in locus.toml, says it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_beside_the_word_dockerfile_or_the_folders() {
        for (path, name) in [
            ("/w/loaders/os_opendata.Dockerfile", "os_opendata"),
            ("/w/Dockerfile.os_opendata", "os_opendata"),
            ("/w/Dockerfile-os_opendata", "os_opendata"),
            ("/w/os_opendata/Dockerfile", "os_opendata"),
            ("/w/os_opendata/dockerfile", "os_opendata"),
            ("/w/os.open.dockerfile", "os.open"),
            ("/w/os_opendata/Containerfile", "os_opendata"),
            ("/w/os_opendata.txt", "os_opendata"),
            ("/w/os_opendata", "os_opendata"),
        ] {
            assert_eq!(of_dockerfile(Path::new(path)).as_deref(), Ok(name), "{path}");
        }
    }

    #[test]
    fn what_has_no_name_says_how_to_give_one() {
        for path in ["/Dockerfile", "/w/.Dockerfile", "/w/Dockerfile."] {
            let failure = of_dockerfile(Path::new(path)).expect_err(path);
            assert!(failure.hints[0].contains("DOCKERNAME"), "{failure:?}");
        }
    }
}
