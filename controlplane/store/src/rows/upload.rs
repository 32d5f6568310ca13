//! Multipart uploads and their parts.

use s3o_core::upload::{Completed, PartRow, UploadChecksum, UploadRow, UploadState};
use s3o_types::{BackendId, BucketId, Etag, Extent, Gen, Seq, UploadId, VersionId};
use uuid::Uuid;

use super::{Cells, small, told};

/// A row of `uploads`.
pub(crate) struct UploadRecord<'a>(pub(crate) Cells<'a>);

impl UploadRecord<'_> {
    fn completed(&self) -> Result<Option<Completed>, String> {
        let cells = self.0;
        let (Some(etag), Some(seq)) = (cells.get::<Option<&str>>("etag")?, cells.get::<Option<i64>>("seq")?)
        else {
            return Ok(None);
        };
        Ok(Some(Completed {
            seq: Seq(seq),
            at: cells.time("closed")?,
            etag: Etag::new(etag),
            checksums: cells.json("checksums")?,
            told: told(cells, "version", "is_null")?,
        }))
    }
}

impl TryFrom<UploadRecord<'_>> for UploadRow {
    type Error = String;

    fn try_from(record: UploadRecord<'_>) -> Result<Self, String> {
        let cells = record.0;
        let algorithm: Option<String> = cells.get("checksum_algorithm")?;
        let kind: Option<String> = cells.get("checksum_type")?;
        Ok(Self {
            id: UploadId(cells.get("id")?),
            bucket: BucketId(cells.get("bucket")?),
            key: cells.get("key")?,
            version: VersionId::from_uuid(cells.get::<Uuid>("version")?),
            state: cells.word::<UploadState>("state")?,
            attributes: cells.json("attributes")?,
            checksum: algorithm.zip(kind).map(|(algorithm, kind)| UploadChecksum { algorithm, kind }),
            initiated: cells.time("initiated")?,
            initiator: cells.get("initiator")?,
            completed: record.completed()?,
        })
    }
}

/// A row of `upload_parts`, its columns prefixed by `p_`.
pub(crate) struct PartRecord<'a>(pub(crate) Cells<'a>);

impl TryFrom<PartRecord<'_>> for PartRow {
    type Error = String;

    fn try_from(PartRecord(cells): PartRecord<'_>) -> Result<Self, String> {
        let backend_etag: Option<&str> = cells.get("p_backend_etag")?;
        Ok(Self {
            upload: UploadId(cells.get("p_upload")?),
            number: small(cells.get("p_part")?, Extent::new)?,
            r#gen: small(cells.get("p_gen")?, Gen::new)?,
            backend: BackendId(cells.get("p_backend")?),
            size: cells.unsigned("p_size")?,
            etag: Etag::new(cells.get("p_etag")?),
            checksums: cells.json("p_checksums")?,
            backend_etag: backend_etag.map(Etag::new),
            backend_version: cells.get("p_backend_version")?,
            modified: cells.time("p_modified")?,
        })
    }
}
