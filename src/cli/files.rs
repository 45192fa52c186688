//! The few text files that a command names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Failure;

/// Longest settings file or Dockerfile that is read. BuildKit's limit for a Dockerfile is a gRPC message's 16 MiB.
const LIMIT: u64 = 16 * 1024 * 1024;

/// The text of a file; `what` names it in a failure.
pub fn read_text(path: &Path, what: &str) -> Result<String, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::configuration(format!("the {what} {} cannot be read: {error}", path.display()))
    };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::configuration(format!("there is no {what} {}", path.display())),
        _ => cannot(&error),
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::configuration(format!("{} is a folder, not a {what}", path.display())));
    }
    bounded(file).map_err(|error| cannot(&error))
}

/// The text that stdin holds.
pub fn read_stdin(what: &str) -> Result<String, Failure> {
    bounded(io::stdin().lock())
        .map_err(|error| Failure::configuration(format!("the {what} cannot be read from stdin: {error}")))
}

fn bounded(from: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it is longer than {} MiB", LIMIT >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let words = |name: &str| read_text(&folder.path().join(name), "Dockerfile").expect_err(name).message;
        assert!(words("missing").starts_with("there is no Dockerfile "));
        assert!(words("").ends_with("is a folder, not a Dockerfile"));
        std::fs::write(folder.path().join("latin1"), b"FROM caf\xe9").expect("written");
        assert!(words("latin1").ends_with("cannot be read: it is not UTF-8"));
    }
}
