//! The times that an image carries. No clock is read: they are a function of what went in.

use crate::calendar::rfc3339;
use crate::layer::Epoch;

/// What was asked for of the times in layers and config.
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

#[cfg(test)]
mod tests {
    use super::*;

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
