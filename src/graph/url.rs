//! The little of URLs that a Dockerfile's words need.

/// What ADD calls a file whose URL has no name.
const UNNAMED: &str = "__unnamed__";

/// What stands before the query, the query, and the fragment; without their marks.
pub(super) fn split(text: &str) -> (&str, &str, &str) {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    (address, query, fragment)
}

/// The pairs of a query, percent signs and `+` resolved.
pub(super) fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let decoded =
        |text: &str| String::from_utf8_lossy(&percent_decoded(text.replace('+', " ").as_bytes())).into_owned();
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    })
}

/// The last part of the URL's path, percent signs resolved.
pub(super) fn file_name(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let decoded = percent_decoded(path.as_bytes());
    let path = String::from_utf8_lossy(&decoded);
    match path.trim_end_matches('/').rsplit('/').next() {
        Some(name) if !matches!(name, "" | "." | "..") && !name.contains('\0') => name.to_owned(),
        _ => UNNAMED.to_owned(),
    }
}

pub(super) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_url() {
        for (url, name) in [
            ("http://h/a/b.tar?x=/y", "b.tar"),
            ("https://h/a%20b", "a b"),
            ("https://h/d/", "d"),
            ("https://h/", "__unnamed__"),
            ("https://h", "__unnamed__"),
            ("https://h/a%2Fb", "b"),
            ("https://h/..", "__unnamed__"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
