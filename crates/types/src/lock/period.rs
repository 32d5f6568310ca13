//! For how long a bucket retains what is written to it.
//!
//! Invariant: a period is one that S3 takes; a year is a year of the calendar, so that it is never shorter than 365 days.

use serde::{Deserialize, Serialize};

use super::RetentionMode;
use crate::{LifecycleDate, Timestamp};

/// S3's longest default retention in days (S3 API reference, `DefaultRetention`; Amazon S3 User Guide, "Object Lock
/// considerations": 100 years).
pub const MAX_RETENTION_DAYS: u32 = 36_500;
/// And in years.
pub const MAX_RETENTION_YEARS: u32 = 100;

/// Microseconds of a second.
const SECOND_US: i64 = 1_000_000;
/// And of a day.
const DAY_US: i64 = 24 * 60 * 60 * SECOND_US;

/// A time from a write on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetentionPeriod {
    /// Of 24 hours each.
    Days(u32),
    /// Of the calendar.
    Years(u32),
}

impl RetentionPeriod {
    /// When it has passed that began then: up to the next whole second, since clients that say a time back to us may leave
    /// its fraction out.
    pub fn after(self, since: Timestamp) -> Timestamp {
        let since = since.0.div_euclid(SECOND_US).saturating_add(1).saturating_mul(SECOND_US);
        match self {
            Self::Days(days) => Timestamp(since.saturating_add(i64::from(days).saturating_mul(DAY_US))),
            Self::Years(years) => {
                let day = i32::try_from(since.div_euclid(DAY_US)).unwrap_or(i32::MAX);
                let then = LifecycleDate::from_days(day).years_later(years);
                Timestamp(then.begins().0.saturating_add(since.rem_euclid(DAY_US)))
            }
        }
    }

    /// What is wrong with it.
    pub fn problem(self) -> Option<String> {
        let (n, max, unit) = match self {
            Self::Days(n) => (n, MAX_RETENTION_DAYS, "days"),
            Self::Years(n) => (n, MAX_RETENTION_YEARS, "years"),
        };
        (!(1..=max).contains(&n)).then(|| format!("{n} {unit} are not within 1 and {max}"))
    }
}

/// What a bucket retains by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct DefaultRetention {
    /// How.
    pub mode: RetentionMode,
    /// For how long.
    pub period: RetentionPeriod,
}

/// As configuration and database have it: days or years.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    mode: RetentionMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    years: Option<u32>,
}

impl TryFrom<Written> for DefaultRetention {
    type Error = String;

    fn try_from(Written { mode, days, years }: Written) -> Result<Self, String> {
        let period = match (days, years) {
            (Some(days), None) => RetentionPeriod::Days(days),
            (None, Some(years)) => RetentionPeriod::Years(years),
            _ => return Err("a default retention has either `days` or `years`".to_owned()),
        };
        period.problem().map_or(Ok(Self { mode, period }), Err)
    }
}

impl From<DefaultRetention> for Written {
    fn from(DefaultRetention { mode, period }: DefaultRetention) -> Self {
        let (days, years) = match period {
            RetentionPeriod::Days(days) => (Some(days), None),
            RetentionPeriod::Years(years) => (None, Some(years)),
        };
        Self { mode, days, years }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let noon = |day: &str| {
            let day: LifecycleDate = day.parse().expect("a day");
            Timestamp(day.begins().0 + DAY_US / 2)
        };
        let after = |period: RetentionPeriod, since: Timestamp| {
            assert_eq!(period.after(since).0 % SECOND_US, 0);
            Timestamp(period.after(since).0 - SECOND_US)
        };
        assert_eq!(after(RetentionPeriod::Days(1), noon("2026-01-31")), noon("2026-02-01"));
        assert_eq!(after(RetentionPeriod::Years(1), noon("2027-06-01")), noon("2028-06-01"));
        assert_eq!(after(RetentionPeriod::Years(1), noon("2028-02-29")), noon("2029-03-01"), "not sooner");
        assert_eq!(after(RetentionPeriod::Years(4), noon("2028-02-29")), noon("2032-02-29"));
        assert!(RetentionPeriod::Years(100).after(Timestamp(i64::MAX)).0 > 0);
    }

    #[test]
    fn limits() {
        for good in [RetentionPeriod::Days(1), RetentionPeriod::Days(36_500), RetentionPeriod::Years(100)] {
            assert_eq!(good.problem(), None);
        }
        for bad in [RetentionPeriod::Days(0), RetentionPeriod::Days(36_501), RetentionPeriod::Years(101)] {
            assert!(bad.problem().is_some(), "{bad:?}");
        }
        let read = |days, years| {
            DefaultRetention::try_from(Written { mode: RetentionMode::Governance, days, years })
        };
        assert!(read(Some(3), None).is_ok() && read(None, Some(3)).is_ok());
        for (days, years) in [(None, None), (Some(3), Some(1)), (Some(0), None), (None, Some(101))] {
            assert!(read(days, years).is_err(), "{days:?} {years:?}");
        }
    }
}
