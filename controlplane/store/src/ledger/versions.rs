//! Noncurrent versions and delete markers, as facts and as effects.
//!
//! Invariant: they are read by a trip of its own, after the bucket: calls in buckets that were never versioned, which
//! are most, pay nothing for them.

use std::collections::{BTreeMap, HashMap};

use s3o_core::call::Request;
use s3o_core::facts::CurrentObject;
use s3o_core::object::{CopyRow, ObjectRow};
use s3o_core::versions::{Marker, Noncurrent, VersionRow, Wanted};
use s3o_types::{BucketId, Seq, VersionId};
use uuid::Uuid;

use super::effects::column;
use super::facts::{Read, Subject};
use super::flight::Param;
use super::plan::{Part, Plan};
use super::reads;
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::{Cells, CopyRecord, ObjectRecord, PgTime, corrupt};

/// Reads those that the calls are decided from.
pub(super) async fn read(
    connection: &Connection,
    requests: &[&Request],
    read: &mut Read,
) -> Result<(), Failure> {
    let wanted = |request: &&Request| {
        let bucket = read.facts.buckets.get(&request.call.bucket_and_key().0)?;
        Wanted::by(&request.call, bucket.versioning)
    };
    let rows: Vec<(&Request, Wanted)> =
        requests.iter().filter_map(|request| Some((*request, wanted(request)?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let params: Vec<Param> = vec![
        column(&rows, |(request, _)| request.call.bucket_and_key().0.0),
        column(&rows, |(request, _)| request.call.bucket_and_key().1.to_owned()),
        column(&rows, |(_, wanted)| wanted.named.map(VersionId::to_uuid)),
        column(&rows, |(_, wanted)| wanted.null),
        column(&rows, |(_, wanted)| wanted.newest),
        column(&rows, |(request, _)| request.call.displaces()),
    ];
    let mut plan = Plan::new(connection);
    plan.add(Part::Versions, reads::VERSIONS, params).await?;
    read.late_trip = true;
    plan.land(read).await
}

type Known = HashMap<(BucketId, String), BTreeMap<Seq, Noncurrent>>;

/// One row a copy, or one without a copy.
pub(super) fn take(known: &mut Known, cells: Cells<'_>) -> Result<(), (Subject, String)> {
    let all = |why: String| (Subject::Everybody, why);
    let key: (BucketId, String) =
        (BucketId(cells.get("bucket").map_err(all)?), cells.get("key").map_err(all)?);
    let subject = Subject::Key(key.0, key.1.clone());
    let read = || {
        let row = ObjectRow::try_from(ObjectRecord(cells))?;
        let copy =
            if CopyRecord(cells).is_present()? { Some(CopyRow::try_from(CopyRecord(cells))?) } else { None };
        Ok::<_, String>((row, copy, cells.get("delete_marker")?))
    };
    let (row, copy, delete_marker) = read().map_err(|why| {
        let id: Uuid = cells.get("version").unwrap_or_default();
        (subject, corrupt("object_versions", id, why).to_string())
    })?;
    let entry = known.entry(key).or_default().entry(row.seq).or_insert_with(|| Noncurrent {
        object: CurrentObject { row, copies: Vec::new(), sums: Vec::new() },
        delete_marker,
    });
    let copies = &mut entry.object.copies;
    copies.extend(copy.filter(|copy| !copies.contains(copy)));
    Ok(())
}

pub(super) fn named(rows: &[VersionRow]) -> Vec<Param> {
    vec![
        column(rows, |(bucket, _, _)| bucket.0),
        column(rows, |(_, key, _)| key.clone()),
        column(rows, |(_, _, seq)| seq.0),
    ]
}

pub(super) fn markers(rows: &[Marker]) -> Vec<Param> {
    vec![
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.seq.0),
        column(rows, |row| row.version.to_uuid()),
        column(rows, |row| PgTime(row.modified)),
        column(rows, |row| row.is_null),
    ]
}
