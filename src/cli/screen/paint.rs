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

    #[cfg(test)]
    pub fn on() -> Self {
        Self { on: true }
    }

    /// On a terminal that knows colours, unless `NO_COLOR` (<https://no-color.org>) is set; `CLICOLOR_FORCE` gives them to
    /// a file, too, and `CLICOLOR=0` to nobody (<https://bixense.com/clicolors>).
    pub fn wanted(env: &Environment, terminal: bool) -> Self {
        let able = terminal && env.get("TERM") != Some("dumb") && env.get("CLICOLOR") != Some("0");
        let forced = env.set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        Self { on: env.set("NO_COLOR").is_none() && (able || forced) }
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
        assert!(!on(&[("CLICOLOR", "0")], true));
        assert!(on(&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], false));
        assert!(!on(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!on(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true));
    }
}
