//! When a loader runs by itself, as locus.toml says it.

use std::ops::Range;

use super::super::duration;
use super::super::locus_toml::{At, LocusToml, ScheduleEntry, Text};
use super::Failure;
use super::loader::Said;
use crate::deploy::{BadExpression, BadRetry, DeadLetterQueue, Retry, Schedule, Timezone};

pub(super) fn schedule(said: &Said<'_>) -> Result<Option<Schedule>, Failure> {
    let Some(file) = said.given.file else { return Ok(None) };
    let own_zone = said.table.own.timezone.as_ref();
    let Some(ScheduleEntry { line, expression, timezone, retries, max_age, dead_letter_queue, enabled }) =
        &said.table.schedule
    else {
        return match own_zone {
            Some(zone) => Err(file.fault(zone.line, "`timezone` is a schedule's, and the loader has no `schedule`")),
            None => Ok(None),
        };
    };
    let Some(text) = expression else {
        return Err(file.fault(*line, "the schedule has no `expression`").hint("expression = \"cron(0 3 * * ? *)\""));
    };
    Ok(Some(Schedule {
        expression: expanded(file, text, said, |text| {
            text.parse().map_err(|BadExpression { part, why }| (Some(part), why))
        })?,
        timezone: match timezone.as_ref().or_else(|| said.of(|all| all.timezone.as_ref())) {
            Some(zone) => expanded(file, zone, said, |text| text.parse::<Timezone>().map_err(whole))?,
            None => Timezone::default(),
        },
        retry: retry(file, *line, retries.as_ref(), max_age.as_ref(), said)?,
        dead_letter_queue: dead_letter_queue
            .as_ref()
            .map(|queue| expanded(file, queue, said, |text| text.parse::<DeadLetterQueue>().map_err(whole)))
            .transpose()?,
        enabled: enabled.as_ref().is_none_or(|enabled| enabled.value),
        capacity: said.capacity()?.unwrap_or_default(),
    }))
}

fn retry(
    file: &LocusToml,
    line: usize,
    retries: Option<&At<u32>>,
    max_age: Option<&Text>,
    said: &Said<'_>,
) -> Result<Retry, Failure> {
    let age = max_age.map(|age| expanded(file, age, said, |text| duration::parse(text).map_err(whole))).transpose()?;
    Retry::new(retries.map(|retries| retries.value), age.map(|age| age.as_secs())).map_err(|error| {
        let at = match error {
            BadRetry::Attempts(_) => retries.map(|retries| retries.line),
            BadRetry::MaxAge(_) => max_age.map(|age| age.line),
        };
        file.fault(at.unwrap_or(line), error.to_string())
    })
}

/// What is wrong, and of the text the part that it is about.
type Wrong = (Option<Range<usize>>, String);

fn whole(error: impl ToString) -> Wrong {
    (None, error.to_string())
}

fn expanded<T>(
    file: &LocusToml,
    text: &Text,
    said: &Said<'_>,
    parse: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Result<T, Failure> {
    let value = file.expand(text, said.given.env)?;
    parse(&value).map_err(|(part, why)| match part {
        // What a variable was filled into does not stand there as it is meant.
        Some(part) if value == text.value => file.fault_in(text, part, why),
        _ => file.fault(text.line, why),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::Environment;
    use super::super::super::screen::Paint;
    use super::super::Given;
    use super::*;

    fn check(toml: &str) -> Result<Option<Schedule>, Failure> {
        let file = LocusToml::parse("locus.toml", "/w".into(), toml)?;
        let env = Environment::of(&[("HOURS", "3")]);
        let given = Given { env: &env, file: Some(&file), cwd: Path::new("/w") };
        schedule(&Said { given, table: &file.loaders["a"] })
    }

    #[track_caller]
    fn refused(toml: &str, line: usize, words: &str) {
        let failure = check(toml).expect_err(toml);
        assert!(failure.message.contains(words), "{failure:?}");
        assert_eq!((failure.place.as_ref().map(|place| place.line), failure.exit_code()), (Some(line), 2));
    }

    #[test]
    fn a_schedule_is_a_text_or_a_table() {
        let short = check("timezone = 'Europe/London'\n[loaders.a]\nschedule = 'cron(0 ${HOURS} * * ? *)'").unwrap();
        let short = short.expect("there is one");
        assert_eq!((short.expression.as_str(), short.timezone.as_str()), ("cron(0 3 * * ? *)", "Europe/London"));
        assert_eq!((short.enabled, short.retry), (true, Retry::new(Some(185), Some(86_400)).unwrap()));
        let long = "[loaders.a]\ncapacity_provider = 'FARGATE_SPOT'\n[loaders.a.schedule]\nexpression = 'rate(1 day)'\n\
                    timezone = 'Asia/Tokyo'\nretries = 0\nmax_age = '1h'\ndead_letter_queue = 'late'\nenabled = false";
        let wanted = Schedule {
            expression: "rate(1 day)".parse().unwrap(),
            timezone: "Asia/Tokyo".parse().unwrap(),
            retry: Retry::new(Some(0), Some(3600)).unwrap(),
            dead_letter_queue: Some("late".parse().unwrap()),
            enabled: false,
            capacity: crate::aws::Capacity::Spot,
        };
        assert_eq!(check(long), Ok(Some(wanted)));
        assert_eq!(check("timezone = 'Asia/Tokyo'\n[loaders.a]"), Ok(None));
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_shown_where_it_stands() {
        let failure = check("[loaders.a]\nschedule = 'cron(0 3 * * * *)'").expect_err("two days");
        let shown = failure.place.expect("a place").words(Paint::off(), str::to_owned);
        assert_eq!(
            shown,
            "  --> locus.toml:2:26\n   |\n 2 | schedule = 'cron(0 3 * * * *)'\n   |                          ^\n"
        );
        refused("[loaders.a]\nschedule = 'daily'", 2, "`daily` is no schedule");
        refused("[loaders.a]\nschedule = 'cron(0 ${HOURS} * * * *)'", 2, "is `?`");
        refused("[loaders.a]\nschedule = 3", 2, "`loaders.a.schedule` is a text in quotes, not a number");
        refused("[loaders.a]\nschedule = { timezone = 'UTC' }", 2, "no `expression`");
        refused("[loaders.a]\ntimezone = 'UTC'", 2, "the loader has no `schedule`");
        let with = |line: &str| format!("[loaders.a.schedule]\nexpression = 'rate(1 day)'\n{line}");
        refused(&with("timezone = 'CEST'"), 3, "`CEST` is no name of a time zone");
        refused(&with("retries = 186"), 3, "0 to 185 times, not 186");
        refused(&with("max_age = '30s'"), 3, "not for 30 s");
        refused(&with("max_age = '1 hour'"), 3, "is not a duration");
        refused(&with("dead_letter_queue = 'a.fifo'"), 3, "FIFO");
        refused(&with("dead_letter_queue = true"), 3, "a text in quotes");
        refused(&with("cron = 'x'"), 3, "unknown key `loaders.a.schedule.cron`");
    }
}
