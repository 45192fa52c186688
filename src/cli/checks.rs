//! A checklist: each line OK, NG or unknown, and what would mend it.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::escape;
use crate::deploy;

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Ng,
    Unknown,
    /// It is for somebody else, and nobody's fault.
    Other,
}

/// One thing that was looked at.
pub struct Check {
    pub name: Cow<'static, str>,
    pub verdict: Verdict,
    pub says: String,
    /// What would make it OK.
    pub mend: Option<String>,
}

impl Check {
    pub fn ok(name: impl Into<Cow<'static, str>>, says: String) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok, says, mend: None }
    }

    pub fn ng(name: impl Into<Cow<'static, str>>, says: String, mend: String) -> Self {
        Self { name: name.into(), verdict: Verdict::Ng, says, mend: Some(mend) }
    }

    pub fn unknown(name: impl Into<Cow<'static, str>>, says: String) -> Self {
        Self { name: name.into(), verdict: Verdict::Unknown, says, mend: None }
    }

    /// For a program.
    pub fn fact(&self) -> Value {
        let Self { name, verdict, says, mend } = self;
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Ng => "ng",
            Verdict::Unknown => "unknown",
            Verdict::Other => "not for this user",
        };
        json!({ "name": name, "verdict": verdict, "says": says, "mend": mend })
    }

    fn line(&self, width: usize) -> String {
        let Self { name, verdict, says, mend } = self;
        let verdict = match verdict {
            Verdict::Ok => "OK",
            Verdict::Ng => "NG",
            Verdict::Unknown => "??",
            Verdict::Other => "--",
        };
        let mut line = format!("{verdict}  {:width$}  {}", escape::text(name), escape::text(says));
        for mend in mend.iter().flat_map(|mend| mend.lines()) {
            line += &format!("\n    {:width$}  mend: {}", "", escape::text(mend));
        }
        line
    }
}

impl From<deploy::Check> for Check {
    fn from(check: deploy::Check) -> Self {
        let deploy::Check { name, verdict, says, mend, stops: _ } = check;
        let verdict = match verdict {
            deploy::Verdict::Ok => Verdict::Ok,
            deploy::Verdict::Ng => Verdict::Ng,
            deploy::Verdict::Unknown => Verdict::Unknown,
        };
        Self { name: name.into(), verdict, says, mend }
    }
}

/// For a person: a line a check, and what would mend it below.
pub fn lines(checks: &[Check], width: usize) -> String {
    checks.iter().map(|check| check.line(width)).collect::<Vec<_>>().join("\n")
}

/// As wide as the longest name.
pub fn width<'a>(checks: impl IntoIterator<Item = &'a Check>) -> usize {
    checks.into_iter().map(|check| check.name.chars().count()).max().unwrap_or_default()
}

/// For a program.
pub fn facts(checks: &[Check]) -> Vec<Value> {
    checks.iter().map(Check::fact).collect()
}
