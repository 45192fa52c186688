//! Words as a shell takes and gives them: split at spaces, quoted where they need it. Nothing is expanded.

/// The words of a line; `None` where a quote is not closed or nothing follows a backslash.
pub fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        // Within them, it takes the meaning of these alone: POSIX, 2.2.3.
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// A word that a shell takes for this one.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:=@,+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        for (line, words) in [
            ("python load.py --full", &["python", "load.py", "--full"][..]),
            ("sh -c 'echo \"a  b\"; exit 3'", &["sh", "-c", "echo \"a  b\"; exit 3"]),
            (r#"a\ b "c \" \n" '' d'e'f"#, &["a b", "c \" \\n", "", "def"]),
            ("  ", &[]),
        ] {
            assert_eq!(split(line).unwrap_or_else(|| panic!("{line} is closed")), words, "{line}");
        }
        for open in ["'a", "\"a", "a\\"] {
            assert_eq!(split(open), None, "{open}");
        }
    }

    #[test]
    fn what_is_quoted_is_one_word_again() {
        for word in ["os_opendata", "", "a b", "it's", "$HOME", "a\nb"] {
            assert_eq!(split(&quoted(word)), Some(vec![word.to_owned()]), "{word}");
        }
        assert_eq!(quoted("os_opendata"), "os_opendata");
    }
}
