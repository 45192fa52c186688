//! The words of BuildKit's history lines, where Go's `%q` and `%v` show through.

/// `["a" "b"]`, as Go's `%q` writes a list of strings.
pub(super) fn go_quoted(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|item| go_string(item)).collect();
    format!("[{}]", quoted.join(" "))
}

/// One string as Go's `%q` writes it.
fn go_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A duration as Go's `time.Duration` prints itself: `1m30s`, `500ms`, `0s`.
pub(super) fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let with = |whole: u64, fraction: u64, width: usize, unit: &str| {
        let fraction = format!("{fraction:0width$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{whole}{unit}") } else { format!("{whole}.{fraction}{unit}") }
    };
    let text = match nanos {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{n}ns"),
        n if n < 1_000_000 => with(n / 1_000, n % 1_000, 3, "µs"),
        n if n < 1_000_000_000 => with(n / 1_000_000, n % 1_000_000, 6, "ms"),
        n => {
            let (seconds, fraction) = (n / 1_000_000_000, n % 1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = with(seconds % 60, fraction, 9, "s");
            match (hours, minutes) {
                (0, 0) => rest,
                (0, minutes) => format!("{minutes}m{rest}"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_look_as_go_prints_them() {
        assert_eq!(go_quoted(&["node".into(), "a \"b\"\n".into()]), r#"["node" "a \"b\"\n"]"#);
        assert_eq!(go_quoted(&[]), "[]");
    }

    #[test]
    fn durations_look_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1_500_000, "1.5ms"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500_000_000, "1.5s"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
    }
}
