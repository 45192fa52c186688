//! A stretch of a file that the user wrote, shown as rustc shows one: `-->`, the lines with their numbers, and a mark
//! under what is meant.

use std::ops::Range;

use serde_json::{Value, json};

use super::escape;
use super::screen::Paint;
use crate::dockerfile::Span;
use crate::dockerfile::credentials::hidden;

/// More lines than this say no more about where it is.
const SHOWN_LINES: usize = 10;

/// A longer line is shown in part: what is meant, and what stands around it.
const SHOWN_WIDTH: usize = 160;

/// A line, or several, of a file that the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// The text that stands there.
    pub source: Vec<String>,
    /// The part that is meant; `None` for all of it.
    mark: Option<Mark>,
}

/// Characters of one line of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    /// Counted from the place's first.
    line: usize,
    columns: Range<usize>,
}

impl Place {
    /// The place in `text` that a span names.
    pub fn in_text(file: &str, text: &str, span: Span) -> Self {
        let count = span.last_line.saturating_sub(span.line) + 1;
        let source =
            text.lines().skip(span.line.saturating_sub(1)).take(count).map(|line| hidden(line).into_owned()).collect();
        Self { file: file.to_owned(), line: span.line, source, mark: None }
    }

    /// The same, and of it the word that is meant, where it stands there as it is said.
    pub fn of_word(file: &str, text: &str, span: Span, word: Option<&str>) -> Self {
        let place = Self::in_text(file, text, span);
        match word.and_then(|word| span.of_word(text, word)) {
            Some(word) => place.marking(text, word),
            None => place,
        }
    }

    /// One line, and of it the bytes that are meant.
    pub fn in_line(file: &str, text: &str, line: usize, part: Range<usize>) -> Self {
        let mut place = Self::of_line(file, text, line);
        // A line that is shown without its credentials has other columns.
        let written = text
            .lines()
            .nth(line.saturating_sub(1))
            .filter(|line| Some(*line) == place.source.first().map(String::as_str));
        place.mark = written.and_then(|line| {
            let (before, meant) = (line.get(..part.start)?, line.get(part)?);
            let start = before.chars().count();
            Some(Mark { line: 0, columns: start..start + meant.chars().count() })
        });
        place
    }

    /// One whole line, counted from 1.
    pub fn of_line(file: &str, text: &str, line: usize) -> Self {
        Self::in_text(file, text, line_span(text, line))
    }

    /// One line, and of it the word that is meant, where it stands there.
    pub fn of_word_on(file: &str, text: &str, line: usize, word: &str) -> Self {
        Self::of_word(file, text, line_span(text, line), Some(word))
    }

    /// These bytes of `text`: of one line they are what is meant, of several all of each.
    pub fn of_bytes(file: &str, text: &str, bytes: Range<usize>) -> Self {
        let lines_to = |byte: usize| text.get(..byte.min(text.len())).unwrap_or(text).matches('\n').count();
        let line = lines_to(bytes.start) + 1;
        let last_line = lines_to(bytes.end.saturating_sub(1).max(bytes.start)) + 1;
        let span = Span { start: bytes.start, end: bytes.end, line, last_line };
        let place = Self::in_text(file, text, span);
        if line == last_line && text.get(bytes).is_some_and(|meant| !meant.trim().is_empty()) {
            return place.marking(text, span);
        }
        place
    }

    /// The place with a mark under `word`, which stands within it.
    fn marking(mut self, text: &str, word: Span) -> Self {
        let line_start = text[..word.start].rfind('\n').map_or(0, |newline| newline + 1);
        let before = text[line_start..word.start].chars().count();
        let columns = before..before + text[word.start..word.end].chars().count();
        let line = word.line - self.line;
        // A line that is shown without its credentials has other columns.
        let as_written = text.lines().nth(word.line - 1) == self.source.get(line).map(String::as_str);
        self.mark = as_written.then_some(Mark { line, columns });
        self
    }

    /// How far to the right the bar stands, for what is written below it.
    pub(super) fn gutter(&self) -> usize {
        (self.line + self.source.len()).saturating_sub(1).to_string().len().max(2)
    }

    /// The form that a person reads, with a line feed at its end. `mark` paints what stands under the text.
    pub(super) fn words(&self, paint: Paint, mark: impl Fn(&str) -> String) -> String {
        let shown = match &self.mark {
            Some(found) => self.marked(found, &mark),
            None if self.source.len() > 1 => self.bracketed(&mark),
            None => self.source.first().map_or_else(Vec::new, |line| self.underlined(0, line, whole(line), &mark)),
        };
        let gutter = self.gutter();
        let at = match &self.mark {
            Some(Mark { line, columns }) => format!("{}:{}", self.line + line, columns.start + 1),
            None => self.line.to_string(),
        };
        let mut out = format!("{}{} {}:{at}\n", " ".repeat(gutter), paint.frame("-->"), escape::text(&self.file));
        if !shown.is_empty() {
            out += &format!("{}\n", paint.frame(&format!("{:gutter$} |", "")));
        }
        for Row { number, text } in shown {
            let number = number.map_or_else(String::new, |number| number.to_string());
            out += &format!("{} {text}\n", paint.frame(&format!("{number:>gutter$} |")));
        }
        out
    }

    /// The keys that a program reads.
    pub(super) fn json(&self) -> Value {
        let (line, columns) = match &self.mark {
            Some(Mark { line, columns }) => (self.line + line, Some([columns.start + 1, columns.end + 1])),
            None => (self.line, None),
        };
        json!({ "file": self.file, "line": line, "columns": columns, "source": self.source })
    }

    /// The instruction's first line, and the one with the mark.
    fn marked(&self, Mark { line, columns }: &Mark, mark: &impl Fn(&str) -> String) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(first) = self.source.first().filter(|_| *line > 0) {
            rows.push(Row { number: Some(self.line), text: cut(first, 0..0).0 });
        }
        if *line > 1 {
            rows.push(Row { number: None, text: "…".to_owned() });
        }
        rows.extend(self.source.get(*line).map_or_else(Vec::new, |s| self.underlined(*line, s, columns.clone(), mark)));
        rows
    }

    fn underlined(&self, at: usize, line: &str, columns: Range<usize>, mark: &impl Fn(&str) -> String) -> Vec<Row> {
        let (text, under) = cut(line, columns);
        let mut rows = vec![Row { number: Some(self.line + at), text }];
        if !under.is_empty() {
            let text = format!("{}{}", " ".repeat(under.start), mark(&"^".repeat(under.len())));
            rows.push(Row { number: None, text });
        }
        rows
    }

    /// All lines, with a bracket at their left.
    fn bracketed(&self, mark: &impl Fn(&str) -> String) -> Vec<Row> {
        let left_out = self.source.len().saturating_sub(SHOWN_LINES);
        let mut rows = Vec::new();
        let mut width = 0;
        for (at, line) in self.source.iter().enumerate() {
            if left_out > 0 && at == SHOWN_LINES - 1 {
                rows.push(Row { number: None, text: format!("{} … ({left_out} more lines)", mark("|")) });
            }
            if left_out > 0 && (SHOWN_LINES - 1..self.source.len() - 1).contains(&at) {
                continue;
            }
            let (text, under) = cut(line, whole(line));
            width = under.end;
            rows.push(Row {
                number: Some(self.line + at),
                text: format!("{} {text}", mark(if at == 0 { "/" } else { "|" })),
            });
        }
        rows.push(Row { number: None, text: mark(&format!("|_{}^", "_".repeat(width.saturating_sub(1)))) });
        rows
    }
}

/// All of a line, counted from 1.
fn line_span(text: &str, line: usize) -> Span {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    Span { start, end, line, last_line: line }
}

/// What stands right of the bar, and the number left of it.
struct Row {
    number: Option<usize>,
    text: String,
}

/// All of a line but the blanks around it.
fn whole(line: &str) -> Range<usize> {
    let end = line.trim_end().chars().count();
    end - line.trim().chars().count()..end
}

/// The line made harmless, cut where it is long, and where some of its characters are in what is shown.
fn cut(line: &str, columns: Range<usize>) -> (String, Range<usize>) {
    let from = match line.chars().count() > SHOWN_WIDTH {
        true => columns.start.saturating_sub(SHOWN_WIDTH / 4),
        false => 0,
    };
    let mut shown = String::new();
    let mut under = 0..0;
    let mut width = 0;
    if from > 0 {
        shown.push('…');
        width = 1;
    }
    for (at, c) in line.chars().enumerate().skip(from) {
        if at - from >= SHOWN_WIDTH {
            shown.push('…');
            break;
        }
        // A tab has no width of its own under which something could be drawn.
        let piece = if c == '\t' { "    ".to_owned() } else { escape::text(c.encode_utf8(&mut [0; 4])) };
        let wide = piece.chars().count();
        if columns.contains(&at) {
            under = if under.is_empty() { width..width + wide } else { under.start..width + wide };
        }
        width += wide;
        shown.push_str(&piece);
    }
    (shown, under)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of a word in a file's only instruction.
    #[track_caller]
    fn check(text: &str, word: &str, wanted: &str) {
        let span = Span { start: 0, end: text.len(), line: 1, last_line: text.lines().count() };
        let place = Place::of_word("f", text, span, Some(word));
        assert_eq!(place.words(Paint::off(), str::to_owned), wanted, "{text}");
    }

    #[test]
    fn a_word_is_underlined_where_it_stands() {
        check("COPY --form=a b /", "--form", "  --> f:1:6\n   |\n 1 | COPY --form=a b /\n   |      ^^^^^^\n");
        check("RUN a \\\n  $b", "$b", "  --> f:2:3\n   |\n 1 | RUN a \\\n 2 |   $b\n   |   ^^\n");
        check("RUN a \\\n  b \\\n c", "c", "  --> f:3:2\n   |\n 1 | RUN a \\\n   | …\n 3 |  c\n   |  ^\n");
    }

    #[test]
    fn without_a_word_all_of_it_is_meant() {
        check("  WORKDIR ", "none", "  --> f:1\n   |\n 1 |   WORKDIR \n   |   ^^^^^^^\n");
        check("RUN a \\\n  bc", "none", "  --> f:1\n   |\n 1 | / RUN a \\\n 2 | |   bc\n   | |____^\n");
        check("", "none", "  --> f:1\n");
    }

    #[test]
    fn tabs_and_what_steers_a_terminal_do_not_move_the_mark() {
        check(
            "ENV\t\u{1b}[2J\té=1",
            "é",
            "  --> f:1:10\n   |\n 1 | ENV    \\x1b[2J    é=1\n   |                   ^\n",
        );
    }

    #[test]
    fn a_long_heredoc_is_shown_by_its_beginning_and_its_end() {
        let text = format!("RUN <<EOF\n{}EOF\n", "x\n".repeat(20));
        let span = Span { start: 0, end: text.len(), line: 1, last_line: 22 };
        let words = Place::in_text("f", &text, span).words(Paint::off(), str::to_owned);
        assert!(words.ends_with(" 9 | | x\n   | | … (12 more lines)\n22 | | EOF\n   | |___^\n"), "{words}");
    }

    #[test]
    fn of_a_long_line_the_part_with_the_mark_is_shown() {
        let text = format!("ENV {} here {}", "a".repeat(1000), "b".repeat(1000));
        let span = Span { start: 0, end: text.len(), line: 1, last_line: 1 };
        let words = Place::of_word("f", &text, span, Some("here")).words(Paint::off(), str::to_owned);
        let lines: Vec<&str> = words.lines().collect();
        assert!(lines[2].chars().count() < 200 && lines[2].contains(" here b"), "{words}");
        assert_eq!(lines[2].find("here").map(|at| lines[2][..at].chars().count()), lines[3].find('^'), "{words}");
    }

    #[test]
    fn bytes_find_their_line_and_their_columns() {
        let words = |bytes| Place::of_bytes("f", "a\nbc d\ne", bytes).words(Paint::off(), str::to_owned);
        assert_eq!(words(2..4), "  --> f:2:1\n   |\n 2 | bc d\n   | ^^\n");
        assert_eq!(words(5..5), "  --> f:2\n   |\n 2 | bc d\n   | ^^^^\n");
        assert_eq!(words(5..8), "  --> f:2\n   |\n 2 | / bc d\n 3 | | e\n   | |_^\n");
        assert_eq!(words(99..100), "  --> f:3\n   |\n 3 | e\n   | ^\n");
    }

    #[test]
    fn a_word_on_a_line_is_marked_there_alone() {
        let words = |word| Place::of_word_on("f", "ab\nb ab\n", 2, word).words(Paint::off(), str::to_owned);
        assert_eq!(words("ab"), "  --> f:2:3\n   |\n 2 | b ab\n   |   ^^\n");
        assert_eq!(words("c"), "  --> f:2\n   |\n 2 | b ab\n   | ^^^^\n");
    }
}
