//! The four conditions of a read, with S3's precedence, and those of a write.
//!
//! S3 (GetObject reference): `If-Match` true and `If-Unmodified-Since` false → 200; `If-None-Match`
//! false and `If-Modified-Since` true → 304. So each date only counts where its ETag condition is
//! absent.

use s3o_types::{Conditions, Etag, Timestamp};
use s3s::dto::{ETagCondition, Timestamp as S3Timestamp};

/// The conditions of a read or of a copy's source.
#[derive(Debug, Default)]
#[allow(clippy::struct_field_names)] // HTTP's names
pub(crate) struct ReadConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
    pub if_modified_since: Option<S3Timestamp>,
    pub if_unmodified_since: Option<S3Timestamp>,
}

/// What the conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Holds,
    /// 304 for a read, 412 for a copy's source.
    NotModified,
    /// 412.
    Failed,
}

impl ReadConditions {
    /// Against the object found.
    pub(crate) fn check(&self, etag: &str, modified: Timestamp) -> Verdict {
        let failed = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => !matches(condition, etag),
            (None, Some(since)) => modified.seconds() > seconds(since),
            (None, None) => false,
        };
        if failed {
            return Verdict::Failed;
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => matches(condition, etag),
            (None, Some(since)) => modified.seconds() <= seconds(since),
            (None, None) => false,
        };
        if unchanged { Verdict::NotModified } else { Verdict::Holds }
    }
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == etag,
    }
}

fn seconds(timestamp: &S3Timestamp) -> i64 {
    time::OffsetDateTime::from(timestamp.clone()).unix_timestamp()
}

/// The conditions of a write. An `If-None-Match` other than `*` is not known to S3.
pub(crate) fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Result<Conditions, &'static str> {
    let if_absent = match if_none_match {
        None => false,
        Some(ETagCondition::Any) => true,
        Some(ETagCondition::ETag(_)) => return Err("If-None-Match of a write takes only `*`"),
    };
    let if_match = if_match.map(|condition| match condition {
        ETagCondition::Any => Etag::new("*"),
        ETagCondition::ETag(etag) => Etag::new(etag.value()),
    });
    if if_absent && if_match.is_some() {
        return Err("If-Match and If-None-Match exclude each other");
    }
    Ok(Conditions { if_absent, if_match })
}

#[cfg(test)]
#[allow(clippy::unnecessary_wraps)] // they stand in optional fields
mod tests {
    use s3s::dto::ETag;

    use super::*;

    fn etag(value: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(ETag::Strong(value.to_owned())))
    }

    fn at(seconds: i64) -> Option<S3Timestamp> {
        Some(time::OffsetDateTime::from_unix_timestamp(seconds).expect("a time").into())
    }

    fn check(conditions: &ReadConditions) -> Verdict {
        conditions.check("e", Timestamp(1_000_500_000))
    }

    #[test]
    fn alone() {
        assert_eq!(check(&ReadConditions::default()), Verdict::Holds);
        assert_eq!(check(&ReadConditions { if_match: etag("e"), ..Default::default() }), Verdict::Holds);
        assert_eq!(check(&ReadConditions { if_match: etag("x"), ..Default::default() }), Verdict::Failed);
        assert_eq!(
            check(&ReadConditions { if_none_match: etag("e"), ..Default::default() }),
            Verdict::NotModified
        );
        assert_eq!(check(&ReadConditions { if_none_match: etag("x"), ..Default::default() }), Verdict::Holds);
        assert_eq!(
            check(&ReadConditions { if_none_match: Some(ETagCondition::Any), ..Default::default() }),
            Verdict::NotModified
        );
    }

    #[test]
    fn dates_have_whole_seconds() {
        // Changed at 1000.5 s; HTTP says 1000.
        assert_eq!(
            check(&ReadConditions { if_modified_since: at(1000), ..Default::default() }),
            Verdict::NotModified
        );
        assert_eq!(
            check(&ReadConditions { if_modified_since: at(999), ..Default::default() }),
            Verdict::Holds
        );
        assert_eq!(
            check(&ReadConditions { if_unmodified_since: at(1000), ..Default::default() }),
            Verdict::Holds
        );
        assert_eq!(
            check(&ReadConditions { if_unmodified_since: at(999), ..Default::default() }),
            Verdict::Failed
        );
    }

    #[test]
    fn precedence() {
        let both = ReadConditions { if_match: etag("e"), if_unmodified_since: at(1), ..Default::default() };
        assert_eq!(check(&both), Verdict::Holds);
        let both =
            ReadConditions { if_none_match: etag("e"), if_modified_since: at(1), ..Default::default() };
        assert_eq!(check(&both), Verdict::NotModified);
        let both =
            ReadConditions { if_none_match: etag("x"), if_modified_since: at(2000), ..Default::default() };
        assert_eq!(check(&both), Verdict::Holds);
        let both = ReadConditions { if_match: etag("x"), if_none_match: etag("e"), ..Default::default() };
        assert_eq!(check(&both), Verdict::Failed);
    }

    #[test]
    fn writes() {
        assert!(of_write(None, None).expect("fine").is_empty());
        assert!(of_write(None, Some(&ETagCondition::Any)).expect("fine").if_absent);
        assert_eq!(of_write(etag("\"e\"").as_ref(), None).expect("fine").if_match, Some(Etag::new("e")));
        assert!(of_write(None, etag("e").as_ref()).is_err());
        assert!(of_write(etag("e").as_ref(), Some(&ETagCondition::Any)).is_err());
    }
}
