//! The extents of objects that were uploaded in parts, as many as a reader wants now: a GET of ten thousand
//! parts does not begin with ten thousand rows. And of any version that a reader has begun with, whatever has become of it.

use std::collections::HashMap;

use s3o_core::object::{
    CopyRow, EXTENT_ROWS, Locate, Located, LocatedExtent, ObjectRow, Piece, Want, known_checksums,
};
use s3o_types::{Checksums, Etag, ObjectAttributes, Seq, Timestamp, VersionId, VersionRef};
use uuid::Uuid;

use super::flight::{Flight, Param};
use super::locate::readable;
use super::lookups;
use crate::connection::Connection;
use crate::error::Failure;
use crate::rows::{Cells, CopyRecord};
use crate::stats::{LaneCounters, add};

/// The copies that were read for a query, in the order of their offsets, and the bucket's name.
type Pieces = Result<Vec<(CopyRow, String)>, String>;

/// A version in parts, and how the client is told of it.
pub(super) type InParts<'a> = Option<(&'a ObjectRow, Option<VersionRef>)>;

/// The first byte and the end that a query wants, as far as the table's integers go.
fn bounds(want: Want) -> Option<(i64, i64)> {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    match want {
        Want::All => Some((0, i64::MAX)),
        Want::Range(first, end) | Want::Of(_, first, end) => Some((signed(first), signed(end))),
        Want::Part(_) => None,
    }
}

/// Reads them, by the query's place in `queries`.
pub(super) async fn read(
    connection: &Connection,
    queries: &[(&Locate, InParts<'_>)],
    counters: &LaneCounters,
) -> Result<HashMap<usize, Pieces>, Failure> {
    let mut ranges: (Vec<i32>, Vec<Uuid>, Vec<i64>, Vec<i64>) = Default::default();
    let mut parts: (Vec<i32>, Vec<Uuid>, Vec<i16>) = Default::default();
    for (n, (query, object)) in queries.iter().enumerate() {
        let version = match query.want {
            Want::Of(version, ..) => Some(version),
            _ => object.map(|(object, _)| object.version),
        };
        let (Some(version), n) = (version.map(VersionId::to_uuid), i32::try_from(n).unwrap_or(i32::MAX))
        else {
            continue;
        };
        match (bounds(query.want), query.want) {
            (Some((first, end)), _) if first < end => {
                ranges.0.push(n);
                ranges.1.push(version);
                ranges.2.push(first);
                ranges.3.push(end);
            }
            (None, Want::Part(part)) => {
                parts.0.push(n);
                parts.1.push(version);
                // Counted from 1 by clients.
                parts.2.push(i16::try_from(part.get().saturating_sub(1)).unwrap_or(i16::MAX));
            }
            _ => {}
        }
    }
    if ranges.0.is_empty() && parts.0.is_empty() {
        return Ok(HashMap::new());
    }
    let params: Vec<Param> = vec![
        Box::new(ranges.0),
        Box::new(ranges.1),
        Box::new(ranges.2),
        Box::new(ranges.3),
        Box::new(parts.0),
        Box::new(parts.1),
        Box::new(parts.2),
    ];
    let mut flight = Flight::new(connection);
    flight.add(lookups::EXTENTS, params).await?;
    add(&counters.round_trips, 1);
    let answers = flight.land().await?;
    let mut found: HashMap<usize, Pieces> = HashMap::new();
    for row in answers.iter().flatten() {
        let n = usize::try_from(row.get::<_, i32>("n")).unwrap_or(usize::MAX);
        let pieces = found.entry(n).or_insert_with(|| Ok(Vec::new()));
        match (piece(Cells(row)), pieces.as_mut()) {
            (Ok(piece), Ok(pieces)) => pieces.push(piece),
            (Err(why), _) => *pieces = Err(why),
            (Ok(_), Err(_)) => {}
        }
    }
    Ok(found)
}

fn piece(cells: Cells<'_>) -> Result<(CopyRow, String), String> {
    let bucket: Option<String> = cells.get("bucket_name")?;
    Ok((CopyRow::try_from(CopyRecord(cells))?, bucket.ok_or("its bucket has no row")?))
}

/// The answer. `None`: there should be extents and there are none.
pub(super) fn located(
    query: &Locate,
    of: InParts<'_>,
    pieces: Option<Pieces>,
) -> Option<Result<Located, String>> {
    let object = of.map(|(object, _)| object);
    let wants_bytes = bounds(query.want).is_none_or(|(first, end)| first < end);
    // What the object does not have is for the reader to refuse.
    let beyond = |object: &ObjectRow| match query.want {
        Want::Part(part) => object.parts.is_none_or(|parts| part.get() > parts),
        want => bounds(want)
            .is_some_and(|(first, _)| u64::try_from(first).is_ok_and(|first| first >= object.size)),
    };
    let pieces = match pieces {
        Some(Ok(pieces)) => pieces,
        Some(Err(why)) => return Some(Err(why)),
        None if wants_bytes && !object.is_some_and(beyond) => return None,
        None => Vec::new(),
    };
    let object = object.cloned().unwrap_or_else(|| unknown(query));
    Some(Ok(Located { object, told: of.and_then(|(_, told)| told), extents: group(pieces) }))
}

/// Copies of one extent stand together. Where the answer was cut, the last extent may lack some of its own.
fn group(pieces: Vec<(CopyRow, String)>) -> Vec<LocatedExtent> {
    let cut = pieces.len() >= EXTENT_ROWS;
    let mut extents: Vec<(LocatedExtent, String, Vec<CopyRow>)> = Vec::new();
    for (copy, bucket) in pieces {
        // Without one the blob is the whole object.
        let piece = copy.piece.unwrap_or(Piece { offset: 0, size: copy.stored_size });
        if let Some((_, _, copies)) =
            extents.last_mut().filter(|(extent, ..)| extent.extent == copy.blob.extent)
        {
            copies.push(copy);
            continue;
        }
        let extent = LocatedExtent {
            extent: copy.blob.extent,
            offset: piece.offset,
            size: piece.size,
            checksums: Checksums::default(),
            copies: vec![],
        };
        extents.push((extent, bucket, vec![copy]));
    }
    if cut && extents.len() > 1 {
        extents.pop();
    }
    let with_copies = |(extent, bucket, copies): (LocatedExtent, String, Vec<CopyRow>)| LocatedExtent {
        checksums: known_checksums(copies.iter()),
        copies: readable(copies, &bucket),
        ..extent
    };
    extents.into_iter().map(with_copies).collect()
}

/// Of a version that is not the current one only the extents are known.
fn unknown(query: &Locate) -> ObjectRow {
    let version = if let Want::Of(version, ..) = query.want { version } else { VersionId::mint(0, 0) };
    ObjectRow {
        bucket: query.bucket,
        key: query.key.clone(),
        seq: Seq(0),
        version,
        size: 0,
        etag: Etag::new(""),
        modified: Timestamp(0),
        attributes: ObjectAttributes::default(),
        checksums: Checksums::default(),
        is_null: true,
        parts: None,
    }
}
