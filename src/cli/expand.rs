//! `$NAME` and `${NAME}` in the values of locus.toml.

use super::Environment;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    #[error("the variable {0} is not set")]
    NotSet(String),
    #[error("`$` begins a variable: write ${{NAME}} or $NAME, and $$ for a `$`")]
    Malformed,
}

/// The text with its variables filled in. `$$` is a `$`.
pub fn expand(text: &str, env: &Environment) -> Result<String, ExpandError> {
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
        if !is_name(name) {
            return Err(ExpandError::Malformed);
        }
        out += env.get(name).ok_or_else(|| ExpandError::NotSet(name.to_owned()))?;
        rest = tail;
    }
    Ok(out + rest)
}

/// Whether a shell would take the text for a variable's name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let env = Environment::of(&[("A", "1"), ("LONG_2", "${A}"), ("EMPTY", "")]);
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
            assert_eq!(expand(text, &env).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let env = Environment::of(&[]);
        assert_eq!(expand("${SUBNET1}", &env), Err(ExpandError::NotSet("SUBNET1".into())));
        for text in ["$", "${", "${A", "${}", "$5", "${A:-b}", "$-"] {
            assert_eq!(expand(text, &env), Err(ExpandError::Malformed), "{text}");
        }
    }
}
