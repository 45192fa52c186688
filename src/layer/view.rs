//! The merged tree of a stack of layers.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::resolve::{At, Stopped, resolve};
use super::{Entry, InTar, Index, Kind, LayerPath, PathError, Tree, escape};

/// One thing in a view. Never a hard link: each name of a file has the file itself, and the same content.
pub type Node = Entry<InTar>;

/// What a stack of layers shows.
#[derive(Clone, Debug)]
pub struct View {
    nodes: BTreeMap<LayerPath, Slot>,
    layers: u32,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// Without symlinks on the way.
    pub path: LayerPath,
    /// What is there, if anything.
    pub node: Option<&'a Node>,
}

/// Why a path cannot be looked up in a stack of layers, or a layer not laid upon it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("`{path}` leads through too many symlinks")]
    Loop { path: String },
    #[error("`{path}` cannot be: {through} is not a directory")]
    NotADirectory { path: String, through: LayerPath },
    #[error("{path} is a hard link to {to}, which is not there or is a directory")]
    Dangling { path: LayerPath, to: LayerPath },
    #[error(transparent)]
    Path(#[from] PathError),
}

#[derive(Clone, Debug)]
struct Slot {
    node: Node,
    /// The number of the layer that it came with.
    layer: u32,
}

/// What a layer took away, at the places where it was.
#[derive(Debug, Default)]
pub(super) struct TakenAway {
    pub whiteouts: Vec<LayerPath>,
    pub opaque: Vec<LayerPath>,
}

/// The mode of a directory that no layer speaks of: as containerd makes it.
const UNSAID_DIRECTORY: u32 = 0o755;

impl Default for View {
    /// No layers: an empty root.
    fn default() -> Self {
        let root = Slot { node: Entry::directory(UNSAID_DIRECTORY), layer: 0 };
        Self { nodes: [(LayerPath::root(), root)].into(), layers: 0 }
    }
}

impl View {
    /// Lays a layer over what is there. An entry is put where the symlinks above it lead, inside the root, as
    /// containerd does it: `var/run/x` over a `var/run -> /run` is `/run/x`.
    ///
    /// After an error the view holds a part of the layer, and is of no more use.
    pub fn apply(&mut self, layer: &Index) -> Result<(), ViewError> {
        self.lay(layer).map(drop)
    }

    /// What is at this very path; symlinks on the way are not followed.
    pub fn lookup(&self, path: &LayerPath) -> Option<&Node> {
        self.nodes.get(path).map(|slot| &slot.node)
    }

    /// Follows a path from the root, as a process in the image would: absolute symlinks start at the image's root,
    /// `..` stops there. The last component is followed only with `follow_last`. The path need not exist.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<Resolved<'_>, ViewError> {
        let shown = || escape::shown(path);
        let path = resolve(path, follow_last, |path| self.at(path)).map_err(|stopped| match stopped {
            Stopped::Loop => ViewError::Loop { path: shown() },
            Stopped::NotADirectory(through) => ViewError::NotADirectory { path: shown(), through },
            Stopped::Path(error) => error.into(),
        })?;
        let node = self.lookup(&path);
        Ok(Resolved { path, node })
    }

    /// What is directly in a directory, in order.
    pub fn children(&self, dir: &LayerPath) -> impl Iterator<Item = (&LayerPath, &Node)> {
        let end = dir.after();
        let first = self.nodes.range((Bound::Excluded(dir), end_bound(&end))).next();
        let mut next = first.map(|(path, slot)| (path, &slot.node));
        std::iter::from_fn(move || {
            let child = next?;
            let rest = child.0.after().map_or(Bound::Unbounded, Bound::Included);
            // Past a whole subtree at a time.
            let sibling = self.nodes.range((rest, Bound::Unbounded)).next();
            next = sibling.filter(|(path, _)| end.as_ref().is_none_or(|end| *path < end)).map(|(p, s)| (p, &s.node));
            Some(child)
        })
    }

    /// All that is below a directory, in order: a directory before what is in it. Not the directory itself.
    pub fn walk(&self, dir: &LayerPath) -> impl Iterator<Item = (&LayerPath, &Node)> {
        let end = dir.after();
        self.nodes.range((Bound::Excluded(dir), end_bound(&end))).map(|(path, slot)| (path, &slot.node))
    }

    /// The same as [`View::apply`]; tells what was taken away.
    pub(super) fn lay(&mut self, layer: &Index) -> Result<TakenAway, ViewError> {
        let Index { diff_id, tree, size: _ } = layer;
        self.layers += 1;
        // What is whited out is of the layers below, wherever in the tar it is said; so it goes first.
        let taken = self.take_away(tree)?;
        let mut links = Vec::new();
        for (path, entry) in &tree.entries {
            match &entry.kind {
                Kind::HardLink { to } => links.push((path, to)),
                Kind::Directory | Kind::File { .. } | Kind::Symlink { .. } | Kind::Fifo => {
                    self.put(path, in_tar(entry, diff_id))?;
                }
                Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                    self.put(path, in_tar(entry, diff_id))?;
                }
            }
        }
        for (path, to) in links {
            let found = self.settle(to)?;
            let node = self.lookup(&found).filter(|node| !node.is_directory()).cloned();
            let dangling = || ViewError::Dangling { path: path.clone(), to: to.clone() };
            self.put(path, node.ok_or_else(dangling)?)?;
        }
        Ok(taken)
    }

    /// What the layer that was laid last put there or changed, in order.
    pub(super) fn of_last_layer(&self) -> impl Iterator<Item = (&LayerPath, &Node)> {
        let ours = self.nodes.iter().filter(|(_, slot)| slot.layer == self.layers);
        ours.map(|(path, slot)| (path, &slot.node))
    }

    /// What the layer that was laid last left as it was, in order.
    pub(super) fn below_last_layer(&self) -> impl Iterator<Item = (&LayerPath, &Node)> {
        let others = self.nodes.iter().filter(|(_, slot)| slot.layer != self.layers);
        others.map(|(path, slot)| (path, &slot.node))
    }

    /// Every path and thing, the root first.
    pub(super) fn all(&self) -> impl Iterator<Item = (&LayerPath, &Node)> {
        self.nodes.iter().map(|(path, slot)| (path, &slot.node))
    }

    fn take_away<C>(&mut self, tree: &Tree<C>) -> Result<TakenAway, ViewError> {
        let mut taken = TakenAway::default();
        for path in &tree.whiteouts {
            if let Some(path) = self.settled(path)? {
                self.remove(&path, true);
                taken.whiteouts.push(path);
            }
        }
        for dir in &tree.opaque {
            // A directory of this layer's own replaces a symlink; else the symlink leads to the directory.
            let follow = !tree.entries.contains_key(dir);
            let found = match self.resolve(dir.as_bytes(), follow) {
                Err(ViewError::NotADirectory { .. }) => continue,
                found => found?.path,
            };
            self.remove(&found, false);
            taken.opaque.push(found);
        }
        Ok(taken)
    }

    fn put(&mut self, path: &LayerPath, node: Node) -> Result<(), ViewError> {
        let path = self.settle(path)?;
        let layer = self.layers;
        if !self.is_in_a_directory(&path) {
            for above in path.ancestors().skip(1) {
                self.nodes.entry(above).or_insert_with(|| Slot { node: Entry::directory(UNSAID_DIRECTORY), layer });
            }
        }
        if !node.is_directory() && self.lookup(&path).is_some_and(Entry::is_directory) {
            self.remove(&path, false);
        }
        self.nodes.insert(path, Slot { node, layer });
        Ok(())
    }

    /// The path with the symlinks above it followed.
    fn settle(&self, path: &LayerPath) -> Result<LayerPath, ViewError> {
        match self.is_in_a_directory(path) {
            true => Ok(path.clone()),
            false => Ok(self.resolve(path.as_bytes(), false)?.path),
        }
    }

    /// What is here is in a directory that is here, up to the root: so one look is enough.
    fn is_in_a_directory(&self, path: &LayerPath) -> bool {
        path.parent().is_none_or(|parent| self.lookup(&parent).is_some_and(Entry::is_directory))
    }

    /// The same; `None` where no such path can be.
    fn settled(&self, path: &LayerPath) -> Result<Option<LayerPath>, ViewError> {
        match self.settle(path) {
            Err(ViewError::NotADirectory { .. }) => Ok(None),
            settled => settled.map(Some),
        }
    }

    fn at(&self, path: &LayerPath) -> At<'_> {
        match self.lookup(path).map(|node| &node.kind) {
            None | Some(Kind::Directory) => At::Open,
            Some(Kind::Symlink { target }) => At::Symlink(target.into()),
            Some(Kind::File { .. } | Kind::HardLink { .. } | Kind::Fifo) => At::Closed,
            Some(Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => At::Closed,
        }
    }

    /// Removes all below a path, and the path too where `itself` says so.
    fn remove(&mut self, path: &LayerPath, itself: bool) {
        let end = path.after();
        let below: Vec<_> =
            self.nodes.range((Bound::Excluded(path), end_bound(&end))).map(|(p, _)| p.clone()).collect();
        for gone in &below {
            self.nodes.remove(gone);
        }
        if itself && !path.is_root() {
            self.nodes.remove(path);
        }
    }
}

fn end_bound(end: &Option<LayerPath>) -> Bound<&LayerPath> {
    end.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
}

fn in_tar(entry: &Entry<super::Offset>, diff_id: &crate::image::Digest) -> Node {
    entry.clone().map(|offset| InTar { diff_id: *diff_id, offset: offset.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::layer::Offset;

    /// A layer in a few words: `d/` a directory, `f` a file, `l>target` a symlink, `h=f` a hard link, `-x` a whiteout,
    /// `!d` an opaque directory.
    fn layer(number: u8, words: &str) -> Index {
        let mut tree = Tree::default();
        let path = |text: &str| LayerPath::parse(text.as_bytes()).unwrap();
        for (at, word) in words.split(' ').filter(|word| !word.is_empty()).enumerate() {
            let content = Offset(at as u64);
            if let Some(gone) = word.strip_prefix('-') {
                tree.whiteouts.insert(path(gone));
            } else if let Some(dir) = word.strip_prefix('!') {
                tree.opaque.insert(path(dir));
            } else if let Some((name, target)) = word.split_once('>') {
                tree.entries.insert(path(name), Entry::new(Kind::Symlink { target: target.into() }, 0o777));
            } else if let Some((name, to)) = word.split_once('=') {
                tree.entries.insert(path(name), Entry::new(Kind::HardLink { to: path(to) }, 0o644));
            } else if word.ends_with('/') {
                tree.entries.insert(path(word), Entry::directory(0o700));
            } else {
                tree.entries.insert(path(word), Entry::new(Kind::File { size: 1, content }, 0o644));
            }
        }
        Index { diff_id: Digest::of(&[number]), size: 0, tree }
    }

    fn stack(layers: &[&str]) -> Result<View, ViewError> {
        let mut view = View::default();
        for (number, words) in layers.iter().enumerate() {
            view.apply(&layer(number as u8, words))?;
        }
        Ok(view)
    }

    /// The view in the same words; a file says the number of its layer.
    fn shown(view: &View) -> String {
        let word = |(path, node): (&LayerPath, &Node)| {
            let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
            match &node.kind {
                Kind::Directory => path + "/",
                Kind::Symlink { target } => format!("{path}>{}", String::from_utf8_lossy(target)),
                Kind::File { content, .. } => {
                    let number = (0..10).find(|number| Digest::of(&[*number]) == content.diff_id).unwrap();
                    format!("{path}:{number}")
                }
                other => panic!("{other:?}"),
            }
        };
        view.walk(&LayerPath::root()).map(word).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(layers: &[&str], expected: &str) {
        assert_eq!(shown(&stack(layers).unwrap()), expected);
    }

    #[test]
    fn a_later_layer_wins() {
        check(&["d/ d/a d/b", "d/a"], "d/ d/a:1 d/b:0");
    }

    #[test]
    fn a_whiteout_takes_a_path_and_all_below_it() {
        check(&["d/ d/a d/b/ d/b/c d-e", "-d/b"], "d/ d/a:0 d-e:0");
        check(&["d/ d/a", "-d"], "");
        check(&["a", "-a", "a"], "a:2");
    }

    #[test]
    fn a_whiteout_spares_its_own_layer() {
        check(&["d/ d/a d/b", "-d d/ d/b"], "d/ d/b:1");
        check(&["d/ d/a", "!d d/b"], "d/ d/b:1");
    }

    #[test]
    fn a_whiteout_of_what_is_not_there_changes_nothing() {
        check(&["-x !y -x/z a"], "a:0");
        check(&["f", "-f/x !f/y"], "f:0");
    }

    #[test]
    fn the_root_can_be_opaque_but_stays() {
        check(&["d/ a", "!/ b"], "b:1");
        assert!(stack(&["!/"]).unwrap().lookup(&LayerPath::root()).is_some());
    }

    #[test]
    fn what_is_no_directory_replaces_one_with_all_below_it() {
        check(&["d/ d/a", "d"], "d:1");
        check(&["d/ d/a", "d>e"], "d>e");
        check(&["d>e e/", "d/ d/a"], "d/ d/a:1 e/");
        check(&["d/ d/a", "d/"], "d/ d/a:0");
    }

    #[test]
    fn an_entry_lands_where_the_symlinks_above_it_lead() {
        check(&["run/ var/ var/run>/run", "var/run/x"], "run/ run/x:1 var/ var/run>/run");
        check(&["usr/ usr/lib/ lib>usr/lib", "lib/x -lib/y"], "lib>usr/lib usr/ usr/lib/ usr/lib/x:1");
        check(&["d/ d/up>../../../e", "d/up/x"], "d/ d/up>../../../e e/ e/x:1");
        check(&["run/ run/a var/ var/run>/run", "!var/run"], "run/ var/ var/run>/run");
        check(&["bin/ bin/dash bin/sh>dash", "bin/sh"], "bin/ bin/dash:0 bin/sh:1");
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        assert!(matches!(stack(&["a>b b>a", "a/x"]), Err(ViewError::Loop { .. })));
        assert!(matches!(stack(&["f", "f/x"]), Err(ViewError::NotADirectory { .. })));
    }

    #[test]
    fn all_names_of_a_file_have_one_content() {
        let view = stack(&["z", "a=z usr/ l>usr", "l/b=a"]).unwrap();
        let content = |path: &str| match &view.resolve(path.as_bytes(), false).unwrap().node.unwrap().kind {
            Kind::File { content, .. } => *content,
            other => panic!("{other:?}"),
        };
        assert_eq!(content("a"), content("z"));
        assert_eq!(content("usr/b"), content("z"));
    }

    #[test]
    fn a_hard_link_goes_through_a_symlink_inside_the_root_only() {
        check(&["usr/ usr/bin/ usr/bin/a bin>usr/bin", "b=bin/a"], "b:0 bin>usr/bin usr/ usr/bin/ usr/bin/a:0");
        for layers in [&["h=gone"][..], &["d/ h=d"], &["a=b b=a"]] {
            assert!(matches!(stack(layers), Err(ViewError::Dangling { .. })), "{layers:?}");
        }
    }

    #[test]
    fn a_path_is_followed_as_a_process_would() {
        let view = stack(&["etc/ etc/real etc/link>real up>../../etc abs>/etc/link f gone>/no/such"]).unwrap();
        let to = |path: &str, last| view.resolve(path.as_bytes(), last).unwrap().path.to_string();
        assert_eq!(to("etc/link", true), "/etc/real");
        assert_eq!(to("etc/link", false), "/etc/link");
        assert_eq!(to("/abs", true), "/etc/real");
        assert_eq!(to("up/../../etc/./real", true), "/etc/real");
        assert_eq!(to("gone", true), "/no/such");
        assert_eq!(to("", true), "/");
        assert!(matches!(view.resolve(b"f/x", true), Err(ViewError::NotADirectory { .. })));
        assert!(matches!(view.resolve(&[b'n'; 300], true), Err(ViewError::Path(_))));
    }

    #[test]
    fn children_are_those_directly_in_a_directory() {
        let view = stack(&["a/ a/b/ a/b/c a/b-c a/d a-b b/"]).unwrap();
        let names = |dir: &str| {
            let dir = LayerPath::parse(dir.as_bytes()).unwrap();
            view.children(&dir).map(|(path, _)| path.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("/"), "/a /a-b /b");
        assert_eq!(names("a"), "/a/b /a/b-c /a/d");
        assert_eq!(names("b"), "");
        assert_eq!(names("none"), "");
    }

    #[test]
    fn directories_that_no_layer_speaks_of_are_made() {
        let view = stack(&["a/b/c"]).unwrap();
        let dir = view.lookup(&LayerPath::parse(b"a/b").unwrap()).unwrap();
        assert_eq!((dir.mode, dir.uid, dir.is_directory()), (0o755, 0, true));
    }
}
