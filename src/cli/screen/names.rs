//! Whose a line is, where several loaders are at work: its name stands before it, as docker compose has it.

use super::super::escape;
use super::columns::fit;
use crate::event::Event;

/// A longer name makes the column of names no wider.
const WIDEST: usize = 24;
/// Of a terminal's columns names take one in so many.
const SHARE: usize = 4;

/// The column of names.
#[derive(Debug, Default)]
pub(super) struct Names {
    longest: usize,
    /// What a terminal has room for; a file keeps each name whole.
    most: Option<usize>,
}

/// The loader's name, empty where there is only one, and what is told of it.
pub(super) fn whose(event: &Event) -> (&str, &Event) {
    match event {
        Event::Of { loader, event } => (loader, event.itself()),
        event => ("", event),
    }
}

impl Names {
    /// How many columns stand before each line of that loader.
    pub fn columns(&self, whose: &str) -> usize {
        match (whose.is_empty(), self.most) {
            (true, _) => 0,
            (false, Some(_)) => self.width() + 3,
            (false, None) => self.width().max(whose.chars().count()) + 3,
        }
    }

    /// The width is known once it is told who begins.
    pub fn learn(&mut self, event: &Event) {
        if let Event::Several { loaders, .. } = event {
            self.longest = loaders.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        }
    }

    /// They stand on a terminal that is so wide now.
    pub fn within(&mut self, columns: usize) {
        self.most = Some((columns / SHARE).min(WIDEST));
    }

    /// The words, each of their lines behind the name.
    pub fn before(&self, whose: &str, words: &str) -> String {
        if whose.is_empty() {
            return words.to_owned();
        }
        let (name, width) = (escape::text(whose), self.width());
        let name = if self.most.is_some() { fit(&name, width) } else { format!("{name:<width$}") };
        words.lines().map(|line| format!("{name} | {line}")).collect::<Vec<_>>().join("\n")
    }

    fn width(&self) -> usize {
        self.longest.min(self.most.unwrap_or(WIDEST))
    }
}
