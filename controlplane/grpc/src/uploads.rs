//! Multipart uploads: pages of parts and of uploads.

use s3o_core::upload::{
    MAX_PARTS, PartRow, PartsPage, PartsQuery, UploadRow, UploadState, UploadsPage, UploadsQuery,
};
use s3o_proto::v1;
use s3o_types::{BucketId, UploadId};
use s3o_wire::copied;
use tonic::Status;
use tracing::debug;

use crate::field::{self, Bad, no_nul};
use crate::operations::outcome::version_id;
use crate::status::port_failed;
use crate::wiring::Wiring;

/// S3's largest page of uploads (S3 API reference, `ListMultipartUploads`, `max-uploads`).
const MAX_UPLOADS: u32 = 1000;

pub(crate) async fn parts(
    wiring: &Wiring,
    request: v1::ListPartsRequest,
) -> Result<v1::ListPartsReply, Status> {
    let query = parts_query(request)?;
    let page = wiring.ports()?.uploads.parts(query).await.map_err(|error| port_failed(&error))?;
    let required_features = wiring.required_features();
    let mut said = String::new();
    Ok(match page {
        None => v1::ListPartsReply { upload: None, parts: vec![], truncated: false, required_features },
        Some(PartsPage { upload: row, parts, truncated }) => v1::ListPartsReply {
            upload: Some(upload(row)),
            parts: parts.into_iter().map(|row| part(row, &mut said)).collect(),
            truncated,
            required_features,
        },
    })
}

fn parts_query(request: v1::ListPartsRequest) -> Result<PartsQuery, Bad> {
    let v1::ListPartsRequest { bucket, key, upload, after, max_parts, request_id } = request;
    debug!(%request_id, bucket, "list parts");
    let number = |field: &str, n: u32| {
        let number = u16::try_from(n).ok().filter(|n| *n <= MAX_PARTS);
        number.ok_or_else(|| Bad::new(field, format!("{n} is over {MAX_PARTS}")))
    };
    Ok(PartsQuery {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        upload: UploadId(field::uuid("upload", &upload)?),
        after: number("after", after)?,
        max_parts: number("max_parts", max_parts)?,
    })
}

pub(crate) async fn uploads(
    wiring: &Wiring,
    request: v1::ListUploadsRequest,
) -> Result<v1::ListUploadsReply, Status> {
    let query = uploads_query(request)?;
    let page = wiring.ports()?.uploads.uploads(query).await.map_err(|error| port_failed(&error))?;
    let UploadsPage { uploads, truncated } = page;
    Ok(v1::ListUploadsReply {
        uploads: uploads.into_iter().map(upload).collect(),
        truncated,
        required_features: wiring.required_features(),
    })
}

fn uploads_query(request: v1::ListUploadsRequest) -> Result<UploadsQuery, Bad> {
    let v1::ListUploadsRequest { bucket, prefix, key_after, upload_after, max_uploads, request_id } = request;
    debug!(%request_id, bucket, "list uploads");
    if max_uploads > MAX_UPLOADS {
        return Err(Bad::new("max_uploads", format!("{max_uploads} is over {MAX_UPLOADS}")));
    }
    let upload_after = if upload_after.is_empty() {
        None
    } else {
        Some(UploadId(field::uuid("upload_after", &upload_after)?))
    };
    Ok(UploadsQuery {
        bucket: BucketId(bucket),
        prefix: no_nul("prefix", prefix)?,
        key_after: no_nul("key_after", key_after)?,
        upload_after,
        max_uploads,
    })
}

fn upload(row: UploadRow) -> v1::Upload {
    let UploadRow {
        id,
        bucket: _,
        key,
        version: _,
        state,
        attributes,
        checksum,
        initiated,
        initiator,
        completed,
    } = row;
    let state = match state {
        UploadState::Open => v1::UploadState::Open,
        UploadState::Completed => v1::UploadState::Completed,
        UploadState::Aborted => v1::UploadState::Aborted,
    };
    let (algorithm, kind) = checksum.map(|checksum| (checksum.algorithm, checksum.kind)).unwrap_or_default();
    v1::Upload {
        key,
        upload: id.0.as_bytes().to_vec().into(),
        state: state.into(),
        initiated_us: initiated.0,
        initiator,
        storage_class: attributes.headers.storage_class.unwrap_or_default(),
        checksum_algorithm: algorithm,
        checksum_type: kind,
        etag: completed.as_ref().map(|done| done.etag.as_str().to_owned()).unwrap_or_default(),
        completed_us: completed.as_ref().map_or(0, |done| done.at.0),
        version_id: version_id(completed.as_ref().and_then(|done| done.told)),
        checksums: completed.map(|done| done.checksums.values.into_iter().collect()).unwrap_or_default(),
    }
}

/// `said` is the key of the piece before.
fn part(row: PartRow, said: &mut String) -> v1::StoredPart {
    let PartRow { upload: _, number, r#gen, copies: _, size, etag, checksums, digest: _, copied, modified } =
        row;
    v1::StoredPart {
        number: u32::from(number.get()),
        r#gen: u32::from(r#gen.get()),
        size,
        etag: etag.as_str().to_owned(),
        modified_us: modified.0,
        checksums: checksums.values.into_iter().collect(),
        copied: copied::list_to_wire(copied, said),
    }
}
