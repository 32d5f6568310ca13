//! Objects and copies.

use s3o_core::object::{CopyRow, ObjectRow, Piece};
use s3o_types::{
    BackendId, BlobName, BucketId, Checksums, Encoding, Etag, Extent, Gen, ObjectAttributes, Seq, VersionId,
    VersionRef,
};
use serde::Serialize;
use uuid::Uuid;

use super::{Cells, small};

/// A row of `objects`.
pub(crate) struct ObjectRecord<'a>(pub(crate) Cells<'a>);

impl TryFrom<ObjectRecord<'_>> for ObjectRow {
    type Error = String;

    fn try_from(ObjectRecord(cells): ObjectRecord<'_>) -> Result<Self, String> {
        let mut attributes: ObjectAttributes = cells.json("attributes")?;
        attributes.tags = cells.json("tags")?;
        attributes.lock = super::object_lock(cells)?;
        Ok(Self {
            bucket: BucketId(cells.get("bucket")?),
            key: cells.get("key")?,
            seq: Seq(cells.get("seq")?),
            version: VersionId::from_uuid(cells.get::<Uuid>("version")?),
            size: cells.unsigned("size")?,
            etag: Etag::new(cells.get("etag")?),
            modified: cells.time("modified")?,
            attributes,
            checksums: cells.json("checksums")?,
            is_null: cells.get("is_null")?,
            parts: cells
                .get::<Option<i32>>("parts")?
                .map(|n| u16::try_from(n).map_err(|error| format!("parts: {error}")))
                .transpose()?,
        })
    }
}

/// A row of `copies`, its columns prefixed by `c_`; bucket and key are those of the object.
pub(crate) struct CopyRecord<'a>(pub(crate) Cells<'a>);

impl CopyRecord<'_> {
    /// Whether the object of an outer join has a copy at all.
    pub(crate) fn is_present(&self) -> Result<bool, String> {
        Ok(self.0.get::<Option<i32>>("c_backend")?.is_some())
    }
}

impl TryFrom<CopyRecord<'_>> for CopyRow {
    type Error = String;

    fn try_from(CopyRecord(cells): CopyRecord<'_>) -> Result<Self, String> {
        let etag: Option<&str> = cells.get("c_backend_etag")?;
        Ok(Self {
            backend: BackendId(cells.get("c_backend")?),
            blob: BlobName {
                version: VersionId::from_uuid(cells.get("c_version")?),
                extent: small(cells.get("c_extent")?, Extent::new)?,
                r#gen: small(cells.get("c_gen")?, Gen::new)?,
            },
            bucket: BucketId(cells.get("c_bucket")?),
            key: cells.get("c_key")?,
            state: cells.word("c_state")?,
            stored_size: cells.unsigned("c_stored_size")?,
            backend_etag: etag.map(Etag::new),
            backend_version: cells.get("c_backend_version")?,
            encoding: cells.json::<Encoding>("c_encoding")?,
            foreign_key: cells.get("c_foreign_key")?,
            piece: match cells.optional_unsigned("c_extent_offset")? {
                Some(offset) => Some(Piece { offset, size: cells.unsigned("c_extent_size")? }),
                None => None,
            },
            md5: cells.get::<Option<Uuid>>("c_md5")?.map(Uuid::into_bytes),
            digest: cells.digest("c_digest")?,
            checksums: cells.json("c_checksums")?,
        })
    }
}

/// How a client was told of a version, from columns that say which it is and whether it is a null one; NULL there: not at
/// all.
pub(crate) fn told(cells: Cells<'_>, version: &str, is_null: &str) -> Result<Option<VersionRef>, String> {
    let Some(is_null) = cells.get::<Option<bool>>(is_null)? else { return Ok(None) };
    let version: Option<Uuid> = cells.get(version)?;
    Ok(version.map(|version| VersionRef::of(VersionId::from_uuid(version), is_null)))
}

#[derive(Serialize)]
struct ObjectJson<'a> {
    seq: Seq,
    version: String,
    size: u64,
    etag: &'a Etag,
    modified: s3o_types::Timestamp,
    attributes: &'a ObjectAttributes,
    checksums: &'a Checksums,
    is_null: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<u16>,
}

/// The object as the change log keeps it for replay; bucket and key stand beside it.
pub(crate) fn object_json(row: &ObjectRow) -> Result<String, serde_json::Error> {
    let ObjectRow {
        bucket: _,
        key: _,
        seq,
        version,
        size,
        etag,
        modified,
        attributes,
        checksums,
        is_null,
        parts,
    } = row;
    serde_json::to_string(&ObjectJson {
        seq: *seq,
        version: version.to_string(),
        size: *size,
        etag,
        modified: *modified,
        attributes,
        checksums,
        is_null: *is_null,
        parts: *parts,
    })
}
