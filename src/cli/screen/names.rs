//! Whose a line is, where several loaders are at work: its name stands before it, as docker compose has it.

use super::super::escape;
use crate::event::Event;

/// A longer name makes the column of names no wider.
const WIDEST: usize = 24;

/// The column of names.
#[derive(Debug, Default)]
pub(super) struct Names {
    width: usize,
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
        if whose.is_empty() { 0 } else { self.width.max(whose.chars().count()) + 3 }
    }

    /// The width is known once it is told who begins.
    pub fn learn(&mut self, event: &Event) {
        if let Event::Several { loaders, .. } = event {
            let longest = loaders.iter().map(|name| name.chars().count()).max();
            self.width = longest.unwrap_or(0).min(WIDEST);
        }
    }

    /// The words, each of their lines behind the name.
    pub fn before(&self, whose: &str, words: &str) -> String {
        if whose.is_empty() {
            return words.to_owned();
        }
        let (name, width) = (escape::text(whose), self.width);
        words.lines().map(|line| format!("{name:<width$} | {line}")).collect::<Vec<_>>().join("\n")
    }
}
