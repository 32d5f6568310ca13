//! Versions at the control plane: pages of them, and whether a bucket keeps them.

use s3o_proto::v1;
use s3o_types::{BucketId, ErrorCode, VersionRef, Versioning};
use s3o_wire::versioning;

use super::convert::{uuid_bytes, version_ref};
use super::listing::{ListedObject, object_of};
use super::{Caller, Failure};

/// What to list.
#[derive(Debug, Clone)]
pub(crate) struct VersionsQuery {
    pub prefix: String,
    pub delimiter: String,
    /// Only what is greater, and, of this key itself, what is behind a version.
    pub key_after: String,
    /// That version by its place in the key's order.
    pub seq_after: Option<i64>,
    /// Or by its name.
    pub version_after: Option<VersionRef>,
    pub max_keys: u32,
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct VersionsPage {
    pub entries: Vec<VersionEntry>,
    /// Whether there are more.
    pub truncated: bool,
}

/// An entry: keys and common prefixes ascending, the versions of a key from the newest on.
#[derive(Debug)]
pub(crate) enum VersionEntry {
    Version(ListedVersion),
    Marker(ListedVersion),
    CommonPrefix(String),
}

/// A version; of a marker, only key and time of the object mean anything.
#[derive(Debug)]
pub(crate) struct ListedVersion {
    pub object: ListedObject,
    pub seq: i64,
    pub version_id: String,
    pub is_latest: bool,
}

impl Caller {
    /// One page of a bucket's versions.
    pub(crate) async fn list_versions(
        &self,
        bucket: BucketId,
        query: &VersionsQuery,
    ) -> Result<VersionsPage, Failure> {
        let VersionsQuery { prefix, delimiter, key_after, seq_after, version_after, max_keys } =
            query.clone();
        let request = v1::ListVersionsRequest {
            bucket: bucket.0,
            prefix,
            delimiter,
            key_after,
            seq_after,
            version_after: version_ref(version_after),
            max_keys,
            request_id: self.request_id.clone(),
        };
        let reply = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.list_versions(request).await }
            })
            .await?;
        let v1::ListVersionsReply { entries, truncated, required_features } = reply;
        self.control.see_required(&required_features);
        // An entry of an unknown kind cannot be left out: the listing would be wrong.
        let entries = entries.into_iter().map(entry_of).collect::<Option<Vec<_>>>();
        Ok(VersionsPage { entries: entries.ok_or(Failure::Unknown)?, truncated })
    }

    /// Whether the bucket keeps versions, by whoever decides the next write.
    pub(crate) async fn versioning(&self, bucket: BucketId) -> Result<Versioning, Failure> {
        let request = v1::GetVersioningRequest { bucket: bucket.0, request_id: self.request_id.clone() };
        let asked = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.get_versioning(request).await }
            })
            .await;
        let reply = match asked {
            // A control plane of before versions serves no bucket that has any.
            Err(Failure::Refused { code: ErrorCode::FeatureRequired, .. }) => return Ok(Versioning::Off),
            asked => asked?,
        };
        let versioning = reply.versioning();
        let v1::GetVersioningReply { versioning: _, required_features } = reply;
        self.control.see_required(&required_features);
        versioning::from_wire(versioning).ok_or(Failure::Unknown)
    }

    /// Lets the bucket keep versions, or cease to. Asked for again, by the same operation, until it is known.
    pub(crate) async fn set_versioning(&self, bucket: BucketId, wanted: Versioning) -> Result<(), Failure> {
        let request = v1::SetVersioningRequest {
            op: uuid_bytes(self.op),
            bucket: bucket.0,
            versioning: versioning::to_wire(wanted).into(),
            access_key: self.access_key.clone(),
            request_id: self.request_id.clone(),
        };
        let v1::SetVersioningReply { required_features } = self
            .ask(|mut client| {
                let request = request.clone();
                async move { client.set_versioning(request).await }
            })
            .await?;
        self.control.see_required(&required_features);
        Ok(())
    }
}

fn entry_of(entry: v1::VersionEntry) -> Option<VersionEntry> {
    use v1::version_entry::Entry;

    Some(match entry.entry? {
        Entry::CommonPrefix(prefix) => VersionEntry::CommonPrefix(prefix),
        Entry::Version(row) => VersionEntry::Version(row_of(row)?),
        Entry::Marker(row) => VersionEntry::Marker(row_of(row)?),
    })
}

fn row_of(row: v1::ListedVersion) -> Option<ListedVersion> {
    let v1::ListedVersion { object, seq, version_id, is_latest } = row;
    Some(ListedVersion { object: object_of(object?), seq, version_id, is_latest })
}
