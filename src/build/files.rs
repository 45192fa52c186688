//! Where COPY takes files from: the context or the file system of an image, asked in the same way.

use crate::layer::{At, Content, Entry, InTar, Kind, LayerPath, Stopped, View, resolve};

use super::memory::{Listed, Stamp};
use super::{BuildError, Problem};

/// A file system that files are copied out of.
pub(super) trait Files {
    /// What is at this very path; links are not followed.
    fn entry(&self, path: &LayerPath) -> Option<Found>;

    /// All that is below a directory, in order.
    fn below(&self, directory: &LayerPath) -> Vec<(LayerPath, Found)>;
}

/// Something that was found, and which file it is where that file may have several names.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub entry: Entry<Content>,
    pub identity: Option<Identity>,
    /// The state of a file of the context, where its content may be known by it.
    pub stamp: Option<Stamp>,
}

impl Found {
    /// Something that has one name.
    pub(super) fn alone(entry: Entry<Content>) -> Self {
        Self { entry, identity: None, stamp: None }
    }

    /// The file of the host that it is, if it is one.
    pub(super) fn of_the_host(&self) -> Option<Listed<'_>> {
        match &self.entry.kind {
            Kind::File { content: Content::Host(file), .. } => Some((file, self.stamp)),
            _ => None,
        }
    }
}

/// Tells names of one file from names of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Identity {
    Host(usize),
    Layer(InTar),
}

impl Files for View {
    fn entry(&self, path: &LayerPath) -> Option<Found> {
        if path.is_root() {
            return Some(Found::alone(Entry::directory(0o755)));
        }
        self.lookup(path).map(found)
    }

    fn below(&self, directory: &LayerPath) -> Vec<(LayerPath, Found)> {
        self.walk(directory).map(|(path, node)| (path.clone(), found(node))).collect()
    }
}

fn found(node: &Entry<InTar>) -> Found {
    let identity = match &node.kind {
        Kind::File { content, .. } => Some(Identity::Layer(*content)),
        _ => None,
    };
    Found { identity, ..Found::alone(node.clone().map(Content::InTar)) }
}

/// Follows a path, links included, without leaving the root. What does not exist is taken as it is written, and so is
/// what is below a file: whoever puts something there says what is in the way.
pub(super) fn follow(
    path: &[u8],
    entry: impl Fn(&LayerPath) -> Option<Entry<Content>>,
) -> Result<LayerPath, BuildError> {
    let at = |path: &LayerPath| match entry(path).map(|entry| entry.kind) {
        Some(Kind::Symlink { target }) => At::Symlink(target.into()),
        _ => At::Open,
    };
    resolve(path, true, at).map_err(|stopped| match stopped {
        Stopped::Loop => {
            let path = String::from_utf8_lossy(path).into_owned();
            Problem::NotFound { verb: "COPY", path, place: "a loop of links".to_owned() }.into()
        }
        Stopped::NotADirectory(path) => Problem::NotADirectory(path).into(),
        Stopped::Path(error) => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &LayerPath) -> Option<Entry<Content>> {
        let link = |target: &str| Some(Entry::new(Kind::Symlink { target: target.as_bytes().to_vec() }, 0o777));
        match path.as_bytes() {
            b"run" | b"usr" | b"usr/bin" => Some(Entry::directory(0o755)),
            b"var/run" => link("/run"),
            b"bin" => link("usr/bin"),
            b"up" => link("../../../usr"),
            b"loop" => link("loop"),
            _ => None,
        }
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        for (path, wanted) in [
            ("/var/run/x", "run/x"),
            ("bin/sh", "usr/bin/sh"),
            ("up/bin", "usr/bin"),
            ("../../etc", "etc"),
            ("bin/../lib", "usr/lib"),
            ("/new/./a//b", "new/a/b"),
        ] {
            assert_eq!(follow(path.as_bytes(), tree).unwrap().as_bytes(), wanted.as_bytes(), "{path}");
        }
        assert!(follow(b"loop/x", tree).is_err());
    }
}
