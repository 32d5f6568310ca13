//! The day of a rule, as people write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Microseconds of a day.
pub(super) const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
/// Days from 0000-03-01 to 1970-01-01 of the Gregorian calendar.
const EPOCH: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;

/// A day, which begins at midnight UTC. Written as `2026-01-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LifecycleDate(i32);

impl LifecycleDate {
    /// The day so many days after 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// The day that begins at this time; `None`: none does, or its year has not four digits.
    pub fn beginning(at: Timestamp) -> Option<Self> {
        if at.0 % DAY_US != 0 {
            return None;
        }
        i32::try_from(at.0 / DAY_US).ok().map(Self).filter(|date| date.can_be_written())
    }

    /// Whether its year has four digits, as in all that is written of it.
    pub fn can_be_written(self) -> bool {
        (0..=9999).contains(&self.civil().0)
    }

    /// When it begins; for days beyond what a timestamp can say, the last one that it can.
    pub const fn begins(self) -> Timestamp {
        Timestamp((self.0 as i64).saturating_mul(DAY_US))
    }

    /// The same day so many years later; after a 29th of February where that year has none, the day after. Years beyond
    /// what is counted here end at the last one.
    #[must_use]
    pub fn years_later(self, years: u32) -> Self {
        let (year, month, day) = self.civil();
        Self::of_civil(year + i64::from(years), month, day).unwrap_or(Self(i32::MAX))
    }

    /// The years begin in March here, so that the day that some have more is the last one.
    fn civil(self) -> (i64, i64, i64) {
        let day = i64::from(self.0) + EPOCH;
        let of_era = day.rem_euclid(ERA);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let of_month = of_year - (153 * month + 2) / 5 + 1;
        let year = year_of_era + day.div_euclid(ERA) * 400 + i64::from(month >= 10);
        (year, if month < 10 { month + 3 } else { month - 9 }, of_month)
    }

    fn of_civil(year: i64, month: i64, day: i64) -> Option<Self> {
        let shifted = if month > 2 { month - 3 } else { month + 9 };
        let year = year - i64::from(month <= 2);
        let year_of_era = year.rem_euclid(400);
        let of_year = (153 * shifted + 2) / 5 + day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        i32::try_from(year.div_euclid(400) * ERA + of_era - EPOCH).ok().map(Self)
    }
}

impl fmt::Display for LifecycleDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for LifecycleDate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
        let mut fields = text.split('-');
        let read = (|| {
            let fields = (fields.next()?, fields.next()?, fields.next()?, fields.next());
            let (year @ [_, _, _, _], month @ [_, _], day @ [_, _]) =
                (fields.0.as_bytes(), fields.1.as_bytes(), fields.2.as_bytes())
            else {
                return None;
            };
            let text = |bytes| std::str::from_utf8(bytes).ok().and_then(number);
            let date = Self::of_civil(text(year)?, text(month)?, text(day)?)?;
            fields.3.is_none().then_some(date)
        })();
        // The 31st of a month of 30 days comes back as another day.
        let date = read.filter(|date| date.to_string() == text);
        date.ok_or_else(|| format!("`{text}` is no day; write it as 2026-01-31"))
    }
}

impl TryFrom<String> for LifecycleDate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<LifecycleDate> for String {
    fn from(date: LifecycleDate) -> Self {
        date.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_of_the_calendar() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2000-03-01", 11_017),
            ("2026-01-01", 20_454),
            ("2100-03-01", 47_541),
        ] {
            let date: LifecycleDate = text.parse().expect(text);
            assert_eq!((date.days(), date.to_string().as_str()), (days, text));
            assert_eq!(LifecycleDate::beginning(date.begins()), Some(date));
        }
        assert_eq!(LifecycleDate::beginning(Timestamp(1)), None);
        for bad in [
            "",
            "2026-02-30",
            "2100-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "+026-01-01",
            "2026-01-01-",
        ] {
            assert!(bad.parse::<LifecycleDate>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_day_is_written_and_read(days in -700_000..2_900_000) {
            let date = LifecycleDate::from_days(days);
            prop_assert_eq!(date.to_string().parse(), Ok(date));
        }
    }
}
