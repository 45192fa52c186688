//! Days as people write them and seconds since 1970, in UTC.
//!
//! Both ways are Howard Hinnant's, "chrono-Compatible Low-Level Date Algorithms": civil_from_days, days_from_civil.

/// `2026-11-22T14:50:00Z`
pub fn rfc3339(epoch: i64) -> String {
    let (days, seconds) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-11-22T14:50:00Z`, with or without the seconds or the time of day; another zone than UTC's is nothing.
pub fn moment(text: &str) -> Option<i64> {
    let (date, clock) = match text.split_once('T') {
        Some((date, clock)) => (date, clock.strip_suffix('Z')?),
        None => (text, "00:00"),
    };
    let numbers = |text: &str, between: char| -> Option<Vec<i64>> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        text.split(between).map(|part| if digits(part) { part.parse().ok() } else { None }).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let [hour, minute, second] = match numbers(clock, ':')?[..] {
        [hour, minute] => [hour, minute, 0],
        [hour, minute, second] => [hour, minute, second],
        _ => return None,
    };
    seconds([year, month, day], [hour, minute, second])
}

/// Seconds since 1970; `None` where there is no such moment.
pub fn seconds([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let fits = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates_and_dates_seconds() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (315_532_801, "1980-01-01T00:00:01Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_359_000, "2026-11-22T14:50:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(epoch), text);
            assert_eq!(moment(text), Some(epoch));
        }
    }

    #[test]
    fn a_moment_may_be_written_shorter_and_not_otherwise() {
        assert_eq!(moment("2026-11-22T14:50Z"), Some(1_795_359_000));
        assert_eq!(moment("1970-01-02"), Some(86_400));
        for text in ["", "2026", "2026-11-22T14Z", "2026-11-22T14:50", "2026-13-22", "2026-11-22T24:00Z", "2026-+1-22"]
        {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
