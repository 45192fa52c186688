//! Colours, where they are wanted.

use super::super::Environment;

/// How words are painted: as cargo does, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

const GREEN: &str = "\x1b[1;32m";
const CYAN: &str = "\x1b[1;36m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const RED: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[0m";

impl Paint {
    pub fn off() -> Self {
        Self { on: false }
    }

    /// On a terminal that knows colours, unless `NO_COLOR` (https://no-color.org) is set.
    pub fn wanted(env: &Environment, terminal: bool) -> Self {
        Self { on: terminal && env.set("NO_COLOR").is_none() && env.get("TERM") != Some("dumb") }
    }

    pub fn verb(self, text: &str) -> String {
        self.dressed(GREEN, text)
    }

    pub fn hint(self, text: &str) -> String {
        self.dressed(CYAN, text)
    }

    pub fn warning(self, text: &str) -> String {
        self.dressed(YELLOW, text)
    }

    /// What stands around the lines of a file.
    pub fn frame(self, text: &str) -> String {
        self.dressed(BLUE, text)
    }

    pub fn error(self, text: &str) -> String {
        self.dressed(RED, text)
    }

    fn dressed(self, colour: &str, text: &str) -> String {
        if self.on { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let on = |vars: &[(&str, &str)], terminal| Paint::wanted(&Environment::of(vars), terminal).on;
        assert!(on(&[("TERM", "xterm")], true));
        assert!(!on(&[("TERM", "xterm")], false));
        assert!(!on(&[("NO_COLOR", "1")], true));
        assert!(on(&[("NO_COLOR", "")], true));
        assert!(!on(&[("TERM", "dumb")], true));
    }
}
