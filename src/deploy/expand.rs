//! `$NAME` and `${NAME}` in what a user wrote: the values of locus.toml, the texts of the documents that it names.

use std::borrow::Cow;

/// Why a text with `$VARIABLES` is not filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("the variable {0} is not set")]
    NotSet(String),
    #[error("`$` begins a variable: write ${{NAME}} or $NAME, and $$ for a `$`")]
    Malformed,
}

/// The text with its variables filled in. `$$` is a `$`.
pub fn expand<'a>(text: &str, mut known: impl FnMut(&str) -> Option<Cow<'a, str>>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let (name, tail) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or(ExpandError::Malformed)?,
            None => {
                let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
                after.split_at(end)
            }
        };
        match known(name) {
            Some(value) => out += &value,
            None if is_name(name) => return Err(ExpandError::NotSet(name.to_owned())),
            None => return Err(ExpandError::Malformed),
        }
        rest = tail;
    }
    Ok(out + rest)
}

/// Whether a shell would take the text for a variable's name.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let vars = [("A", "1"), ("LONG_2", "${A}"), ("EMPTY", "")];
        let known = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        for (text, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "1"),
            ("x$A-y", "x1-y"),
            ("${A}${A}", "11"),
            ("$LONG_2", "${A}"),
            ("a${EMPTY}b", "ab"),
            ("5$$ é$A", "5$ é1"),
        ] {
            assert_eq!(expand(text, known).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        assert_eq!(expand("${SUBNET1}", |_| None), Err(ExpandError::NotSet("SUBNET1".into())));
        for text in ["$", "${", "${A", "${}", "$5", "${A:-b}", "$-"] {
            assert_eq!(expand(text, |_| None), Err(ExpandError::Malformed), "{text}");
        }
    }
}
