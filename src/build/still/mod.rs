//! What a RUN wrote that no two RUNs write alike is made still, before it becomes a layer.
//!
//! ```text
//! read_upper ─▶ Tree ─ still ─▶ Tree ─ settle ─▶ the directory that the next RUN stands on
//!                                    └ write_layer ─▶ the layer: the same
//! ```

mod crontab;
mod pyc;
mod shadow;
mod table;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::layer::{Below, Content, Entry, Epoch, HostFile, Kind, LayerPath, Seen, Tree, UpperError};

use table::{Row, Treatment, is_private, row_of};

/// A table of passwords or of jobs is some KiB.
const TABLE_LIMIT: u64 = 8 << 20;

/// What was found in a step's changes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// What was changed, in the order of paths.
    pub stilled: Vec<Stilled>,
    /// Private keys, which are as they were.
    pub keys: Vec<LayerPath>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stilled {
    pub path: LayerPath,
    pub how: How,
    pub why: String,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    LeftOut,
    Emptied,
    Rewritten,
}

impl How {
    pub fn verb(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Emptied => "emptied",
            Self::Rewritten => "rewritten",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum StillError {
    #[error("cannot make {path} still: {source}")]
    Io { path: LayerPath, source: io::Error },
    #[error(transparent)]
    Below(#[from] UpperError),
}

/// The private keys among a step's changes.
pub(super) fn keys(tree: &Tree<Content>) -> Vec<LayerPath> {
    tree.entries.keys().filter(|path| is_private(path)).cloned().collect()
}

/// Makes still what the table names. Files are changed where they are; what is left out is gone from the tree alone.
/// To be called when nobody else works there.
pub(super) fn still(tree: &mut Tree<Content>, below: &impl Below, epoch: Epoch) -> Result<Vec<Stilled>, StillError> {
    let named: Vec<(LayerPath, &Row)> =
        tree.entries.keys().filter_map(|path| Some((path.clone(), row_of(path)?))).collect();
    // A file of several names is under all of them what it is under one, and not all of them need be in the table.
    let linked: BTreeSet<LayerPath> = tree.entries.values().filter_map(linked_to).cloned().collect();
    let mut stilled = Vec::new();
    for (path, row) in &named {
        let failed = |source| StillError::Io { path: path.clone(), source };
        let Some((file, size)) = file(tree, path) else { continue };
        let how = match row.treatment {
            Treatment::LeftOut | Treatment::Emptied if linked.contains(path) => None,
            Treatment::LeftOut => tree.entries.remove(path).map(|_| How::LeftOut),
            Treatment::Emptied if size == 0 => None,
            Treatment::Emptied => {
                file.edit().and_then(|file| file.set_len(0)).map_err(failed)?;
                resize(tree, path, 0);
                Some(How::Emptied)
            }
            Treatment::Renumbered => {
                rewrite(tree, path, &file, size, |text| shadow::redated(text, epoch)).map_err(failed)?
            }
            Treatment::Undated => rewrite(tree, path, &file, size, crontab::undated).map_err(failed)?,
            Treatment::Redated => redate(tree, path, &file, epoch).map_err(failed)?.then_some(How::Rewritten),
        };
        stilled.extend(how.map(|how| Stilled { path: path.clone(), how, why: row.why.to_owned() }));
    }
    let left_out = named.iter().filter(|(_, row)| row.treatment == Treatment::LeftOut).map(|(path, _)| path);
    forget_directories(tree, below, &left_out.collect())?;
    Ok(stilled)
}

fn linked_to(entry: &Entry<Content>) -> Option<&LayerPath> {
    match &entry.kind {
        Kind::HardLink { to } => Some(to),
        _ => None,
    }
}

/// A file that the step wrote, and its size.
fn file(tree: &Tree<Content>, path: &LayerPath) -> Option<(HostFile, u64)> {
    match &tree.entries.get(path)?.kind {
        Kind::File { size, content: Content::Host(file) } => Some((file.clone(), *size)),
        _ => None,
    }
}

fn resize(tree: &mut Tree<Content>, path: &LayerPath, now: u64) {
    if let Some(Entry { kind: Kind::File { size, .. }, .. }) = tree.entries.get_mut(path) {
        *size = now;
    }
}

/// Writes a table anew, where anything is to be changed in it.
fn rewrite(
    tree: &mut Tree<Content>,
    path: &LayerPath,
    file: &HostFile,
    size: u64,
    changed: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> io::Result<Option<How>> {
    if size > TABLE_LIMIT {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.open()?.take(TABLE_LIMIT).read_to_end(&mut text)?;
    let Some(text) = changed(&text) else { return Ok(None) };
    let mut file = file.edit()?;
    file.set_len(0)?;
    file.write_all(&text)?;
    resize(tree, path, text.len() as u64);
    Ok(Some(How::Rewritten))
}

/// Only where the source is of the same layer, and the compiled file was made of it as it is now: what is out of date
/// must not pass for fresh.
fn redate(tree: &Tree<Content>, path: &LayerPath, file: &HostFile, Epoch(epoch): Epoch) -> io::Result<bool> {
    let Some(source) = pyc::source(path).and_then(|source| tree.entries.get(&source)) else { return Ok(false) };
    let first = linked_to(source).map_or(Some(source), |first| tree.entries.get(first));
    let Some(Entry { kind: Kind::File { size, .. }, mtime, .. }) = first else { return Ok(false) };
    let mut head = Vec::new();
    file.open()?.take(pyc::HEAD as u64).read_to_end(&mut head)?;
    // Python compares all of it modulo 2³².
    let (was, is) = (*mtime as u32, epoch as u32);
    match pyc::stamp(&head) {
        Some(stamp) if (stamp.mtime, stamp.size) == (was, *size as u32) && was != is => {
            file.edit()?.write_all_at(&is.to_le_bytes(), stamp.at)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Takes directories out of the tree that have nothing to say any more: those that only led to what was left out, and
/// those that were left out themselves.
fn forget_directories(
    tree: &mut Tree<Content>,
    below: &impl Below,
    left_out: &BTreeSet<&LayerPath>,
) -> Result<(), UpperError> {
    let mut open: BTreeSet<LayerPath> = left_out.iter().flat_map(|path| path.ancestors()).collect();
    open.extend(left_out.iter().map(|path| (*path).clone()));
    // What is deeper comes later in the order of paths.
    for path in open.iter().rev() {
        let Some(entry) = tree.entries.get(path).filter(|entry| entry.is_directory()) else { continue };
        if !is_bare(tree, path) {
            continue;
        }
        let says_nothing = match below.at(path)? {
            Some(Seen::Directory(below)) => below.same_owner_and_mode(entry) || left_out.contains(path),
            Some(Seen::Other) => false,
            None => left_out.contains(path),
        };
        if says_nothing {
            tree.entries.remove(path);
        }
    }
    Ok(())
}

/// Whether nothing is in the directory, and it hides nothing.
fn is_bare(tree: &Tree<Content>, path: &LayerPath) -> bool {
    let within = |found: Option<&LayerPath>| found.is_some_and(|found| found.is_within(path));
    let entries = tree.entries.range(path.clone()..).nth(1).map(|(path, _)| path);
    let whiteouts = tree.whiteouts.range(path.clone()..).next();
    let opaque = tree.opaque.range(path.clone()..).next();
    ![entries, whiteouts, opaque].into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::layer::{LayerDirs, read_upper, settle};
    use crate::owners::Owners;

    const EPOCH: Epoch = Epoch(315_532_801);

    /// A step's changes over a layer below.
    struct Step {
        folder: tempfile::TempDir,
    }

    impl Step {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["below", "upper"] {
                std::fs::create_dir(folder.path().join(name)).expect("made");
            }
            Self { folder }
        }

        fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            std::fs::write(path, bytes).expect("written");
            self
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            self.folder.path().join(path)
        }

        /// What was stilled, and all that is in the layer then, with the sizes of files.
        fn still(&self) -> (BTreeMap<String, How>, Vec<String>) {
            let below = LayerDirs::open(&[self.path("below")], Owners::Real).expect("opened");
            let mut tree = read_upper(&self.path("upper"), &below, Owners::Real).expect("read");
            let stilled = still(&mut tree, &below, EPOCH).expect("it can be");
            settle(&self.path("upper"), &tree, &below, EPOCH).expect("it can be");
            let again = read_upper(&self.path("upper"), &below, Owners::Real).expect("read");
            let same = |tree: &Tree<Content>| {
                let entries = tree.entries.iter();
                entries.map(|(path, entry)| (path.clone(), entry.clone().map(drop).kind)).collect::<Vec<_>>()
            };
            assert_eq!(same(&tree), same(&again), "the directory is what the layer says");
            let left = tree.entries.iter().map(|(path, entry)| match &entry.kind {
                Kind::File { size, .. } => format!("{path}:{size}"),
                _ => path.to_string(),
            });
            (stilled.into_iter().map(|one| (one.path.to_string(), one.how)).collect(), left.collect())
        }
    }

    /// A compiled file of a source of this time and size.
    fn compiled(mtime: i64, size: u32) -> Vec<u8> {
        let head = [3495 | 0x0a0d_0000, 0, mtime as u32, size];
        head.iter().flat_map(|number| number.to_le_bytes()).chain(*b"code").collect()
    }

    fn mtime(path: &Path) -> i64 {
        std::os::unix::fs::MetadataExt::mtime(&std::fs::metadata(path).expect("it is there"))
    }

    #[test]
    fn a_log_is_emptied_and_a_cache_is_as_it_was_below() {
        let step = Step::new();
        step.write("below/var/log/dpkg.log", "before").write("below/var/cache/ldconfig/aux-cache", "before");
        step.write("upper/var/log/dpkg.log", "then and now").write("upper/var/cache/ldconfig/aux-cache", "now");
        step.write("upper/var/log/app.log", "kept");
        let (stilled, left) = step.still();
        let wanted = [("/var/cache/ldconfig/aux-cache", How::LeftOut), ("/var/log/dpkg.log", How::Emptied)];
        assert_eq!(stilled, wanted.map(|(path, how)| (path.to_owned(), how)).into());
        assert_eq!(left, ["/var", "/var/log", "/var/log/app.log:4", "/var/log/dpkg.log:0"]);
        assert!(!step.path("upper/var/cache").exists(), "what only led to it is gone too");
    }

    #[test]
    fn a_cache_is_left_out_with_its_folders_and_what_is_beside_it_stays() {
        let step = Step::new();
        step.write("upper/root/.npm/_cacache/index-v5/aa/bb", "1").write("upper/root/.npm/_logs/now.log", "1");
        let (stilled, left) = step.still();
        assert_eq!(stilled.len(), 2);
        assert_eq!(left, ["/root", "/root/.npm"]);
        step.write("upper/root/.npm/_cacache/index-v5/aa/bb", "1");
        std::fs::hard_link(step.path("upper/root/.npm/_cacache/index-v5/aa/bb"), step.path("upper/app")).unwrap();
        let (stilled, left) = step.still();
        assert!(stilled.is_empty(), "another name leads to it");
        assert!(left.contains(&"/app:1".to_owned()), "{left:?}");
    }

    #[test]
    fn what_was_taken_away_below_stays_away() {
        let step = Step::new();
        step.write("below/root/.cache/pip/old", "1").write("upper/root/.cache/pip/new", "1");
        let (whiteout, device) = (step.path("upper/root/.cache/pip/old"), rustix::fs::FileType::CharacterDevice);
        rustix::fs::mknodat(rustix::fs::CWD, &whiteout, device, rustix::fs::Mode::empty(), 0).expect("we are root");
        step.still();
        assert!(std::fs::symlink_metadata(&whiteout).is_ok() && !step.path("upper/root/.cache/pip/new").exists());
    }

    #[test]
    fn a_compiled_file_says_the_time_that_its_source_will_have() {
        let step = Step::new();
        step.write("upper/a.py", "x = 1").write("upper/stale.py", "x = 22").write("upper/other.py", "x");
        let now = mtime(&step.path("upper/a.py"));
        step.write("upper/__pycache__/a.cpython-311.pyc", compiled(now, 5));
        step.write("upper/__pycache__/stale.cpython-311.pyc", compiled(now, 5));
        step.write("upper/__pycache__/other.cpython-311.pyc", compiled(now - 7, 1));
        step.write("upper/__pycache__/gone.cpython-311.pyc", compiled(now, 5));
        let (stilled, _) = step.still();
        assert_eq!(stilled, [("/__pycache__/a.cpython-311.pyc".to_owned(), How::Rewritten)].into());
        let bytes = std::fs::read(step.path("upper/__pycache__/a.cpython-311.pyc")).expect("it is there");
        assert_eq!(bytes, compiled(EPOCH.0, 5));
        assert_eq!(mtime(&step.path("upper/a.py")), EPOCH.0, "the next step sees the same");
    }

    #[test]
    fn the_days_of_passwords_follow_the_epoch() {
        let step = Step::new();
        step.write("upper/etc/shadow", "root:*:20779:0:99999:7:::\n")
            .write("upper/etc/shadow-", "root:*:20779::::::\n");
        let (stilled, left) = step.still();
        assert_eq!(stilled.values().collect::<Vec<_>>(), [&How::Rewritten, &How::LeftOut]);
        assert_eq!(left, ["/etc", "/etc/shadow:25"]);
        assert_eq!(std::fs::read(step.path("upper/etc/shadow")).expect("text"), b"root:*:3652:0:99999:7:::\n");
    }

    #[test]
    fn a_crontab_does_not_say_when_it_was_installed() {
        let step = Step::new();
        let head = "# DO NOT EDIT THIS FILE\n# (- installed on Sun Nov 22 22:38:42 2026)\n";
        step.write("upper/var/spool/cron/crontabs/root", head);
        let (stilled, left) = step.still();
        assert_eq!(stilled, [("/var/spool/cron/crontabs/root".to_owned(), How::Rewritten)].into());
        assert_eq!(left.last().map(String::as_str), Some("/var/spool/cron/crontabs/root:40"));
    }

    #[test]
    fn private_keys_are_found_and_left_as_they_are() {
        let step = Step::new();
        step.write("upper/etc/ssh/ssh_host_rsa_key", "key").write("upper/etc/ssh/ssh_host_rsa_key.pub", "pub");
        assert!(step.still().0.is_empty());
        let below = LayerDirs::open(&[step.path("below")], Owners::Real).expect("opened");
        let tree = read_upper(&step.path("upper"), &below, Owners::Real).expect("read");
        assert_eq!(keys(&tree).iter().map(ToString::to_string).collect::<Vec<_>>(), ["/etc/ssh/ssh_host_rsa_key"]);
    }
}
