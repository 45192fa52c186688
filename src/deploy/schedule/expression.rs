//! When a task is run: `cron(…)`, `rate(…)`, `at(…)`, as EventBridge Scheduler reads them. It says what is wrong with one
//! only when everything else is made, and not where.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

use std::fmt;
use std::ops::Range;

use crate::calendar;

/// An expression that Scheduler takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(String);

/// An expression that it would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadExpression {
    /// The bytes of it that are wrong; all of them, where that is not one word.
    pub part: Range<usize>,
    pub why: String,
}

impl Expression {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Expression {
    type Err = BadExpression;

    fn from_str(text: &str) -> Result<Self, BadExpression> {
        let forms = "it is cron(0 3 * * ? *), rate(12 hours) or at(2026-12-24T18:00:00)";
        let parts = text.strip_suffix(')').and_then(|text| text.split_once('('));
        match parts {
            Some(("cron", fields)) => cron(text, fields)?,
            Some(("rate", rest)) => rate(text, rest)?,
            Some(("at", moment)) => at(text, moment)?,
            _ => return Err(bad(text, text, format!("`{}` is no schedule: {forms}", shown(text)))),
        }
        Ok(Self(text.to_owned()))
    }
}

/// `word` is a part of `whole`.
fn bad(whole: &str, word: &str, why: String) -> BadExpression {
    let start = word.as_ptr().addr() - whole.as_ptr().addr();
    BadExpression { part: start..start + word.len(), why }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect::<String>().escape_debug().to_string()
}

/// One field of a cron expression.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    /// Words that stand for the numbers, beginning with `least`.
    words: &'static [&'static str],
    kind: FieldKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Plain,
    DayOfMonth,
    DayOfWeek,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 6] = [
    Field { name: "minutes", least: 0, most: 59, words: &[], kind: FieldKind::Plain },
    Field { name: "hours", least: 0, most: 23, words: &[], kind: FieldKind::Plain },
    Field { name: "day of month", least: 1, most: 31, words: &[], kind: FieldKind::DayOfMonth },
    Field { name: "month", least: 1, most: 12, words: MONTHS, kind: FieldKind::Plain },
    Field { name: "day of week", least: 1, most: 7, words: DAYS, kind: FieldKind::DayOfWeek },
    Field { name: "year", least: 1970, most: 2199, words: &[], kind: FieldKind::Plain },
];

fn cron(whole: &str, text: &str) -> Result<(), BadExpression> {
    let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
    let [_, _, of_month, _, of_week, _] = fields[..] else {
        let names = FIELDS.map(|field| field.name).join(", ");
        let hint = if fields.len() == 5 { "; unlike crontab's, it ends in a year: `*`" } else { "" };
        return Err(bad(whole, whole, format!("cron has six fields ({names}), and here are {}{hint}", fields.len())));
    };
    for (field, text) in FIELDS.iter().zip(&fields) {
        for item in text.split(',') {
            // `?` is all of its field.
            let alone = item != "?" || *text == "?";
            if !alone || !field.takes(item) {
                return Err(bad(
                    whole,
                    text,
                    format!("`{}` is no {} of a cron expression: {}", shown(text), field.name, field.rule()),
                ));
            }
        }
    }
    match (of_month == "?", of_week == "?") {
        (false, false) => Err(bad(
            whole,
            of_week,
            "one of day of month and day of week is `?`: a day is chosen by one of them".to_owned(),
        )),
        (true, true) => Err(bad(whole, of_week, "only one of day of month and day of week is `?`".to_owned())),
        _ => Ok(()),
    }
}

impl Field {
    fn takes(&self, item: &str) -> bool {
        if let Some((from, step)) = item.split_once('/') {
            let step = number(step).is_some_and(|step| step > 0);
            return step && (from == "*" || self.value(from).is_some() || self.range(from));
        }
        item == "*" || self.value(item).is_some() || self.range(item) || self.special(item)
    }

    /// Backwards too: from Friday to Monday.
    fn range(&self, item: &str) -> bool {
        item.split_once('-').is_some_and(|(from, to)| self.value(from).is_some() && self.value(to).is_some())
    }

    fn special(&self, item: &str) -> bool {
        match self.kind {
            FieldKind::Plain => false,
            FieldKind::DayOfMonth => {
                let weekday_near = item.strip_suffix('W').is_some_and(|day| self.value(day).is_some());
                let before_last = item.strip_prefix("L-").is_some_and(|days| self.value(days).is_some());
                matches!(item, "?" | "L" | "LW") || weekday_near || before_last
            }
            FieldKind::DayOfWeek => {
                let last = item.strip_suffix('L').is_some_and(|day| self.value(day).is_some());
                let nth = item.split_once('#').is_some_and(|(day, nth)| {
                    self.value(day).is_some() && number(nth).is_some_and(|nth| (1..=5).contains(&nth))
                });
                matches!(item, "?" | "L") || last || nth
            }
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let of_word = self.words.iter().zip(self.least..).find(|(word, _)| word.eq_ignore_ascii_case(text));
        let value = of_word.map(|(_, value)| value).or_else(|| number(text))?;
        (self.least..=self.most).contains(&value).then_some(value)
    }

    fn rule(&self) -> String {
        let Self { least, most, words, kind, name: _ } = self;
        let words = match words {
            [first, .., last] => format!(" or {first}–{last}"),
            _ => String::new(),
        };
        let special = match kind {
            FieldKind::Plain => "",
            FieldKind::DayOfMonth => ", `?`, `L` (the last), `15W` (the weekday nearest to it)",
            FieldKind::DayOfWeek => ", `?`, `6L` (the last Friday), `2#1` (the first Monday)",
        };
        format!("it is {least}–{most}{words}, `*`, a list `a,b`, a range `a-b`, a step `a/n`{special}")
    }
}

fn rate(whole: &str, text: &str) -> Result<(), BadExpression> {
    let form = "a rate is a number and a unit: rate(5 minutes), rate(12 hours), rate(1 day)";
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let [count, unit] = words[..] else { return Err(bad(whole, whole, form.to_owned())) };
    let Some(count) = number(count).filter(|count| *count > 0) else {
        return Err(bad(whole, count, format!("`{}` is no number from 1 up: {form}", shown(count))));
    };
    match unit {
        "minutes" | "hours" | "days" => Ok(()),
        "minute" | "hour" | "day" if count == 1 => Ok(()),
        "minute" | "hour" | "day" => Err(bad(whole, unit, format!("of {count} it is `{unit}s`"))),
        _ => Err(bad(whole, unit, format!("`{}` is no unit of a rate: minutes, hours and days are", shown(unit)))),
    }
}

fn at(whole: &str, text: &str) -> Result<(), BadExpression> {
    let moment = text.contains('T') && text.len() == "2026-12-24T18:00:00".len();
    match moment.then(|| calendar::moment(&format!("{text}Z"))).flatten() {
        Some(_) => Ok(()),
        None => Err(bad(
            whole,
            text,
            format!(
                "`{}` is no moment: it is at(2026-12-24T18:00:00), and its zone is `timezone`'s to say",
                shown(text)
            ),
        )),
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_documentation_shows_is_taken() {
        for text in [
            "cron(0 3 * * ? *)",
            "cron(15 12 * * ? *)",
            "cron(0 18 ? * MON-FRI *)",
            "cron(0 8 1 * ? *)",
            "cron(1/5 8-17 ? * Mon-Fri *)",
            "cron(0/15 * * * ? *)",
            "cron(0,30 20-2 ? * FRI-MON 2026-2030)",
            "cron(0 9 ? * 2#1 *)",
            "cron(15 10 ? * 6L 2022-2033)",
            "cron(0 9 LW * ? *)",
            "cron(0 9 3W JAN,JUL ? *)",
            "rate(5 minutes)",
            "rate(1 hour)",
            "rate(1 hours)",
            "rate(90 days)",
            "at(2026-12-24T18:00:00)",
        ] {
            assert_eq!(text.parse::<Expression>().as_ref().map(Expression::as_str), Ok(text));
        }
    }

    #[test]
    fn what_scheduler_would_refuse_is_told_with_the_word_that_is_wrong() {
        for (text, word, why) in [
            ("daily", "daily", "`daily` is no schedule: it is cron(0 3 * * ? *), rate(12 hours) or at("),
            ("cron(0 3 * * ?)", "cron(0 3 * * ?)", "and here are 5; unlike crontab's, it ends in a year: `*`"),
            ("cron(0 3 * * * *)", "*", "one of day of month and day of week is `?`"),
            ("cron(0 3 ? * ? *)", "?", "only one of"),
            ("cron(60 3 * * ? *)", "60", "`60` is no minutes of a cron expression: it is 0–59, `*`, a list"),
            ("cron(0 24 * * ? *)", "24", "`24` is no hours"),
            ("cron(0 3 ? * MOX *)", "MOX", "it is 1–7 or SUN–SAT"),
            ("cron(0 3 ? * 0 *)", "0", "`0` is no day of week"),
            ("cron(0 3 ?,1 * ? *)", "?,1", "no day of month"),
            ("cron(0 3 * * ? */0)", "*/0", "no year"),
            ("cron(0 3 * * ? 2200)", "2200", "it is 1970–2199"),
            ("rate(0 hours)", "0", "`0` is no number from 1 up"),
            ("rate(5 minute)", "minute", "of 5 it is `minutes`"),
            ("rate(5 weeks)", "weeks", "minutes, hours and days are"),
            ("rate(5)", "rate(5)", "a rate is a number and a unit"),
            ("at(2026-13-24T18:00:00)", "2026-13-24T18:00:00", "is no moment"),
            ("at(2026-12-24T18:00:00Z)", "2026-12-24T18:00:00Z", "its zone is `timezone`'s to say"),
        ] {
            let error = text.parse::<Expression>().expect_err(text);
            assert_eq!(&text[error.part.clone()], word, "{text}");
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }
}
