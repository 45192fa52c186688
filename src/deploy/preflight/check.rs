//! One thing that was looked at before anything is built.

/// What was found of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub says: String,
    /// What would make it OK.
    pub mend: Option<String>,
    /// As it is, the road or the task could only fail.
    pub stops: bool,
}

/// What came of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Ng,
    /// We may not look, or what is to be seen does not say.
    Unknown,
}

impl Check {
    pub fn ok(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok, says: says.into(), mend: None, stops: false }
    }

    pub fn unknown(name: impl Into<String>, says: impl Into<String>, mend: Option<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Unknown, says: says.into(), mend, stops: false }
    }

    /// It may end badly, or has to.
    pub fn ng(name: impl Into<String>, says: impl Into<String>, mend: Option<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ng, says: says.into(), mend, stops: false }
    }

    pub fn stopping(self) -> Self {
        Self { stops: true, ..self }
    }
}
