//! The second reading of a word: split at blanks that nothing quotes.

#[derive(Default)]
pub struct Words {
    finished: Vec<String>,
    word: String,
}

impl Words {
    /// A character of the word itself; a blank ends the word.
    pub fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.finished.push(std::mem::take(&mut self.word));
        }
    }

    /// An escaped character, blank or not.
    pub fn push_literal(&mut self, c: char) {
        self.word.push(c);
    }

    /// A variable's value: its blanks separate.
    pub fn push_value(&mut self, value: &str) {
        value.chars().for_each(|c| self.push(c));
    }

    pub fn push_quoted(&mut self, text: &str) {
        self.word.push_str(text);
    }

    /// An empty word is none, even if it was quoted.
    pub fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.finished.push(self.word);
        }
        self.finished
    }
}
