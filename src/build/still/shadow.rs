//! The day of each password's last change, in `/etc/shadow`.

use crate::layer::Epoch;

const SECONDS_A_DAY: i64 = 86_400;

/// The table with no day later than the epoch's; nothing where there is none. The day 0 would mean that the password is
/// to be changed at the next login (shadow(5)); none at all, that passwords do not age, is what useradd writes then.
pub(super) fn redated(text: &[u8], Epoch(epoch): Epoch) -> Option<Vec<u8>> {
    let latest = epoch.div_euclid(SECONDS_A_DAY);
    let day = if latest > 0 { latest.to_string() } else { String::new() };
    let mut changed = false;
    let lines = text.split_inclusive(|&byte| byte == b'\n').flat_map(|line| {
        let mut fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let written = fields.get(2).and_then(|field| str::from_utf8(field).ok()?.parse::<i64>().ok());
        if written.is_some_and(|written| written > latest && written > 0) {
            fields[2] = day.as_bytes();
            changed = true;
        }
        fields.join(&b':')
    });
    let text = lines.collect();
    changed.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(epoch: i64, text: &str, wanted: Option<&str>) {
        let redated = redated(text.as_bytes(), Epoch(epoch)).map(|text| String::from_utf8(text).expect("text"));
        assert_eq!(redated.as_deref(), wanted);
    }

    #[test]
    fn days_after_the_epoch_become_its_day() {
        let text = "root:*:19676:0:99999:7:::\nold:!:3000:0:99999:7:::\na:!:20779::::::\n";
        check(Epoch::default().0, text, Some("root:*:3652:0:99999:7:::\nold:!:3000:0:99999:7:::\na:!:3652::::::\n"));
    }

    #[test]
    fn a_password_that_must_be_changed_or_does_not_age_stays_so() {
        check(Epoch::default().0, "a:!:0:::::: \nb:!:::::::\nnot a line\n", None);
    }

    #[test]
    fn an_epoch_on_the_first_day_asks_nobody_for_a_new_password() {
        check(7, "a:!:20779:0:99999:7:::", Some("a:!::0:99999:7:::"));
    }
}
