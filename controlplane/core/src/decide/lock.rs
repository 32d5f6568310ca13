//! Whether a version may go: the one place where that is decided, for clients and workers alike, by the transaction's time.
//!
//! Invariant: nothing but [`Leave::of`] makes a [`Leave`], nothing but a leave makes an [`Unlocked`], and
//! `settle::discard`, which deletes versions, takes nothing else.

use s3o_types::{
    BucketId, ErrorCode, Held, ObjectLock, Retention, RetentionMode, Right, Seq, Timestamp, VersionId,
};

use super::Batch;
use crate::call::Refusal;
use crate::facts::CurrentObject;
use crate::object::ObjectRow;

/// Leave to remove a version. It is found again by its id, so that no other one can go by it.
pub(super) struct Leave(VersionId);

/// A version out of its place that nothing keeps.
pub(super) struct Unlocked(CurrentObject);

impl Leave {
    /// `Err`: the version is locked, for whoever asks.
    pub(super) fn of(batch: &Batch, row: &ObjectRow, bypass: bool) -> Result<Self, Refusal> {
        match row.attributes.lock.held(batch.facts.now, bypass) {
            None => Ok(Self(row.version)),
            Some(held) => Err(denied(held)),
        }
    }

    /// Takes the key's current version out, if it is the one.
    pub(super) fn take_current(self, batch: &mut Batch, bucket: BucketId, key: &str) -> Option<Unlocked> {
        let place = (bucket, key.to_owned());
        let current = batch.facts.objects.get(&place)?;
        if current.row.version != self.0 {
            return None;
        }
        batch.facts.objects.remove(&place).map(Unlocked)
    }

    /// The same of the noncurrent row at that place, and whether it is a marker.
    pub(super) fn take_noncurrent(
        self,
        batch: &mut Batch,
        (bucket, key): (BucketId, &str),
        seq: Seq,
    ) -> Option<(Unlocked, bool)> {
        let rows = batch.facts.versions.get_mut(&(bucket, key.to_owned()))?;
        if rows.get(&seq)?.object.row.version != self.0 {
            return None;
        }
        rows.remove(&seq).map(|removed| (Unlocked(removed.object), removed.delete_marker))
    }
}

impl Unlocked {
    pub(super) fn row(&self) -> &ObjectRow {
        &self.0.row
    }

    pub(super) fn into_object(self) -> CurrentObject {
        self.0
    }
}

fn denied(held: Held) -> Refusal {
    let why = match held {
        Held::LegalHold => "a legal hold keeps it".to_owned(),
        Held::Retained(Retention { mode: RetentionMode::Compliance, .. }) => {
            "a compliance retention keeps it".to_owned()
        }
        Held::Retained(Retention { mode: RetentionMode::Governance, .. }) => format!(
            "a governance retention keeps it; without it by the header x-amz-bypass-governance-retention, for access keys with \
             the right {}",
            Right::BypassGovernance.as_str()
        ),
    };
    let why = format!("Access Denied because object protected by object lock: {why}.");
    Refusal::new(ErrorCode::AccessDenied, why)
}

/// S3's sentence (S3 API reference, `PutObject`, errors of Object Lock).
pub(super) fn no_lock() -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, "Bucket is missing Object Lock Configuration")
}

impl Batch {
    /// Whether a governance retention counts for nothing: asked for, and granted.
    pub(super) fn bypasses(&self, access_key: &str, asked: bool, place: (BucketId, &str)) -> bool {
        asked && self.may(access_key, Right::BypassGovernance, place).is_ok()
    }

    /// Whether what a writer asks for can be had: of a bucket with Object Lock, and until a time to come.
    pub(super) fn check_lock(&self, bucket: BucketId, asked: &ObjectLock) -> Result<(), Refusal> {
        if asked.is_none() {
            return Ok(());
        }
        if !self.has_lock(bucket) {
            return Err(no_lock());
        }
        check_date(asked.retention, self.facts.now)
    }

    pub(super) fn has_lock(&self, bucket: BucketId) -> bool {
        self.facts.buckets.get(&bucket).is_some_and(|facts| facts.lock.is_some())
    }

    /// The lock of a version that is written now.
    pub(super) fn lock_of_new(&self, bucket: BucketId, asked: ObjectLock) -> ObjectLock {
        let facts = self.facts.buckets.get(&bucket).and_then(|facts| facts.lock);
        facts.map_or_else(ObjectLock::default, |lock| lock.of_new(asked, self.facts.now))
    }
}

/// S3's sentence (the same page).
pub(super) fn check_date(retention: Option<Retention>, now: Timestamp) -> Result<(), Refusal> {
    match retention {
        Some(retention) if !retention.holds(now) => {
            Err(Refusal::new(ErrorCode::InvalidArgument, "The retain until date must be in the future!"))
        }
        _ => Ok(()),
    }
}

/// Whether a retention may take the place of another: it may become longer, and it may be changed when it has ended; a
/// governance retention by leave in every way, a compliance retention in no other (S3 API reference,
/// `PutObjectRetention`; Amazon S3 User Guide, "Retention modes").
pub(super) fn check_change(
    lock: &ObjectLock,
    wanted: Option<Retention>,
    now: Timestamp,
    bypass: bool,
) -> Result<(), Refusal> {
    check_date(wanted, now)?;
    let Some(stands) = lock.retention.filter(|retention| retention.holds(now)) else { return Ok(()) };
    let is_kept = wanted.is_some_and(|wanted| wanted.mode == stands.mode && wanted.until >= stands.until);
    let waived = bypass && stands.mode == RetentionMode::Governance;
    if is_kept || waived { Ok(()) } else { Err(denied(Held::Retained(stands))) }
}
