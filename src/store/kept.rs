//! What the store keeps, when it was last used, and what of it goes when it is to be smaller.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::{Lock, Store, StoreError};
use crate::image::{Digest, HashingWriter};

/// The kinds of things that the store keeps, as [`Store`]'s folders have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    /// Layers as they travel, configs and manifests.
    Blobs,
    /// Layers uncompressed, where files were read out of one.
    Tars,
    /// Layers unpacked for RUN.
    Layers,
    /// The paths of layers.
    Trees,
    /// What steps gave.
    Steps,
    /// What the keys of steps were made of.
    Parts,
    /// The digests of contexts' files.
    Hashes,
    /// Repositories that files came from.
    Repositories,
    /// What RUN keeps in `--mount=type=cache`.
    Caches,
    /// What killed processes left.
    Leftovers,
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub shelf: Shelf,
    pub path: PathBuf,
    /// What it takes of the disk.
    pub bytes: u64,
    pub used: SystemTime,
}

/// What is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Everything.
    pub all: bool,
    /// What was not used for so long.
    pub older_than: Option<Duration>,
    /// What was not used for longest, until no more than so many bytes are left.
    pub keep_bytes: Option<u64>,
}

/// How large a folder is, and how it is removed: it may hold files of ids that are not ours, which only a sandbox can
/// look into.
pub trait Folders {
    /// What it takes of the disk, in bytes.
    fn measure(&self, folder: &Path) -> io::Result<u64>;
    fn remove(&self, folder: &Path) -> io::Result<()>;
}

impl Shelf {
    pub const ALL: [Self; 10] = [
        Self::Blobs,
        Self::Tars,
        Self::Layers,
        Self::Trees,
        Self::Steps,
        Self::Parts,
        Self::Hashes,
        Self::Repositories,
        Self::Caches,
        Self::Leftovers,
    ];
}

impl Prune {
    /// Whether anything but leftovers may go.
    pub fn is_for_leftovers(self) -> bool {
        self == Self::default()
    }

    /// What goes of what is there. Leftovers always do.
    pub fn choose(self, mut items: Vec<Item>, now: SystemTime) -> Vec<Item> {
        // The longest unused first; the order of paths decides between two of one moment.
        items.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        let mut left: u64 = items.iter().filter(|item| item.shelf != Shelf::Leftovers).map(|item| item.bytes).sum();
        let mut goes = |item: &Item| {
            let unused = now.duration_since(item.used).unwrap_or_default();
            let goes = item.shelf == Shelf::Leftovers
                || self.all
                || self.older_than.is_some_and(|age| unused >= age)
                || self.keep_bytes.is_some_and(|keep| left > keep);
            if goes && item.shelf != Shelf::Leftovers {
                left -= item.bytes;
            }
            goes
        };
        items.retain(|item| goes(item));
        items
    }
}

impl Store {
    /// Held by whoever builds, so that nobody prunes meanwhile; none where somebody prunes right now.
    pub fn try_use(&self) -> Result<Option<Lock>, StoreError> {
        self.house_lock(false)
    }

    /// Held by whoever prunes; none where the store is in use.
    pub fn try_alone(&self) -> Result<Option<Lock>, StoreError> {
        self.house_lock(true)
    }

    fn house_lock(&self, alone: bool) -> Result<Option<Lock>, StoreError> {
        let path = self.root().join("tmp/in-use.lock");
        Lock::try_hold(&path, alone).map_err(StoreError::io("lock", path))
    }

    /// Everything that is kept. Leftovers are told only where nobody uses the store: `alone`.
    pub fn items(&self, folders: &impl Folders, alone: bool) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        let files = [
            ("blobs/sha256", Shelf::Blobs),
            ("tars", Shelf::Tars),
            ("trees", Shelf::Trees),
            ("steps", Shelf::Steps),
            ("parts", Shelf::Parts),
            ("hashes", Shelf::Hashes),
        ];
        for (folder, shelf) in files {
            for (path, meta) in entries(&self.root().join(folder))? {
                items.push(Item { shelf, path, bytes: on_disk(&meta), used: modified(&meta) });
            }
        }
        for (path, meta) in entries(&self.layers_path())?.into_iter().filter(|(_, meta)| meta.is_dir()) {
            let mark = used_mark(&path);
            let used = fs::symlink_metadata(mark).map_or_else(|_| changed(&meta), |mark| modified(&mark));
            let shelf = if is_gone(&path) { Shelf::Leftovers } else { Shelf::Layers };
            items.push(self.folder(shelf, path, used, folders)?);
        }
        for (path, meta) in entries(&self.root().join("git"))?.into_iter().filter(|(_, meta)| meta.is_dir()) {
            let lock = fs::symlink_metadata(path.with_extension("lock"));
            let used = lock.map_or_else(|_| modified(&meta), |lock| modified(&lock));
            let shelf = if is_gone(&path) { Shelf::Leftovers } else { Shelf::Repositories };
            items.push(self.folder(shelf, path, used, folders)?);
        }
        for (name, _) in entries(&self.root().join("caches"))? {
            for (path, meta) in entries(&name)? {
                let lock = fs::symlink_metadata(path.join("lock"));
                let used = lock.map_or_else(|_| modified(&meta), |lock| modified(&lock));
                let shelf = if is_gone(&path) { Shelf::Leftovers } else { Shelf::Caches };
                items.push(self.folder(shelf, path, used, folders)?);
            }
        }
        if alone {
            self.leftovers(folders, &mut items)?;
        }
        Ok(items)
    }

    /// Nobody else uses the store: so whoever made these is dead.
    fn leftovers(&self, folders: &impl Folders, items: &mut Vec<Item>) -> Result<(), StoreError> {
        let is_lock = |path: &Path| path.extension().is_some_and(|ending| ending == "lock");
        for (path, meta) in entries(&self.root().join("work"))? {
            items.push(self.folder(Shelf::Leftovers, path, modified(&meta), folders)?);
        }
        for (path, meta) in entries(&self.root().join("tmp"))?.into_iter().filter(|(path, _)| !is_lock(path)) {
            items.push(Item { shelf: Shelf::Leftovers, path, bytes: on_disk(&meta), used: modified(&meta) });
        }
        Ok(())
    }

    fn folder(
        &self,
        shelf: Shelf,
        path: PathBuf,
        used: SystemTime,
        folders: &impl Folders,
    ) -> Result<Item, StoreError> {
        let bytes = folders.measure(&path).map_err(StoreError::io("measure", &path))?;
        Ok(Item { shelf, path, bytes, used })
    }

    /// Removes one thing. A folder that is half removed is never seen under its own name.
    pub fn discard(&self, item: &Item, folders: &impl Folders, _alone: &Lock) -> Result<(), StoreError> {
        let failed = || StoreError::io("remove", &item.path);
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match fs::symlink_metadata(&item.path) {
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(failed()(error)),
            Ok(meta) if !meta.is_dir() => {
                return match fs::remove_file(&item.path) {
                    Err(error) if !gone(&error) => Err(failed()(error)),
                    _ => Ok(()),
                };
            }
            Ok(_) => {}
        }
        let path = match is_gone(&item.path) {
            true => item.path.clone(),
            false => {
                // In the same folder, since one that is another's cannot be moved into another.
                let name = item.path.file_name().unwrap_or_default().to_string_lossy();
                let path = item.path.with_file_name(format!("{GONE}{name}"));
                fs::rename(&item.path, &path).map_err(failed())?;
                path
            }
        };
        folders.remove(&path).map_err(failed())?;
        for beside in [used_mark(&item.path), item.path.with_extension("lock")] {
            // There may be none, and it takes no room.
            let _ = fs::remove_file(beside);
        }
        Ok(())
    }

    /// Says that something was used just now. That it cannot be said is no reason to fail.
    pub(super) fn used(&self, path: &Path) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Says that an unpacked layer was used. Its own times are those that a RUN sees.
    pub fn layer_used(&self, name: &str) {
        let mark = used_mark(&self.layers_path().join(name));
        if !self.used(&mark) {
            // Without it, the layer is as old as its folder.
            let _ = File::create(&mark);
        }
    }

    /// Whether a layer's tar is kept, with the bytes that it should have; one that has others is removed.
    pub fn has_whole_tar(&self, diff_id: &Digest) -> Result<bool, StoreError> {
        let path = self.tar_path(diff_id);
        match path.exists() {
            false => Ok(false),
            true if is_its_name(&path)? => Ok(self.used(&path)),
            true => self.forget(&path).map(|()| false),
        }
    }

    /// The blobs and tars that were used since then, or all, whose bytes are not those of their names.
    pub fn damaged(&self, since: Option<SystemTime>) -> Result<Vec<(Shelf, PathBuf)>, StoreError> {
        let mut damaged = Vec::new();
        for (folder, shelf) in [("blobs/sha256", Shelf::Blobs), ("tars", Shelf::Tars)] {
            for (path, meta) in entries(&self.root().join(folder))? {
                if since.is_none_or(|since| modified(&meta) >= since) && !is_its_name(&path)? {
                    damaged.push((shelf, path));
                }
            }
        }
        Ok(damaged)
    }

    /// Removes what is damaged, so that it is fetched or made again.
    pub fn forget(&self, path: &Path) -> Result<(), StoreError> {
        fs::remove_file(path).map_err(StoreError::io("remove", path))
    }
}

/// What the names of folders begin with that are on their way out.
const GONE: &str = "gone-";

fn is_gone(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GONE))
}

/// The file whose time says when an unpacked layer was last used.
fn used_mark(layer: &Path) -> PathBuf {
    layer.with_extension("used")
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>, StoreError> {
    let failed = || StoreError::io("read", folder);
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(failed())?,
    };
    let mut entries = Vec::new();
    for entry in listing {
        let path = entry.map_err(failed())?.path();
        match fs::symlink_metadata(&path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            meta => entries.push((path, meta.map_err(failed())?)),
        }
    }
    Ok(entries)
}

/// POSIX counts in 512 bytes, whatever the file system's blocks are.
pub fn on_disk(meta: &fs::Metadata) -> u64 {
    meta.blocks() * 512
}

fn modified(meta: &fs::Metadata) -> SystemTime {
    meta.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// An unpacked layer's own times of modification are made up.
fn changed(meta: &fs::Metadata) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or(0))
}

fn is_its_name(path: &Path) -> Result<bool, StoreError> {
    let failed = || StoreError::io("read", path);
    let mut file = File::open(path).map_err(failed())?;
    let mut hashing = HashingWriter::new(io::sink());
    io::copy(&mut file, &mut hashing).map_err(failed())?;
    let (_, digest, _) = hashing.finish();
    Ok(path.file_name().is_some_and(|name| name.to_string_lossy() == digest.hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders that are all ours.
    struct Ours;

    impl Folders for Ours {
        fn measure(&self, folder: &Path) -> io::Result<u64> {
            Ok(fs::symlink_metadata(folder)?.len())
        }

        fn remove(&self, folder: &Path) -> io::Result<()> {
            fs::remove_dir_all(folder)
        }
    }

    fn item(name: &str, bytes: u64, age: u64) -> Item {
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age);
        Item { shelf: Shelf::Blobs, path: name.into(), bytes, used }
    }

    fn chosen(prune: Prune, items: &[Item]) -> Vec<String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let chosen = prune.choose(items.to_vec(), now);
        chosen.iter().map(|item| item.path.display().to_string()).collect()
    }

    #[test]
    fn the_longest_unused_goes_first_and_no_more_than_must() {
        let items = [item("new", 10, 1), item("old", 10, 300), item("older", 10, 500)];
        let keep = |bytes| Prune { keep_bytes: Some(bytes), ..Prune::default() };
        assert_eq!(chosen(keep(30), &items), [""; 0]);
        assert_eq!(chosen(keep(29), &items), ["older"]);
        assert_eq!(chosen(keep(10), &items), ["older", "old"]);
        assert_eq!(chosen(keep(0), &items), ["older", "old", "new"]);
        let older = |secs| Prune { older_than: Some(Duration::from_secs(secs)), ..Prune::default() };
        assert_eq!(chosen(older(300), &items), ["older", "old"]);
        assert_eq!(chosen(older(501), &items), [""; 0]);
        let both = Prune { keep_bytes: Some(15), ..older(400) };
        assert_eq!(chosen(both, &items), ["older", "old"]);
        assert_eq!(chosen(Prune { all: true, ..Prune::default() }, &items).len(), 3);
    }

    #[test]
    fn leftovers_always_go_and_do_not_count() {
        let left = Item { shelf: Shelf::Leftovers, ..item("left", 1 << 40, 0) };
        let items = [item("new", 10, 1), left];
        assert_eq!(chosen(Prune::default(), &items), ["left"]);
        assert_eq!(chosen(Prune { keep_bytes: Some(10), ..Prune::default() }, &items), ["left"]);
    }

    #[test]
    fn a_store_in_use_is_not_pruned_and_one_being_pruned_not_used() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let (one, other) = (store.try_use().unwrap(), store.try_use().unwrap());
        assert!(one.is_some() && other.is_some() && store.try_alone().unwrap().is_none());
        drop((one, other));
        let alone = store.try_alone().unwrap();
        assert!(alone.is_some() && store.try_use().unwrap().is_none());
    }

    #[test]
    fn what_is_used_is_young_again_and_what_is_discarded_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let key = Digest::of(b"k");
        store.keep_step(&key, &1).unwrap();
        fs::create_dir(store.layers_path().join("aa")).unwrap();
        store.layer_used("aa");
        let old = fs::File::options().write(true).open(store.root().join("steps").join(format!("{}.json", key.hex())));
        old.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let items = || store.items(&Ours, true).unwrap();
        let prune = Prune { older_than: Some(Duration::from_secs(3600)), ..Prune::default() };
        let shelves = |items: &[Item]| items.iter().map(|item| item.shelf).collect::<Vec<_>>();
        assert_eq!(shelves(&prune.choose(items(), SystemTime::now())), [Shelf::Steps]);
        assert_eq!(store.step::<u8>(&key), Some(1));
        assert_eq!(shelves(&prune.choose(items(), SystemTime::now())), []);

        fs::write(store.root().join("tmp/t1"), "half").unwrap();
        let alone = store.try_alone().unwrap().expect("nobody uses it");
        for item in items() {
            store.discard(&item, &Ours, &alone).unwrap();
        }
        assert_eq!(items(), []);
        assert_eq!(fs::read_dir(store.layers_path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_half_removed_is_a_leftover() {
        struct Killed;
        impl Folders for Killed {
            fn measure(&self, _: &Path) -> io::Result<u64> {
                Ok(0)
            }
            fn remove(&self, _: &Path) -> io::Result<()> {
                Err(io::ErrorKind::Interrupted.into())
            }
        }
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        fs::create_dir(store.layers_path().join("aa")).unwrap();
        let alone = store.try_alone().unwrap().expect("nobody uses it");
        let items = store.items(&Killed, true).unwrap();
        assert!(store.discard(&items[0], &Killed, &alone).is_err());
        let left = store.items(&Ours, true).unwrap();
        assert_eq!((left.len(), left[0].shelf), (1, Shelf::Leftovers));
        store.discard(&left[0], &Ours, &alone).unwrap();
        assert_eq!(store.items(&Ours, true).unwrap(), []);
    }

    #[test]
    fn bytes_that_are_not_those_of_the_name_are_damage() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let (kept, digest) = (store.keep_blob(b"kept").unwrap(), store.keep_blob(b"whole").unwrap());
        assert!(store.damaged(None).unwrap().is_empty());
        fs::write(store.blob_path(&digest), "whale").unwrap();
        let damaged = store.damaged(None).unwrap();
        assert_eq!(damaged, [(Shelf::Blobs, store.blob_path(&digest))]);
        assert!(store.damaged(Some(SystemTime::now() + Duration::from_secs(60))).unwrap().is_empty());
        store.forget(&damaged[0].1).unwrap();
        assert!(store.damaged(None).unwrap().is_empty() && store.blob_size(&kept).is_some());
    }
}
