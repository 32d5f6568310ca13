//! Multipart uploads in the two flights: what calls need to know of them, and what they leave.

use std::collections::{BTreeMap, HashMap};

use s3o_core::call::{Call, CarriedIntent, Expiring, Request};
use s3o_core::upload::{PartCopy, PartRow, UploadFacts, UploadRow};
use s3o_core::usage::signed;
use s3o_types::{BucketId, Extent, UploadId, VersionRef};
use uuid::Uuid;

use super::copies::digest_bytes;
use super::effects::{column, json};
use super::facts::Subject;
use super::flight::Param;
use super::plan::{Part, Plan};
use super::reads;
use crate::error::Failure;
use crate::rows::{
    Cells, CopiedRecord, OtherCopy, PartRecord, PgTime, UploadRecord, corrupt, fifteen_bits, small,
};

/// Which parts of its upload a call looks at.
#[derive(Clone, Copy)]
enum Parts {
    None,
    One(Extent),
    All,
}

fn of_intent(intent: &CarriedIntent) -> Option<(UploadId, Parts)> {
    let part = intent.targets.first().map_or(Parts::None, |target| Parts::One(target.extent));
    intent.upload.map(|upload| (upload, part))
}

/// The upload that a call is about, and the stored parts that it may replace or pick.
fn of_call(request: &Request) -> Option<(UploadId, Parts)> {
    match &request.call {
        Call::Begin(begin) => begin.part.map(|part| (part.upload, Parts::None)),
        Call::Commit(commit) => of_intent(&commit.intent),
        Call::CreateUpload(_) => Some((UploadId(request.op.id), Parts::None)),
        Call::CompleteUpload(complete) => Some((complete.upload, Parts::All)),
        Call::AbortUpload(abort) => Some((abort.upload, Parts::All)),
        Call::Expire(expire) => match expire.what {
            Expiring::Upload(upload) => Some((upload, Parts::All)),
            Expiring::Current(_) | Expiring::Noncurrent { .. } => None,
        },
        Call::Retarget(_)
        | Call::Abort(_)
        | Call::Delete(_)
        | Call::SetTags(_)
        | Call::SetLock(_)
        | Call::Resolve(_)
        | Call::BeginCopy(_)
        | Call::ChangeCopy(_)
        | Call::SettleBlob(_)
        | Call::Import(_)
        | Call::GiveUp(_) => None,
    }
}

/// Begins of parts come under the lock of slot 0, everything else under its key's.
pub(super) async fn plan(plan: &mut Plan<'_>, requests: &[&Request]) -> Result<(), Failure> {
    let uploads: Vec<(UploadId, Parts)> = requests.iter().filter_map(|request| of_call(request)).collect();
    if uploads.is_empty() {
        return Ok(());
    }
    let mut ids: Vec<Uuid> = uploads.iter().map(|(upload, _)| upload.0).collect();
    ids.sort_unstable();
    ids.dedup();
    plan.add(Part::Uploads, reads::UPLOADS, vec![Box::new(ids)]).await?;
    let mut parts: (Vec<Uuid>, Vec<Option<i16>>) = (vec![], vec![]);
    for (upload, which) in &uploads {
        let part = match which {
            Parts::None => continue,
            Parts::One(part) => Some(fifteen_bits(part.get())),
            Parts::All => None,
        };
        parts.0.push(upload.0);
        parts.1.push(part);
    }
    if !parts.0.is_empty() {
        plan.add(Part::Parts, reads::PARTS, vec![Box::new(parts.0), Box::new(parts.1)]).await?;
    }
    let begun = requests.iter().filter_map(|request| match &request.call {
        Call::Begin(begin) => begin.part,
        _ => None,
    });
    let begun: (Vec<Uuid>, Vec<i16>) =
        begun.map(|part| (part.upload.0, fifteen_bits(part.number.get()))).unzip();
    if !begun.0.is_empty() {
        plan.add(Part::Attempts, reads::ATTEMPTS, vec![Box::new(begun.0), Box::new(begun.1)]).await?;
    }
    Ok(())
}

type Known = HashMap<UploadId, UploadFacts>;

pub(super) fn take(known: &mut Known, cells: Cells<'_>) -> Result<(), (Subject, String)> {
    let row = UploadRow::try_from(UploadRecord(cells)).map_err(|why| {
        let id: Uuid = cells.get("id").unwrap_or_default();
        let key = cells.get("bucket").and_then(|bucket| Ok((BucketId(bucket), cells.get("key")?)));
        let subject = key.map_or(Subject::Everybody, |(bucket, key): (_, String)| Subject::Key(bucket, key));
        (subject, corrupt("uploads", id, why).to_string())
    })?;
    known.insert(row.id, UploadFacts { row, attempts: BTreeMap::new(), parts: BTreeMap::new() });
    Ok(())
}

pub(super) fn take_part(known: &mut Known, cells: Cells<'_>) -> Result<(), String> {
    let part = PartRow::try_from(PartRecord(cells))?;
    if let Some(upload) = known.get_mut(&part.upload) {
        upload.parts.insert(part.number, part);
    }
    Ok(())
}

pub(super) fn take_attempts(known: &mut Known, cells: Cells<'_>) -> Result<(), String> {
    let (upload, part) = (UploadId(cells.get("upload")?), small(cells.get("part")?, Extent::new)?);
    let attempts: i16 = cells.get("attempts")?;
    if let Some(upload) = known.get_mut(&upload) {
        let attempts = u16::try_from(attempts).map_err(|error| format!("attempts: {error}"))?;
        upload.attempts.insert(part, attempts);
    }
    Ok(())
}

pub(super) fn opened(rows: &[UploadRow]) -> Result<Vec<Param>, Failure> {
    let attributes: Vec<Option<String>> =
        rows.iter().map(|row| json("uploads", &row.key, &row.attributes)).collect::<Result<_, _>>()?;
    Ok(vec![
        column(rows, |row| row.id.0),
        column(rows, |row| row.bucket.0),
        column(rows, |row| row.key.clone()),
        column(rows, |row| row.version.to_uuid()),
        Box::new(attributes),
        column(rows, |row| row.checksum.as_ref().map(|checksum| checksum.algorithm.clone())),
        column(rows, |row| row.checksum.as_ref().map(|checksum| checksum.kind.clone())),
        column(rows, |row| PgTime(row.initiated)),
        column(rows, |row| row.initiator.clone()),
    ])
}

pub(super) fn closed(rows: &[UploadRow]) -> Result<Vec<Param>, Failure> {
    let checksums: Vec<Option<String>> = rows
        .iter()
        .map(|row| match &row.completed {
            Some(completed) => json("uploads", &row.key, &completed.checksums),
            None => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    Ok(vec![
        column(rows, |row| row.id.0),
        column(rows, |row| row.state.as_str()),
        column(rows, |row| row.completed.as_ref().map(|completed| completed.etag.as_str().to_owned())),
        Box::new(checksums),
        column(rows, |row| row.completed.as_ref().map(|completed| completed.seq.0)),
        column(rows, |row| {
            let told = row.completed.as_ref().and_then(|completed| completed.told);
            told.map(|told| told == VersionRef::Null)
        }),
    ])
}

pub(super) fn parts(rows: &[PartRow]) -> Result<Vec<Param>, Failure> {
    let checksums: Vec<Option<String>> = rows
        .iter()
        .map(|row| json("upload_parts", &row.upload.to_string(), &row.checksums))
        .collect::<Result<_, _>>()?;
    let mut firsts: Vec<PartCopy> = Vec::with_capacity(rows.len());
    let mut others: Vec<Option<String>> = Vec::with_capacity(rows.len());
    let mut copied: Vec<Option<String>> = Vec::with_capacity(rows.len());
    for row in rows {
        let without = || corrupt("upload_parts", row.upload, "a part without a copy");
        let (first, rest) = row.copies.split_first().ok_or_else(without)?;
        firsts.push(first.clone());
        let rest: Vec<OtherCopy> = rest.iter().map(OtherCopy::from).collect();
        others.push(json("upload_parts", &row.upload.to_string(), &rest)?);
        let pieces: Vec<CopiedRecord> =
            row.copied.iter().map(|piece| CopiedRecord::new(row.r#gen, piece)).collect();
        copied.push(json("upload_parts", &row.upload.to_string(), &pieces)?);
    }
    Ok(vec![
        column(rows, |row| row.upload.0),
        column(rows, |row| fifteen_bits(row.number.get())),
        column(rows, |row| fifteen_bits(row.r#gen.get())),
        column(&firsts, |copy| copy.backend.0),
        column(rows, |row| signed(row.size)),
        column(rows, |row| row.etag.as_str().to_owned()),
        Box::new(checksums),
        column(&firsts, |copy| copy.backend_etag.as_ref().map(|etag| etag.as_str().to_owned())),
        column(&firsts, |copy| copy.backend_version.clone()),
        column(rows, |row| PgTime(row.modified)),
        Box::new(others),
        column(rows, |row| digest_bytes(row.digest)),
        Box::new(copied),
    ])
}

pub(super) fn attempts(rows: &BTreeMap<(UploadId, Extent), u16>) -> Vec<Param> {
    let rows: Vec<(UploadId, Extent, u16)> = rows.iter().map(|((id, part), n)| (*id, *part, *n)).collect();
    vec![
        column(&rows, |(id, _, _)| id.0),
        column(&rows, |(_, part, _)| fifteen_bits(part.get())),
        column(&rows, |(_, _, attempts)| fifteen_bits(*attempts)),
    ]
}
