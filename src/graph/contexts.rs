//! Named contexts: what `--build-context NAME=…` puts in the place of a stage, an image or a `--from`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::dockerfile::credentials::hidden;
use crate::image::{BadReference, Platform, Reference, Which};

use super::{BadGit, GitSource};

/// Where a named context has its files from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Scratch,
    Image(Reference),
    /// A folder of this machine, seen through its own `.dockerignore`.
    Folder(PathBuf),
    /// An image of an OCI layout, which is a folder or a tar.
    Layout {
        path: PathBuf,
        image: Which,
    },
    /// One file, under the name `context`.
    Url(String),
    Git(GitSource),
}

/// Why a `--build-context` is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadContext {
    #[error("`{0}` is not NAME=ORIGIN")]
    NoOrigin(String),
    #[error("the name of the context: {0}")]
    Name(BadReference),
    #[error("the platform of the context's name: {0}")]
    Platform(#[from] crate::image::BadPlatform),
    #[error("the image of the context `{name}`: {why}")]
    Image { name: String, why: BadReference },
    #[error("the context `{name}` cannot be {origin}: {why}")]
    NotSupported { name: String, origin: String, why: &'static str },
    #[error("the repository of the context `{name}`: {why}")]
    Git { name: String, why: BadGit },
}

/// The named contexts of a build. A name is that of a stage or of an image, `::PLATFORM` may stand behind it; `alpine`,
/// `alpine:latest` and `docker.io/library/alpine` are one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contexts(BTreeMap<(Reference, Option<String>), Origin>);

impl Contexts {
    /// Adds `NAME=ORIGIN`; the last of a name counts. The path of a folder or a layout stays as it was written.
    pub fn add(&mut self, text: &str) -> Result<(), BadContext> {
        let (key, origin) = text.split_once('=').ok_or_else(|| BadContext::NoOrigin(text.to_owned()))?;
        let (name, platform) = match key.split_once("::") {
            Some((name, platform)) => (name, Some(platform.parse::<Platform>()?.to_string())),
            None => (key, None),
        };
        let reference = name.parse().map_err(BadContext::Name)?;
        self.0.insert((reference, platform), Origin::parse(name, origin)?);
        Ok(())
    }

    /// What stands in the place of a name, for a platform. `scratch` and `context` are themselves.
    pub(super) fn find(&self, name: &str, platform: &Platform) -> Option<&Origin> {
        if self.0.is_empty() || ["scratch", "context"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return None;
        }
        let reference: Reference = name.parse().ok()?;
        let exact = self.0.get(&(reference.clone(), Some(platform.to_string())));
        exact.or_else(|| self.0.get(&(reference, None)))
    }

    /// The folders, in the order of their names.
    pub fn folders(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.0.values_mut().filter_map(|origin| match origin {
            Origin::Folder(path) => Some(path),
            _ => None,
        })
    }

    /// The folders and layouts, so that their paths can be made whole.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.0.values_mut().filter_map(|origin| match origin {
            Origin::Folder(path) | Origin::Layout { path, .. } => Some(path),
            Origin::Scratch | Origin::Image(_) | Origin::Url(_) | Origin::Git(_) => None,
        })
    }
}

impl Origin {
    fn parse(name: &str, text: &str) -> Result<Self, BadContext> {
        let refuse = |why| {
            let origin = hidden(text).into_owned();
            Err(BadContext::NotSupported { name: name.to_owned(), origin, why })
        };
        if let Some(image) = text.strip_prefix("docker-image://") {
            if image == "scratch" {
                return Ok(Self::Scratch);
            }
            let image = image.parse().map_err(|why| BadContext::Image { name: name.to_owned(), why });
            return Ok(Self::Image(image?));
        }
        if let Some(path) = text.strip_prefix("oci-layout://") {
            return match in_layout(path) {
                Some((path, image)) => Ok(Self::Layout { path: path.into(), image }),
                None => refuse("an image of a layout is PATH:TAG or PATH@sha256:DIGEST"),
            };
        }
        if text.starts_with("target:") || text.starts_with("input:") {
            return refuse("it is a word of bake files");
        }
        match GitSource::parse(text) {
            Ok(Some(git)) => return Ok(Self::Git(git)),
            Ok(None) => {}
            Err(why) => return Err(BadContext::Git { name: name.to_owned(), why }),
        }
        match text.starts_with("http://") || text.starts_with("https://") {
            true => Ok(Self::Url(text.to_owned())),
            false if text.contains("://") => refuse("its scheme is none of http, https, git and ssh"),
            false => Ok(Self::Folder(text.into())),
        }
    }
}

/// `PATH`, `PATH:TAG` or `PATH@DIGEST`; where there is a digest, the tag is words.
fn in_layout(text: &str) -> Option<(&str, Which)> {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(digest.parse().ok()?)),
        None => (text, None),
    };
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (text, None),
    };
    let image = match (digest, tag) {
        (Some(digest), _) => Which::Digest(digest),
        (None, Some(tag)) => Which::Tag(tag.to_owned()),
        (None, None) => Which::First,
    };
    (!path.is_empty() && tag != Some("")).then_some((path, image))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts(texts: &[&str]) -> Contexts {
        let mut contexts = Contexts::default();
        texts.iter().for_each(|text| contexts.add(text).unwrap());
        contexts
    }

    #[test]
    fn an_image_has_one_name_however_it_is_written() {
        let contexts = contexts(&["docker.io/library/alpine:latest=docker-image://busybox", "base=dir/a"]);
        let find = |name: &str| contexts.find(name, &Platform::linux_amd64()).cloned();
        assert_eq!(find("alpine"), Some(Origin::Image("busybox".parse().unwrap())));
        assert_eq!(find("base"), Some(Origin::Folder("dir/a".into())));
        assert_eq!(find("alpine:3"), None);
    }

    #[test]
    fn a_platform_behind_the_name_is_preferred() {
        let contexts = contexts(&["a=x", "a::linux/arm64=y"]);
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert_eq!(contexts.find("a", &arm), Some(&Origin::Folder("y".into())));
        assert_eq!(contexts.find("a", &Platform::linux_amd64()), Some(&Origin::Folder("x".into())));
    }

    #[test]
    fn reserved_names_stay_what_they_are() {
        let contexts = contexts(&["context=x", "scratch=y"]);
        for name in ["context", "scratch", "Scratch"] {
            assert_eq!(contexts.find(name, &Platform::linux_amd64()), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_context_is_refused() {
        for text in [
            "a",
            "a=target:b",
            "a=ftp://h/x",
            "a=https://h/r.git?x=1",
            "a=oci-layout://d@sha256:1",
            "a=oci-layout://d:",
            "a=oci-layout://:t",
            "A B=x",
        ] {
            assert!(Contexts::default().add(text).is_err(), "{text}");
        }
    }

    #[test]
    fn where_the_files_are_is_told_by_how_it_is_written() {
        let of = |text: &str| contexts(&[&format!("a={text}")]).find("a", &Platform::linux_amd64()).cloned();
        let layout = |path: &str, image| Some(Origin::Layout { path: path.into(), image });
        let digest = crate::image::Digest::of(b"m");
        assert_eq!(of("oci-layout://d/l"), layout("d/l", Which::First));
        assert_eq!(of("oci-layout://d/l:v1"), layout("d/l", Which::Tag("v1".into())));
        assert_eq!(of(&format!("oci-layout:///d:1/l@{digest}")), layout("/d:1/l", Which::Digest(digest)));
        assert_eq!(of(&format!("oci-layout://l:v1@{digest}")), layout("l", Which::Digest(digest)));
        assert!(matches!(of("https://h/r.git#v1"), Some(Origin::Git(git)) if git.reference.as_deref() == Some("v1")));
        assert!(matches!(of("git@h:r"), Some(Origin::Git(_))));
        assert_eq!(of("https://h/r"), Some(Origin::Url("https://h/r".into())));
        assert_eq!(of("dir/r.git"), Some(Origin::Folder("dir/r.git".into())));
    }
}
