//! What the target of a graph takes from outside, asked for and pinned, and nothing built.

use std::collections::BTreeMap;

use crate::graph::{
    Action, Base, BindMount, CacheMount, CopyFrom, Graph, Ground, Mount, Origin, Source as From, Stage,
};

use super::stage::{Images, bases, dated};
use super::workshop::Workshop;
use super::{BuildError, GitAccess, Pins, Plan, Source};

/// Asks what every name means, unless the workshop's own pins say so. Files at URLs and repositories are fetched, layers
/// are not.
pub async fn resolve<S: Source>(plan: &Plan, workshop: &Workshop<S>) -> Result<Pins, BuildError> {
    workshop.pin(plan.pinning.clone());
    let mut graph = plan.graph.clone();
    let access = GitAccess { secrets: plan.run.secrets.clone(), agent: plan.run.default_agent() };
    dated(&mut graph, plan, &access, workshop).await?;
    let images = bases(&mut graph, workshop).await?;
    let walk = Walk { graph, images, access, workshop };
    let mut grounds = BTreeMap::new();
    for stage in walk.graph.needed() {
        let ground = walk.stage(stage, &grounds).await.map_err(|error| error.at(Some(stage.span)))?;
        grounds.insert(stage.number, ground);
    }
    Ok(workshop.found().clone())
}

struct Walk<'a, S> {
    graph: Graph,
    images: Images,
    access: GitAccess,
    workshop: &'a Workshop<S>,
}

impl<S: Source> Walk<'_, S> {
    /// What the stage comes to, but for its files: the variables that the names of those above it are made of.
    async fn stage(&self, stage: &Stage, below: &BTreeMap<usize, Ground>) -> Result<Ground, BuildError> {
        let ground = match &stage.base {
            Base::Scratch => Ground::default(),
            // It is needed, and above this one in the file.
            Base::Stage(number) => below.get(number).cloned().unwrap_or_default(),
            Base::Image(image) => {
                let (_, config) = self.images.of(image, &stage.platform, self.workshop).await?;
                Ground::of(config)
            }
            Base::Origin(Origin::Layout { path, image }) => {
                let (_, config) = self.workshop.layout(path, image, &stage.platform).await?;
                Ground::of(config)
            }
            Base::Origin(origin) => {
                self.origin(origin).await?;
                Ground::default()
            }
        };
        let graph = &self.graph;
        let steps = graph.steps(stage, ground)?;
        for step in &steps.steps {
            self.action(&step.action).await.map_err(|error| error.at(step.span))?;
        }
        Ok(steps.ground)
    }

    async fn action(&self, action: &Action) -> Result<(), BuildError> {
        match action {
            Action::Config | Action::Workdir { .. } => Ok(()),
            Action::Copy(copy) => {
                self.from(&copy.from).await?;
                for source in &copy.sources {
                    match source {
                        From::Url { url, checksum: None, name: _ } => _ = self.workshop.fetch_url(url).await?,
                        From::Git(git) => _ = self.workshop.checkout(git, &self.access).await?,
                        // What has a checksum is pinned by it.
                        From::Url { checksum: Some(_), .. } => {}
                        From::Path { .. } | From::Parents { .. } | From::Inline { .. } => {}
                    }
                }
                Ok(())
            }
            Action::Run(run) => {
                for mount in &run.mounts {
                    if let Mount::Bind(BindMount { from: Some(from), .. })
                    | Mount::Cache(CacheMount { from: Some(from), .. }) = mount
                    {
                        self.from(from).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn from(&self, from: &CopyFrom) -> Result<(), BuildError> {
        match from {
            CopyFrom::Context | CopyFrom::Stage(_) => Ok(()),
            CopyFrom::Image(image, platform) => self.images.of(image, platform, self.workshop).await.map(drop),
            CopyFrom::Origin(origin, _) => self.origin(origin).await,
        }
    }

    async fn origin(&self, origin: &Origin) -> Result<(), BuildError> {
        match origin {
            Origin::Url(url) => self.workshop.fetch_url(url).await.map(drop),
            Origin::Git(git) => self.workshop.checkout(git, &self.access).await.map(drop),
            // What is on this machine is an input, as the Dockerfile is; images are looked up as such.
            Origin::Scratch | Origin::Image(_) | Origin::Folder(_) | Origin::Layout { .. } => Ok(()),
        }
    }
}
