//! What a batch of calls is decided from: everything was read in the transaction that will write.

use std::collections::{BTreeMap, HashMap, HashSet};

use s3o_types::{
    AckLevel, BackendId, BackendState, BlobName, BucketId, BucketLock, Consumption, Extent, LifecycleRule,
    Op, Place, Scope, Seq, Timestamp, UploadId, UsageLimits, VersionId, Versioning,
};

use crate::config::{BucketState, Routing};
use crate::intent::Intent;
use crate::lifecycle::Standing;
use crate::object::{CopyRow, ObjectRow};
use crate::outcome_log::LoggedOutcome;
use crate::removal::Removal;
use crate::upload::UploadFacts;
use crate::usage::Usage;
use crate::versions::Noncurrent;

/// A bucket as the transaction sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFacts {
    /// Its name, part of every storage key.
    pub name: String,
    /// Whether it can be used.
    pub state: BucketState,
    /// How sure a write must be.
    pub ack: AckLevel,
    /// Copies wanted.
    pub replication_factor: u16,
    /// Largest object accepted, in bytes.
    pub max_object_size: Option<u64>,
    /// Whether it keeps versions.
    pub versioning: Versioning,
    /// Its Object Lock, where it has one.
    pub lock: Option<BucketLock>,
}

/// A backend as the transaction sees it, its usage summed over all slots under the lock of slot 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendFacts {
    /// Its number.
    pub id: BackendId,
    /// Where it is now.
    pub place: Place,
    /// Whether it takes blobs.
    pub state: BackendState,
    /// Whether its marker is known to be ours.
    pub attached: bool,
    /// Lower is first.
    pub priority: i32,
    /// Place in the configuration file, which decides among equal priorities.
    pub position: i32,
    /// Bytes that may be stored there.
    pub quota_bytes: Option<u64>,
    /// Largest object.
    pub max_object_size: Option<u64>,
    /// What counts against the quota.
    pub usage: Usage,
    /// What it may be used for in a month.
    pub limits: UsageLimits,
    /// What it was used for this month, as far as it was reported; read only where there are limits.
    pub month: Consumption,
}

/// A version with its copies, of most keys the current one.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentObject {
    /// The version.
    pub row: ObjectRow,
    /// Every copy row of it, in any state. Read only for calls that take it away, and not for a version of many
    /// extents.
    pub copies: Vec<CopyRow>,
    /// Of a version of many extents: bytes and objects by backend.
    pub sums: Vec<(BackendId, u64, u64)>,
}

/// An extent of a version that is there, current or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExtentFacts {
    /// Every copy row of it, in any state, and the state of its backend. One that is not relied on now, because it is down or its
    /// marker is not known to be ours, is as good as draining.
    pub copies: Vec<(CopyRow, BackendState)>,
    /// How often workers have begun to write it.
    pub attempts: u16,
}

/// What the tables say of a blob that was found on a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FoundBlob {
    /// A copy, an intent, a part of an upload, a queued deletion or a dead letter names it.
    pub is_named: bool,
    /// Its version is there, current or not.
    pub version_is_there: bool,
}

/// The facts. A map without an entry means that the row does not exist; what a batch does not need
/// (usage for a Delete) stays empty.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The transaction's time, by the database's clock.
    pub now: Timestamp,
    /// How placement chooses.
    pub routing: Routing,
    /// Buckets of the batch.
    pub buckets: HashMap<BucketId, BucketFacts>,
    /// (access key, bucket) pairs that may write and delete everything.
    pub writers: HashSet<(String, BucketId)>,
    /// What others may do, and where; read only for those who ask.
    pub scopes: HashMap<(String, BucketId), Vec<Scope>>,
    /// All backends, for Begin and Retarget.
    pub backends: Vec<BackendFacts>,
    /// Where the backends are that the batch's Commits, Aborts and Resolves name, read under the lock that whoever
    /// moves one takes.
    pub places: HashMap<BackendId, Place>,
    /// Outcomes in the change log.
    pub outcomes: HashMap<Op, LoggedOutcome>,
    /// Intents of the batch, locked.
    pub intents: HashMap<Op, Intent>,
    /// Multipart uploads that the batch's calls name.
    pub uploads: HashMap<UploadId, UploadFacts>,
    /// Current versions.
    pub objects: HashMap<(BucketId, String), CurrentObject>,
    /// Extents of versions whose copies the batch's workers change.
    pub extents: HashMap<(VersionId, Extent), ExtentFacts>,
    /// Of keys of buckets that were ever versioned: those noncurrent versions and markers that the batch's calls can
    /// be about. That is the null one, the one that is named, and the two newest, as far as a call needs them.
    pub versions: HashMap<(BucketId, String), BTreeMap<Seq, Noncurrent>>,
    /// Of the blobs that the batch's Commits and Aborts carry: those that a copy or a part of an upload names.
    pub named_blobs: HashSet<(BackendId, BlobName)>,
    /// Of the batch's calls about blobs that were found on backends: whether something names the blob, and whether the
    /// version that its name says is there.
    pub found_blobs: HashMap<Op, FoundBlob>,
    /// Rules of the buckets in which the batch's calls let something expire.
    pub lifecycle: HashMap<BucketId, Vec<LifecycleRule>>,
    /// Of the noncurrent rows that the batch's calls let expire: where they stand.
    pub standings: HashMap<Op, Standing>,
    /// Intents to be resolved whose key the log has changed since they began.
    pub overtaken: HashSet<Op>,
    /// How backends are given up; those only from which the batch's calls let copies go, locked.
    pub removals: HashMap<BackendId, Removal>,
    /// The greatest change-log number drawn so far.
    pub log_head: Seq,
    /// One number a call that may log, drawn under the locks, ascending.
    pub seqs: Vec<Seq>,
    /// One (sequence value, random bits) a Begin, `CreateUpload`, Delete or Expire, at least.
    pub version_seeds: Vec<(u64, u64)>,
}
