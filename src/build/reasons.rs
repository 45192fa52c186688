//! Why a step was done: what its key was made of, against what it was made of the last time that this Dockerfile was
//! built. No value is kept, and no text but the names of parts and paths: digests tell whether something is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::event::Why;
use crate::graph::{Graph, Key, Part};
use crate::image::Digest;
use crate::store::{Store, StoreError};

use super::paths::Paths;

/// Of how many files it is told that they changed.
const NAMED: usize = 3;

/// What the keys of a Dockerfile's steps are made of.
pub(super) struct Reasons {
    store: Store,
    /// Of the record.
    name: Digest,
    build_args: BTreeSet<String>,
    before: Steps,
    now: Mutex<Steps>,
}

/// The steps of each stage, by their numbers.
type Steps = BTreeMap<String, BTreeMap<usize, Made>>;

/// What a key was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made(Vec<(Part, Digest)>);

/// Which step is meant.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub stage: &'a str,
    pub number: usize,
    /// What its stage stands on is all that it stands on.
    pub first: bool,
}

impl Reasons {
    /// Those of the Dockerfile with this name; none of stages that it no longer has.
    pub fn of(store: &Store, dockerfile: &[u8], graph: &Graph) -> Self {
        let name = Digest::of(dockerfile);
        let mut before: Steps = store.parts(&name).unwrap_or_default();
        let stages: BTreeSet<String> = (0..graph.stages()).map(|number| graph.stage(number).label()).collect();
        before.retain(|stage, _| stages.contains(stage));
        let build_args = graph.options().build_args.keys().cloned().collect();
        Self { store: store.clone(), name, build_args, now: Mutex::new(before.clone()), before }
    }

    /// Why a step is done whose result is not in the build cache; `paths` are what its key's parts stand for.
    pub fn why(&self, place: Place<'_>, key: &Key, paths: &[(Part, Arc<Paths>)]) -> Why {
        let now = key.parts();
        let Some(before) = self.last(place, &now) else { return Why::NeverBuilt };
        match self.differences(place, &now, &before, paths) {
            same if same.is_empty() => Why::Gone,
            changed => Why::Changed(changed),
        }
    }

    /// Remembers a step whose result is there now, and by the parts of its key the files that it took.
    pub fn did(&self, place: Place<'_>, key: &Key, paths: &[(Part, Arc<Paths>)]) -> Result<(), StoreError> {
        let parts = key.parts();
        for (part, paths) in paths.iter().filter(|(_, paths)| paths.is_small()) {
            if let Some(digest) = parts.get(part).filter(|digest| !self.store.has_parts(digest)) {
                self.store.keep_parts(digest, &**paths)?;
            }
        }
        let made = Made(parts.into_iter().collect());
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.entry(place.stage.to_owned()).or_default().insert(place.number, made);
        Ok(())
    }

    pub fn keep(&self) -> Result<(), StoreError> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if *now == self.before { Ok(()) } else { self.store.keep_parts(&self.name, &*now) }
    }

    /// The last time: the same instruction's, wherever in its stage it stood, else that of whatever stood in its place.
    fn last(&self, place: Place<'_>, now: &BTreeMap<Part, Digest>) -> Option<BTreeMap<Part, Digest>> {
        let steps = self.before.get(place.stage)?;
        let of = |made: &Made| made.0.iter().cloned().collect::<BTreeMap<_, _>>();
        let is_it = |made: &BTreeMap<Part, Digest>| made.get(&Part::Instruction) == now.get(&Part::Instruction);
        let there = steps.get(&place.number).map(of);
        match there {
            Some(there) if is_it(&there) => Some(there),
            there => steps.values().map(of).find(is_it).or(there),
        }
    }

    fn differences(
        &self,
        place: Place<'_>,
        now: &BTreeMap<Part, Digest>,
        before: &BTreeMap<Part, Digest>,
        paths: &[(Part, Arc<Paths>)],
    ) -> Vec<String> {
        let all: BTreeSet<&Part> = now.keys().chain(before.keys()).collect();
        let differs: Vec<&Part> = all.into_iter().filter(|part| now.get(part) != before.get(part)).collect();
        let mut words = Vec::new();
        for part in &differs {
            let (is, was) = (now.get(part), before.get(part));
            match part {
                // Which one came or went is told of itself.
                Part::Variables if differs.iter().any(|part| matches!(part, Part::Variable(_))) => {}
                // Another instruction takes other files.
                Part::Files | Part::Mounted(_) if differs.contains(&&Part::Instruction) => {}
                Part::Files | Part::Mounted(_) => {
                    let paths = paths.iter().find(|(of, _)| of == *part).map(|(_, paths)| &**paths);
                    words.extend(self.files(paths, was).unwrap_or_else(|| vec![format!("{part} changed")]));
                }
                part => words.push(format!("{} {}", self.named(place, part), change(is, was))),
            }
        }
        words
    }

    fn named(&self, place: Place<'_>, part: &Part) -> String {
        match part {
            Part::Variable(name) if self.build_args.contains(name) => format!("the build argument {name}"),
            Part::Below if place.first => "the base".to_owned(),
            Part::Below => "the layer below".to_owned(),
            part => part.to_string(),
        }
    }

    /// The first few files that differ; `None` where it is not known which.
    fn files(&self, is: Option<&Paths>, was: Option<&Digest>) -> Option<Vec<String>> {
        let mut changed = is?.differences(&self.store.parts(was?)?);
        let more = changed.len().saturating_sub(NAMED);
        changed.truncate(NAMED);
        if more > 0 {
            changed.push(format!("{more} more files differ"));
        }
        (!changed.is_empty()).then_some(changed)
    }
}

fn change(is: Option<&Digest>, was: Option<&Digest>) -> &'static str {
    match (is, was) {
        (_, None) => "is new",
        (None, _) => "is gone",
        (Some(_), Some(_)) => "changed",
    }
}
