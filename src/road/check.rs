//! What is to be said of a Dockerfile without building it: its warnings, and what a build of it takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::lint::{self, Around, BaseImage, Grammar, Outline, Report, Target};
use crate::dockerfile::{self, Dockerfile};
use crate::event::{Event, Events};
use crate::graph::{self, Base, Graph};
use crate::image::{Image, Platform, Reference};
use crate::registry::PullError;

use super::{House, HouseOptions, Recipe, RoadError};

/// What a check came to.
pub struct Checked {
    pub report: Report,
    /// What a build would fail at, were it asked for.
    pub fault: Option<RoadError>,
}

/// Checks a Dockerfile, and asks the registries what its base images are.
///
/// Like a build it looks at what the target needs, which without `--target` is the last stage.
pub async fn check(recipe: &Recipe, options: &HouseOptions) -> Result<Checked, RoadError> {
    let file = dockerfile::parse(&recipe.text)?;
    let ignore = recipe.context.ignore()?;
    let (stages, bases, fault) = match graph::plan(&file, &recipe.options) {
        Ok(graph) => (Some(needed(&graph)), bases(&graph, recipe, options).await?, None),
        // Nothing is known of what leads to what, so everything is looked at.
        Err(fault) => (None, BTreeMap::new(), Some(fault.into())),
    };
    let report = lint::check(&file, &around(recipe, &ignore, stages, bases))?;
    Ok(Checked { report, fault })
}

/// The warnings of a build that is about to begin, from the text alone: nobody has looked at the base images yet.
pub(super) fn warn(file: &Dockerfile, graph: &Graph, recipe: &Recipe, events: &Events) -> Result<(), RoadError> {
    // What is wrong with the context is told by the step that needs it.
    let ignore = recipe.context.ignore().unwrap_or_default();
    let report = lint::check(file, &around(recipe, &ignore, Some(needed(graph)), BTreeMap::new()))?;
    for warning in &report.warnings {
        let message = format!("{}:{}: {}: {}", recipe.shown, warning.span.line, warning.rule, warning.detail);
        events.emit(Event::Warning { message, hint: None });
    }
    report.verdict().map_or(Ok(()), |verdict| Err(RoadError::Violations(verdict)))
}

/// The stages that can be built.
pub fn targets(recipe: &Recipe) -> Result<Vec<Target>, RoadError> {
    Ok(lint::targets(&dockerfile::parse(&recipe.text)?, &recipe.text))
}

/// The target that would be built, and what its build takes.
pub fn outline(recipe: &Recipe) -> Result<(Target, Outline), RoadError> {
    let file = dockerfile::parse(&recipe.text)?;
    let graph = graph::plan(&file, &recipe.options)?;
    let build_args = &recipe.options.build_args;
    let outline = lint::outline(&file, &recipe.text, &needed(&graph), &predefined(recipe), build_args);
    Ok((lint::targets(&file, &recipe.text).swap_remove(graph.target()), outline))
}

fn needed(graph: &Graph) -> BTreeSet<usize> {
    graph.needed().iter().map(|stage| stage.number).collect()
}

fn around<'a>(
    recipe: &'a Recipe,
    ignore: &'a Ignore,
    stages: Option<BTreeSet<usize>>,
    bases: BTreeMap<usize, BaseImage>,
) -> Around<'a> {
    let platform = |text: &str| text.parse().ok().map(|platform: Platform| (platform.os, platform.architecture));
    Around {
        text: &recipe.text,
        build_args: &recipe.options.build_args,
        predefined: predefined(recipe),
        stages,
        bases,
        ignore,
        grammar: Grammar { is_reference: |text| text.parse::<Reference>().is_ok(), platform },
    }
}

/// A build argument of such a name replaces its value.
fn predefined(recipe: &Recipe) -> BTreeMap<String, String> {
    let graph::Options { platform, build_platform, build_args, target, .. } = &recipe.options;
    let mut predefined = graph::predefined(platform, build_platform, target.as_deref().unwrap_or("default"));
    for (name, value) in &mut predefined {
        if let Some(given) = build_args.get(name) {
            value.clone_from(given);
        }
    }
    predefined
}

/// The images that the needed stages stand on. One that cannot be had is said, and the check goes on without.
async fn bases(
    graph: &Graph,
    recipe: &Recipe,
    options: &HouseOptions,
) -> Result<BTreeMap<usize, BaseImage>, RoadError> {
    let mut bases = BTreeMap::new();
    let mut images = Vec::new();
    for stage in graph.needed() {
        if let Base::Image(reference) = &stage.base {
            images.push((stage, recipe.pinning.image(reference, &stage.platform)?));
        }
    }
    if images.is_empty() {
        return Ok(bases);
    }
    let house = House::open(options, None)?;
    let mut interrupt = options.interrupt.clone();
    for (stage, reference) in images {
        let pulled = tokio::select! {
            pulled = house.registry.pull_image(&reference, &stage.platform) => pulled,
            Ok(_) = interrupt.wait_for(|told| *told) => return Err(RoadError::Interrupted),
        };
        match pulled {
            Ok(base) => {
                bases.insert(stage.number, known(&base.image));
            }
            // An image for one platform only, and that is another; an index would have been searched.
            Err(PullError::NoSuchPlatform { wanted, offered, .. }) if offered.len() == 1 => {
                let other_platform = Some((offered[0].to_string(), wanted.to_string()));
                bases.insert(stage.number, BaseImage { other_platform, ..BaseImage::default() });
            }
            Err(error) => {
                let note = format!("checked without a look at {reference}: {error}");
                options.events.emit(Event::Note(note));
            }
        }
    }
    Ok(bases)
}

fn known(image: &Image) -> BaseImage {
    let config = &image.config.config;
    let pair = |pair: &String| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    };
    let shell = config.shell.as_ref().is_some_and(|shell| !shell.is_empty());
    BaseImage { env: config.env.iter().map(pair).collect(), shell, other_platform: None }
}
