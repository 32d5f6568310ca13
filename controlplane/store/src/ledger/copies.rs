//! Copies in the second flight: those that come, go or are marked, and the versions that wait for workers.

use std::collections::BTreeMap;

use s3o_core::effects::MarkedCopy;
use s3o_core::object::CopyRow;
use s3o_core::replication::ReplicationEntry;
use s3o_core::usage::signed;
use s3o_types::{BackendId, Digest, Extent, VersionId};
use uuid::Uuid;

use super::effects::{column, json};
use super::flight::Param;
use crate::error::Failure;
use crate::rows::fifteen_bits;

pub(super) fn added(rows: &[CopyRow]) -> Result<Vec<Param>, Failure> {
    let encodings: Vec<Option<String>> =
        rows.iter().map(|row| json("copies", &row.key, &row.encoding)).collect::<Result<_, _>>()?;
    Ok(vec![
        column(rows, |row| row.blob.version.to_uuid()),
        column(rows, |row| fifteen_bits(row.blob.extent.get())),
        column(rows, |row| row.backend.0),
        column(rows, |row| fifteen_bits(row.blob.r#gen.get())),
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.state.as_str()),
        column(rows, |row| signed(row.stored_size)),
        column(rows, |row| row.backend_etag.as_ref().map(|etag| etag.as_str().to_owned())),
        column(rows, |row| row.backend_version.clone()),
        Box::new(encodings),
        column(rows, |row| row.foreign_key.clone()),
        column(rows, |row| row.piece.map(|piece| signed(piece.offset))),
        column(rows, |row| row.piece.map(|piece| signed(piece.size))),
        column(rows, |row| row.md5.map(Uuid::from_bytes)),
        column(rows, |row| digest_bytes(row.digest)),
    ])
}

/// The last of their columns.
pub(super) fn checksums(rows: &[CopyRow]) -> Result<Param, Failure> {
    let checksums = rows.iter().map(|row| json("copies", &row.key, &row.checksums));
    Ok(Box::new(checksums.collect::<Result<Vec<Option<String>>, _>>()?))
}

pub(super) fn taken(rows: &[(VersionId, Extent, BackendId)]) -> Vec<Param> {
    vec![
        column(rows, |(version, ..)| version.to_uuid()),
        column(rows, |(_, extent, _)| fifteen_bits(extent.get())),
        column(rows, |(.., backend)| backend.0),
    ]
}

pub(super) fn marked(rows: &[MarkedCopy]) -> Vec<Param> {
    vec![
        column(rows, |row| row.version.to_uuid()),
        column(rows, |row| fifteen_bits(row.extent.get())),
        column(rows, |row| row.backend.0),
        column(rows, |row| row.state.as_str()),
        column(rows, |row| digest_bytes(row.digest)),
    ]
}

pub(super) fn digest_bytes(digest: Option<Digest>) -> Option<Vec<u8>> {
    digest.map(|digest| digest.as_bytes().to_vec())
}

pub(super) fn attempts(rows: &BTreeMap<(VersionId, Extent), u16>) -> Vec<Param> {
    let rows: Vec<(VersionId, Extent, u16)> =
        rows.iter().map(|((version, extent), n)| (*version, *extent, *n)).collect();
    vec![
        column(&rows, |(version, ..)| version.to_uuid()),
        column(&rows, |(_, extent, _)| fifteen_bits(extent.get())),
        column(&rows, |(.., attempts)| fifteen_bits(*attempts)),
    ]
}

pub(crate) fn queued(rows: &[ReplicationEntry]) -> Vec<Param> {
    vec![
        column(rows, |row| row.version.to_uuid()),
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.task.as_str()),
    ]
}
