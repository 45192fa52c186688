//! Go's `time.ParseDuration`: `1h30m`, `1.5s`, `-2us`.

pub const MILLISECOND: i64 = 1_000_000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("invalid duration {0:?}")]
    Invalid(String),
    #[error("missing unit in duration {0:?}")]
    NoUnit(String),
    #[error("unknown unit {unit:?} in duration {duration:?}")]
    UnknownUnit { unit: String, duration: String },
}

/// Nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_string());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let nanoseconds = unit_nanoseconds(unit, text)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = whole
            .checked_mul(nanoseconds)
            .and_then(|whole| total.checked_add(whole))
            .map(|total| total + part_of(fraction, nanoseconds))
            .filter(|total| *total <= i128::from(i64::MAX))
            .ok_or_else(invalid)?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn unit_nanoseconds(unit: &str, duration: &str) -> Result<i128, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => i128::from(MILLISECOND),
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(DurationError::NoUnit(duration.to_string())),
        _ => {
            return Err(DurationError::UnknownUnit { unit: unit.to_string(), duration: duration.to_string() });
        }
    })
}

/// `0.fraction` of `nanoseconds`, cut. Digits beyond the 18th weigh less than a nanosecond of any unit's hour.
fn part_of(fraction: &str, nanoseconds: i128) -> i128 {
    let digits = &fraction[..fraction.len().min(18)];
    let scale = (0..digits.len()).fold(1i128, |scale, _| scale * 10);
    digits.parse::<i128>().map_or(0, |digits| digits * nanoseconds / scale)
}

#[cfg(test)]
mod tests {
    use super::parse_duration;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("30s", Ok(30_000_000_000)),
            ("1h15m30.918s", Ok(4_530_918_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            (".5s", Ok(500_000_000)),
            ("5.s", Ok(5_000_000_000)),
            ("-2us", Ok(-2_000)),
            ("+1µs", Ok(1_000)),
            ("3", Err("missing unit in duration \"3\"")),
            ("3d", Err("unknown unit \"d\" in duration \"3d\"")),
            ("", Err("invalid duration \"\"")),
            (".s", Err("invalid duration \".s\"")),
            ("1.2.3s", Err("invalid duration \"1.2.3s\"")),
            ("9999999999h", Err("invalid duration \"9999999999h\"")),
            ("x", Err("invalid duration \"x\"")),
        ] {
            let got = parse_duration(text).map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_string), "{text}");
        }
    }
}
