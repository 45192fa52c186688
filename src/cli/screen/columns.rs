//! What a text takes on a terminal, and as much of it as there is room for.

use unicode_width::UnicodeWidthChar;

/// How large the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub columns: usize,
    pub rows: usize,
}

impl Size {
    /// That of the terminal at stderr; one that does not say gets what terminals had for decades.
    pub(super) fn of_stderr() -> Self {
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
        let said = |number: Option<u16>, else_: usize| number.map_or(else_, usize::from).max(1);
        Self {
            columns: said(size.map(|size| size.ws_col).filter(|&columns| columns > 0), 80),
            rows: said(size.map(|size| size.ws_row).filter(|&rows| rows > 0), 24),
        }
    }
}

pub(super) fn width(text: &str) -> usize {
    text.chars().map(of).sum()
}

/// The text, or its beginning and a sign where there is more of it than room. A tab is a blank: how far it jumps is the
/// terminal's own affair.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let text = text.replace('\t', " ");
    if width(&text) <= columns {
        return text;
    }
    let mut out = String::new();
    let mut taken = 0;
    for c in text.chars() {
        if taken + of(c) > columns.saturating_sub(1) {
            break;
        }
        taken += of(c);
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text, cut or filled up with blanks to exactly so many columns.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let blanks = columns.saturating_sub(width(&text));
    text + &" ".repeat(blanks)
}

fn of(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_never_takes_more_columns_than_there_are() {
        for (text, columns, wanted) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("a\tb", 9, "a b"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(cut(text, columns), wanted);
            assert_eq!(width(&fit(text, columns)), columns, "{text} in {columns}");
        }
    }
}
