//! What is held: the lock's downloads, and those that this build has recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::address::Address;
use super::download::{Command, Download, Downloads, Key, RunDownloads};
use super::question::Question;
use crate::image::Digest;

pub(super) struct Table {
    lock: Downloads,
    /// Each with the step that it is held for.
    held: BTreeMap<Address, Vec<(Digest, Arc<Download>)>>,
    /// What this build recorded.
    fresh: BTreeSet<Key>,
    /// What each step of this build was given.
    given: BTreeMap<Digest, BTreeMap<Key, Arc<Download>>>,
    /// The commands of this build, in their order.
    commands: BTreeMap<(usize, usize), Command>,
}

impl Table {
    pub fn new(lock: Downloads) -> Self {
        let mut held: BTreeMap<Address, Vec<_>> = BTreeMap::new();
        for run in &lock.runs {
            for download in &run.downloads {
                held.entry(download.url.clone()).or_default().push((run.step, Arc::new(download.clone())));
            }
        }
        Self { lock, held, fresh: BTreeSet::new(), given: BTreeMap::new(), commands: BTreeMap::new() }
    }

    pub fn of_lock(&self, step: &Digest) -> Option<&RunDownloads> {
        self.lock.of(step)
    }

    /// The answer for a step: its own, else what another step was given, as in one build an address means one thing.
    pub fn find(&self, step: &Digest, question: &Question) -> Option<Arc<Download>> {
        let all = self.held.get(&question.address)?;
        let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|(of, _)| of == step);
        let rightly = |fits: fn(&Question, &Download) -> bool| {
            let mut each = own.iter().chain(&others).map(|(_, download)| download);
            each.find(|download| fits(question, download)).cloned()
        };
        rightly(Question::is_that_of).or_else(|| rightly(Question::would_take))
    }

    /// Whether anything at all is held of a server.
    pub fn holds_any_below(&self, root: &str) -> bool {
        self.held.keys().any(|address| address.as_str().starts_with(root))
    }

    /// Whether this build recorded it and would record another answer in its place.
    pub fn may_change(&self, download: &Download) -> bool {
        !download.is_final() && self.fresh.contains(&download.key())
    }

    /// Records an answer; what is final stays, and is what comes back.
    pub fn record(&mut self, step: &Digest, download: Download) -> Arc<Download> {
        let all = self.held.entry(download.url.clone()).or_default();
        let key = download.key();
        if let Some((_, known)) = all.iter().find(|(_, known)| known.is_final() && known.key() == key) {
            return Arc::clone(known);
        }
        all.retain(|(_, known)| known.key() != key);
        self.fresh.insert(key);
        let download = Arc::new(download);
        all.push((*step, Arc::clone(&download)));
        download
    }

    pub fn give(&mut self, step: &Digest, download: &Arc<Download>) {
        self.given.entry(*step).or_default().insert(download.key(), Arc::clone(download));
    }

    /// A command of this build begins.
    pub fn begin(&mut self, command: &Command) {
        self.commands.insert(command.place, command.clone());
    }

    /// A command of this build need not be run: it has what the lock holds for it.
    pub fn keep(&mut self, command: &Command) {
        self.begin(command);
        let held = self.lock.of(&command.step).map(|run| run.downloads.clone()).unwrap_or_default();
        held.into_iter().for_each(|download| self.give(&command.step, &Arc::new(download)));
    }

    /// What the commands of this build were given. One that asked for nothing is not there; one that is there twice, once.
    pub fn all_given(&self) -> Downloads {
        let mut all = Downloads::default();
        for command in self.commands.values() {
            if all.of(&command.step).is_none() {
                all.runs.extend(self.given_to(command));
            }
        }
        all
    }

    /// What a command of this build was given. A HEAD that a body answers as well is left out.
    pub fn given_to(&self, command: &Command) -> Option<RunDownloads> {
        let given = self.given.get(&command.step)?;
        let told_by_body = |(address, method, varies): &Key| {
            !method.is_get() && given.contains_key(&(address.clone(), super::Method::Get, varies.clone()))
        };
        let downloads = given.iter().filter(|(key, _)| !told_by_body(key));
        let downloads = downloads.map(|(_, download)| Download::clone(download)).collect();
        let Command { step, text, platform, place: _ } = command.clone();
        Some(RunDownloads { command: text, step, platform, downloads })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Method;
    use super::super::question::tests::{download, question};
    use super::*;

    fn step(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn lock(of: &[(&str, u16)]) -> Downloads {
        let run = |(name, status): &(&str, u16)| RunDownloads {
            command: (*name).to_owned(),
            step: step(name),
            platform: "linux/amd64".to_owned(),
            downloads: vec![Download { status: *status, ..download("http://h/a") }],
        };
        Downloads { runs: of.iter().map(run).collect() }
    }

    #[test]
    fn a_step_is_given_its_own_answer_and_else_that_of_another() {
        let table = Table::new(lock(&[("one", 200), ("two", 204)]));
        let asked = question(Method::Get, "http://h/a", &[]);
        let status = |of: &str| table.find(&step(of), &asked).map(|download| download.status);
        assert_eq!([status("one"), status("two"), status("new")], [Some(200), Some(204), Some(200)]);
        assert!(table.find(&step("one"), &question(Method::Get, "http://h/b", &[])).is_none());
    }

    #[test]
    fn what_succeeded_stays_and_what_was_not_there_may_come() {
        let mut table = Table::new(Downloads::default());
        let of = |status| Download { status, ..download("http://h/a") };
        let gone = table.record(&step("s"), of(404));
        assert!(gone.status == 404 && table.may_change(&gone));
        assert_eq!(table.record(&step("s"), of(200)).status, 200);
        assert_eq!(table.record(&step("s"), of(203)).status, 200);
    }

    #[test]
    fn a_head_is_not_written_where_the_body_is() {
        let mut table = Table::new(Downloads::default());
        let head = |url| Arc::new(Download { method: Method::Head, sha256: None, ..download(url) });
        for given in [head("http://h/a"), Arc::new(download("http://h/a")), head("http://h/b")] {
            table.give(&step("s"), &given);
        }
        let command = |place, name| Command { step: step(name), text: String::new(), platform: String::new(), place };
        for command in [command((1, 2), "s"), command((1, 1), "s"), command((0, 1), "nothing")] {
            table.begin(&command);
        }
        let given = table.all_given();
        assert_eq!(given.runs.len(), 1);
        let methods: Vec<_> = given.runs[0].downloads.iter().map(|download| download.method).collect();
        assert_eq!(methods, [Method::Get, Method::Head]);
    }
}
