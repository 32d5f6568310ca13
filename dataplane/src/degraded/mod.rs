//! Reads while the database cannot be asked: from what this process remembers, else from what the backends hold.
//!
//! Invariants: the bytes are one whole version's, perhaps an older one's or one that was deleted since, and the answer
//! says so; `NoSuchKey` is said only when every backend was asked and none has anything; a bucket that forbids it, and
//! whatever cannot be told for certain, is 503.

mod broadcast;
pub(crate) mod cache;
mod choose;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use s3o_types::{DegradedReads, ErrorCode, VersionId, VersionRef};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use crate::control::{Failure, Located, Want};
use crate::http::request::RequestInfo;
use crate::ops::locate;
use crate::pipeline::faults;
use crate::plane::Plane;
use crate::snapshot::Bucket;

use cache::Remembered;
use choose::{Choice, Known};

pub(crate) use watch::watch;

/// What answers say that were given without the database.
pub(crate) const HEADER: &str = "x-s3o-degraded";

/// What a read is of.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a str,
    pub version: Option<VersionRef>,
    pub want: Want,
    /// A version whose blobs are gone, as this request has found out.
    pub gone: Option<VersionId>,
}

/// Whether an operation goes on while nothing can be decided: two read objects, the others need the configuration only.
pub(crate) fn goes_on(operation: &str) -> bool {
    matches!(
        operation,
        "GetObject"
            | "HeadObject"
            | "ListBuckets"
            | "HeadBucket"
            | "GetBucketLocation"
            | "GetBucketAcl"
            | "GetBucketOwnershipControls"
            | "GetPublicAccessBlock"
            | "GetBucketRequestPayment"
            | "GetBucketLogging"
            | "GetBucketCors"
            | "GetBucketLifecycleConfiguration"
            | "GetObjectLockConfiguration"
            | "GetBucketAccelerateConfiguration"
            | "GetBucketNotificationConfiguration"
    )
}

/// Whether it changes something.
fn writes(operation: &str) -> bool {
    !(operation.starts_with("Get") || operation.starts_with("Head") || operation.starts_with("List"))
}

impl Plane {
    /// Refuses at once what could only wait for its deadline.
    pub(crate) fn refuse_degraded(&self, operation: &'static str) -> S3Result<()> {
        if !self.control.database().is_open() || goes_on(operation) {
            return Ok(());
        }
        if writes(operation) {
            self.metrics.degraded_write(operation);
        }
        Err(faults::unavailable("Only objects can be read at the moment. Please try again."))
    }
}

/// What [`locate::locate_to_read`] does, without the database.
pub(crate) async fn locate<T: Sync>(
    plane: &Arc<Plane>,
    req: &S3Request<T>,
    asked: Asked<'_>,
    operation: &'static str,
) -> S3Result<Arc<Located>> {
    if let Some(info) = req.extensions.get::<Arc<RequestInfo>>() {
        info.set_degraded();
    }
    let Asked { bucket, key, version, want, gone } = asked;
    if bucket.degraded_reads == DegradedReads::Refused {
        return Err(cannot("the bucket forbids reads without the metadata service"));
    }
    let remembered = plane.locations.find(bucket.id, key, Instant::now());
    if let Remembered::Fresh(located) = &remembered
        && gone != Some(located.version)
        && let Some(view) = view(located, version, want)
    {
        plane.metrics.degraded_cache_hit();
        return Ok(view);
    }
    if bucket.degraded_reads == DegradedReads::Cache || matches!(version, Some(VersionRef::Id(_))) {
        return Err(cannot("where the object is was not remembered"));
    }
    plane.metrics.degraded_read(operation);
    let (known, imported) = match remembered {
        Remembered::Nothing => (Known::Nothing, false),
        Remembered::Changed => (Known::Changed, false),
        Remembered::Fresh(located) | Remembered::Stale(located) => {
            (Known::Had(located.version), located.has_foreign_copy())
        }
    };
    let found = broadcast::find(plane, bucket, key, known).await;
    match found {
        Ok(located) if want_of_whole(want) => Ok(Arc::new(located)),
        Ok(_) => Err(cannot("its parts are not known")),
        // An imported blob has a name that only the database knows.
        Err(Choice::Absent) if !imported => Err(absent(plane, req, bucket, key)),
        Err(Choice::Unknown(why)) => Err(cannot(why)),
        Err(Choice::Absent | Choice::Found { .. }) => Err(cannot("its bytes are not where they were")),
    }
}

/// Whether an object that came whole can answer.
fn want_of_whole(want: Want) -> bool {
    match want {
        Want::All | Want::Range(..) => true,
        // It counts as its first part.
        Want::Part(number) => number == 1,
        Want::Of(..) => false,
    }
}

/// What is remembered of a version, if it is the one that is named and has all that is wanted.
fn view(located: &Arc<Located>, version: Option<VersionRef>, want: Want) -> Option<Arc<Located>> {
    let is_named = match (version, &located.version_id) {
        // The current one; so is the null version of a bucket that was never versioned.
        (None, _) | (Some(VersionRef::Null), None) => true,
        (Some(version), Some(told)) => version.to_string() == *told,
        (Some(VersionRef::Id(_)), None) => false,
    };
    if !is_named {
        return None;
    }
    match want {
        Want::All => located.has(0, located.size).then(|| Arc::clone(located)),
        Want::Range(start, end) => located.has(start, end.min(located.size)).then(|| Arc::clone(located)),
        Want::Part(number) => part(located, number),
        Want::Of(..) => None,
    }
}

/// One part of an object; all of them must be known to count them.
fn part(located: &Arc<Located>, number: u16) -> Option<Arc<Located>> {
    let Some(parts) = located.parts else { return located.has(0, located.size).then(|| Arc::clone(located)) };
    let all = located.has(0, located.size) && u32::try_from(located.extents.len()) == Ok(parts);
    if !all {
        return None;
    }
    // None where there is no such part: that is an answer too.
    let extent = located.extents.get(usize::from(number).checked_sub(1)?).cloned();
    Some(Arc::new(Located { extents: extent.into_iter().collect(), ..Located::clone(located) }))
}

fn absent<T: Sync>(plane: &Plane, req: &S3Request<T>, bucket: &Bucket, key: &str) -> S3Error {
    let message = "The specified key does not exist.".to_owned();
    let failure = Failure::Refused { code: ErrorCode::NoSuchKey, message };
    if locate::is_hidden(plane, req, (bucket, key), &failure) {
        return s3_error!(AccessDenied);
    }
    faults::of_failure(failure)
}

fn cannot(why: &'static str) -> S3Error {
    tracing::debug!(why, "not served without the database");
    faults::of_code(
        ErrorCode::ServiceUnavailable,
        format!(
            "The metadata service is away, and the object cannot be read without it: {why}. Please try again."
        ),
    )
}

#[cfg(test)]
mod tests {
    use s3o_types::{Checksums, ObjectAttributes, Timestamp};

    use super::*;
    use crate::control::LocatedExtent;

    fn located(parts: Option<u32>, sizes: &[u64], version_id: Option<&str>) -> Arc<Located> {
        let mut offset = 0;
        let mut extent = |size: &u64| {
            offset += size;
            LocatedExtent {
                offset: offset - size,
                size: *size,
                copies: Vec::new(),
                digest: None,
                md5: None,
                checksums: Checksums::default(),
            }
        };
        let extents: Vec<_> = sizes.iter().map(&mut extent).collect();
        Arc::new(Located {
            version: VersionId::mint(1, 1),
            seq: 1,
            size: 30,
            etag: String::new(),
            modified: Timestamp(0),
            attributes: ObjectAttributes::default(),
            checksums: Checksums::default(),
            extents,
            parts,
            version_id: version_id.map(str::to_owned),
        })
    }

    #[test]
    fn what_is_remembered_must_have_what_is_wanted() {
        let some = located(Some(3), &[10, 10], None);
        assert!(
            view(&some, None, Want::Range(5, 20)).is_some() && view(&some, None, Want::Range(0, 0)).is_some()
        );
        assert!(view(&some, None, Want::Range(5, 21)).is_none() && view(&some, None, Want::All).is_none());
        assert!(view(&some, None, Want::Range(40, 50)).is_some(), "416 needs no bytes");
        assert!(view(&some, None, Want::Part(1)).is_none(), "which one it is cannot be told");
        let all = located(Some(3), &[10, 10, 10], None);
        assert_eq!(view(&all, None, Want::Part(2)).map(|view| view.extents[0].offset), Some(10));
        assert_eq!(view(&all, None, Want::Part(4)).map(|view| view.extents.len()), Some(0));
        let whole = located(None, &[30], None);
        assert!(view(&whole, None, Want::Part(1)).is_some() && view(&whole, None, Want::All).is_some());
    }

    #[test]
    fn versions_are_served_by_the_name_that_clients_have() {
        let id = VersionId::mint(1, 1);
        let (plain, null) = (located(None, &[30], None), located(None, &[30], Some("null")));
        let named = located(None, &[30], Some(&id.to_string()));
        let has = |of: &Arc<Located>, version| view(of, version, Want::All).is_some();
        assert!(has(&plain, None) && has(&named, None));
        assert!(has(&plain, Some(VersionRef::Null)) && has(&null, Some(VersionRef::Null)));
        assert!(!has(&named, Some(VersionRef::Null)) && has(&named, Some(VersionRef::Id(id))));
        assert!(!has(&plain, Some(VersionRef::Id(id))) && !has(&null, Some(VersionRef::Id(id))));
        assert!(!has(&named, Some(VersionRef::Id(VersionId::mint(2, 1)))));
    }

    #[test]
    fn what_needs_a_decision_does_not_go_on() {
        for operation in ["ListObjectsV2", "GetObjectTagging", "GetBucketVersioning", "ListParts"] {
            assert!(!goes_on(operation) && !writes(operation), "{operation}");
        }
        for operation in ["PutObject", "CopyObject", "DeleteObjects", "UploadPart", "CompleteMultipartUpload"]
        {
            assert!(!goes_on(operation) && writes(operation), "{operation}");
        }
    }
}
