//! Where an object is: asked of the database, or, for those who read it, found without it while it is away.
//!
//! Invariants: what is answered of a key is remembered; whoever may not list a key does not learn whether it is there.

use std::sync::Arc;

use s3o_types::{DegradedReads, ErrorCode, Right, VersionRef};
use s3s::{S3Error, S3Request, S3Result, s3_error};

use crate::access::allowed;
use crate::control::{Caller, Failure, Located, Want};
use crate::degraded;
use crate::pipeline::faults;
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// Where the object is that is to be read. Whoever may not list a key must not learn whether it is there: to
/// them a missing one is refused, as S3 does (GetObject and HeadObject reference, "Permissions").
pub(super) async fn locate<T: Sync>(
    plane: &Plane,
    req: &S3Request<T>,
    caller: &Caller,
    named: (&Bucket, &str, Option<VersionRef>),
    want: Want,
) -> S3Result<Arc<Located>> {
    locate_or(plane, req, caller, named, want, faults::of_failure).await
}

/// [`locate`] for those who read objects: while the database is away, from what is known without it. A control plane gives up
/// sooner than probes have found out: then it is waited for them. `gone`: a version that was located before and has no blobs
/// any more.
pub(super) async fn locate_to_read<T: Sync>(
    plane: &Arc<Plane>,
    req: &S3Request<T>,
    caller: &Caller,
    asked: degraded::Asked<'_>,
    operation: &'static str,
) -> S3Result<Arc<Located>> {
    let database = plane.control.database();
    let degraded::Asked { bucket, key, version, want, gone: _ } = asked;
    let mut again = None;
    while !database.is_open() {
        let asks = again.as_ref().unwrap_or(caller);
        let failure = match look_up(plane, asks, (bucket, key, version), want).await {
            Ok(located) => return Ok(located),
            Err(failure) => failure,
        };
        let settled = tokio::time::timeout(plane.config.timeouts.call.get(), database.settled());
        let is_known =
            is_away(&failure) && (database.is_open() || (again.is_none() && settled.await.is_ok()));
        if !is_known {
            return Err(unread(plane, req, (bucket, key), failure));
        }
        // It is away, or it answers, and is asked once more.
        again = Some(caller.anew());
    }
    degraded::locate(plane, req, asked, operation).await
}

/// Whether nothing was decided.
fn is_away(failure: &Failure) -> bool {
    match failure {
        Failure::Unknown => true,
        Failure::Refused { code, .. } => *code == ErrorCode::ServiceUnavailable,
        Failure::Marker { .. } => false,
    }
}

/// Asks where a version is, and remembers it where it is the current one.
async fn look_up(
    plane: &Plane,
    caller: &Caller,
    (bucket, key, version): (&Bucket, &str, Option<VersionRef>),
    want: Want,
) -> Result<Arc<Located>, Failure> {
    let asked = plane.locations.ticket();
    let located = caller.locate(bucket.id, (key, version), want).await.map(Arc::new);
    if version.is_none() && bucket.degraded_reads != DegradedReads::Refused {
        match &located {
            Ok(located) => plane.locations.located(bucket.id, key, asked, located),
            Err(Failure::Refused { code: ErrorCode::NoSuchKey, .. } | Failure::Marker { .. }) => {
                plane.locations.absent(bucket.id, key, asked);
            }
            Err(_) => {}
        }
    }
    located
}

/// [`locate`], where a failure means something else.
pub(super) async fn locate_or<T: Sync>(
    plane: &Plane,
    req: &S3Request<T>,
    caller: &Caller,
    (bucket, key, version): (&Bucket, &str, Option<VersionRef>),
    want: Want,
    otherwise: fn(Failure) -> S3Error,
) -> S3Result<Arc<Located>> {
    let located = look_up(plane, caller, (bucket, key, version), want).await;
    located.map_err(|failure| match failure {
        failure if is_hidden(plane, req, (bucket, key), &failure) => s3_error!(AccessDenied),
        failure => otherwise(failure),
    })
}

/// What is answered of an object that could not be looked at.
pub(super) fn unread<T>(
    plane: &Plane,
    req: &S3Request<T>,
    (bucket, key): (&Bucket, &str),
    failure: Failure,
) -> S3Error {
    if is_hidden(plane, req, (bucket, key), &failure) {
        return s3_error!(AccessDenied);
    }
    faults::of_failure(failure)
}

/// Whether the failure says that something is not there, to one who may not know.
pub(crate) fn is_hidden<T>(
    plane: &Plane,
    req: &S3Request<T>,
    (bucket, key): (&Bucket, &str),
    failure: &Failure,
) -> bool {
    let is_absence = match failure {
        // The last one: a marker was named, where tags or a lock were to be changed.
        Failure::Refused { code, .. } => {
            matches!(code, ErrorCode::NoSuchKey | ErrorCode::NoSuchVersion | ErrorCode::MethodNotAllowed)
        }
        Failure::Marker { .. } => true,
        Failure::Unknown => false,
    };
    is_absence && allowed(plane, req, bucket, Right::List, key).is_err()
}
