//! What a stage will want, had before its turn comes: on a machine of several cores, while something else is waited for.

use tokio::sync::{Mutex, Notify};

use crate::graph::{Action, Copy, CopyFrom, Step};

use super::snapshot::Snapshot;
use super::stage::{Files, Run, is_elsewhere};
use super::{BuildError, Sink, Source};

/// What was found of the files of a stage's steps before their turns.
pub(super) struct Foreseen {
    /// By their places in the stage.
    files: Vec<Mutex<Sight>>,
    missed: Notify,
}

#[derive(Default)]
enum Sight {
    #[default]
    Unseen,
    Seen(Files),
    /// Its turn has come.
    Taken,
}

impl Foreseen {
    pub(super) fn of(steps: &[Step]) -> Self {
        Self { files: steps.iter().map(|_| Mutex::default()).collect(), missed: Notify::new() }
    }

    /// A step is not known, and so those above it are not.
    pub(super) fn missed(&self) {
        self.missed.notify_one();
    }

    #[cfg(test)]
    pub(super) async fn has_seen(&self, at: usize) -> bool {
        matches!(*self.files[at].lock().await, Sight::Seen(_))
    }

    /// What was found for the step at this place, where its files were looked for.
    pub(super) async fn take(&self, at: usize) -> Option<Files> {
        match std::mem::replace(&mut *self.files.get(at)?.lock().await, Sight::Taken) {
            Sight::Seen(files) => Some(files),
            Sight::Unseen | Sight::Taken => None,
        }
    }
}

impl<S: Source + 'static, K: Sink> Run<'_, S, K> {
    /// Does what else is to be done, and meanwhile, once a step was not known, reads the context's files for the COPYs to
    /// come.
    pub(super) async fn looking_ahead<T>(
        &self,
        steps: &[Step],
        foreseen: &Foreseen,
        rest: impl Future<Output = Result<T, BuildError>>,
    ) -> Result<T, BuildError> {
        let looking = async {
            foreseen.missed.notified().await;
            for (step, sight) in steps.iter().zip(&foreseen.files) {
                if let Action::Copy(copy) = &step.action
                    && is_of_the_context(copy)
                    && let mut sight = sight.lock().await
                    && matches!(*sight, Sight::Unseen)
                    // What is wrong with it is told when its turn comes.
                    && let Ok(files) = self.pick(copy).await
                {
                    *sight = Sight::Seen(files);
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            done = rest => done,
            never = looking => never,
        }
    }

    /// Fetches the paths of what a COPY is laid over while its files are read. Where it was done here before they are known,
    /// and where it was not they are needed; a cache elsewhere may have its layer without them.
    pub(super) async fn foresee(&self, step: &Step, below: &Snapshot) {
        let laid = matches!(&step.action, Action::Copy(Copy { link: false, .. }));
        if laid && self.imports.is_empty() {
            // What is wrong with them is told by whoever needs them.
            let _ = self.workshop.index_all(below).await;
        }
    }
}

/// Nothing has to come from the network for it, nor from another stage.
fn is_of_the_context(copy: &Copy) -> bool {
    copy.from == CopyFrom::Context && !copy.sources.iter().any(is_elsewhere)
}
