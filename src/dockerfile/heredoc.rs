//! `<<EOF` and its kin.

/// One heredoc: its redirection and the body as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// The digits before `<<`; 0 when there are none.
    pub file_descriptor: u32,
    /// No part of the name was quoted, so the body's variables are expanded (by COPY and ADD; RUN leaves
    /// it to the shell).
    pub expand: bool,
    /// `<<-`: leading tabs are not part of the content.
    pub chomp: bool,
    /// The lines between, raw, each with its own line ending.
    pub body: String,
}
