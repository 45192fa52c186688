use super::allowance::{BYTES, STEPS};
use super::{ExpandError, Lexer};
use std::collections::BTreeMap;

fn env() -> BTreeMap<String, String> {
    [
        ("FOO", "bar"),
        ("EMPTY", ""),
        ("TWO", "a b"),
        ("PATH_", "/usr/local/bin"),
        ("STARS", "a***yy*"),
        ("URL", "http://example.org/x"),
        ("FILE", "archive.tar.gz"),
        ("POD", "*.t"),
        ("이름", "한국어"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .into()
}

#[track_caller]
fn check(word: &str, expected: &str) {
    let got = match Lexer::new('\\').expand_word(word, &env()) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(got, expected, "{word}");
}

#[track_caller]
fn check_words(word: &str, expected: &[&str]) {
    assert_eq!(Lexer::new('\\').expand_words(word, &env()).unwrap(), expected, "{word}");
}

#[test]
fn a_variable_is_filled_in_and_one_that_is_unset_is_empty() {
    check("$FOO", "bar");
    check("x${FOO}y", "xbary");
    check("$FOO-$FOO", "bar-bar");
    check("a$NOPE.", "a.");
    check("${이름}$이름", "한국어한국어");
    check("$1x $12x", "x x");
    check("$", "$");
    check("$.", "$.");
    check("a $ b", "a $ b");
    check("$@", "");
}

#[test]
fn quotes_are_taken_off_and_single_ones_hold_everything() {
    check(r#""$FOO" '$FOO'"#, "bar $FOO");
    check(r#"it"'"s"#, "it's");
    check(r#"'a"b'"#, r#"a"b"#);
    check(r#""a\"b\$c\\d\e""#, r#"a"b$c\d\e"#);
    check("'a", "error: unexpected end of statement while looking for matching single-quote");
    check("\"a", "error: unexpected end of statement while looking for matching double-quote");
    check("\"a\\", "error: unexpected end of statement while looking for matching double-quote");
}

#[test]
fn the_escape_character_takes_the_meaning_from_the_next() {
    check(r"\$FOO \\ \a", r"$FOO \ a");
    check(r"a\", "a");
    let backtick = Lexer::new('`');
    assert_eq!(backtick.expand_word(r"c:\$FOO`$FOO", &env()).unwrap(), r"c:\bar$FOO");
}

#[test]
fn defaults_and_alternatives_tell_unset_from_empty() {
    check("${NOPE:-x}${EMPTY:-y}${FOO:-z}", "xybar");
    check("${NOPE-x}${EMPTY-y}${FOO-z}", "xbar");
    check("${NOPE:+x}${EMPTY:+y}${FOO:+z}", "z");
    check("${NOPE+x}${EMPTY+y}${FOO+z}", "yz");
    check("${NOPE:-${ALSO:-$FOO}}", "bar");
    check("${NOPE:-a:-b}", "a:-b");
    check("${NOPE:-'}'}", "}");
    check(r"${NOPE:-\}}", "}");
    check("${NOPE:-a b}", "a b");
}

#[test]
fn a_required_variable_says_its_message() {
    check("${FOO:?gone}${EMPTY?gone}", "bar");
    check("${EMPTY:?no $FOO}", "error: EMPTY: no bar");
    check("${NOPE?}", "error: NOPE: is not allowed to be unset");
    check("${EMPTY:?}", "error: EMPTY: is not allowed to be empty");
}

#[test]
fn prefixes_and_suffixes_are_cut_shortest_or_longest() {
    check("${PATH_#*/}", "usr/local/bin");
    check("${PATH_##*/}", "bin");
    check("${PATH_%/*}", "/usr/local");
    check("${PATH_%%/*}", "");
    check("${FILE%.*} ${FILE%%.*} ${FILE#*.} ${FILE##*.}", "archive.tar archive tar.gz gz");
    check("${FOO#?}${FOO%?}", "arba");
    check("${FOO#x}${FOO#}${FOO%%}", "barbarbar");
    check(r"${STARS%%\**\*}", "a");
    check("${FOO#$FOO}", "");
    check("${NOPE#x}", "");
    check(r"${FOO#\b}", r"error: invalid pattern (\b) in substitution: only } / * ? and \ can be escaped");
}

#[test]
fn a_pattern_is_replaced_once_or_everywhere() {
    check("${FILE/./_} ${FILE//./_}", "archive_tar.gz archive_tar_gz");
    check("${URL/http:/https:}", "https://example.org/x");
    check(r"${URL/http:\/\//}", "example.org/x");
    check("${PATH_//\\//:}", ":usr:local:bin");
    check("${FILE/a*e/x}", "x.tar.gz");
    check("${FILE//?/x}", "xxxxxxxxxxxxxx");
    check("${FOO//$EMPTY/-}", "-b-a-r-");
    check("${FOO/$EMPTY/-}", "-bar");
    check("${FOO//*/-}", "-");
    check("${FOO/a/$TWO}", "ba br");
    check("${FOO/zzz/y}", "bar");
    check("${FOO/a}", "error: syntax error: missing '/' in ${}");
    check("${FOO//a}", "error: syntax error: missing '/' in ${}");
    check("${FOO/a/b", "error: syntax error: missing '}'");
}

#[test]
fn patterns_know_only_two_wildcards() {
    let env: BTreeMap<_, _> = [
        ("SPECIAL", r"()[]{}^$.*?|\x"),
        ("GLOB", "/foo*/*/*.txt"),
        ("NEEDLE", r"\*/"),
        ("TMP", "/tmp/foo.txt"),
        ("XY", "xxyy"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .into();
    for (word, expected) in [
        (r"${SPECIAL#()[]{\}^$.\*\?|\\}", "x"),
        ("${GLOB/$NEEDLE/.} - ${GLOB//$NEEDLE/.}", "/foo.*/*.txt - /foo..*.txt"),
        (r"${TMP//\//\/}", r"\/tmp\/foo.txt"),
        ("${XY#*x*y}", "y"),
        ("${XY#*}${XY##*}", "xxyy"),
        ("${XY///}", "xxyy"),
    ] {
        assert_eq!(Lexer::new('\\').expand_word(word, &env).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn what_is_no_substitution_is_an_error() {
    check("${}", "error: syntax error: bad substitution");
    check("${:-x}", "error: syntax error: bad substitution");
    check("${{x}", "error: syntax error: bad substitution");
    check("${FOO", "error: syntax error: missing '}'");
    check("${", "error: syntax error: missing '}'");
    check("${FOO:", "error: unsupported modifier (:) in substitution");
    check("${FOO:-x", "error: syntax error: missing '}'");
    check("${FOO:#x}", "error: unsupported modifier (:#) in substitution");
    check("${FOO:%x}", "error: unsupported modifier (:%) in substitution");
    check("${FOO:1:2}", "error: unsupported modifier (:1) in substitution");
    check("${FOO=x}", "error: unsupported modifier (=) in substitution");
    check("${FOO^}", "error: unsupported modifier (^) in substitution");
}

#[test]
fn words_are_split_after_variables_are_filled_in() {
    check_words("a  b", &["a", "b"]);
    check_words("$TWO", &["a", "b"]);
    check_words("x$TWO", &["xa", "b"]);
    check_words("\"$TWO\" '$TWO'", &["a b", "$TWO"]);
    check_words(r"a\ b c", &["a b", "c"]);
    check_words("8080$NOPE $EMPTY 9090", &["8080", "9090"]);
    check_words("\"\" ''", &[]);
    check_words("", &[]);
}

#[test]
fn it_is_known_which_variables_took_part() {
    let expansion = Lexer::new('\\').expand("$FOO ${NOPE:-$EMPTY} '$TWO' ${FOO}", &env()).unwrap();
    assert_eq!(expansion.used.into_iter().collect::<Vec<_>>(), ["EMPTY", "FOO"]);
    assert_eq!(expansion.unset.into_iter().collect::<Vec<_>>(), ["NOPE"]);
}

#[test]
fn in_a_heredocs_body_quotes_are_text() {
    let lexer = Lexer::new('`');
    assert_eq!(lexer.expand_body("it's \"$FOO\" \\$FOO\n", &env()).unwrap().text, "it's \"bar\" $FOO\n");
}

#[test]
fn nesting_and_length_have_ends() {
    let lexer = Lexer::new('\\');
    let deep = "${a:-".repeat(100) + &"}".repeat(100);
    assert_eq!(lexer.expand_word(&deep, &env()), Err(ExpandError::TooDeep));
    let big: BTreeMap<_, _> = [("A".to_string(), "x".repeat(1 << 20))].into();
    assert_eq!(lexer.expand_word(&"$A".repeat(17), &big), Err(ExpandError::TooLong));
    assert_eq!(lexer.expand_word("${A//x/$A}", &big), Err(ExpandError::TooLong));
    lexer.search(STEPS - (1 << 20)).unwrap();
    let stars = format!("${{A//{}b/y}}", "*x".repeat(100));
    assert_eq!(lexer.expand_word(&stars, &big), Err(ExpandError::TooSlow));
}

#[test]
fn all_words_of_a_file_share_one_allowance() {
    let lexer = Lexer::new('\\');
    assert_eq!((lexer.keep(BYTES - 1), lexer.keep(1)), (Ok(()), Ok(())));
    assert_eq!(lexer.expand_word("$FOO", &env()), Err(ExpandError::TooMuch));
    assert!(lexer.clone().expand_word("$FOO", &env()).is_ok(), "a copy is for another build");
}
