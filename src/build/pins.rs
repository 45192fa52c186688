//! What a build takes from outside, pinned: where a pin is known, the name is not asked for any more what it means.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use crate::dockerfile::credentials::hidden;
use crate::graph::{GitSource, is_commit};
use crate::image::{Digest, Platform, Reference};
use crate::replay::Downloads;

use super::lock_runs::{moved_downloads, with_other_runs};
use super::workshop::Workshop;
use super::{BuildError, Problem, Source};

/// What names meant when they were asked. A name that holds its own digest or commit needs no pin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// The manifest of each image, for a platform.
    pub images: BTreeMap<(Reference, Platform), Digest>,
    /// The files at URLs, which are without their credentials here.
    pub urls: BTreeMap<String, Digest>,
    /// The commit of each `REPOSITORY#REFERENCE`; of `REPOSITORY#` alone, that of its default branch.
    pub repositories: BTreeMap<String, String>,
    /// What RUNs download, where that was recorded.
    pub runs: Option<Downloads>,
}

/// Which pins a build is held to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pinning {
    pub pins: Pins,
    /// The lock file, where what is not pinned is to be refused.
    pub only: Option<String>,
}

/// What is between two states of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub what: String,
    pub was: Option<String>,
    pub is: Option<String>,
}

impl Pins {
    /// Where the two differ, in the order of names.
    pub fn moved(&self, now: &Self) -> Vec<Moved> {
        let (was, is) = (self.told(), now.told());
        let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
        let mut moved: Vec<Moved> = names
            .filter(|name| was.get(*name) != is.get(*name))
            .map(|name| Moved { what: name.clone(), was: was.get(name).cloned(), is: is.get(name).cloned() })
            .collect();
        moved.sort_by(|a, b| a.what.cmp(&b.what));
        moved.extend(moved_downloads(self.runs.as_ref(), now.runs.as_ref()));
        moved
    }

    /// These are of one platform. Takes over what `older` says of others of the same images, and of downloads that were
    /// not asked for now.
    pub fn with_other_platforms(mut self, older: &Self, of: &Platform) -> Self {
        self.runs = match (self.runs, &older.runs) {
            (Some(runs), Some(older)) => Some(with_other_runs(runs, older, of)),
            (found, older) => found.or_else(|| older.clone()),
        };
        let named = |image: &Reference| self.images.keys().any(|(own, _)| own == image);
        let kept: Vec<_> = older.images.iter().filter(|((image, _), _)| named(image)).collect();
        for (name, digest) in kept {
            self.images.entry(name.clone()).or_insert(*digest);
        }
        self
    }

    fn told(&self) -> BTreeMap<String, String> {
        let Self { images, urls, repositories, runs: _ } = self;
        let images = images.iter().map(|(name, digest)| (image_name(name), digest.to_string()));
        let urls = urls.iter().map(|(url, digest)| (url.clone(), digest.to_string()));
        let repositories = repositories.iter().map(|(name, commit)| (name.clone(), commit.clone()));
        images.chain(urls).chain(repositories).collect()
    }
}

fn image_name((image, platform): &(Reference, Platform)) -> String {
    format!("{image} for {platform}")
}

/// The name of a repository's pin; a commit is its own.
fn repository_name(source: &GitSource) -> Option<String> {
    let reference = source.reference.as_deref().unwrap_or_default();
    let exact = is_commit(reference) || source.checksum.as_deref().is_some_and(is_commit);
    (!exact).then(|| format!("{}#{reference}", source.remote))
}

impl Pinning {
    /// The image that a name is pinned to, else what was asked for.
    pub fn image(&self, image: &Reference, platform: &Platform) -> Result<Reference, BuildError> {
        if image.digest().is_some() {
            return Ok(image.clone());
        }
        let name = (image.clone(), platform.clone());
        let pin = self.held(self.pins.images.get(&name), || image_name(&name))?;
        Ok(pin.map_or_else(|| image.clone(), |digest| image.at(*digest)))
    }

    fn url(&self, url: &str) -> Result<Option<Digest>, BuildError> {
        let name = hidden(url);
        Ok(self.held(self.pins.urls.get(&*name), || name.to_string())?.copied())
    }

    /// The commit that a repository's reference is pinned to.
    fn commit(&self, source: &GitSource) -> Result<Option<String>, BuildError> {
        let Some(name) = repository_name(source) else { return Ok(None) };
        Ok(self.held(self.pins.repositories.get(&name), || name.clone())?.cloned())
    }

    fn held<T>(&self, pin: Option<T>, name: impl Fn() -> String) -> Result<Option<T>, BuildError> {
        match (pin, &self.only) {
            (None, Some(lock)) => Err(Problem::NotLocked { what: name(), lock: lock.clone() }.into()),
            (pin, _) => Ok(pin),
        }
    }
}

impl<S: Source> Workshop<S> {
    /// Holds what is fetched from now on to these pins.
    pub fn pin(&self, pinning: Pinning) {
        *self.pinning() = pinning;
    }

    /// The lock file that this build is held to, as people call it.
    pub(super) fn lock_file(&self) -> String {
        self.pinning().only.clone().unwrap_or_default()
    }

    fn pinning(&self) -> MutexGuard<'_, Pinning> {
        self.pinning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What names have meant so far.
    pub(super) fn found(&self) -> MutexGuard<'_, Pins> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pinned_image(&self, image: &Reference, platform: &Platform) -> Result<Reference, BuildError> {
        self.pinning().image(image, platform)
    }

    pub(super) fn image_found(&self, image: &Reference, platform: &Platform, digest: Digest) {
        if image.digest().is_none() {
            self.found().images.insert((image.clone(), platform.clone()), digest);
        }
    }

    pub(super) fn pinned_url(&self, url: &str) -> Result<Option<Digest>, BuildError> {
        self.pinning().url(url)
    }

    pub(super) fn url_found(&self, url: &str, digest: Digest) {
        self.found().urls.insert(hidden(url).into_owned(), digest);
    }

    pub(super) fn pinned_commit(&self, source: &GitSource) -> Result<Option<String>, BuildError> {
        self.pinning().commit(source)
    }

    pub(super) fn commit_found(&self, source: &GitSource, commit: &str) {
        if let Some(name) = repository_name(source) {
            self.found().repositories.insert(name, commit.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(images: &[(&str, &str, &str)], urls: &[(&str, &str)]) -> Pins {
        let image = |(name, platform, bytes): &(&str, &str, &str)| {
            let name = name.parse().expect("a reference");
            ((name, platform.parse().expect("a platform")), Digest::of(bytes.as_bytes()))
        };
        let url = |(url, bytes): &(&str, &str)| ((*url).to_owned(), Digest::of(bytes.as_bytes()));
        let (images, urls) = (images.iter().map(image).collect(), urls.iter().map(url).collect());
        Pins { images, urls, ..Pins::default() }
    }

    #[test]
    fn what_moved_came_and_went_is_told() {
        let was = pins(&[("a:1", "linux/amd64", "1"), ("b", "linux/amd64", "1")], &[("http://h/x", "1")]);
        let now = pins(&[("a:1", "linux/amd64", "2"), ("b", "linux/amd64", "1")], &[("http://h/y", "1")]);
        let moved = was.moved(&now);
        let told: Vec<_> = moved.iter().map(|m| (m.what.as_str(), m.was.is_some(), m.is.is_some())).collect();
        let image = "docker.io/library/a:1 for linux/amd64";
        assert_eq!(told, [(image, true, true), ("http://h/x", true, false), ("http://h/y", false, true)]);
        assert!(was.moved(&was).is_empty());
    }

    #[test]
    fn other_platforms_stay_as_long_as_the_image_is_named() {
        let older = pins(&[("a", "linux/arm64", "1"), ("gone", "linux/arm64", "1"), ("a", "linux/amd64", "1")], &[]);
        let found = pins(&[("a", "linux/amd64", "2")], &[]);
        let wanted = pins(&[("a", "linux/amd64", "2"), ("a", "linux/arm64", "1")], &[]);
        assert_eq!(found.with_other_platforms(&older, &"linux/amd64".parse().expect("a platform")), wanted);
    }

    #[test]
    fn a_name_means_what_it_is_pinned_to_and_a_digest_itself() {
        let platform: Platform = "linux/amd64".parse().expect("a platform");
        let named = |text: &str| text.parse::<Reference>().expect("a reference");
        let open = Pinning { pins: pins(&[("a:1", "linux/amd64", "1")], &[]), only: None };
        let pinned = named("a").at(Digest::of(b"1"));
        assert_eq!(open.image(&named("a:1"), &platform).expect("pinned"), pinned);
        assert_eq!(open.image(&named("a:2"), &platform).expect("not pinned"), named("a:2"));
        let strict = Pinning { only: Some("locus.lock".into()), ..open };
        assert_eq!(strict.image(&pinned, &platform).expect("its own"), pinned);
        let refused = strict.image(&named("a:2"), &platform).expect_err("not pinned");
        assert_eq!(
            refused.to_string(),
            "the lock file locus.lock needs to be updated but --locked was passed: docker.io/library/a:2 for \
             linux/amd64 is not in it"
        );
        assert!(strict.url("http://h").is_err());
    }

    #[test]
    fn a_commit_needs_no_pin() {
        let name = |text: &str| repository_name(&GitSource::parse(text).expect("right").expect("a repository"));
        assert_eq!(name("https://h/r.git#main").as_deref(), Some("https://h/r.git#main"));
        assert_eq!(name("https://u:hunter2@h/r.git").as_deref(), Some("https://h/r.git#"));
        assert_eq!(name(&format!("https://h/r.git#{}", "a".repeat(40))), None);
    }
}
