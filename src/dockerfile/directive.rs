//! Parser directives: `# syntax=`, `# escape=`, `# check=`, only as the first comment lines.

/// What the directives of a file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The frontend image that the file asks for.
    pub syntax: Option<String>,
    /// `\` or a backtick.
    pub escape: char,
    /// The lint options, raw.
    pub check: Option<String>,
}
