//! Whatever the text, reading it ends, and without a panic.

use super::expand::Lexer;
use super::ignore::Ignore;
use super::{Heredoc, Kind, Onbuild, Source, Word, glob, parse, parse_trigger};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};
use std::collections::BTreeMap;

pub(crate) fn fixed() -> Config {
    Config {
        cases: 400,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(17),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Text made of the pieces that mean something, so that it gets past the first check.
pub(crate) fn dockerfile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => proptest::sample::select(vec![
            "FROM x\n", "RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "LABEL ", "HEALTHCHECK ", "ONBUILD ", "SHELL ", "EXPOSE ",
            "VOLUME ", "CMD ", "# escape=`\n", "# syntax=", "\\\n", "`\n", "\n", "\r\n", " ", "\t", "\\", "\"", "'", "<<E", "<<-",
            "3<<\"E\"", "E\n", "--", "--mount=type=cache,", "--from=", "=", "[\"", "\"]", "[", "a", "$a", "${", "}", "\u{feff}", "é",
        ]).prop_map(String::from),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn word() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec![
            "${", "$", "a", "b", "}", ":", "-", "+", "?", "#", "%", "/", "//", "*", "\\", "\"", "'", " ", "é", "\n",
        ]).prop_map(String::from),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn env() -> BTreeMap<String, String> {
    [("a", "x/y z"), ("b", "")].map(|(name, value)| (name.to_string(), value.to_string())).into()
}

proptest! {
    #![proptest_config(fixed())]

    #[test]
    fn a_file_is_read_or_refused_and_its_places_are_in_it(text in dockerfile_text()) {
        match parse(&text) {
            Ok(file) => {
                let mut end = 0;
                for instruction in &file.instructions {
                    let span = instruction.span;
                    prop_assert!(end <= span.start && span.start <= span.end && span.line <= span.last_line);
                    prop_assert!(text.get(span.start..span.end).is_some());
                    end = span.end;
                }
            }
            Err(errors) => {
                prop_assert!(errors.iter().count() > 0);
                prop_assert!(errors.iter().all(|error| text.get(error.span.start..error.span.end).is_some()));
            }
        }
    }

    #[test]
    fn a_stored_trigger_is_read_back_as_it_was(text in dockerfile_text()) {
        if let Ok(file) = parse(&format!("FROM x\nONBUILD {text}"))
            && let Kind::Onbuild(Onbuild { trigger, kind }) = &file.instructions[1].kind
        {
            let child = parse_trigger(trigger);
            prop_assert_eq!(child.map(|child| child.kind).map_err(|errors| errors.to_string()), Ok(kind.as_ref().clone()));
        }
    }

    #[test]
    fn a_word_is_expanded_or_refused(word in word()) {
        let lexers = ['\\', '`'].map(Lexer::new);
        let expanded = lexers.iter().map(|lexer| lexer.expand(&word, &env()));
        for expansion in expanded.chain([lexers[0].expand_body(&word, &env())]).flatten() {
            prop_assert!(expansion.words.iter().all(|word| !word.is_empty()));
        }
    }

    #[test]
    fn a_word_without_anything_special_stays(word in "[a-zA-Z0-9_./:=@ -]{0,40}") {
        prop_assert_eq!(Lexer::new('\\').expand_word(&word, &env()), Ok(word.clone()));
    }

    #[test]
    fn patterns_match_or_do_not(pattern in word(), path in "[a-c/]{0,12}") {
        let _ = glob::matches(&pattern, &path);
        if let Ok(ignore) = Ignore::parse(&pattern) && ignore.may_skip_dir(&path) {
            prop_assert!(ignore.ignored(&path));
            prop_assert!(ignore.ignored(&format!("{path}/a")), "{pattern:?} {path:?}");
        }
    }

    #[test]
    fn a_heredoc_body_comes_through_whole(body in "([a-z #\\\\$]{0,8}\n){0,6}") {
        let file = parse(&format!("FROM x\nCOPY <<END /f\n{body}END\n")).expect("the body has no capitals to end it");
        let Kind::Copy(copy) = &file.instructions[1].kind else { panic!("{file:?}") };
        let heredoc = Heredoc { name: "END".into(), file_descriptor: 0, expand: true, chomp: false, body };
        prop_assert_eq!(&copy.sources, &[Source::Inline(heredoc)]);
        prop_assert_eq!(&copy.destination, &Word("/f".into()));
    }
}

/// A file of `count` lines, each what `line` makes of its number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

#[test]
fn names_that_stand_again_and_again_cost_no_more_than_the_file() {
    // Each would be a copy of the last body.
    let names = "<<a ".repeat(2_000);
    let text = format!("FROM x\nCOPY {names} /d\n{}{}a\n", "a\n".repeat(1_999), "x".repeat(60_000) + "\n");
    let errors = parse(&text).expect_err("120 MB of heredocs");
    assert!(errors.first().message.starts_with("the heredocs are more than"), "{errors}");
}

#[test]
fn a_file_of_faults_is_given_up() {
    let errors = parse(&lines(100_000, |n| format!("FAULT{n} x\n"))).expect_err("no instructions");
    assert_eq!(errors.iter().count(), 50);
}
