//! What a decided batch writes, in one transaction. Each list is one table.

use std::collections::BTreeMap;

use s3o_types::{BackendId, BucketId, Digest, Extent, Op, VersionId};

use crate::cleanup::{CleanupEntry, VersionCleanup};
use crate::intent::{Intent, Target};
use crate::object::{CopyRow, CopyState, ObjectRow};
use crate::outcome_log::Change;
use crate::replication::ReplicationEntry;
use crate::upload::UploadEffects;
use crate::usage::UsageDeltas;
use crate::versions::VersionEffects;

/// A copy of which something else is known than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedCopy {
    /// The version.
    pub version: VersionId,
    /// The piece of it.
    pub extent: Extent,
    /// Where.
    pub backend: BackendId,
    /// What it is now.
    pub state: CopyState,
    /// Its digest, where none was known.
    pub digest: Option<Digest>,
}

/// Rows to write. All or none of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// Current versions, inserted or put in the place of the key's row.
    pub put_objects: Vec<ObjectRow>,
    /// Current versions whose tags are others now; nothing else of the row changed.
    pub set_tags: Vec<ObjectRow>,
    /// Versions, current or not, that are kept by something else now; nothing else of the row changed.
    pub set_locks: Vec<ObjectRow>,
    /// Keys that have no current version any more.
    pub drop_objects: Vec<(BucketId, String)>,
    /// Versions besides the current ones, and what becomes current or ceases to be by them.
    pub versions: VersionEffects,
    /// New copies.
    pub add_copies: Vec<CopyRow>,
    /// Versions whose copy rows go, all of them.
    pub drop_copies: Vec<VersionId>,
    /// Single copies that go, before others are added.
    pub take_copies: Vec<(VersionId, Extent, BackendId)>,
    /// Single copies whose state is another now, or whose digest is known now.
    pub mark_copies: Vec<MarkedCopy>,
    /// Attempts of workers at extents, counted with this batch's.
    pub copy_attempts: BTreeMap<(VersionId, Extent), u16>,
    /// Versions whose copies are to be looked at.
    pub replicate: Vec<ReplicationEntry>,
    /// New intents.
    pub add_intents: Vec<Intent>,
    /// New targets of existing intents.
    pub add_targets: Vec<(Op, Target)>,
    /// Intents that are settled.
    pub drop_intents: Vec<Op>,
    /// Changes to the bytes of backends.
    pub usage: UsageDeltas,
    /// Blobs to delete.
    pub cleanup: Vec<CleanupEntry>,
    /// Versions of many extents, whose copy rows stay until a worker queues their blobs.
    pub cleanup_versions: Vec<VersionCleanup>,
    /// Multipart uploads.
    pub uploads: UploadEffects,
    /// Rows of the change log.
    pub changes: Vec<Change>,
}
