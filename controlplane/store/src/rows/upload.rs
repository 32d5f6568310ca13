//! Multipart uploads and their parts.

use s3o_core::upload::{Completed, PartCopy, PartRow, UploadChecksum, UploadRow, UploadState};
use s3o_types::{BackendId, BucketId, CopiedPiece, Etag, Extent, Gen, Seq, UploadId, VersionId};
use serde::{Deserialize, Serialize};
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

/// An entry of `upload_parts.others`. The view `part_copies` reads `backend`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OtherCopy {
    backend: BackendId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<Etag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl From<&PartCopy> for OtherCopy {
    fn from(copy: &PartCopy) -> Self {
        let PartCopy { backend, backend_etag, backend_version } = copy.clone();
        Self { backend, etag: backend_etag, version: backend_version }
    }
}

impl From<OtherCopy> for PartCopy {
    fn from(OtherCopy { backend, etag, version }: OtherCopy) -> Self {
        Self { backend, backend_etag: etag, backend_version: version }
    }
}

/// An entry of `upload_parts.copied`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopiedRecord {
    /// The attempt at the part that it is of: an older release that stores another one leaves the entry as it is.
    r#gen: u16,
    #[serde(flatten)]
    piece: CopiedPiece,
}

impl CopiedRecord {
    pub(crate) fn new(attempt: Gen, piece: &CopiedPiece) -> Self {
        Self { r#gen: attempt.get(), piece: piece.clone() }
    }

    /// The piece, if it is of this attempt.
    fn of(self, attempt: Gen) -> Option<CopiedPiece> {
        (self.r#gen == attempt.get()).then_some(self.piece)
    }
}

/// A row of `upload_parts`, its columns prefixed by `p_`.
pub(crate) struct PartRecord<'a>(pub(crate) Cells<'a>);

impl TryFrom<PartRecord<'_>> for PartRow {
    type Error = String;

    fn try_from(PartRecord(cells): PartRecord<'_>) -> Result<Self, String> {
        let backend_etag: Option<&str> = cells.get("p_backend_etag")?;
        let first = PartCopy {
            backend: BackendId(cells.get("p_backend")?),
            backend_etag: backend_etag.map(Etag::new),
            backend_version: cells.get("p_backend_version")?,
        };
        let others: Vec<OtherCopy> = cells.json("p_others")?;
        let attempt = small(cells.get("p_gen")?, Gen::new)?;
        let copied: Vec<CopiedRecord> = cells.json("p_copied")?;
        Ok(Self {
            upload: UploadId(cells.get("p_upload")?),
            number: small(cells.get("p_part")?, Extent::new)?,
            r#gen: attempt,
            copies: std::iter::once(first).chain(others.into_iter().map(PartCopy::from)).collect(),
            size: cells.unsigned("p_size")?,
            etag: Etag::new(cells.get("p_etag")?),
            checksums: cells.json("p_checksums")?,
            digest: cells.digest("p_digest")?,
            copied: copied.into_iter().filter_map(|record| record.of(attempt)).collect(),
            modified: cells.time("p_modified")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Databases are full of it, and an older release reads what this one writes.
    #[test]
    fn a_copied_piece_is_stored_like_this() {
        let piece = CopiedPiece {
            version: VersionId::mint(7, 8),
            extent_offset: 5,
            extent_size: 1 << 40,
            extent_digest: "AAAAAAAAAAA=".to_owned(),
            first: 6,
            size: 10,
            digest: "AAAAAAAAAAE=".to_owned(),
            bucket: BucketId(3),
            key: "a/ö".to_owned(),
        };
        let json = r#"{"gen":2,"version":"0000000000003G000000000008","extent_offset":5,"extent_size":1099511627776,"extent_digest":"AAAAAAAAAAA=","first":6,"size":10,"digest":"AAAAAAAAAAE=","bucket":3,"key":"a/ö"}"#;
        let attempt = Gen::new(2).expect("fifteen bits");
        let record = CopiedRecord::new(attempt, &piece);
        assert_eq!(serde_json::to_string(&record).expect("json"), json);
        let read: CopiedRecord = serde_json::from_str(json).expect("a record");
        assert_eq!(read, record);
        assert_eq!(read.clone().of(attempt), Some(piece));
        assert_eq!(read.of(Gen::ZERO), None, "of another attempt");
        let bad = json.replace("3G", "3g");
        assert!(serde_json::from_str::<CopiedRecord>(&bad).is_err(), "no version");
    }
}
