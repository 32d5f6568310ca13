//! What calls and outcomes mean here, and their wire form. Every field is named, so that a new one
//! breaks the build instead of being passed over.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use s3o_proto::v1;
use s3o_types::{
    BackendId, BucketId, Conditions, Digest, ObjectAttributes, Place, Timestamp, VersionId, VersionRef,
};
use s3o_wire::{conditions, headers, lock};
use uuid::Uuid;

/// One blob that a write is to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub backend: BackendId,
    /// Where the backend must be for the blob to count.
    pub place: Place,
    pub extent: u32,
    pub r#gen: u32,
    pub storage_key: String,
}

/// A write that the control plane has recorded.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub bucket: BucketId,
    pub key: String,
    pub version: VersionId,
    pub size: u64,
    pub conditions: Conditions,
    /// The multipart upload whose part it is.
    pub upload: Option<Uuid>,
    pub targets: Vec<Target>,
}

/// Begin's outcome.
#[derive(Debug)]
pub(crate) struct Begun {
    pub version: VersionId,
    pub targets: Vec<Target>,
    /// Verified copies that the ack level asks for: from one to as many as there are targets.
    pub required_copies: usize,
}

/// How the upload to a target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    NotSent,
    Cut,
    Stored,
    Unknown,
}

/// A target that holds no copy of the commit.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub target: Target,
    pub end: End,
    /// The backend's version id, empty where it gave none.
    pub backend_version: String,
}

/// A target that holds a verified copy.
#[derive(Debug, Clone)]
pub(crate) struct StoredCopy {
    pub target: Target,
    pub stored_size: u64,
    pub backend_etag: String,
    pub backend_version: String,
    pub digest: Option<Digest>,
}

/// A write that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub modified: Timestamp,
    /// Its place in the key's order.
    pub seq: i64,
    /// What the client is told of its version; `None` in a bucket that was never versioned.
    pub version_id: Option<String>,
}

/// What a delete did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deleted {
    /// The marker that was made, or the version that was removed.
    pub version_id: Option<String>,
    pub delete_marker: bool,
}

pub(super) fn uuid_bytes(uuid: Uuid) -> Bytes {
    Bytes::copy_from_slice(uuid.as_bytes())
}

pub(super) fn version_bytes(version: VersionId) -> Bytes {
    uuid_bytes(version.to_uuid())
}

pub(super) fn version_of(bytes: &[u8]) -> Option<VersionId> {
    Uuid::from_slice(bytes).ok().map(VersionId::from_uuid)
}

fn target_to_wire(target: &Target) -> v1::Target {
    let Target { backend, place, extent, r#gen, storage_key } = target;
    v1::Target {
        backend: backend.0,
        extent: *extent,
        r#gen: *r#gen,
        storage_key: storage_key.clone(),
        place: place.number(),
    }
}

pub(super) fn target_of(target: v1::Target) -> Target {
    let v1::Target { backend, extent, r#gen, storage_key, place } = target;
    Target { backend: BackendId(backend), place: Place::from_number(place), extent, r#gen, storage_key }
}

pub(super) fn intent_to_wire(intent: &Intent) -> v1::Intent {
    let Intent { bucket, key, version, size, conditions, upload, targets } = intent;
    v1::Intent {
        bucket: bucket.0,
        key: key.clone(),
        version: version_bytes(*version),
        size: *size,
        conditions: Some(conditions::to_wire(conditions)),
        targets: targets.iter().map(target_to_wire).collect(),
        upload: upload.map(uuid_bytes).unwrap_or_default(),
    }
}

pub(super) fn finished_to_wire(finished: &Finished) -> v1::FinishedTarget {
    let Finished { target, end, backend_version } = finished;
    let Target { backend, place: _, extent, r#gen, storage_key: _ } = target;
    let end = match end {
        End::NotSent => v1::TargetEnd::NotSent,
        End::Cut => v1::TargetEnd::Cut,
        End::Stored => v1::TargetEnd::Stored,
        End::Unknown => v1::TargetEnd::Unknown,
    };
    v1::FinishedTarget {
        backend: backend.0,
        extent: *extent,
        r#gen: *r#gen,
        end: end.into(),
        backend_version: backend_version.clone(),
    }
}

pub(super) fn copy_to_wire(copy: &StoredCopy) -> v1::StoredCopy {
    let StoredCopy { target, stored_size, backend_etag, backend_version, digest } = copy;
    let Target { backend, place: _, extent, r#gen, storage_key: _ } = target;
    v1::StoredCopy {
        backend: backend.0,
        extent: *extent,
        r#gen: *r#gen,
        stored_size: *stored_size,
        backend_etag: backend_etag.clone(),
        backend_version: backend_version.clone(),
        encoding: Some(v1::Encoding::default()),
        digest: digest.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default().into(),
    }
}

pub(super) fn attributes_to_wire(attributes: &ObjectAttributes) -> v1::ObjectAttributes {
    let ObjectAttributes { headers, metadata, tags, lock } = attributes.clone();
    v1::ObjectAttributes {
        headers: Some(headers::to_wire(headers)),
        metadata: metadata.into_iter().collect(),
        tags: tags.into_iter().collect(),
        lock: lock::to_wire(lock),
    }
}

pub(super) fn attributes_of(attributes: Option<v1::ObjectAttributes>) -> ObjectAttributes {
    let v1::ObjectAttributes { headers, metadata, tags, lock } = attributes.unwrap_or_default();
    ObjectAttributes {
        headers: headers::from_wire(headers),
        metadata: sorted(metadata),
        tags: sorted(tags),
        lock: lock::known_from_wire(lock),
    }
}

pub(super) fn sorted(map: HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// `None` when it makes no sense: to be treated as an outcome that is not known.
pub(super) fn begun_of(begun: v1::Begun) -> Option<Begun> {
    let v1::Begun { version, targets, required_copies } = begun;
    // A level of none is that of a control plane that does not count: one.
    let required_copies = usize::try_from(required_copies).ok()?.max(1);
    // To commit less than was asked for would break the ack level.
    if targets.len() < required_copies {
        return None;
    }
    let targets = targets.into_iter().map(target_of).collect();
    Some(Begun { version: version_of(&version)?, targets, required_copies })
}

/// The wire's empty string for what the client is not told.
pub(super) fn told(version_id: String) -> Option<String> {
    Some(version_id).filter(|id| !id.is_empty())
}

/// How a call names a version; empty where it names none.
pub(super) fn version_ref(version: Option<VersionRef>) -> String {
    version.map(|version| version.to_string()).unwrap_or_default()
}

pub(super) fn committed_of(committed: v1::Committed) -> Committed {
    let v1::Committed { seq, modified_us, version_id } = committed;
    Committed { modified: Timestamp(modified_us), seq, version_id: told(version_id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begin_whose_targets_cannot_meet_the_level_is_not_understood() {
        let target = |backend| v1::Target { backend, ..Default::default() };
        let good = v1::Begun { version: vec![1; 16].into(), targets: vec![target(1)], required_copies: 1 };
        assert!(begun_of(good.clone()).is_some());
        assert!(begun_of(v1::Begun { required_copies: 2, ..good.clone() }).is_none());
        let two = v1::Begun { targets: vec![target(1), target(2)], required_copies: 2, ..good.clone() };
        assert_eq!(begun_of(two).map(|begun| begun.required_copies), Some(2));
        assert_eq!(
            begun_of(v1::Begun { required_copies: 0, ..good.clone() }).map(|b| b.required_copies),
            Some(1)
        );
        assert!(begun_of(v1::Begun { targets: vec![], ..good.clone() }).is_none());
        assert!(begun_of(v1::Begun { version: vec![1; 3].into(), ..good }).is_none());
    }

    #[test]
    fn attributes_round_trip() {
        let mut attributes = ObjectAttributes::default();
        attributes.headers.content_type = Some("text/plain".to_owned());
        attributes.metadata.insert("a".to_owned(), "ü".to_owned());
        attributes.tags.insert("t".to_owned(), "v".to_owned());
        attributes.lock.legal_hold = Some(true);
        assert_eq!(attributes_of(Some(attributes_to_wire(&attributes))), attributes);
    }
}
