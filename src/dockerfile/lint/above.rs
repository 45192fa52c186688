//! The comment lines right above an instruction: an empty line or an empty comment parts them from it.

use super::Instruction;

pub(super) struct Above<'a>(Vec<&'a str>);

impl<'a> Above<'a> {
    pub fn new(text: &'a str) -> Self {
        Self(text.trim_start_matches('\u{feff}').lines().map(str::trim).collect())
    }

    /// In the order of the text, without their `#`.
    pub fn comments(&self, instruction: &Instruction) -> Vec<&'a str> {
        let before = self.0.get(..instruction.span.line.saturating_sub(1)).unwrap_or_default();
        let comment = |line: &&'a str| line.strip_prefix('#').map(str::trim).filter(|comment| !comment.is_empty());
        let mut comments: Vec<&str> = before.iter().rev().map_while(comment).collect();
        comments.reverse();
        comments
    }

    /// What the comment says of `name`: `# name description`.
    pub fn description(&self, instruction: &Instruction, name: &str) -> Option<&'a str> {
        let said = |comment: &'a str| comment.strip_prefix(name)?.strip_prefix(' ').map(str::trim);
        self.comments(instruction).into_iter().find_map(said)
    }
}
