//! What a layer's tar holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use super::resolve::{At, Stopped, resolve};
use super::{Entries, Entry, Index, Item, Kind, LayerPath, Offset, TarError, Tree};
use crate::image::HashingWriter;

/// Reads an uncompressed tar to its end. Of two entries for one path the later one counts.
///
/// An entry below a symlink of the same layer is put where the symlink leads, inside the root.
pub fn index(tar: impl Read) -> Result<Index, TarError> {
    let mut hashed = HashingWriter::new(io::sink());
    let tree = read_tree(Tee { from: tar, to: &mut hashed, failed: None })?;
    let (_, diff_id, size) = hashed.finish();
    Ok(Index { diff_id, size, tree })
}

/// Passes on what is read.
pub(super) struct Tee<R, W> {
    pub from: R,
    pub to: W,
    /// Why it could not be passed on, which is nothing that the reader did.
    pub failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if let Err(error) = self.to.write_all(&buffer[..read]) {
            self.failed = Some(error);
            return Err(io::Error::other("what was read could not be passed on"));
        }
        Ok(read)
    }
}

pub(super) fn read_tree(tar: impl Read) -> Result<Tree<Offset>, TarError> {
    let mut layer = Layer::default();
    let mut entries = Entries::new(tar);
    while let Some(item) = entries.next()? {
        match item {
            Item::Entry(path, entry) => layer.put(&path, entry)?,
            Item::Whiteout(path) => {
                let path = layer.settle(&path)?;
                layer.tree.whiteouts.insert(path);
            }
            Item::Opaque(path) => {
                let path = layer.settle(&path)?;
                layer.tree.opaque.insert(path);
            }
        }
    }
    Ok(layer.tree)
}

/// A layer as far as it was read.
#[derive(Default)]
struct Layer {
    tree: Tree<Offset>,
    /// The hard links to each file.
    links: BTreeMap<LayerPath, BTreeSet<LayerPath>>,
}

impl Layer {
    fn put(&mut self, path: &LayerPath, mut entry: Entry<Offset>) -> Result<(), TarError> {
        let path = self.settle(path)?;
        let refused = |why| TarError::Refused { path: path.clone(), why };
        if let Kind::HardLink { to } = &mut entry.kind {
            *to = self.settle(to)?;
            match self.tree.entries.get(to).map(|target| &target.kind) {
                Some(Kind::Directory) => return Err(refused("it is a hard link to a directory")),
                Some(Kind::HardLink { to: first }) => *to = first.clone(),
                // A file of a lower layer, perhaps.
                None | Some(Kind::File { .. } | Kind::Symlink { .. } | Kind::Fifo) => {}
                Some(Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => {}
            }
            if *to == path {
                // Another name of the file that this name already has.
                return Ok(());
            }
        }
        if !self.tree.entries.contains_key(&path) && self.links.get(&path).is_some_and(|names| !names.is_empty()) {
            return Err(refused("a hard link to it came before it"));
        }
        let stays = entry.is_directory() && self.tree.entries.get(&path).is_none_or(Entry::is_directory);
        if !stays {
            self.remove(&path);
        }
        match &entry.kind {
            Kind::HardLink { to } => _ = self.links.entry(to.clone()).or_default().insert(path.clone()),
            Kind::Directory | Kind::File { .. } | Kind::Symlink { .. } | Kind::Fifo => {}
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {}
        }
        self.tree.entries.insert(path, entry);
        Ok(())
    }

    /// Where a path leads when the symlinks of this layer above it are followed.
    fn settle(&self, path: &LayerPath) -> Result<LayerPath, TarError> {
        let refused = |why| TarError::Refused { path: path.clone(), why };
        let at = |path: &LayerPath| match self.tree.entries.get(path).map(|entry| &entry.kind) {
            None | Some(Kind::Directory) => At::Open,
            Some(Kind::Symlink { target }) => At::Symlink(target.into()),
            Some(Kind::File { .. } | Kind::HardLink { .. } | Kind::Fifo) => At::Closed,
            Some(Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => At::Closed,
        };
        // Nothing is ever put below a symlink; so if the directory is here, no symlink is above it.
        let in_a_directory = |parent: LayerPath| self.tree.entries.get(&parent).is_some_and(Entry::is_directory);
        if path.parent().is_none_or(in_a_directory) {
            return Ok(path.clone());
        }
        resolve(path.as_bytes(), false, at).map_err(|stopped| match stopped {
            Stopped::Loop => refused("it is below too many symlinks"),
            Stopped::NotADirectory(_) => refused("it is below what is no directory"),
            Stopped::Path(error) => error.into(),
        })
    }

    /// Removes a path and all below it.
    fn remove(&mut self, path: &LayerPath) {
        let below = self.tree.entries.range(path..).map(|(at, _)| at).take_while(|at| at.is_within(path));
        for gone in below.cloned().collect::<Vec<_>>() {
            let Some(entry) = self.tree.entries.remove(&gone) else { continue };
            if let Kind::HardLink { to } = &entry.kind {
                self.links.get_mut(to).map(|names| names.remove(&gone));
            }
            self.pass_on(&gone, entry);
        }
    }

    /// A file that loses its first name lives on under the next one.
    fn pass_on(&mut self, gone: &LayerPath, entry: Entry<Offset>) {
        let mut names = self.links.remove(gone).unwrap_or_default();
        let Some(heir) = names.pop_first() else { return };
        for name in &names {
            if let Some(link) = self.tree.entries.get_mut(name) {
                link.kind = Kind::HardLink { to: heir.clone() };
            }
        }
        self.tree.entries.insert(heir.clone(), entry);
        if !names.is_empty() {
            self.links.insert(heir, names);
        }
    }
}

/// The rows that a hostile tar could try, each with what is expected.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::layer::testing::{Tar, path, tar, words};
    use crate::layer::ustar::Header;
    use crate::layer::{View, ViewError};

    #[track_caller]
    fn check(tar: Tar, expected: &str) {
        assert_eq!(index(&tar.end()[..]).map(|index| words(&index.tree)).unwrap(), expected);
    }

    #[track_caller]
    fn refused(tar: Tar, words: &str) {
        let error = index(&tar.end()[..]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn paths_stay_inside_the_root_or_are_refused() {
        for name in ["../x", "a/../../x", "a/..", ".."] {
            refused(tar().file(name, b""), "leads out of the image with `..`");
        }
        check(tar().file("/x", b"").file("\\x", b"").file("C:x", b""), r"/C:x:0 /\\x:0 /x:0");
        refused(tar().file("", b""), "a path is empty");
        refused(tar().pax(b'x', &[("path", "a\0b")]).file("f", b""), "NUL");
        refused(tar().pax(b'x', &[("path", &"n/".repeat(3000))]).file("f", b""), "longer than 4096");
        refused(tar().pax(b'x', &[("path", &"n".repeat(256))]).file("f", b""), "longer than 255");
        refused(tar().gnu_long(b'L', &"d/".repeat(600)).dir("d"), "deeper than 512");
        check(tar().patched(&Tar::header(b'0', "caf_", "", 0), 3, b"\xe9", b""), r"/caf\xe9:0");
    }

    #[test]
    fn a_file_behind_a_symlink_lands_inside_the_root() {
        check(tar().symlink("d", "/host").file("d/x", b"1"), "/d>/host /host/x:1");
        check(tar().symlink("d", "../../host").file("d/x", b"1"), "/d>../../host /host/x:1");
        check(tar().symlink("a", "b").symlink("b", "/c").dir("a/d"), "/a>b /b>/c /c/d/");
        refused(tar().symlink("a", "b").symlink("b", "a").file("a/x", b""), "too many symlinks");
        refused(tar().file("f", b"").file("f/x", b""), "below what is no directory");
    }

    #[test]
    fn a_directory_replaces_a_symlink_of_its_name() {
        check(tar().symlink("d", "/host").dir("d").file("d/x", b""), "/d/ /d/x:0");
    }

    #[test]
    fn the_pax_size_counts_and_only_for_the_entry() {
        let hidden = tar().file("hidden", b"").without_end();
        let header = Tar::header(b'0', "f", "", 0);
        // As Go has it: the 512 bytes that a pax-blind reader takes for an entry are data.
        check(tar().pax(b'x', &[("size", "512")]).patched(&header, 0, b"f", &hidden), "/f:512");
        let long = "n".repeat(120);
        let named = tar().pax(b'x', &[("size", "512")]).gnu_long(b'L', &long);
        check(named.patched(&header, 0, b"f", &hidden), &format!("/{long}:512"));
        check(tar().pax(b'x', &[("path", "a")]).gnu_long(b'L', "b").file("c", b""), "/b:0");
        check(tar().pax(b'x', &[("path", "a")]).pax(b'g', &[("comment", "git")]).file("c", b""), "/a:0");
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        refused(tar().pax(b'g', &[("path", "a")]).file("c", b""), "for all entries");
        refused(tar().pax(b'g', &[("size", "1")]).file("c", b""), "for all entries");
        refused(tar().pax(b'x', &[("path", "a")]).pax(b'x', &[]).file("c", b""), "twice");
        refused(tar().gnu_long(b'L', "a").gnu_long(b'L', "b").file("c", b""), "two long names");
        refused(tar().any(b'x', "p", "", b"8 size=1\n").file("c", b""), "wrong length");
        refused(tar().pax(b'x', &[("size", "-1")]).file("c", b""), "no number");
        refused(tar().pax(b'x', &[("GNU.sparse.realsize", "1")]).file("c", b""), "sparse");
        refused(tar().any(b'S', "c", "", b""), "sparse");
        refused(tar().any(b'V', "label", "", b""), "neither file");
        refused(tar().pax(b'x', &[("path", "a")]), "ends in the middle");
        refused(tar().patched(&Tar::header(b'0', "f", "", 0), 124, b"-0000000001\0", b""), "a size is no number");
        refused(tar().patched(&Tar::header(b'0', "f", "", 0), 124, &[0xff; 12], b""), "a size is no number");
        refused(tar().pax(b'x', &[("size", "18446744073709551615")]).file("f", b""), "too large");
        refused(tar().pax(b'x', &[("uid", "4294967295")]).file("f", b""), "uid is too large");
    }

    #[test]
    fn what_has_no_data_has_none_whatever_its_size_says() {
        let link = Tar::header(b'2', "l", "to", 512);
        check(tar().patched(&link, 0, b"l", b"").file("f", b"1"), "/f:1 /l>to");
    }

    #[test]
    fn hard_links_to_what_is_no_file_are_refused() {
        refused(tar().hard_link("h", "../../etc/passwd"), "links out of the image");
        refused(tar().hard_link("h", "h"), "hard link to no file");
        refused(tar().hard_link("h", "/"), "hard link to no file");
        refused(tar().dir("d").hard_link("h", "d"), "hard link to a directory");
        refused(tar().hard_link("h", "f").file("f", b""), "came before it");
        // Through a symlink, inside the root.
        check(
            tar().symlink("bin", "/usr/bin").file("usr/bin/a", b"").hard_link("b", "bin/a"),
            "/b=/usr/bin/a /bin>/usr/bin /usr/bin/a:0",
        );
    }

    #[test]
    fn merged_usr_works() {
        let usr = tar().symlink("lib", "usr/lib").dir("usr").dir("usr/lib").file("lib/x", b"");
        check(usr, "/lib>usr/lib /usr/ /usr/lib/ /usr/lib/x:0");
        check(tar().symlink("bin/sh", "dash").file("bin/sh", b"1"), "/bin/sh:1");
        let deep = "../../../../../../etc/pki";
        check(tar().symlink("a/cacerts", deep), &format!("/a/cacerts>{deep}"));
    }

    #[test]
    fn whiteouts_mean_what_the_specification_says_or_are_refused() {
        check(tar().file(".wh.a", b"").file("d/.wh.b", b""), "-/a -/d/b");
        check(tar().file("d/a", b"").file("d/.wh..wh..opq", b""), "/d/a:0 !/d");
        check(tar().file(".wh..wh..opq", b""), "!/");
        check(tar().file("a", b"").file(".wh.a", b""), "/a:0 -/a");
        check(tar().file(&format!(".wh.{}", "n".repeat(90)), b""), &format!("-/{}", "n".repeat(90)));
        for name in ["d/.wh.", ".wh..", "d/.wh...", ".wh./", ".wh./."] {
            assert!(index(&tar().file(name, b"").end()[..]).is_err(), "{name}");
        }
        refused(tar().file("d/.wh..wh..opqX", b""), "the name of a whiteout");
        refused(tar().file("d/.wh.x/y", b""), "no directory can have the name of a whiteout");
        // What Docker passes over.
        check(tar().dir(".wh..wh.plnk").file(".wh..wh.plnk/1.2", b"x").file("f", b""), "/f:0");
    }

    #[test]
    fn a_whiteout_has_as_long_a_name_as_a_file() {
        let name = "n".repeat(255);
        check(tar().pax(b'x', &[("path", &format!(".wh.{name}"))]).file("w", b""), &format!("-/{name}"));
    }

    #[test]
    fn devices_and_modes_are_kept_as_data() {
        let null = Header { major: 1, minor: 3, ..Tar::header(b'3', "null", "", 0) };
        let tar = tar().patched(&null, 0, b"n", b"").any(b'6', "pipe", "", b"");
        let set_id = Tar::header(b'0', "su", "", 0);
        let bytes = tar.patched(&set_id, 100, b"0104755\0", b"").pax(
            b'x',
            &[
                ("SCHILY.xattr.security.capability", "caps"),
                ("SCHILY.xattr.user.overlay.redirect", "/etc"),
                ("SCHILY.xattr.trusted.overlay.opaque", "y"),
            ],
        );
        let tree = index(&bytes.file("ping", b"").end()[..]).unwrap().tree;
        assert_eq!(words(&tree), "/null#1,3 /ping:0 /pipe| /su:0");
        assert_eq!(tree.entries[&path("su")].mode, 0o4755);
        let xattrs = &tree.entries[&path("ping")].xattrs;
        assert_eq!(xattrs.iter().collect::<Vec<_>>(), [(&"security.capability".to_owned(), &b"caps".to_vec())]);
    }

    #[test]
    fn what_stands_before_an_entry_is_limited() {
        let mut header = Tar::header(b'x', "p", "", 2 << 20);
        refused(tar().patched(&header, 0, b"p", &[b' '; 100]), "more than 1048576 bytes");
        header.type_flag = b'L';
        refused(tar().patched(&header, 0, b"p", &[b'n'; 100]), "in front of one entry");
    }

    #[test]
    fn every_byte_is_part_of_the_digest() {
        let whole = tar().file("f", b"x").bytes(&[0; 1024]).bytes(b"behind the trailer").without_end();
        let found = index(&whole[..]).unwrap();
        assert_eq!(found.diff_id, Digest::of(&whole));
        assert_eq!(found.size, whole.len() as u64);
        assert_eq!(words(&found.tree), "/f:1");
    }

    #[test]
    fn a_tar_that_was_cut_short_is_refused() {
        let whole = tar().file("f", &[b'x'; 700]).file("g", b"y").without_end();
        // Between entries, as Go allows; nowhere else.
        for end in 0..whole.len() {
            assert_eq!(index(&whole[..end]).is_ok(), [0, 1536].contains(&end), "{end}");
        }
        refused(tar().bytes(&[0; 512]).file("f", b""), "zeros where a header belongs");
    }

    #[test]
    fn of_two_entries_for_one_path_the_later_counts() {
        check(tar().file("a", b"1").file("./a", b"22"), "/a:2");
        check(tar().dir("d").file("d/x", b"").file("d", b"1"), "/d:1");
        check(tar().file("d/x", b"").symlink("d", "e"), "/d>e");
        // Case and Unicode form are different names, on every machine.
        check(tar().file("a", b"").file("A", b""), "/A:0 /a:0");
    }

    #[test]
    fn a_file_lives_on_under_its_other_names() {
        check(tar().file("a", b"1").hard_link("b", "a").hard_link("c", "b").file("a", b"22"), "/a:2 /b:1 /c=/b");
        check(tar().file("a", b"1").hard_link("b", "a").hard_link("a", "b"), "/a:1 /b=/a");
        check(tar().file("d/a", b"1").hard_link("d/b", "d/a").hard_link("c", "d/a").file("d", b""), "/c:1 /d:0");
    }

    #[test]
    fn offsets_lead_to_the_bytes() {
        let bytes = tar().pax(b'x', &[("mtime", "5")]).file("a", b"first").file("b", b"second").end();
        let tree = index(&bytes[..]).unwrap().tree;
        for (name, data) in [("a", &b"first"[..]), ("b", b"second")] {
            let Kind::File { content: Offset(at), .. } = tree.entries[&path(name)].kind else { panic!() };
            assert!(bytes[at as usize..].starts_with(data));
        }
    }

    #[test]
    fn old_headers_are_read() {
        let header = Tar::header(b'0', "old/", "", 0);
        // Before POSIX, a directory was a file with a slash.
        let bytes = tar().patched(&Header { type_flag: 0, ..header.clone() }, 257, &[0; 8], b"");
        check(bytes.patched(&Header { name: b"f".to_vec(), ..header }, 257, b"ustar  \0", b""), "/f:0 /old/");
    }

    #[test]
    fn what_gnu_tar_writes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (long, deep) = ("n".repeat(200), "d/".repeat(70) + "deep");
        std::fs::create_dir_all(dir.path().join(&deep)).unwrap();
        std::fs::write(dir.path().join(&long), "x").unwrap();
        std::fs::hard_link(dir.path().join(&long), dir.path().join("z")).unwrap();
        std::os::unix::fs::symlink(&deep, dir.path().join("l")).unwrap();
        for format in ["gnu", "posix"] {
            let mut tar = std::process::Command::new("tar");
            tar.args(["--sort=name", "-C"]).arg(dir.path()).args([&format!("--format={format}"), "-cf-", "."]);
            let text = words(&index(&tar.output().unwrap().stdout[..]).unwrap().tree);
            assert!(text.ends_with(&format!("/deep/ /l>{deep} /{long}:1 /z=/{long}")), "{format}: {text}");
        }
    }

    #[test]
    fn a_hard_link_to_nothing_is_found_out_by_the_view() {
        let index = index(&tar().hard_link("h", "in/a/lower/layer").end()[..]).unwrap();
        assert!(matches!(View::default().apply(&index), Err(ViewError::Dangling { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..2000), at in 0..512usize) {
            let mut whole = tar().pax(b'x', &[("path", "p")]).file("f", b"x").gnu_long(b'L', "n").dir("d").end();
            let end = (at + bytes.len()).min(whole.len());
            whole[at..end].copy_from_slice(&bytes[..end - at]);
            let _ = index(&whole[..]);
            let _ = index(&bytes[..]);
        }
    }
}
