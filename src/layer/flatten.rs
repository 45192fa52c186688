//! A stack of layers as one tree: what a container would see.

use std::collections::BTreeMap;

use super::{Content, Entry, InTar, Kind, LayerPath, Tree, View};

impl View {
    /// All that is to be seen, as a single layer. The names of one file are hard links to the first of them.
    pub fn flattened(&self) -> Tree<Content> {
        let mut tree = Tree::default();
        let mut first: BTreeMap<InTar, &LayerPath> = BTreeMap::new();
        for (path, node) in self.walk(&LayerPath::root()) {
            let entry = match &node.kind {
                Kind::File { content, .. } if first.contains_key(content) => {
                    let to = first[content].clone();
                    Entry { kind: Kind::HardLink { to }, ..node.clone().map(Content::InTar) }
                }
                Kind::File { content, .. } => {
                    first.insert(*content, path);
                    node.clone().map(Content::InTar)
                }
                _ => node.clone().map(Content::InTar),
            };
            tree.entries.insert(path.clone(), entry);
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;
    use crate::layer::{Index, Offset};

    #[test]
    fn layers_become_one_and_names_of_a_file_stay_its_names() {
        let path = |text: &str| LayerPath::parse(text.as_bytes()).unwrap();
        let file = |at| Entry::new(Kind::File { size: 1, content: Offset(at) }, 0o644);
        let mut lower = Tree::default();
        lower.entries.extend([(path("a"), file(512)), (path("gone"), file(1536))]);
        lower.entries.insert(path("z"), Entry::new(Kind::HardLink { to: path("a") }, 0o644));
        let mut upper = Tree::default();
        upper.entries.insert(path("d"), Entry::directory(0o700));
        upper.whiteouts.insert(path("gone"));
        let mut view = View::default();
        for (number, tree) in [(1, lower), (2, upper)] {
            view.apply(&Index { diff_id: Digest::of(&[number]), size: 0, tree }).unwrap();
        }
        let flat = view.flattened();
        assert_eq!(flat.entries.keys().map(LayerPath::to_string).collect::<Vec<_>>(), ["/a", "/d", "/z"]);
        assert!(matches!(&flat.entries[&path("z")].kind, Kind::HardLink { to } if *to == path("a")));
        assert!(matches!(flat.entries[&path("a")].kind, Kind::File { size: 1, .. }));
        assert!(flat.whiteouts.is_empty());
    }
}
