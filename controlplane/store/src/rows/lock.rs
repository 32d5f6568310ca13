//! What keeps versions, and what buckets say of it.
//!
//! Invariant: a lock that cannot be read is an error, never none.

use s3o_types::{BucketLock, ObjectLock, Retention, RetentionMode};

use super::{Cells, PgTime};

/// The lock of a row of `objects` or `object_versions`, `o`, as JSON; NULL for none. A hold that is NULL was taken off.
macro_rules! lock_json {
    ($o:literal) => {
        concat!(
            "CASE WHEN ",
            $o,
            ".retain_until IS NOT NULL OR ",
            $o,
            ".legal_hold IS DISTINCT FROM false THEN
                jsonb_strip_nulls(jsonb_build_object(
                    'retention', CASE WHEN ",
            $o,
            ".retain_until IS NOT NULL THEN jsonb_build_object(
                        'mode', ",
            $o,
            ".retain_mode, 'until', (extract(epoch FROM ",
            $o,
            ".retain_until) * 1000000)::bigint) END,
                    'legal_hold', CASE WHEN ",
            $o,
            ".legal_hold IS DISTINCT FROM false
                        THEN COALESCE(",
            $o,
            ".legal_hold, false) END)) END"
        )
    };
}
pub(crate) use lock_json;

/// Three columns, `retain_until`, `retain_mode` and `legal_hold`, of such JSON.
macro_rules! lock_columns {
    ($l:literal) => {
        concat!(
            "to_timestamp(0) + (",
            $l,
            "->'retention'->>'until')::bigint * interval '1 microsecond', ",
            $l,
            "->'retention'->>'mode',
            CASE ",
            $l,
            "->>'legal_hold' WHEN 'true' THEN true WHEN 'false' THEN NULL ELSE false END"
        )
    };
}
pub(crate) use lock_columns;

/// From columns as they are in both tables.
pub(crate) fn object_lock(cells: Cells<'_>) -> Result<ObjectLock, String> {
    let until: Option<PgTime> = cells.get("retain_until")?;
    let retention = match until {
        None => None,
        Some(PgTime(until)) => Some(Retention { mode: cells.word::<RetentionMode>("retain_mode")?, until }),
    };
    let legal_hold = match cells.get::<Option<bool>>("legal_hold")? {
        Some(false) => None,
        on => Some(on.unwrap_or(false)),
    };
    Ok(ObjectLock { retention, legal_hold })
}

/// The Object Lock of a bucket; `None`: it has none.
pub(crate) fn bucket_lock(cells: Cells<'_>) -> Result<Option<BucketLock>, String> {
    let stored: Option<serde_json::Value> = cells.get("object_lock")?;
    let read = |value| serde_json::from_value(value).map_err(|error| format!("column object_lock: {error}"));
    stored.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use s3o_types::Timestamp;

    use super::*;

    #[test]
    fn stored_form() {
        let retention = Some(Retention { mode: RetentionMode::Governance, until: Timestamp(7) });
        let lock = ObjectLock { retention, legal_hold: Some(false) };
        let text = r#"{"retention":{"mode":"governance","until":7},"legal_hold":false}"#;
        assert_eq!(serde_json::to_string(&lock).unwrap(), text);
        assert_eq!(serde_json::from_str::<ObjectLock>(text).unwrap(), lock);
        assert_eq!(serde_json::from_str::<ObjectLock>("{}").unwrap(), ObjectLock::default());
        assert!(serde_json::from_str::<ObjectLock>(r#"{"retention":{"mode":"x","until":7}}"#).is_err());
        let bucket = r#"{"default_retention":{"mode":"compliance","years":1}}"#;
        let read: BucketLock = serde_json::from_str(bucket).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), bucket);
        assert_eq!(serde_json::to_string(&BucketLock::default()).unwrap(), "{}");
        for bad in [
            r#"{"default_retention":{"mode":"governance"}}"#,
            r#"{"default_retention":{"mode":"governance","days":3,"years":1}}"#,
            r#"{"default_retention":{"mode":"governance","days":0}}"#,
            r#"{"default_retention":{"mode":"governance","weeks":3}}"#,
            r#"{"other":1}"#,
        ] {
            assert!(serde_json::from_str::<BucketLock>(bad).is_err(), "{bad}");
        }
    }
}
