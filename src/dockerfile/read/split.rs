//! A logical line taken apart: keyword, flags, the rest; and the rest into words.

/// `KEYWORD --flag… rest`
pub struct Split {
    pub keyword: String,
    /// With their dashes, quotes and escapes taken off.
    pub flags: Vec<String>,
    pub rest: String,
}

pub fn split_command(line: &str) -> Split {
    let line = line.trim();
    let (keyword, rest) = split_once_blank(line).unwrap_or((line, ""));
    let (flags, rest) = split_flags(rest);
    Split { keyword: keyword.to_string(), flags, rest: rest.trim().to_string() }
}

/// BuildKit's `reWhitespace`: narrower than Unicode's idea of white space.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// At the first run of blanks.
pub fn split_once_blank(text: &str) -> Option<(&str, &str)> {
    let (head, tail) = text.split_at(text.find(is_blank)?);
    Some((head, tail.trim_start_matches(is_blank)))
}

/// Words between blanks, with no thought for quotes: what FROM, EXPOSE, VOLUME, COPY and ADD do.
pub fn blank_separated(text: &str) -> Vec<String> {
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// Takes the `--flags` off the front. Quotes and `\` work inside them, whatever the escape character is.
fn split_flags(line: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let (flag, quoted, tail) = take_flag(rest);
        rest = tail;
        if flag == "--" {
            break;
        }
        if quoted || !flag.is_empty() {
            flags.push(flag);
        }
        rest = rest.trim_start();
    }
    (flags, rest)
}

/// One flag with its quotes off, whether anything was quoted, and what follows it.
fn take_flag(text: &str) -> (String, bool, &str) {
    let mut flag = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (flag, quoted, &text[at..]),
            ('\'' | '"', None) => (quote, quoted) = (Some(c), true),
            (c, Some(q)) if c == q => quote = None,
            ('\\', _) => match chars.next() {
                Some((_, escaped)) => flag.push(escaped),
                None => quote = None,
            },
            (c, _) => flag.push(c),
        }
    }
    (flag, quoted, "")
}

/// Words for ENV, LABEL and ARG: blanks inside quotes or behind the escape character do not separate.
/// Quotes and escapes stay; they are processed when the word is expanded.
pub fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(q) if c == q => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape character at the very end escapes nothing and is dropped.
            let Some(escaped) = chars.next() else { break };
            word.push(c);
            word.push(escaped);
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{quoted_words, split_command};

    #[track_caller]
    fn check(line: &str, keyword: &str, flags: &[&str], rest: &str) {
        let split = split_command(line);
        assert_eq!((split.keyword.as_str(), split.rest.as_str()), (keyword, rest), "{line}");
        assert_eq!(split.flags, flags, "{line}");
    }

    #[test]
    fn flags_stand_right_after_the_keyword() {
        check("COPY --link --from=x a b", "COPY", &["--link", "--from=x"], "a b");
        check("RUN echo --not-a-flag", "RUN", &[], "echo --not-a-flag");
        check("RUN\t--a=1\t -- --b", "RUN", &["--a=1"], "--b");
        check("RUN --", "RUN", &[], "");
        check("RUN -x", "RUN", &[], "-x");
    }

    #[test]
    fn quotes_and_backslashes_work_inside_a_flag() {
        check(r#"COPY --from="a b" x y"#, "COPY", &["--from=a b"], "x y");
        check(r"COPY --chown=a\ b x y", "COPY", &["--chown=a b"], "x y");
        check(r#"RUN --mount='type=x,"y"' z"#, "RUN", &[r#"--mount=type=x,"y""#], "z");
        check("RUN --x=é y", "RUN", &["--x=é"], "y");
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        for (text, escape, words) in [
            ("a=b  c=d", '\\', &["a=b", "c=d"][..]),
            (r#"a="b c" d='e f'"#, '\\', &[r#"a="b c""#, "d='e f'"]),
            (r"a=b\ c d", '\\', &[r"a=b\ c", "d"]),
            (r"a=b` c d", '`', &["a=b` c", "d"]),
            (r#"a="x\" y" b"#, '\\', &[r#"a="x\" y""#, "b"]),
            (r"a='x\' b", '\\', &[r"a='x\'", "b"]),
            (r"a=b\", '\\', &["a=b"]),
            (r#"a="open"#, '\\', &[r#"a="open"#]),
        ] {
            assert_eq!(quoted_words(text, escape), words, "{text}");
        }
    }
}
