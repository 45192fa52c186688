//! What a registry said of its own accord, made fit to be shown: short, escaped, without anything signed.

use std::fmt;

use serde::Deserialize;

/// The registry's error code and message; it shows as `: CODE: message`, or as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    code: String,
    message: String,
}

/// The most of an error body that is read, in bytes.
pub(super) const LIMIT: usize = 16 << 10;

/// The most characters of a registry's message that are shown.
const SHOWN: usize = 400;

#[derive(Deserialize)]
struct Body {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

impl Said {
    /// Reads the error body that the distribution spec describes. Any other body says nothing: it is a proxy's
    /// page, or a store's document with the signature of the request in it.
    pub(super) fn read(body: &[u8]) -> Self {
        let Some(first) = serde_json::from_slice::<Body>(body).ok().and_then(|body| body.errors.into_iter().next())
        else {
            return Self::default();
        };
        Self { code: show(&first.code), message: show(&first.message.unwrap_or_default()) }
    }

    /// The error code of the distribution spec, e.g. `MANIFEST_UNKNOWN`.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [&self.code, &self.message].iter().filter(|text| !text.is_empty()).try_for_each(|text| write!(f, ": {text}"))
    }
}

fn show(text: &str) -> String {
    let mut after_scheme = false;
    let mut words = Vec::new();
    for word in text.split(' ') {
        words.push(if after_scheme && word.len() >= 8 { "…".to_owned() } else { unsigned(word) });
        after_scheme = ["basic", "bearer", "token"].contains(&word.to_ascii_lowercase().as_str());
    }
    let text: String = words.join(" ").chars().flat_map(escape).collect();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Quotes stay as they are: they move no cursor.
fn escape(c: char) -> Vec<char> {
    match c {
        '\'' | '"' => vec![c],
        c => c.escape_debug().collect(),
    }
}

/// A URL without its query, where signatures are.
fn unsigned(word: &str) -> String {
    match word.split_once('?') {
        Some((url, _)) if url.contains("://") => format!("{url}?…"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, wanted: &str) {
        assert_eq!(Said::read(body.as_bytes()).to_string(), wanted);
    }

    #[test]
    fn the_registrys_words_are_quoted() {
        check(r#"{"errors":[{"code":"DENIED","message":"not 'yours'","detail":{}}]}"#, ": DENIED: not 'yours'");
        check(r#"{"errors":[{"code":"DENIED","message":null}]}"#, ": DENIED");
        check(r#"{"errors":[]}"#, "");
        check("<html>", "");
    }

    #[test]
    fn nothing_that_moves_a_cursor_or_was_signed_is_shown() {
        check(
            r#"{"errors":[{"code":"X\u001b[2J","message":"at https://s3/x?X-Amz-Signature=abc no"}]}"#,
            ": X\\u{1b}[2J: at https://s3/x?… no",
        );
        check(r#"{"errors":[{"code":"X","message":"bad Bearer abcdefghi!"}]}"#, ": X: bad Bearer …");
        let long = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "a".repeat(9000));
        assert!(Said::read(long.as_bytes()).to_string().len() < 500);
    }
}
