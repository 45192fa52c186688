//! Build caches that are elsewhere: what is read of them before a build, and written after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use crate::build::{BuildError, Built, CacheAt, Imports, Layer, NoCache, Snapshot, cache_image};
use crate::event::Event;
use crate::image::{Digest, Flavor, Image, Layout, Platform, Reference, write_folder};

use super::house::from_elsewhere;
use super::{House, Recipe, RoadError};

pub use crate::build::Mode;

/// How many layers a registry is asked for at a time.
const AT_A_TIME: usize = 16;

/// `--cache-from` and `--cache-to`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    pub from: Vec<CacheFrom>,
    pub to: Vec<CacheTo>,
}

/// A cache that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFrom {
    pub place: CacheFromPlace,
    /// Cache mounts that are new here are filled from it.
    pub mounts: bool,
}

/// Where a cache that others wrote is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFromPlace {
    Registry(Reference),
    Folder(PathBuf),
}

/// Where a cache is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTo {
    pub place: CacheToPlace,
    pub mode: Mode,
    /// What cache mounts hold goes with it.
    pub mounts: bool,
    /// A cache that cannot be written is no reason to fail.
    pub ignore_error: bool,
}

/// Where a cache for others goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheToPlace {
    Registry(Reference),
    Folder(PathBuf),
    /// The config of the image itself.
    Inline,
}

impl Caches {
    /// Whether the layers of all stages go to some cache.
    pub(super) fn all(&self) -> bool {
        self.to.iter().any(|to| to.mode == Mode::Max)
    }

    pub(super) fn inline(&self) -> bool {
        self.to.iter().any(|to| to.place == CacheToPlace::Inline)
    }
}

impl House {
    /// What the caches say that a recipe names. One that cannot be read is passed over, and this is said.
    pub(super) async fn imports(&self, recipe: &Recipe) -> Imports {
        // Where nothing is taken, nothing need be asked.
        if recipe.no_cache == NoCache::All {
            return Imports::default();
        }
        let platform = &recipe.options.platform;
        let read = join_all(recipe.caches.from.iter().map(|from| self.read(&from.place, platform))).await;
        let mut caches = Vec::new();
        for (CacheFrom { place: from, mounts }, read) in recipe.caches.from.iter().zip(read) {
            match read {
                Ok((image, at)) => match Imports::read(&image) {
                    Ok(record) if *mounts => caches.push((record, image, at)),
                    Ok(record) => caches.push((record.with_mounts(BTreeMap::new()), image, at)),
                    Err(error) => self.passed_over(from, &error.to_string(), None),
                },
                Err(RoadError::Pull(error)) => self.passed_over(from, &error.to_string(), error.hint()),
                Err(error) => self.passed_over(from, &error.to_string(), None),
            }
        }
        Imports::of(caches)
    }

    /// A cache's manifest and config; its layers stay where they are.
    async fn read(&self, from: &CacheFromPlace, platform: &Platform) -> Result<(Image, CacheAt), RoadError> {
        match from {
            CacheFromPlace::Registry(reference) => {
                let image = self.registry.pull_image(reference, platform).await?.image;
                Ok((image, CacheAt::Registry(reference.clone())))
            }
            CacheFromPlace::Folder(path) => {
                let layout = Layout::open(path)?;
                Ok((layout.image(platform)?, CacheAt::Folder(Arc::new(layout))))
            }
        }
    }

    fn passed_over(&self, from: &CacheFromPlace, why: &str, hint: Option<String>) {
        let message = format!("--cache-from {from}: {why}");
        self.workshop.events.emit(Event::Warning { message, hint });
    }

    /// What is left of the caches when a build that took layers of theirs failed as this error says.
    pub(super) fn less(&self, imports: &Imports, error: &BuildError) -> Imports {
        let less = imports.less();
        let message = match less.is_empty() {
            true => format!("what --cache-from gave cannot be used: {error}"),
            false => {
                "of some steps --cache-from knows no more than what they gave, and their files are wanted".to_owned()
            }
        };
        let hint = match less.is_empty() {
            true => None,
            false => Some("they are done anew; --cache-to with mode=max keeps the layers of all stages".to_owned()),
        };
        self.workshop.events.emit(Event::Warning { message, hint });
        less
    }

    /// The blobs of these layers that are neither here nor in the registry that a cache named for them: it was pruned, or
    /// copied without them.
    async fn vanished(&self, layers: impl Iterator<Item = &Layer>, caches: &Caches) -> BTreeSet<Digest> {
        let is_cache = |reference: &&Reference| {
            caches.from.iter().any(|from| matches!(&from.place, CacheFromPlace::Registry(cache) if cache == *reference))
        };
        let elsewhere: BTreeMap<Digest, &Reference> = layers
            .filter(|layer| self.store.blob_size(&layer.blob.digest).is_none())
            .filter_map(|layer| Some((layer.blob.digest, layer.from.as_ref().filter(is_cache)?)))
            .collect();
        let asked = elsewhere.into_iter().map(|(blob, from)| async move {
            let lacks = self.registry.lacks(from, &blob).await;
            lacks.then_some(blob)
        });
        stream::iter(asked).buffer_unordered(AT_A_TIME).filter_map(std::future::ready).collect().await
    }

    /// What is left of the caches when a build counts on layers that they name and do not have; `None` where it counts on
    /// nothing of the kind.
    pub(super) async fn without_vanished(&self, built: &Built, caches: &Caches) -> Option<Imports> {
        // A cache that is to be written needs those of all steps.
        let of_steps = built.steps.values().map(|did| &did.layer).filter(|_| !caches.to.is_empty());
        let gone = self.vanished(built.snapshot.layers.iter().chain(of_steps), caches).await;
        let first = gone.first()?;
        let others = if gone.len() > 1 { format!(" (and {} more)", gone.len() - 1) } else { String::new() };
        let message = format!("--cache-from names the layer {first}{others}, which is no longer there");
        let hint = Some("its step is done anew; --cache-to writes the cache whole again".to_owned());
        self.workshop.events.emit(Event::Warning { message, hint });
        Some(built.imports.without(&gone))
    }

    /// Writes what a build did to the caches that are asked for.
    pub(super) async fn export(&self, built: &Built, caches: &Caches) -> Result<(), RoadError> {
        for to @ CacheTo { place, ignore_error, .. } in &caches.to {
            match self.write(to, built, caches).await {
                Ok(()) => {}
                Err(error) if *ignore_error => {
                    let message = format!("--cache-to {place}: {error}");
                    self.workshop.events.emit(Event::Warning { message, hint: None });
                }
                Err(error) => return Err(RoadError::Cache { place: place.to_string(), source: Box::new(error) }),
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        CacheTo { place, mode, mounts, ignore_error: _ }: &CacheTo,
        built: &Built,
        caches: &Caches,
    ) -> Result<(), RoadError> {
        if *place == CacheToPlace::Inline {
            return Ok(());
        }
        let mut mounts = match mounts {
            true => self.workshop.gather(&built.mounts, &built.imports).await?,
            false => BTreeMap::new(),
        };
        let gone = self.vanished(mounts.values(), caches).await;
        mounts.retain(|_, layer| !gone.contains(&layer.blob.digest));
        let platform = built.image.config.platform();
        let Some((image, layers)) = cache_image(&built.steps, &mounts, *mode, &platform) else {
            let note = format!("--cache-to {place}: the build has no steps, and nothing is written");
            self.workshop.events.emit(Event::Note(note));
            return Ok(());
        };
        match place {
            CacheToPlace::Inline => {}
            CacheToPlace::Registry(reference) => {
                let tags: Vec<String> = reference.tag().map(str::to_owned).into_iter().collect();
                self.pusher(reference.clone())
                    .looking_at_each_blob()
                    .finish(&image, &from_elsewhere(&layers), &tags)
                    .await?;
            }
            CacheToPlace::Folder(folder) => {
                self.workshop.fetch_all(&Snapshot { layers }).await?;
                let (store, to) = (self.store.clone(), folder.clone());
                let written = tokio::task::spawn_blocking(move || write_layout(&to, &image, &store)).await;
                written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
                self.workshop.events.emit(Event::Wrote { path: folder.display().to_string() });
            }
        }
        Ok(())
    }
}

fn write_layout(folder: &Path, image: &Image, store: &crate::store::Store) -> Result<(), crate::image::LayoutError> {
    let open = |digest: &Digest| {
        let blob = store.open_blob(digest).map_err(io::Error::other)?;
        Ok(Box::new(blob) as Box<dyn io::Read>)
    };
    write_folder(folder, image, &[], Flavor::Oci, &open)
}

impl std::fmt::Display for CacheFromPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

impl std::fmt::Display for CacheToPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Inline => f.write_str("type=inline"),
        }
    }
}
