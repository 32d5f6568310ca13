//! Gives up multipart uploads that nobody will finish, those of deleted buckets among them, and forgets those that ended long ago.
//!
//! Invariant: an upload is given up by the ledger, under its key's lock, like any client's abort: one that is
//! completed at this moment stays completed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use s3o_core::call::{AbortUpload, Call, Outcome};
use s3o_core::ports::{Ledger, Uploads};
use s3o_core::upload::UploadRow;
use s3o_core::worker::Counts;
use s3o_runtime::{Shutdown, audit};
use s3o_types::ErrorCode;
use uuid::Uuid;

use crate::Deps;
use crate::harness::{Worker, new_op, request};

/// Uploads looked up at once.
const BATCH: u32 = 100;

pub(crate) struct StaleMultipart {
    ledger: Arc<dyn Ledger>,
    uploads: Arc<dyn Uploads>,
    owner: Uuid,
    age: Duration,
    shutdown: Shutdown,
}

impl StaleMultipart {
    pub(crate) fn new(deps: &Deps, owner: Uuid) -> Self {
        Self {
            ledger: deps.ledger.clone(),
            uploads: deps.uploads.clone(),
            owner,
            age: deps.settings.stale_upload_after,
            shutdown: deps.shutdown.clone(),
        }
    }
}

/// Gives an upload up that nobody asked to; says what was to be counted.
pub(crate) async fn abort(
    ledger: &dyn Ledger,
    owner: Uuid,
    worker: &str,
    upload: &UploadRow,
) -> Result<&'static str, String> {
    let UploadRow { id, bucket, key, .. } = upload;
    let call = Call::AbortUpload(AbortUpload { bucket: *bucket, key: key.clone(), upload: *id, stale: true });
    match ledger.submit(request(owner, worker, new_op(), format!("stale-{id}"), call)).await {
        Outcome::UploadAborted => {
            audit!("storage.MultipartCleanup", request_id = %id, bucket = bucket.0, key);
            Ok("aborted")
        }
        // Its client was quicker.
        Outcome::Refused(refusal) if refusal.code == ErrorCode::NoSuchUpload => Ok("already_closed"),
        Outcome::Refused(refusal) => Err(refusal.message),
        other => Err(format!("unexpected outcome {other:?}")),
    }
}

#[async_trait]
impl Worker for StaleMultipart {
    async fn tick(&self) -> Result<Counts, String> {
        let mut counts = Counts::new();
        let age_us = i64::try_from(self.age.as_micros()).unwrap_or(i64::MAX);
        let mut first_error = None;
        while !self.shutdown.is_stopping() && first_error.is_none() {
            let stale = self.uploads.stale_uploads(age_us, BATCH).await.map_err(|error| error.to_string())?;
            if stale.is_empty() {
                break;
            }
            for upload in &stale {
                match abort(&*self.ledger, self.owner, "stale_multipart", upload).await {
                    Ok(status) => *counts.entry(status.to_owned()).or_default() += 1,
                    // The others need not wait for it; the tick has failed, and the next one meets it again.
                    Err(why) => first_error = first_error.or(Some(format!("upload {}: {why}", upload.id))),
                }
            }
        }
        while !self.shutdown.is_stopping() {
            let pruned = self.uploads.prune_uploads().await.map_err(|error| error.to_string())?;
            let more = pruned.values().any(|n| *n > 0);
            for (what, n) in pruned {
                *counts.entry(what).or_default() += n;
            }
            if !more {
                break;
            }
        }
        if let Some(why) = first_error {
            return Err(why);
        }
        Ok(counts)
    }
}
