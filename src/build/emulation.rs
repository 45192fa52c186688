//! Which RUNs are for another CPU than this machine's, and who runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use crate::dockerfile::Span;
use crate::event::Event;
use crate::graph::Graph;
use crate::image::Platform;
use crate::sandbox::Emulation;

use super::workshop::Workshop;
use super::{BuildError, Source};

impl<S: Source> Workshop<S> {
    /// Who runs the programs of a platform; found out once.
    pub fn emulation(&self, platform: &Platform) -> Result<Emulation, BuildError> {
        let architecture = &platform.architecture;
        // A build that needs no other CPU's programs may need no sandbox either.
        if *architecture == Platform::host().architecture {
            return Ok(Emulation::Native);
        }
        let known = || self.emulations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(emulation) = known().get(architecture) {
            return Ok(emulation.clone());
        }
        let emulation = self.sandbox()?.emulation(architecture)?;
        known().insert(architecture.clone(), emulation.clone());
        Ok(emulation)
    }
}

/// Says which lines will be emulated; ends a build that needs an emulator and has none before its first step.
pub(super) fn tell<S: Source>(graph: &Graph, workshop: &Workshop<S>) -> Result<(), BuildError> {
    let mut runs: BTreeMap<&Platform, BTreeSet<Span>> = BTreeMap::new();
    for stage in graph.needed() {
        runs.entry(graph.platform(stage)).or_default().extend(stage.runs());
    }
    for (platform, spans) in runs {
        let Some(first) = spans.first() else { continue };
        let emulation = workshop.emulation(platform).map_err(|error| error.at(Some(*first)))?;
        if let Some(by) = emulation.by() {
            // Triggers of a base stand at its FROM, all of them.
            let lines: BTreeSet<usize> = spans.iter().map(|span| span.line).collect();
            workshop.events.emit(Event::Emulated {
                platform: platform.to_string(),
                by,
                lines: lines.into_iter().collect(),
            });
        }
    }
    Ok(())
}
