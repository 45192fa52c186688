//! Text from outside, made harmless for a terminal and for who reads it.

use std::fmt::Write;

/// Longest line that is shown whole; a terminal is no place for more.
const LONGEST: usize = 64 * 1024;

/// One line from outside. Tabs and printable UTF-8 stay; what steers a terminal (C0 with ESC, C1, DEL) or turns
/// the direction of writing, and bytes that are no UTF-8, are written as escapes: `\x1b`, `\u{202e}`.
pub fn line(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(LONGEST)];
    let mut out = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        push(&mut out, chunk.valid());
        for byte in chunk.invalid() {
            write_to(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    if bytes.len() > shown.len() {
        write_to(&mut out, format_args!("… ({} more bytes)", bytes.len() - shown.len()));
    }
    out
}

/// The same for text; a line feed is escaped too.
pub fn text(text: &str) -> String {
    line(text.as_bytes())
}

/// The first line, and a sign where there was more.
pub fn first_line(whole: &str) -> String {
    match whole.split_once('\n') {
        Some((first, rest)) if !rest.trim().is_empty() => format!("{} …", text(first)),
        Some((first, _)) => text(first),
        None => text(whole),
    }
}

/// Whether a character steers a terminal, or makes text read in another order than it is written.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() && c != '\t'
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if is_unsafe(c) && u32::from(c) < 0x80 => write_to(out, format_args!("\\x{:02x}", u32::from(c))),
            c if is_unsafe(c) => write_to(out, format_args!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
}

fn write_to(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(args);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out() {
        for (raw, shown) in [
            (&b"plain \xc3\xa9\tx"[..], "plain é\tx"),
            (b"\x1b[31mred", "\\x1b[31mred"),
            (b"a\rb\nc", "a\\rb\\nc"),
            (b"bell\x07 del\x7f", "bell\\x07 del\\x7f"),
            (b"c1 \xc2\x9b2J", "c1 \\u{9b}2J"),
            (b"bad \xff\xfe", "bad \\xff\\xfe"),
            ("turned \u{202e}gpj.exe".as_bytes(), "turned \\u{202e}gpj.exe"),
        ] {
            assert_eq!(line(raw), shown);
        }
    }

    #[test]
    fn a_huge_line_says_how_much_is_left_out() {
        assert!(line(&vec![b'x'; LONGEST + 7]).ends_with("x… (7 more bytes)"));
    }

    #[test]
    fn only_the_first_line_of_a_heredoc_is_shown() {
        assert_eq!(first_line("RUN <<EOF\nset -e\nEOF"), "RUN <<EOF …");
        assert_eq!(first_line("RUN a\n"), "RUN a");
    }
}
