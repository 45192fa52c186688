//! `.dockerignore`, as moby/patternmatcher and its `ignorefile` read it.

use super::glob::{self, BadPattern};
use super::wild::{Class, Piece, Wild};

/// A bound on what one file can make every path of the context cost.
const MAX_TEXT: usize = 1 << 20;

/// A line of the file is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct IgnoreError {
    pub line: usize,
    pub problem: Problem,
}

/// All lines of one file that are no patterns, in their order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct IgnoreErrors(Vec<IgnoreError>);

impl IgnoreErrors {
    pub fn iter(&self) -> std::slice::Iter<'_, IgnoreError> {
        self.0.iter()
    }

    pub fn first(&self) -> &IgnoreError {
        // Made by `Ignore::parse` alone, and only where there is one.
        &self.0[0]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    #[error(transparent)]
    BadPattern(#[from] BadPattern),
    #[error("the file is longer than {MAX_TEXT} bytes")]
    TooLong,
}

/// Which paths of a context are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// `!`: takes paths back in.
    includes: bool,
    wild: Wild,
}

impl Ignore {
    pub fn parse(text: &str) -> Result<Self, IgnoreErrors> {
        if text.len() > MAX_TEXT {
            return Err(IgnoreErrors(vec![IgnoreError { line: 1, problem: Problem::TooLong }]));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut patterns, mut faults) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let Some(pattern) = rooted(line.trim()) else {
                continue;
            };
            match Pattern::parse(&pattern) {
                Ok(pattern) => patterns.push(pattern),
                Err(problem) => faults.push(IgnoreError { line: index + 1, problem }),
            }
        }
        if faults.is_empty() { Ok(Self { patterns }) } else { Err(IgnoreErrors(faults)) }
    }

    /// Patterns given one by one, as `COPY --exclude` does: no comments, and a leading slash stays.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Problem> {
        let patterns = patterns.into_iter().map(str::trim).filter(|pattern| !pattern.is_empty());
        Ok(Self { patterns: patterns.map(Pattern::parse).collect::<Result<_, _>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern takes paths back in (`!`).
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.includes)
    }

    /// Whether one pattern leaves out all that a context has: `*`, `**` or `**/*`.
    pub fn leaves_nothing(&self) -> bool {
        let all = ["*", "**", "**/*"].map(Pattern::parse);
        !self.takes_back() && self.patterns.iter().any(|pattern| all.contains(&Ok(pattern.clone())))
    }

    /// Whether `path` (relative, slashes) is left out. The last pattern that matches it, or a folder above
    /// it, decides. The root itself always stays.
    pub fn ignored(&self, path: &str) -> bool {
        self.decided_by(path).is_some_and(|index| !self.patterns[index].includes)
    }

    /// Whether nothing below `dir` can be taken back in, so that it need not be walked.
    pub fn may_skip_dir(&self, dir: &str) -> bool {
        match self.decided_by(dir) {
            Some(index) if !self.patterns[index].includes => {
                // Patterns before the deciding one are overruled by it for everything below, too.
                let later = &self.patterns[index + 1..];
                !later.iter().any(|pattern| pattern.includes && pattern.may_match_below(dir))
            }
            _ => false,
        }
    }

    /// The last pattern that has a say about `path`.
    fn decided_by(&self, path: &str) -> Option<usize> {
        if path.is_empty() || path == "." {
            return None;
        }
        self.patterns.iter().rposition(|pattern| pattern.matches_path_or_parent(path))
    }
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, Problem> {
        let pattern = clean(pattern);
        let (includes, pattern) = match pattern.strip_prefix('!') {
            Some("") => return Err(Problem::LoneExclamation),
            Some(rest) => (true, rest),
            None => (false, pattern.as_str()),
        };
        Ok(Self { includes, wild: Wild::new(pieces(pattern)?) })
    }

    fn matches_path_or_parent(&self, path: &str) -> bool {
        let mut walk = self.wild.walk();
        for c in path.chars() {
            if c == '/' && walk.accepts() {
                return true;
            }
            walk.step(c);
            if walk.is_dead() {
                return false;
            }
        }
        walk.accepts()
    }

    fn may_match_below(&self, dir: &str) -> bool {
        let mut walk = self.wild.walk();
        dir.chars().for_each(|c| walk.step(c));
        walk.step('/');
        walk.can_go_on()
    }
}

/// One trimmed line as `ignorefile.ReadAll` leaves it: cleaned, without its leading slash.
fn rooted(line: &str) -> Option<String> {
    let (mark, path) = match line.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return (!mark.is_empty()).then(|| mark.to_string());
    }
    let path = clean(path);
    let path = path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path);
    Some(format!("{mark}{path}"))
}

/// The regular expression that patternmatcher would make of it, as pieces.
fn pieces(pattern: &str) -> Result<Vec<Piece>, BadPattern> {
    // `**` and then plain text is a mere suffix there: `**.o` matches `a/b.o`, though `**b*` does not match `a/xb`.
    if let Some(suffix) = pattern.strip_prefix("**")
        && !suffix.contains(['*', '?', '[', ']', '\\'])
        && !suffix.starts_with('/')
    {
        return Ok([Piece::Run { except: None }].into_iter().chain(suffix.chars().map(Piece::Literal)).collect());
    }
    let bad = || BadPattern(pattern.to_string());
    let mut pieces = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    pieces.extend([Piece::Optional(2), Piece::Run { except: None }, Piece::Literal('/')]);
                } else {
                    pieces.push(Piece::Run { except: None });
                }
            }
            '*' => pieces.push(Piece::Run { except: Some('/') }),
            '?' => pieces.push(Piece::One { except: '/' }),
            '[' => {
                let Class { negated, ranges } = glob::class(&mut chars).ok_or_else(bad)?;
                pieces.push(Piece::Class(Class { negated, ranges }));
            }
            '\\' => pieces.push(Piece::Literal(chars.next().ok_or_else(bad)?)),
            c => pieces.push(Piece::Literal(c)),
        }
    }
    Ok(pieces)
}

/// Go's `filepath.Clean`: no doubled or trailing slashes, `.` and inner `..` resolved, never empty.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => _ = parts.pop(),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_string(),
        (false, path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    #[track_caller]
    fn check(text: &str, path: &str, ignored: bool) {
        let ignore = Ignore::parse(text).unwrap();
        assert_eq!(ignore.ignored(path), ignored, "{text:?} {path:?}");
    }

    #[test]
    fn one_pattern_matches_a_path_or_a_folder_above_it() {
        for (pattern, path, ignored) in [
            ("node_modules", "node_modules", true),
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "src/node_modules", false),
            ("**/node_modules", "src/node_modules/a", true),
            ("**/node_modules", "node_modules", true),
            ("**/node_modules", "my_node_modules", false),
            ("a/b", "a", false),
            ("a/b", "a/bc", false),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**/*.md", "README.md", true),
            ("**/*.md", "a/b/README.md", true),
            ("**/**/*.md", "a/README.md", true),
            ("*", "a", true),
            ("*", "a/b", true),
            ("**", "a/b", true),
            ("**/", "a/b", true),
            ("**/**", "a", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/bz", false),
            ("a**", "abc/d", true),
            ("a**/*.txt", "a/b/c.txt", true),
            ("a**/*.txt", "ab/c.txt", true),
            ("**file", "dir/xfile", true),
            ("**file*", "dir/xfile", false),
            ("**/dir/*", "x/dir/y/z", true),
            ("**/dir/**", "x/dir/y/z", true),
            ("a/*.txt**", "a/file.txt", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "ace", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a.b", "axb", false),
            ("a(b)+{c}|$", "a(b)+{c}|$", true),
            (".git", ".gitignore", false),
            (".*", ".git/config", true),
        ] {
            check(pattern, path, ignored);
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        check("*.md\n!README.md", "README.md", false);
        check("!README.md\n*.md", "README.md", true);
        check("docs\n!docs/README.md", "docs/README.md", false);
        check("docs\n!docs/README.md", "docs/other.md", true);
        check("*\n!src\nsrc/*.log", "src/a.rs", false);
        check("*\n!src\nsrc/*.log", "src/a.log", true);
        check("**\n!util/web", "util/web/foo", false);
        check("**\n!util/web\nutil/web/foo", "util/web/foo", true);
    }

    #[test]
    fn lines_are_trimmed_cleaned_and_rooted() {
        check("\u{feff}a", "a", true);
        check("# a\na # b", "a", false);
        check(" #a", "#a", true);
        check("  a  \r\n", "a", true);
        check("/a/b/", "a/b", true);
        check("./a//b/../c", "a/c", true);
        check("*\n! /a/b/ ", "a/b", false);
        check("\n\n", "a", false);
        check("/", "a", false);
        check(".", "a", false);
    }

    #[test]
    fn the_root_always_stays() {
        check("**", ".", false);
        check("*", "", false);
    }

    #[test]
    fn a_line_that_is_no_pattern_is_named() {
        for (text, message) in [
            ("a\n[x", "line 2: syntax error in pattern \"[x\""),
            ("!", "line 1: illegal exclusion pattern: \"!\""),
            ("# c\n\n! ", "line 3: illegal exclusion pattern: \"!\""),
            ("a\\", "line 1: syntax error in pattern \"a\\\\\""),
        ] {
            assert_eq!(Ignore::parse(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    #[test]
    fn a_folder_is_skipped_when_nothing_in_it_can_come_back() {
        for (text, dir, skip) in [
            ("node_modules", "node_modules", true),
            ("node_modules", "src", false),
            ("*\n!src", "docs", true),
            ("*\n!src", "src", false),
            ("*\n!src/keep/*.rs", "src", false),
            ("*\n!src/keep/*.rs", "src/keep", false),
            ("*\n!src/keep/*.rs", "src/other", true),
            ("*\n!**/*.md", "docs", false),
            ("*\n!docs*", "src", true),
            ("!docs/a\ndocs", "docs", true),
            ("docs\n!docs", "docs", false),
        ] {
            assert_eq!(Ignore::parse(text).unwrap().may_skip_dir(dir), skip, "{text:?} {dir:?}");
        }
    }

    #[test]
    fn a_file_says_whether_it_takes_back_and_whether_it_leaves_nothing() {
        for (text, takes_back, leaves_nothing) in [
            ("", false, false),
            ("a*\n**/*", false, true),
            ("/*/", false, true),
            ("**", false, true),
            ("**/*.md", false, false),
            ("*\n!a", true, false),
        ] {
            let ignore = Ignore::parse(text).unwrap();
            assert_eq!((ignore.takes_back(), ignore.leaves_nothing()), (takes_back, leaves_nothing), "{text:?}");
        }
    }

    #[test]
    fn excluded_patterns_of_a_flag_keep_their_slash() {
        let ignore = Ignore::from_patterns(["/a", "*.log", "!keep.log"]).unwrap();
        assert_eq!(["a", "x.log", "keep.log"].map(|path| ignore.ignored(path)), [false, true, false]);
    }

    #[test]
    fn a_hostile_pattern_takes_no_more_than_its_share_of_time() {
        check(&("**/*a".repeat(100) + "b"), &"a/".repeat(2000), false);
    }
}
