//! A zone's name, as the IANA database has it.

use std::fmt;

/// What looks like the name of a zone: whether there is one of that name, its database knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timezone(String);

/// What is no time zone of the tz database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no name of a time zone: it is an area and a place of the IANA database, such as Europe/London, or UTC", .0.escape_debug())]
pub struct BadTimezone(String);

/// The names without an area (tzdata's `backward` and its like). Abbreviations are no zones: CEST is that of several.
const WITHOUT_AREA: [&str; 44] = [
    "CET",
    "CST6CDT",
    "Cuba",
    "EET",
    "EST",
    "EST5EDT",
    "Egypt",
    "Eire",
    "GB",
    "GB-Eire",
    "GMT",
    "GMT+0",
    "GMT-0",
    "GMT0",
    "Greenwich",
    "HST",
    "Hongkong",
    "Iceland",
    "Iran",
    "Israel",
    "Jamaica",
    "Japan",
    "Kwajalein",
    "Libya",
    "MET",
    "MST",
    "MST7MDT",
    "NZ",
    "NZ-CHAT",
    "Navajo",
    "PRC",
    "PST8PDT",
    "Poland",
    "Portugal",
    "ROC",
    "ROK",
    "Singapore",
    "Turkey",
    "UCT",
    "UTC",
    "Universal",
    "W-SU",
    "WET",
    "Zulu",
];

impl Timezone {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Timezone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

impl fmt::Display for Timezone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Timezone {
    type Err = BadTimezone;

    fn from_str(text: &str) -> Result<Self, BadTimezone> {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_uppercase())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let good = match parts[..] {
            [one] => WITHOUT_AREA.contains(&one),
            _ => parts.len() <= 3 && parts.iter().all(|text| part(text)),
        };
        // `ScheduleExpressionTimezone` has 50 characters at most.
        match good && text.len() <= 50 {
            true => Ok(Self(text.to_owned())),
            false => Err(BadTimezone(text.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_told_from_an_offset_and_an_abbreviation() {
        for text in ["UTC", "Europe/London", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "Japan"] {
            assert_eq!(text.parse(), Ok(Timezone(text.to_owned())));
        }
        for text in ["", "CEST", "+01:00", "europe/london", "Europe/", "Europe London", "utc", "A/B/C/D"] {
            let error = text.parse::<Timezone>().expect_err(text);
            assert!(error.to_string().contains("such as Europe/London"), "{text}");
        }
    }
}
