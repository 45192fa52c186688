//! What a task of a run is known by, to ECS and to whoever comes back: made of the run, the line and the try, so that the
//! same try always has the same.

use crate::image::Digest;

/// A run, told from all others.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct RunId(String);

impl RunId {
    /// Of something that no other run has.
    pub fn of(seed: &str) -> Self {
        Self(hex(seed, 12))
    }

    /// `startedBy`, of which older accounts take 36 letters, digits, hyphens and underscores.
    pub fn started_by(&self, line: usize, tries: u32) -> String {
        format!("locus-push-{}-{line}-{tries}", self.0)
    }

    /// The same call with the same token starts nothing the second time. An answer that nothing was started is the
    /// same as well, so that the next `ask` of a try has another.
    pub fn client_token(&self, line: usize, tries: u32, ask: u32) -> String {
        hex(&format!("{} {line} {tries} {ask}", self.0), 32)
    }
}

fn hex(text: &str, digits: usize) -> String {
    Digest::of(text.as_bytes()).hex().chars().take(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_is_always_known_by_the_same_and_no_other_by_that() {
        let (run, other) = (RunId::of("a"), RunId::of("b"));
        assert_eq!(run.client_token(1, 2, 0), run.client_token(1, 2, 0));
        let all = [
            run.client_token(1, 2, 0),
            run.client_token(12, 0, 0),
            run.client_token(1, 1, 0),
            run.client_token(1, 2, 1),
            other.client_token(1, 2, 0),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert!(run.started_by(5000, 9999).len() <= 36, "{}", run.started_by(5000, 9999));
    }
}
