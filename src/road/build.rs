//! Text to image, and the image to where it is wanted.

use std::collections::BTreeMap;
use std::path::Path;

use crate::build::{Context, Epochs, NoCache, Pinning, RunOptions};
use crate::dockerfile;
use crate::event::{Event, Events};
use crate::graph::{self, Contexts, Graph};
use crate::image::{Image, Layout, Platform, Reference};
use crate::registry::Pushed;

use super::house::base_blobs;
use super::output::{self, Output, Outputs};
use super::{Caches, House, HouseOptions, RoadError, check, start};

/// An image to be built.
#[derive(Clone)]
pub struct Recipe {
    /// As the user named it.
    pub shown: String,
    pub text: String,
    pub context: Context,
    pub options: graph::Options,
    pub epochs: Epochs,
    pub no_cache: NoCache,
    /// Why each step is done is told.
    pub explain: bool,
    pub annotations: BTreeMap<String, String>,
    /// For its RUNs.
    pub run: RunOptions,
    pub caches: Caches,
    /// What names from outside are held to.
    pub pinning: Pinning,
}

impl Recipe {
    /// A Dockerfile's text and its context, for linux/amd64, with nothing asked for beside them.
    pub fn new(text: String, context: Context) -> Self {
        let options = graph::Options {
            platform: Platform::linux_amd64(),
            build_platform: Platform::host(),
            build_args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            contexts: Contexts::default(),
        };
        Self {
            shown: "Dockerfile".to_owned(),
            text,
            context,
            options,
            epochs: Epochs::default(),
            no_cache: NoCache::default(),
            explain: false,
            annotations: BTreeMap::new(),
            run: RunOptions::default(),
            caches: Caches::default(),
            pinning: Pinning::default(),
        }
    }
}

/// Reads, plans and warns: nothing but the text and `.dockerignore` is looked at.
pub fn recipe_graph(recipe: &Recipe, events: &Events) -> Result<Graph, RoadError> {
    let file = dockerfile::parse(&recipe.text)?;
    let graph = graph::plan(&file, &recipe.options)?;
    events.emit(Event::Read {
        dockerfile: recipe.shown.clone(),
        instructions: file.instructions.len(),
        stages: graph.stages(),
    });
    // BuildKit's build argument goes before the directive.
    let syntax = match recipe.options.build_args.get("BUILDKIT_SYNTAX").filter(|syntax| !syntax.is_empty()) {
        Some(syntax) => Some(("BUILDKIT_SYNTAX=", syntax.as_str())),
        None => file.directives.syntax.as_deref().map(|syntax| ("# syntax=", syntax)),
    };
    if let Some((written, syntax)) = syntax.filter(|(_, syntax)| !is_our_language(syntax)) {
        // A frontend is a program of somebody else's: it is never fetched, let alone run (CVE-2024-23653).
        let note =
            format!("`{written}{syntax}` names a frontend that is not run: the built-in Dockerfile language is used");
        events.emit(Event::Note(note));
    }
    check::warn(&file, &graph, recipe, events)?;
    Ok(graph)
}

/// Docker's own frontend, in any version, is what is built in here.
fn is_our_language(syntax: &str) -> bool {
    let name = syntax.strip_prefix("docker.io/").unwrap_or(syntax);
    // BuildKit's name for what is built into it.
    name == "dockerfile.v0"
        || ["docker/dockerfile", "docker/dockerfile-upstream"]
            .iter()
            .any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@'])))
}

/// Builds an image and brings it to its places. Returns what was pushed, tag by tag.
pub async fn build(
    recipe: &Recipe,
    outputs: Outputs,
    options: &HouseOptions,
) -> Result<(Image, Vec<Pushed>), RoadError> {
    let graph = recipe_graph(recipe, &options.events)?;
    let house = House::open(options, None)?;
    let Outputs { places, tags } = outputs;
    let push = places.iter().any(|place| matches!(place, Output::Registry));
    let destinations = if push { tags.as_slice() } else { &[] };
    for destination in destinations {
        house.registry.may_push(destination).await?;
    }
    // What one place fetches, the next one needs as well.
    let shared = destinations.len() + places.len() > 2;
    let pusher = |destination: &Reference| match house.pusher(destination.clone()) {
        pusher if shared => pusher.keeping_base_layers(),
        pusher => pusher,
    };
    let early = destinations.first().map(pusher);
    let built = house.build(recipe, graph, &early).await?;
    let mut early = early;
    let mut checked = false;
    let mut pushed = Vec::new();
    for place in places {
        match place {
            Output::Registry => {
                for destination in destinations {
                    let pusher = early.take().unwrap_or_else(|| pusher(destination));
                    let tags: Vec<String> = destination.tag().map(str::to_owned).into_iter().collect();
                    let base = base_blobs(&built);
                    let bringing = async { Ok(pusher.bring(&built.image, &base, &tags).await?) };
                    // No image that cannot start gets a name there; its layers are there already.
                    let once = !std::mem::replace(&mut checked, true);
                    let checking = async { if once { start::check_built(&built, &house).await } else { Ok(()) } };
                    let (brought, ()) = tokio::try_join!(bringing, checking)?;
                    pushed.push(brought.name().await?);
                }
            }
            place => output::write(place, &built, &tags, &house, &options.events).await?,
        }
    }
    house.unless_interrupted(house.export(&built, &recipe.caches)).await?;
    Ok((built.image, pushed))
}

/// Pushes the image of a layout, a folder or a tar.
pub async fn push_layout(layout: &Path, destination: &Reference, options: &HouseOptions) -> Result<Pushed, RoadError> {
    let layout = Layout::open(layout)?;
    // An only image is meant, whatever it is for.
    let platform = match &layout.platforms()?[..] {
        [only] => only.clone(),
        _ => Platform::linux_amd64(),
    };
    let (image, written) = layout.image_as_written(&platform)?;
    let house = House::open(options, None)?;
    let layout = start::check_layout(layout, &image, &house).await?;
    let tags: Vec<String> = destination.tag().map(str::to_owned).into_iter().collect();
    let pusher = house.pusher(destination.clone()).from_layout(layout, written);
    Ok(pusher.finish(&image, &[], &tags).await?)
}

#[cfg(test)]
mod tests {
    use super::is_our_language;

    #[test]
    fn a_frontend_of_somebody_else_is_told_from_dockers_own() {
        for own in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile@sha256:00",
            "dockerfile.v0",
        ] {
            assert!(is_our_language(own), "{own}");
        }
        for other in ["evil/frontend", "docker/dockerfile-evil", "docker/dockerfilex:1", "r.test/docker/dockerfile:1"] {
            assert!(!is_our_language(other), "{other}");
        }
    }
}
