//! `90s`, `30m`, `1h30m`.

use std::time::Duration;

/// A span of time as people write it. A bare number is refused: nobody agrees on its unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{}` is not a duration; write 90s, 30m or 1h30m", text.escape_debug());
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            _ => return Err(bad()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
        rest = &rest[digits + 1..];
    }
    // A year bounds what is added to a clock later.
    if seconds == 0 || seconds > 366 * 86_400 { Err(bad()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "90", "s", "1x", "-1s", "0s", "1h30", "99999999999999999999s", "1é", "400d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
