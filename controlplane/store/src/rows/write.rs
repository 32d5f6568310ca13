//! Intents and cleanup rows.

use s3o_core::cleanup::{CleanupEntry, CleanupItem, Reason};
use s3o_core::intent::{Intent, Target};
use s3o_types::{
    BackendId, BlobName, BucketId, Conditions, Etag, Extent, Gen, Op, Place, Seq, UploadId, VersionId,
};
use uuid::Uuid;

use super::{Cells, small};

/// A row of `intents`.
pub(crate) struct IntentRecord<'a>(pub(crate) Cells<'a>);

impl IntentRecord<'_> {
    pub(crate) fn op(&self) -> Result<Op, String> {
        Ok(Op { id: self.0.get("op")?, item: self.0.get("item")? })
    }

    fn targets(&self) -> Result<Vec<Target>, String> {
        let backends: Vec<i32> = self.0.get("target_backend")?;
        let extents: Vec<i16> = self.0.get("target_extent")?;
        let gens: Vec<i16> = self.0.get("target_gen")?;
        let keys: Vec<String> = self.0.get("target_key")?;
        if backends.len() != extents.len() || backends.len() != gens.len() || backends.len() != keys.len() {
            return Err("the arrays of targets have different lengths".to_owned());
        }
        // A release that does not count places leaves theirs out.
        let places: Vec<i32> = self.0.get("target_place")?;
        let places = places.into_iter().map(Place::from_number).chain(std::iter::repeat(Place::FIRST));
        let rows = backends.into_iter().zip(extents).zip(gens).zip(keys).zip(places);
        rows.map(|((((backend, extent), attempt), storage_key), place)| {
            Ok(Target {
                backend: BackendId(backend),
                place,
                extent: small(extent, Extent::new)?,
                r#gen: small(attempt, Gen::new)?,
                storage_key,
            })
        })
        .collect()
    }
}

impl TryFrom<IntentRecord<'_>> for Intent {
    type Error = String;

    fn try_from(record: IntentRecord<'_>) -> Result<Self, String> {
        let cells = record.0;
        let if_match: Option<&str> = cells.get("if_match")?;
        let required: i16 = cells.get("required_copies")?;
        Ok(Self {
            op: record.op()?,
            session: cells.get("session")?,
            bucket: BucketId(cells.get("bucket")?),
            key: cells.get("key")?,
            version: VersionId::from_uuid(cells.get("version")?),
            size: cells.unsigned("size")?,
            kind: cells.word("kind")?,
            upload: cells.get::<Option<Uuid>>("upload")?.map(UploadId),
            conditions: Conditions { if_absent: cells.get("if_absent")?, if_match: if_match.map(Etag::new) },
            targets: record.targets()?,
            required_copies: u16::try_from(required).map_err(|error| format!("required_copies: {error}"))?,
            log_floor: Seq(cells.get("log_floor")?),
            begun: cells.time("begun")?,
            claimed_by: cells.get("claimed_by")?,
        })
    }
}

/// A claimed row of `cleanup_queue`, with `recovered` beside it.
pub(crate) struct CleanupRecord<'a>(pub(crate) Cells<'a>);

impl TryFrom<CleanupRecord<'_>> for CleanupItem {
    type Error = String;

    fn try_from(CleanupRecord(cells): CleanupRecord<'_>) -> Result<Self, String> {
        let kind: &str = cells.get("kind")?;
        if kind != "blob" {
            return Err(format!("kind `{kind}` is not known to this release"));
        }
        let word: &str = cells.get("reason")?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == word);
        let attempts: i32 = cells.get("attempts")?;
        Ok(Self {
            id: cells.get("id")?,
            entry: CleanupEntry {
                backend: BackendId(cells.get("backend")?),
                storage_key: cells.get("storage_key")?,
                blob: BlobName {
                    version: VersionId::from_uuid(cells.get("version")?),
                    extent: small(cells.get("extent")?, Extent::new)?,
                    r#gen: small(cells.get("gen")?, Gen::new)?,
                },
                backend_version: cells.get("backend_version")?,
                size: cells.unsigned("size")?,
                reason: reason.ok_or_else(|| format!("reason `{word}` is not known to this release"))?,
                uncertain: cells.get("uncertain")?,
            },
            attempts: u32::try_from(attempts).map_err(|error| format!("attempts: {error}"))?,
            second_pass: cells.get("second_pass")?,
            recovered: cells.get("recovered")?,
        })
    }
}

/// `{1,2}`: arrays of different lengths cannot travel in one array parameter, their texts can.
pub(crate) fn int_array(values: impl Iterator<Item = i64>) -> String {
    let values: Vec<String> = values.map(|n| n.to_string()).collect();
    format!("{{{}}}", values.join(","))
}

/// `{"a","b"}` with quotes and backslashes escaped (PostgreSQL manual, "Array Input and Output Syntax").
pub(crate) fn text_array<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> =
        values.map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}
