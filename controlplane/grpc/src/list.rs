//! One page of a listing.

use s3o_core::listing::{ListEntry, ListQuery, ListedObject, MAX_KEYS, Page};
use s3o_proto::v1;
use s3o_types::BucketId;
use tonic::Status;
use tracing::debug;

use crate::field::{Bad, no_nul};
use crate::status::refused;
use crate::wiring::Wiring;

pub(crate) async fn list(wiring: &Wiring, request: v1::ListRequest) -> Result<v1::ListReply, Status> {
    let query = query(request)?;
    let page = wiring.ports()?.ledger.list(query).await.map_err(refused)?;
    let Page { entries, next } = page;
    Ok(v1::ListReply {
        entries: entries.into_iter().map(entry).collect(),
        next,
        required_features: wiring.required_features(),
    })
}

fn query(request: v1::ListRequest) -> Result<ListQuery, Bad> {
    let v1::ListRequest { bucket, prefix, delimiter, after, max_keys, request_id } = request;
    debug!(%request_id, bucket, "list");
    if max_keys > MAX_KEYS {
        return Err(Bad::new("max_keys", format!("{max_keys} is over {MAX_KEYS}")));
    }
    Ok(ListQuery {
        bucket: BucketId(bucket),
        prefix: no_nul("prefix", prefix)?,
        delimiter: no_nul("delimiter", delimiter)?,
        after: no_nul("after", after)?,
        max_keys,
    })
}

fn entry(entry: ListEntry) -> v1::ListEntry {
    let entry = match entry {
        ListEntry::CommonPrefix(prefix) => v1::list_entry::Entry::CommonPrefix(prefix),
        ListEntry::Object(object) => v1::list_entry::Entry::Object(listed(object)),
    };
    v1::ListEntry { entry: Some(entry) }
}

pub(crate) fn listed(object: ListedObject) -> v1::ListedObject {
    let ListedObject { key, size, etag, modified, storage_class, checksum_algorithms } = object;
    v1::ListedObject {
        key,
        size,
        etag: etag.into_string(),
        modified_us: modified.0,
        storage_class,
        checksum_algorithms,
    }
}
