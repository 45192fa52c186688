//! What is built, as `build` and the road both are told it.

use super::super::Failure;
use super::super::args::RecipeArgs;
use super::super::caches::caches;
use super::super::output::PackingAsked;
use super::super::settings::{Given, RecipeSettings, annotations};
use super::{ImageOrder, frontend};
use crate::build::{NoCache, Pinning};
use crate::graph::Contexts;
use crate::road::Materials;

/// Nothing is pinned yet: which lock file is meant, the caller knows.
pub(super) fn order(
    materials: Materials,
    args: &RecipeArgs,
    settings: RecipeSettings,
    given: Given<'_>,
) -> Result<ImageOrder, Failure> {
    let RecipeSettings { target, build_args, labels, platform } = settings;
    frontend::check(&build_args)?;
    Ok(ImageOrder {
        materials,
        build_args,
        target,
        platform,
        labels,
        contexts: contexts(&args.build_context, given)?,
        agent: None,
        preserve_times: args.preserve_times,
        no_cache: no_cache(args.no_cache, &args.no_cache_filter),
        explain: args.explain,
        annotations: annotations(&args.annotation)?,
        pinning: Pinning::default(),
        caches: caches(&args.cache_from, &args.cache_to, given.cwd)?,
    })
}

/// What the flags say of how layers are compressed.
pub(super) fn packing_asked(args: &RecipeArgs) -> PackingAsked {
    let (kind, level) = (args.compression.clone(), args.compression_level);
    let flags = [
        kind.as_ref().map(|kind| format!("--compression {kind}")),
        level.map(|level| format!("--compression-level {level}")),
    ];
    PackingAsked { by: flags.into_iter().flatten().collect::<Vec<_>>().join(" "), kind, level }
}

/// Paths are those of the current folder.
fn contexts(texts: &[String], given: Given<'_>) -> Result<Contexts, Failure> {
    let mut contexts = Contexts::default();
    for text in texts {
        contexts.add(text).map_err(|error| Failure::usage(format!("--build-context: {error}")))?;
    }
    for path in contexts.paths() {
        *path = given.cwd.join(&path);
        if let Err(error) = path.metadata() {
            return Err(Failure::usage(format!("--build-context: {} cannot be read: {error}", path.display())));
        }
    }
    Ok(contexts)
}

/// All, or what some stages do; buildx takes several names with commas between them.
fn no_cache(all: bool, filters: &[String]) -> NoCache {
    let stages = filters.iter().flat_map(|filter| filter.split(',')).map(str::trim).filter(|name| !name.is_empty());
    match (all, filters) {
        (true, _) => NoCache::All,
        (false, []) => NoCache::None,
        (false, _) => NoCache::Stages(stages.map(str::to_owned).collect()),
    }
}
