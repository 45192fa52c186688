//! The answer of `lock`: the file, and what is another in it.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::order::LockAt;
use super::{Done, Failure, escape};
use crate::build::{LockFile, Moved, Pins};
use crate::image::Platform;

/// Writes the pins of the Dockerfile into its lock file, unless they are there, and tells what moved.
pub(super) fn kept(at: LockAt, found: Pins, of: &Platform) -> Result<Done, Failure> {
    let LockAt { path, shown, file, dockerfile } = at;
    let (new, mut file) = (file.is_none(), file.unwrap_or_default());
    let older = file.dockerfiles.get(&dockerfile).cloned().unwrap_or_default();
    let found = found.with_other_platforms(&older, of);
    let moved = older.moved(&found);
    let known = file.dockerfiles.insert(dockerfile, found).is_some();
    if new || !known || !moved.is_empty() {
        write(&path, &file).map_err(|error| Failure::configuration(format!("cannot write {shown}: {error}")))?;
    }
    let lines: Vec<String> = moved.iter().map(line).collect();
    let text = if moved.is_empty() { format!("unchanged  {}", escape::text(&shown)) } else { lines.join("\n") };
    let moved: Vec<Value> =
        moved.iter().map(|Moved { what, was, is }| json!({ "what": what, "was": was, "is": is })).collect();
    Ok(Done::new(text, json!({ "lockfile": shown, "moved": moved })))
}

fn line(Moved { what, was, is }: &Moved) -> String {
    let what = escape::text(what);
    match (was, is) {
        (Some(was), Some(is)) => format!("moved      {what}  {was} → {is}"),
        (None, Some(is)) => format!("pinned     {what}  {is}"),
        (Some(was), None) => format!("dropped    {what}  {was}"),
        (None, None) => what,
    }
}

/// Nothing half-written is ever seen.
fn write(path: &Path, file: &LockFile) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    // The umask takes from it what it takes from every file.
    let mut temp = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    temp.write_all(file.to_string().as_bytes())?;
    temp.as_file().sync_all()?;
    temp.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    #[test]
    fn the_file_is_written_where_something_moved_and_others_pins_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("locus.lock");
        let at = |dockerfile: &str| LockAt {
            path: path.clone(),
            shown: "locus.lock".into(),
            file: std::fs::read_to_string(&path).ok().map(|text| LockFile::parse(&text).expect("ours")),
            dockerfile: dockerfile.into(),
        };
        let pins = |bytes: &str| Pins {
            urls: [("http://h/x".to_owned(), Digest::of(bytes.as_bytes()))].into(),
            ..Pins::default()
        };
        let answer = |name: &str, pins: Pins| kept(at(name), pins, &Platform::host()).expect("written").text;
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        assert_eq!(answer("a", pins("1")), format!("pinned     http://h/x  {one}"));
        assert_eq!(answer("b", pins("1")), format!("pinned     http://h/x  {one}"));
        assert_eq!(answer("a", pins("1")), "unchanged  locus.lock");
        assert_eq!(answer("a", pins("2")), format!("moved      http://h/x  {one} → {two}"));
        assert_eq!(answer("a", Pins::default()), format!("dropped    http://h/x  {two}"));
        assert_eq!(answer("c", Pins::default()), "unchanged  locus.lock");
        let file = LockFile::parse(&std::fs::read_to_string(&path).expect("text")).expect("ours");
        assert_eq!(
            file.dockerfiles,
            [("a", Pins::default()), ("b", pins("1")), ("c", Pins::default())]
                .map(|(name, pins)| (name.to_owned(), pins))
                .into()
        );
    }
}
