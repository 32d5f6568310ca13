//! Locks of versions and of buckets at the control plane.

use s3o_proto::v1;
use s3o_proto::v1::change_bucket_request::Change;
use s3o_proto::v1::operation::Call;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_types::{BucketId, BucketLock, Retention, VersionRef};
use s3o_wire::lock::{bucket_to_wire, retention_to_wire};

use super::calls::BUSY_PATIENCE;
use super::convert::{told, version_ref};
use super::{Caller, Failure};

/// What is to become of a version's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockChange {
    /// `None` removes it.
    Retention(Option<Retention>),
    LegalHold(bool),
}

impl Caller {
    /// Changes what keeps a version of a key, the current one where none is named, and says which one it is.
    pub(crate) async fn set_lock(
        &self,
        bucket: BucketId,
        (key, version): (&str, Option<VersionRef>),
        change: LockChange,
        bypass_governance: bool,
    ) -> Result<Option<String>, Failure> {
        let change = match change {
            LockChange::Retention(Some(retention)) => {
                v1::set_lock::Change::Retention(retention_to_wire(retention))
            }
            LockChange::Retention(None) => v1::set_lock::Change::NoRetention(v1::NoRetention {}),
            LockChange::LegalHold(on) => v1::set_lock::Change::LegalHold(on),
        };
        let set = v1::SetLock {
            bucket: bucket.0,
            key: key.to_owned(),
            version_id: version_ref(version),
            change: Some(change),
            bypass_governance,
        };
        match self.call(0, false, Call::SetLock(set), self.call_patience, BUSY_PATIENCE).await? {
            Outcome::LockSet(v1::LockSet { version_id }) => Ok(told(version_id)),
            _ => Err(Failure::Unknown),
        }
    }

    /// Gives a bucket Object Lock, with this instead of what was said before.
    pub(crate) async fn set_object_lock(&self, name: &str, lock: BucketLock) -> Result<i64, Failure> {
        self.change_bucket(name, Change::SetLock(bucket_to_wire(lock))).await
    }
}
