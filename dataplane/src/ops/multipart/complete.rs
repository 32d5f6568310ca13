//! CompleteMultipartUpload: the client's list against what is stored, the object's ETag and checksums from those of
//! its parts, and one call that makes it count.

mod picked;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use s3o_blob::{Algorithm, ChecksumKind, parts};
use s3o_types::{Checksums, Conditions, Etag};
use s3s::dto::{
    ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, ETag,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use uuid::Uuid;

use self::picked::{check_named, check_sizes, invalid_part, pick};
use super::token::UploadToken;
use super::{MAX_PART, copied, no_such_upload, part_number};
use crate::control::{Caller, Committed, CompleteRequest, Parts, StoredPart, Upload, UploadState};
use crate::ops::checksums::{said_checksums, set_checksums};
use crate::ops::elements::Elements;
use crate::ops::{
    Answer, bucket_of, check_key, conditions, document, expiration, refuse_unsupported, upload,
};
use crate::pipeline::task::to_its_end;
use crate::pipeline::{audit, faults};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// Answers when the object counts.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<CompleteMultipartUploadInput>,
) -> Answer<CompleteMultipartUploadOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    document::check_elements(&req, &["Part"])?;
    let location = location(plane, &req);
    let input = &mut req.input;
    check_key(&input.key)?;
    refuse_unsupported(&[(input.sse_customer_key.is_some(), "Encryption with customer keys")])?;
    // Of those that are not known here none is passed over.
    upload::check_algorithms(&req.headers)?;
    let listed = listed(input)?;
    let token = UploadToken::parse(&input.upload_id).ok_or_else(no_such_upload)?;
    let conditions = conditions::of_write(input.if_match.as_ref(), input.if_none_match.as_ref());
    let conditions = conditions.map_err(|message| s3_error!(NotImplemented, "{message}"))?;
    let range = (0, u32::from(MAX_PART));
    let found =
        caller.list_parts(bucket.id, &input.key, token.id, range).await.map_err(faults::of_failure)?;
    let Parts { upload, stored, truncated: _ } = found.ok_or_else(no_such_upload)?;
    let mut headers = HeaderMap::new();
    let object = match upload.state {
        UploadState::Open => {
            check_named(&listed, &upload)?;
            let picked = pick(&listed, &stored)?;
            check_sizes(&picked, plane.config.limits.min_part.0)?;
            copied::check(plane, &caller, &picked)?;
            let object = assemble(&upload, &picked)?;
            let size = picked.iter().map(|part| part.size).sum();
            check_size(input, size)?;
            check_said(input, &upload, &object)?;
            let of = (&bucket, &*input.key);
            let done = complete(plane, caller, of, (token.id, conditions), &object, &picked).await;
            let Committed { modified, seq: _, version_id } = done?;
            // Its tags are not known here: a rule that asks for some is told of to readers.
            let untagged = BTreeMap::new();
            let rules = expiration::rules(&bucket, &input.key, size, &untagged);
            expiration::add(&mut headers, rules, modified);
            Object { version_id, ..object }
        }
        UploadState::Completed => {
            let object = repeated(&listed, &upload)?;
            check_said(input, &upload, &object)?;
            object
        }
        UploadState::Aborted => return Err(no_such_upload()),
    };
    let kind = object.checksums.values.values().next().map(|value| ChecksumKind::of_value(value));
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(bucket.name),
        location: Some(location),
        e_tag: Some(ETag::Strong(object.etag.as_str().to_owned())),
        checksum_type: kind.map(|kind| ChecksumType::from_static(kind.as_str())),
        version_id: object.version_id,
        ..Default::default()
    };
    set_checksums!(output, object.checksums);
    let mut elements = Elements::default();
    elements.text("Key", &req.input.key);
    let mut response = S3Response::with_headers(output, headers);
    response.extensions.insert(elements);
    Ok(response)
}

/// Makes it count. Not cut short when the client goes.
async fn complete(
    plane: &Arc<Plane>,
    caller: Caller,
    (bucket, key): (&Bucket, &str),
    (upload, conditions): (Uuid, Conditions),
    object: &Object,
    picked: &[&StoredPart],
) -> S3Result<Committed> {
    let (id, name, key, remembering) = (bucket.id, bucket.name.clone(), key.to_owned(), Arc::clone(plane));
    let (etag, checksums) = (object.etag.clone(), object.checksums.clone());
    let parts = picked.iter().map(|part| (part.number, part.attempt)).collect();
    let size: u64 = picked.iter().map(|part| part.size).sum();
    let call = async move {
        let (conditions, etag, checksums) = (&conditions, &etag, &checksums);
        let request = CompleteRequest { upload, conditions, etag, checksums, parts };
        let done = caller.complete_upload(id, &key, request).await;
        if done.is_ok() {
            // Where its parts lie is asked at the first read.
            remembering.locations.changed(id, &key);
            audit::completed(&caller, &name, &key, size);
        }
        done
    };
    to_its_end(plane, call).await?.map_err(faults::of_failure)
}

fn location<T>(plane: &Plane, req: &S3Request<T>) -> String {
    let scheme = if plane.config.s3.tls.is_some() { "https" } else { "http" };
    let host = req.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| req.uri.host()).unwrap_or_default();
    format!("{scheme}://{host}{}", req.uri.path())
}

/// A part as the client names it.
#[derive(Debug)]
struct ListedPart {
    number: u16,
    etag: Etag,
    checksums: Vec<(Algorithm, String)>,
}

fn listed(input: &mut CompleteMultipartUploadInput) -> S3Result<Vec<ListedPart>> {
    let parts = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
    if parts.is_empty() {
        return Err(s3_error!(MalformedXML, "You must specify at least one part"));
    }
    let parts = parts.into_iter().map(listed_part).collect::<S3Result<Vec<_>>>()?;
    if !parts.is_sorted_by(|a, b| a.number < b.number) {
        return Err(s3_error!(
            InvalidPartOrder,
            "The list of parts was not in ascending order. The parts list must be specified in order by part number."
        ));
    }
    Ok(parts)
}

fn listed_part(part: CompletedPart) -> S3Result<ListedPart> {
    let (Some(number), Some(etag)) = (part.part_number, part.e_tag) else {
        return Err(s3_error!(MalformedXML, "Each part has a PartNumber and an ETag"));
    };
    let said = said_checksums!(part);
    Ok(ListedPart {
        number: part_number(number)?,
        etag: Etag::new(etag.value()),
        checksums: said.map(|(algorithm, value)| (algorithm, value.clone())).collect(),
    })
}

/// What the object is.
#[derive(Debug)]
struct Object {
    etag: Etag,
    checksums: Checksums,
    /// Once it counts, in a bucket that was ever versioned.
    version_id: Option<String>,
}

fn assemble(upload: &Upload, picked: &[&StoredPart]) -> S3Result<Object> {
    let broken = || {
        tracing::error!(upload = %upload.id, "a stored part has no ETag or checksum to make the object's of");
        s3_error!(InternalError)
    };
    let etag = parts::etag(picked.iter().map(|part| &part.etag)).ok_or_else(broken)?;
    if upload.checksum_algorithm.is_empty() {
        return Ok(Object { etag, checksums: Checksums::default(), version_id: None });
    }
    let algorithm = Algorithm::from_name(&upload.checksum_algorithm);
    let kind = ChecksumKind::from_word(&upload.checksum_type);
    let (algorithm, kind) = algorithm.zip(kind).ok_or_else(broken)?;
    let of = |part: &&'_ StoredPart| -> Option<(String, u64)> {
        Some((part.checksums.values.get(algorithm.name())?.clone(), part.size))
    };
    // Its id said another checksum while it was uploaded: the client changed it.
    let pieces: Option<Vec<(String, u64)>> = picked.iter().map(of).collect();
    let pieces = pieces.ok_or_else(invalid_part)?;
    let pieces: Vec<(&str, u64)> = pieces.iter().map(|(value, size)| (value.as_str(), *size)).collect();
    let value = parts::checksum(algorithm, kind, &pieces).ok_or_else(broken)?;
    let checksums = Checksums { values: [(algorithm.name().to_owned(), value)].into() };
    Ok(Object { etag, checksums, version_id: None })
}

/// The size that the client says of the whole object.
fn check_size(input: &CompleteMultipartUploadInput, size: u64) -> S3Result<()> {
    match input.mpu_object_size {
        Some(said) if u64::try_from(said).ok() != Some(size) => Err(s3_error!(
            InvalidRequest,
            "The provided 'x-amz-mp-object-size' header does not match what was computed."
        )),
        _ => Ok(()),
    }
}

/// The checksum that it says.
fn check_said(input: &CompleteMultipartUploadInput, upload: &Upload, object: &Object) -> S3Result<()> {
    if let Some(kind) = &input.checksum_type
        && kind.as_str() != upload.checksum_type
    {
        return Err(s3_error!(
            InvalidRequest,
            "The checksum type must be the one with which the multipart upload was created."
        ));
    }
    for (algorithm, value) in said_checksums!(input) {
        if upload.checksum_algorithm.is_empty() {
            // Nothing was calculated that could differ.
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created without a checksum algorithm: the complete request must not name a checksum."
            ));
        }
        let known = object.checksums.values.get(algorithm.name());
        // A composite one is also said without the number of its parts: minio-go's `applyAutoChecksum`.
        let short = known.and_then(|known| known.split_once('-')).map(|(hash, _)| hash);
        if known != Some(value) && short != Some(value) {
            let name = algorithm.name().to_ascii_uppercase();
            return Err(s3_error!(
                BadDigest,
                "The {name} you specified did not match the calculated checksum."
            ));
        }
    }
    Ok(())
}

/// A Complete of an upload that is completed: the same answer again, if the same parts are meant.
fn repeated(listed: &[ListedPart], upload: &Upload) -> S3Result<Object> {
    let etag = parts::etag(listed.iter().map(|part| &part.etag));
    match etag {
        Some(etag) if etag.as_str() == upload.etag => {
            let Upload { checksums, version_id, .. } = upload;
            Ok(Object { etag, checksums: checksums.clone(), version_id: version_id.clone() })
        }
        _ => Err(no_such_upload()),
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use s3o_types::Timestamp;

    use super::*;

    pub(super) fn named(number: u16, etag: &str) -> ListedPart {
        ListedPart { number, etag: Etag::new(etag), checksums: Vec::new() }
    }

    pub(super) fn code<T>(result: S3Result<T>) -> String {
        result.err().map(|error| error.code().as_str().to_owned()).unwrap_or_default()
    }

    pub(super) fn upload(algorithm: &str, kind: &str) -> Upload {
        Upload {
            key: "k".to_owned(),
            id: uuid::Uuid::nil(),
            state: UploadState::Completed,
            initiated: Timestamp(0),
            initiator: "AKIA".to_owned(),
            storage_class: String::new(),
            checksum_algorithm: algorithm.to_owned(),
            checksum_type: kind.to_owned(),
            etag: String::new(),
            checksums: Checksums { values: [("crc32".to_owned(), "AAAAAA==-1".to_owned())].into() },
            version_id: None,
        }
    }

    #[test]
    fn a_repetition_says_the_same_of_the_object() {
        let etag = parts::etag(std::iter::once(&Etag::new(&"a".repeat(32)))).expect("one part");
        let upload = Upload { etag: etag.as_str().to_owned(), ..upload("CRC32", "COMPOSITE") };
        let object = repeated(&[named(1, &"a".repeat(32))], &upload).expect("the same parts");
        let said = |crc32: &str| {
            let mut input = CompleteMultipartUploadInput::builder();
            input.set_bucket("b".to_owned()).set_key("k".to_owned()).set_upload_id("u".to_owned());
            input.set_checksum_crc32(Some(crc32.to_owned()));
            check_said(&input.build().expect("complete"), &upload, &object)
        };
        assert!(said("AAAAAA==-1").is_ok());
        assert!(said("AAAAAA==").is_ok(), "as minio-go says it");
        assert_eq!(code(said("AAAAAA==-2")), "BadDigest");
        assert_eq!(code(said("AAAAAQ==")), "BadDigest");
        assert_eq!(code(said("AAAAAQ==-1")), "BadDigest");
        assert_eq!(code(repeated(&[named(1, &"b".repeat(32))], &upload)), "NoSuchUpload");
    }
}
