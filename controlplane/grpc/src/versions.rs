//! Versions: pages of them, and whether a bucket keeps them.

use s3o_core::listing::{ListedObject, MAX_KEYS};
use s3o_core::versions::{
    ListedVersion, SetVersioning, VersionAfter, VersionEntry, VersionsPage, VersionsQuery,
};
use s3o_proto::v1;
use s3o_types::{BucketId, Etag, Op, Seq, Versioning};
use s3o_wire::versioning;
use tonic::Status;
use tracing::debug;

use crate::field::{self, Bad, no_nul};
use crate::list::listed;
use crate::status::{port_failed, refused};
use crate::wiring::Wiring;

pub(crate) async fn list(
    wiring: &Wiring,
    request: v1::ListVersionsRequest,
) -> Result<v1::ListVersionsReply, Status> {
    let page = wiring.ports()?.versions.list_versions(query(request)?).await.map_err(refused)?;
    let VersionsPage { entries, truncated } = page;
    Ok(v1::ListVersionsReply {
        entries: entries.into_iter().map(entry).collect(),
        truncated,
        required_features: wiring.required_features(),
    })
}

fn query(request: v1::ListVersionsRequest) -> Result<VersionsQuery, Bad> {
    let v1::ListVersionsRequest {
        bucket,
        prefix,
        delimiter,
        key_after,
        seq_after,
        version_after,
        max_keys,
        request_id,
    } = request;
    debug!(%request_id, bucket, "list versions");
    if max_keys > MAX_KEYS {
        return Err(Bad::new("max_keys", format!("{max_keys} is over {MAX_KEYS}")));
    }
    let named = field::version_ref("version_after", &version_after)?;
    Ok(VersionsQuery {
        bucket: BucketId(bucket),
        prefix: no_nul("prefix", prefix)?,
        delimiter: no_nul("delimiter", delimiter)?,
        key_after: no_nul("key_after", key_after)?,
        version_after: seq_after.map(|seq| VersionAfter::Seq(Seq(seq))).or(named.map(VersionAfter::Version)),
        max_keys,
    })
}

fn entry(entry: VersionEntry) -> v1::VersionEntry {
    use v1::version_entry::Entry;

    let entry = match entry {
        VersionEntry::CommonPrefix(prefix) => Entry::CommonPrefix(prefix),
        VersionEntry::Version(version, object) => Entry::Version(row(&version, object)),
        VersionEntry::Marker(marker) => {
            let object = ListedObject {
                key: marker.key.clone(),
                size: 0,
                etag: Etag::new(""),
                modified: marker.modified,
                storage_class: String::new(),
                checksum_algorithms: Vec::new(),
            };
            Entry::Marker(row(&marker, object))
        }
    };
    v1::VersionEntry { entry: Some(entry) }
}

fn row(version: &ListedVersion, object: ListedObject) -> v1::ListedVersion {
    // Key and time stand in the object.
    let ListedVersion { key: _, seq, version, is_latest, modified: _ } = version;
    v1::ListedVersion {
        object: Some(listed(object)),
        seq: seq.0,
        version_id: version.to_string(),
        is_latest: *is_latest,
    }
}

pub(crate) async fn get(
    wiring: &Wiring,
    request: v1::GetVersioningRequest,
) -> Result<v1::GetVersioningReply, Status> {
    let v1::GetVersioningRequest { bucket, request_id } = request;
    debug!(%request_id, bucket, "get versioning");
    let found = wiring.ports()?.versions.versioning(BucketId(bucket)).await;
    let versioning = match found.map_err(|error| port_failed(&error))? {
        None => return Err(Status::not_found("the bucket does not exist")),
        Some(versioning) => versioning::to_wire(versioning),
    };
    let required_features = wiring.required_features();
    Ok(v1::GetVersioningReply { versioning: versioning.into(), required_features })
}

pub(crate) async fn set(
    wiring: &Wiring,
    request: v1::SetVersioningRequest,
) -> Result<v1::SetVersioningReply, Status> {
    wiring.ports()?.versions.set_versioning(asked(request)?).await.map_err(refused)?;
    Ok(v1::SetVersioningReply { required_features: wiring.required_features() })
}

fn asked(request: v1::SetVersioningRequest) -> Result<SetVersioning, Bad> {
    let v1::SetVersioningRequest { op, bucket, versioning, access_key, request_id } = request;
    debug!(%request_id, bucket, versioning, "set versioning");
    let wanted = match v1::Versioning::try_from(versioning) {
        Ok(v1::Versioning::Enabled) => Versioning::Enabled,
        Ok(v1::Versioning::Suspended) => Versioning::Suspended,
        Ok(v1::Versioning::Off | v1::Versioning::Unspecified) | Err(_) => {
            return Err(Bad::new("versioning", format!("{versioning} is neither enabled nor suspended")));
        }
    };
    Ok(SetVersioning {
        op: Op { id: field::uuid("op", &op)?, item: 0 },
        access_key: no_nul("access_key", access_key)?,
        bucket: BucketId(bucket),
        wanted,
    })
}
