//! Conditions against the current version.

use s3o_types::{Conditions, ErrorCode};

use crate::call::Refusal;
use crate::facts::CurrentObject;

/// Whether the conditions hold of `current`.
///
/// `If-Match` on a key that does not exist is `NoSuchKey` (S3 API reference, `PutObject`, "If-Match").
pub(super) fn check(conditions: &Conditions, current: Option<&CurrentObject>) -> Result<(), Refusal> {
    if conditions.if_absent && current.is_some() {
        return Err(failed("If-None-Match: * was sent and the key exists"));
    }
    let Some(wanted) = &conditions.if_match else {
        return Ok(());
    };
    match current {
        None => Err(Refusal::new(ErrorCode::NoSuchKey, "If-Match was sent and the key does not exist")),
        Some(object) if wanted.as_str() == "*" || object.row.etag == *wanted => Ok(()),
        Some(_) => Err(failed("If-Match was sent and the ETag is another")),
    }
}

fn failed(why: &str) -> Refusal {
    Refusal::new(ErrorCode::PreconditionFailed, why)
}
