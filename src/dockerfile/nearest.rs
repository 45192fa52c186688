//! "Did you mean …?"

/// The candidate that `word` most likely was meant to be, if any is near enough. Case does not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // Two slips, as BuildKit's `suggest` allows; in a very short word two would be half of it.
    let allowed = if word.chars().count() < 3 { 1 } else { 2 };
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words: optimal string alignment.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // A word from a file may be huge, and the table is its square; one so different in length is no typo.
    if a.len().abs_diff(b.len()) > a.len().min(b.len()) || a.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        for (typed, meant) in [
            ("FORM", Some("FROM")),
            ("copyy", Some("COPY")),
            ("ENTRYPIONT", Some("ENTRYPOINT")),
            ("RN", Some("RUN")),
            ("ADDENV", None),
            ("R", None),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, ["FROM", "COPY", "ENTRYPOINT", "RUN"]), meant, "{typed}");
        }
    }
}
