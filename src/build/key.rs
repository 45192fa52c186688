//! The cache key of a step: everything that its layer is a function of. What text decides is `graph`'s; here the files
//! are added that it takes, and the layers that it stands on.

use std::sync::Arc;

use crate::graph::{Action, Copy, Key, Part, Step};

use super::mounts::Sources;
use super::paths::Paths;
use super::pick::Picked;
use super::snapshot::Snapshot;
use super::stage::{Files, Run};
use super::{BuildError, Sink, Source};

/// A key, and what was found on the way to it.
pub(super) struct Keyed {
    pub key: Key,
    pub files: Option<Files>,
    pub sources: Sources,
}

impl<S: Source + 'static, K: Sink> Run<'_, S, K> {
    /// The key of a step, but for the digests of files.
    pub(super) fn key(&self, step: &Step, below: &Snapshot) -> Key {
        let mut key = Key::default();
        let program = key.part(Part::Program);
        program.field(b"locus-push step 4");
        program.field(env!("CARGO_PKG_VERSION").as_bytes());
        key.part(Part::Compression).field(format!("{:?}", self.workshop.packing).as_bytes());
        key.part(Part::Epoch).field(format!("{:?}", self.epochs).as_bytes());
        key.part(Part::Platform).field(self.graph.options().platform.to_string().as_bytes());
        if !stands_alone(&step.action) {
            key.part(Part::Below).field(below.chain().as_bytes());
        }
        step.action.key(&mut key);
        key
    }

    /// Looks for the files that a step takes, unless they were found before, and adds them to its key.
    pub(super) async fn keyed(
        &self,
        step: &Step,
        mut key: Key,
        foreseen: impl Future<Output = Option<Files>>,
    ) -> Result<Keyed, BuildError> {
        let (mut files, mut sources) = (None, Sources::new());
        match &step.action {
            Action::Copy(copy) => {
                let found = match foreseen.await {
                    Some(found) => found,
                    None => self.pick(copy).await?,
                };
                key.part(Part::Files).field(found.digest.as_bytes());
                if self.epochs.preserve {
                    found.key_times(&mut key);
                }
                files = Some(found);
            }
            Action::Run(run) => {
                self.options.key(&mut key);
                sources = self.mount_sources(run, &mut key).await?;
            }
            Action::Config | Action::Workdir { .. } => {}
        }
        Ok(Keyed { key, files, sources })
    }
}

impl Keyed {
    /// The paths that the parts of the key stand for.
    pub fn paths(&self, step: &Step) -> Vec<(Part, Arc<Paths>)> {
        let copied = self.files.iter().map(|files| (Part::Files, files.paths.clone()));
        let mounted = self.sources.iter().filter_map(|(at, files)| match &step.action {
            Action::Run(run) => Some((Part::Mounted(run.mounts.get(*at)?.place()), files.paths.clone())),
            Action::Config | Action::Copy(_) | Action::Workdir { .. } => None,
        });
        copied.chain(mounted).collect()
    }
}

/// A layer that is the same over whatever is below it: COPY --link, unless a name of its owner is looked up there.
fn stands_alone(action: &Action) -> bool {
    matches!(action, Action::Copy(Copy { link: true, chown: None, .. }))
}

impl Files {
    /// Their times, which their digest leaves out.
    fn key_times(&self, key: &mut Key) {
        let times = key.part(Part::FileTimes);
        for Picked { root, below, .. } in &self.picked {
            let found = std::iter::once(root).chain(below.iter().map(|(_, found)| found));
            found.for_each(|found| times.field(&found.entry.mtime.to_le_bytes()));
        }
    }
}
