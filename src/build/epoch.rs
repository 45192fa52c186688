//! The times that an image carries. No clock is read: they are a function of what went in.

use crate::layer::Epoch;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970, where it was given.
    pub source_date: Option<i64>,
    /// What COPY and ADD bring keeps its own time: the layer then depends on the time of the checkout.
    pub preserve: bool,
}

impl Epochs {
    /// The one time of everything in our layers.
    pub fn layers(&self) -> Epoch {
        self.source_date.map_or_else(Epoch::default, Epoch)
    }

    /// The time of something that COPY or ADD brings. What was made for it on the way has none of its own, which is 0.
    /// No time is later than the source date (<https://reproducible-builds.org/specs/source-date-epoch/>).
    pub(super) fn copied(&self, own: i64) -> i64 {
        match (self.preserve && own != 0, self.source_date) {
            (false, _) => self.layers().0,
            (true, None) => own,
            (true, Some(latest)) => own.min(latest),
        }
    }

    /// The image's `created`: the source date, else when the base was made, else the layers' constant. So nobody sees
    /// an image that is 46 years old, and an image whose content did not change keeps its digest.
    pub(super) fn created(&self, base: Option<&str>) -> String {
        match (self.source_date, base) {
            (None, Some(base)) => base.to_owned(),
            (Some(epoch), _) => rfc3339(epoch),
            (None, None) => rfc3339(Epoch::default().0),
        }
    }
}

/// `2026-11-22T14:50:00Z`
fn rfc3339(epoch: i64) -> String {
    let (days, seconds) = (epoch.div_euclid(86_400), epoch.rem_euclid(86_400));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        for (epoch, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (315_532_801, "1980-01-01T00:00:01Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_359_000, "2026-11-22T14:50:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(epoch), text);
        }
    }

    #[test]
    fn created_is_a_function_of_the_inputs() {
        let none = Epochs::default();
        assert_eq!(none.created(Some("2021-03-01T00:00:00.5Z")), "2021-03-01T00:00:00.5Z");
        assert_eq!(none.created(None), "1980-01-01T00:00:01Z");
        let dated = Epochs { source_date: Some(0), preserve: false };
        assert_eq!(dated.created(Some("2021-03-01T00:00:00Z")), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_copys_own_time_is_kept_where_that_is_asked_for_up_to_the_source_date() {
        let times = |source_date, preserve| [0, 7, 900].map(|own| Epochs { source_date, preserve }.copied(own));
        assert_eq!(times(None, false), [315_532_801; 3]);
        assert_eq!(times(Some(100), false), [100; 3]);
        assert_eq!(times(None, true), [315_532_801, 7, 900]);
        assert_eq!(times(Some(100), true), [100, 7, 100]);
    }
}
