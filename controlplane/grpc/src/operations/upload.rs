//! Calls about multipart uploads, as they come from the wire.

use s3o_core::call::{AbortUpload, CompleteUpload, CreateUpload, PartOf};
use s3o_core::upload::{MAX_PARTS, UploadChecksum};
use s3o_proto::v1;
use s3o_types::{BucketId, Checksums, Extent, Gen, UploadId};
use s3o_wire::conditions;

use super::commit::attributes_from_wire;
use crate::field::{self, Bad};

pub(super) fn part(wire: v1::Part) -> Result<PartOf, Bad> {
    let v1::Part { upload, number } = wire;
    Ok(PartOf { upload: upload_id(&upload)?, number: part_number(number)? })
}

pub(super) fn upload_id(bytes: &[u8]) -> Result<UploadId, Bad> {
    field::uuid("upload", bytes).map(UploadId)
}

pub(super) fn part_number(n: u32) -> Result<Extent, Bad> {
    let number = u16::try_from(n).ok().filter(|n| (1..=MAX_PARTS).contains(n)).and_then(Extent::new);
    number.ok_or_else(|| Bad::new("number", format!("{n} is not within 1 and {MAX_PARTS}")))
}

pub(super) fn create(wire: v1::CreateUpload) -> Result<CreateUpload, Bad> {
    let v1::CreateUpload { bucket, key, attributes, checksum_algorithm, checksum_type } = wire;
    let checksum = match (checksum_algorithm.is_empty(), checksum_type.is_empty()) {
        (true, true) => None,
        (false, false) => Some(UploadChecksum { algorithm: checksum_algorithm, kind: checksum_type }),
        (true, false) => return Err(Bad::new("checksum_algorithm", "is missing beside checksum_type")),
        (false, true) => return Err(Bad::new("checksum_type", "is missing beside checksum_algorithm")),
    };
    Ok(CreateUpload {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        attributes: attributes_from_wire(attributes)?,
        checksum,
    })
}

pub(super) fn complete(wire: v1::CompleteUpload) -> Result<CompleteUpload, Bad> {
    let v1::CompleteUpload { bucket, key, upload, conditions, etag, checksums, parts } = wire;
    let parts: Result<_, Bad> = parts.into_iter().map(picked).collect();
    Ok(CompleteUpload {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        upload: upload_id(&upload)?,
        conditions: conditions::from_wire(conditions),
        etag: field::etag("etag", &etag)?,
        checksums: Checksums { values: checksums.into_iter().collect() },
        parts: parts.map_err(|bad| bad.within("parts"))?,
    })
}

fn picked(wire: v1::PickedPart) -> Result<(Extent, Gen), Bad> {
    let v1::PickedPart { number, r#gen } = wire;
    Ok((part_number(number)?, field::generation(r#gen)?))
}

pub(super) fn abort(wire: v1::AbortUpload) -> Result<AbortUpload, Bad> {
    let v1::AbortUpload { bucket, key, upload } = wire;
    // Only the worker gives up what nobody asked for.
    Ok(AbortUpload {
        bucket: BucketId(bucket),
        key: field::key(key)?,
        upload: upload_id(&upload)?,
        stale: false,
    })
}

#[cfg(test)]
mod tests {
    use s3o_core::call::Call;
    use s3o_core::intent::WriteKind;
    use uuid::Uuid;

    use super::super::request::{Work, work};
    use super::*;

    fn operation(call: v1::operation::Call) -> v1::Operation {
        v1::Operation {
            op: vec![1; 16].into(),
            session: vec![2; 16].into(),
            call: Some(call),
            ..v1::Operation::default()
        }
    }

    fn call(wire: v1::operation::Call) -> Result<Call, String> {
        match work(operation(wire)) {
            Ok(Work::Submit(request)) => Ok(request.call),
            Ok(Work::Locate(_)) => Err("a lookup".to_owned()),
            Err(bad) => Err(bad.field),
        }
    }

    #[test]
    fn calls_are_checked() {
        use v1::operation::Call as Wire;
        let id = || vec![7; 16].into();
        let complete = v1::CompleteUpload {
            bucket: 1,
            key: "k".into(),
            upload: id(),
            etag: "e".into(),
            parts: vec![v1::PickedPart { number: 3, r#gen: 1 }],
            ..v1::CompleteUpload::default()
        };
        let Ok(Call::CompleteUpload(read)) = call(Wire::CompleteUpload(complete.clone())) else { panic!() };
        assert_eq!(read.parts, [(Extent::new(3).unwrap(), Gen::new(1).unwrap())]);
        assert_eq!(read.upload, UploadId(Uuid::from_bytes([7; 16])));
        let zero = v1::CompleteUpload { parts: vec![v1::PickedPart::default()], ..complete.clone() };
        assert_eq!(call(Wire::CompleteUpload(zero)).unwrap_err(), "complete_upload.parts.number");
        let short = v1::CompleteUpload { upload: vec![1].into(), ..complete };
        assert_eq!(call(Wire::CompleteUpload(short)).unwrap_err(), "complete_upload.upload");

        let half =
            v1::CreateUpload { key: "k".into(), checksum_type: "COMPOSITE".into(), ..Default::default() };
        assert_eq!(call(Wire::CreateUpload(half)).unwrap_err(), "create_upload.checksum_algorithm");
        let abort = v1::AbortUpload { bucket: 1, key: "k".into(), upload: id() };
        let Ok(Call::AbortUpload(abort)) = call(Wire::AbortUpload(abort)) else { panic!() };
        assert!(!abort.stale, "nobody says that over the wire");

        let part = Some(v1::Part { upload: id(), number: 10_000 });
        let begin =
            v1::Begin { key: "k".into(), kind: v1::WriteKind::Part.into(), part, ..Default::default() };
        let Ok(Call::Begin(read)) = call(Wire::Begin(begin.clone())) else { panic!() };
        assert_eq!((read.kind, read.part.unwrap().number.get()), (WriteKind::Part, 10_000));
        let alone = v1::Begin { part: None, ..begin.clone() };
        assert_eq!(call(Wire::Begin(alone)).unwrap_err(), "begin.part");
        let put = v1::Begin { kind: v1::WriteKind::Put.into(), ..begin };
        assert_eq!(call(Wire::Begin(put)).unwrap_err(), "begin.part");
    }
}
