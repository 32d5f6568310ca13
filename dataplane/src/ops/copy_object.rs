//! CopyObject: within a backend by the backend itself, else streamed through us. The copy has its
//! source's ETag and is verified like any write.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use s3o_blob::{Algorithm, AlgorithmSet, BodyDigests, ChecksumKind};
use s3o_proto::v1::WriteKind;
use s3o_types::{Checksums, Etag, LifecycleRule, ObjectAttributes, VersionRef};
use s3s::dto::{
    ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag, MetadataDirective,
    TaggingDirective,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use super::attributes::{self, check_write, content_headers};
use super::checksums::set_checksums;
use super::conditions::{self, ReadConditions, Verdict};
use super::headers::whole_seconds;
use super::locate::locate_or;
use super::object_lock::lock_of_write;
use super::range::Slice;
use super::{Answer, bucket_of, check_key, expiration, object_lock, tags, version};
use crate::access::readable;
use crate::control::{Caller, Failure, Located, Want};
use crate::pipeline::body::{ObjectBody, Payload};
use crate::pipeline::pieces::Pieces;
use crate::pipeline::put::{ServerSide, Write, Written, write};
use crate::pipeline::read::Source;
use crate::pipeline::{faults, read};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// Answers when the copy counts.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<CopyObjectInput>,
) -> Answer<CopyObjectOutput> {
    let target = bucket_of(&req)?;
    check(&req.input)?;
    let (source, source_key, version) =
        source(plane, &plane.caller(&req), &req.input.copy_source, &req.headers).await?;
    let said = req.input.metadata_directive.as_ref().map(MetadataDirective::as_str);
    let replace_metadata = directive(said, "Unknown metadata directive.")?;
    let said = req.input.tagging_directive.as_ref().map(TaggingDirective::as_str);
    let replace_tags = directive(said, "Unknown tagging directive.")?;
    // An old version that is copied over its key becomes the current one again.
    let changes = replace_metadata || version.is_some();
    check_changes(&req.input, (&source, &source_key), &target, changes)?;
    let conditions = conditions::of_write(req.input.if_match.as_ref(), req.input.if_none_match.as_ref());
    let conditions = conditions.map_err(|message| s3_error!(NotImplemented, "{message}"))?;
    let named = (&source, source_key.as_str(), version);
    let located = locate_or(plane, &req, &plane.caller(&req), named, Want::All, source_fault).await?;
    check_source(&source_conditions(&mut req.input), &located)?;
    check_size(located.size)?;
    if located.size > target.max_object_size {
        return Err(s3_error!(EntityTooLarge));
    }
    let caller = plane.caller(&req);
    let attributes = attributes_of(&mut req.input, &located, replace_metadata, replace_tags)?;
    object_lock::check_bucket(plane, &caller, &target, &attributes.lock).await?;
    let wanted = new_checksum(&req.input, &located)?;
    let reading = Source { caller: plane.caller(&req), bucket: source.id, key: source_key };
    let copy_source_version_id = located.version_id.clone();
    let rules = expiration::rules(&target, &req.input.key, located.size, &attributes.tags);
    let rules: Vec<LifecycleRule> = rules.cloned().collect();
    let written = write(
        plane,
        Write {
            caller,
            bucket: target,
            key: req.input.key,
            size: located.size,
            conditions,
            kind: WriteKind::Copy,
            part: None,
            attributes,
            server_side: if wanted == AlgorithmSet::NONE { server_side(&located) } else { Vec::new() },
            payload: streamed(plane, reading, Arc::clone(&located), Slice::all(located.size), wanted),
            // A copy comes whole, whatever its source came in.
            etag: Some(Etag::new(&located.etag)).filter(|etag| located.parts.is_none() && etag.is_md5()),
            checksums: (wanted == AlgorithmSet::NONE).then(|| located.checksums.clone()),
        },
    )
    .await?;
    let mut headers = HeaderMap::new();
    expiration::add(&mut headers, &rules, written.modified);
    Ok(S3Response::with_headers(output(written, copy_source_version_id), headers))
}

fn output(written: Written, copy_source_version_id: Option<String>) -> CopyObjectOutput {
    let mut result = CopyObjectResult {
        e_tag: Some(ETag::Strong(written.etag.as_str().to_owned())),
        last_modified: whole_seconds(written.modified),
        ..Default::default()
    };
    set_checksums!(result, written.checksums);
    result.checksum_type =
        (!written.checksums.values.is_empty()).then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT));
    CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id,
        version_id: written.version_id,
        ..Default::default()
    }
}

fn check(input: &CopyObjectInput) -> S3Result<()> {
    check_key(&input.key)?;
    let customer = input.sse_customer_key.is_some() || input.copy_source_sse_customer_key.is_some();
    check_write!(input, customer: customer);
    Ok(())
}

/// Why the source cannot be had.
pub(super) fn source_fault(failure: Failure) -> S3Error {
    match failure {
        Failure::Marker { named: true, .. } => s3_error!(
            InvalidRequest,
            "The source of a copy request may not specifically refer to a delete marker by version id."
        ),
        // Headers about a marker would be about the copy.
        Failure::Marker { named: false, .. } => s3_error!(NoSuchKey),
        failure => faults::of_failure(failure),
    }
}

/// S3 reads a `+` of this header as a space (github.com/aws/aws-cli/issues/614), which clients count on that write one so; the
/// parser takes it for itself. `None`: there is none.
fn spaced(headers: &HeaderMap) -> Option<CopySource> {
    let said = headers.get("x-amz-copy-source")?.to_str().ok()?;
    if !said.contains('+') {
        return None;
    }
    CopySource::parse(&said.replace('+', "%20")).ok()
}

/// The source's bucket, key and version, if the key may read it.
pub(super) async fn source(
    plane: &Arc<Plane>,
    caller: &Caller,
    named: &CopySource,
    headers: &HeaderMap,
) -> S3Result<(Bucket, String, Option<VersionRef>)> {
    let spaced = spaced(headers);
    let CopySource::Bucket { bucket, key, version_id } = spaced.as_ref().unwrap_or(named) else {
        return Err(s3_error!(NotImplemented, "Access points are not implemented"));
    };
    check_key(key)?;
    let version = version::named(version_id.as_deref())?;
    Ok((readable(plane, caller, bucket, key).await?, key.to_string(), version))
}

/// Whether a directive says REPLACE.
fn directive(directive: Option<&str>, unknown: &'static str) -> S3Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(faults::invalid_argument(unknown)),
    }
}

/// S3 refuses a copy onto itself that changes nothing.
fn check_changes(
    input: &CopyObjectInput,
    source: (&Bucket, &str),
    target: &Bucket,
    replaces: bool,
) -> S3Result<()> {
    let onto_itself = source.0.id == target.id && source.1 == input.key;
    let changes = replaces || input.storage_class.is_some() || input.website_redirect_location.is_some();
    if onto_itself && !changes {
        return Err(s3_error!(
            InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
        ));
    }
    Ok(())
}

fn source_conditions(input: &mut CopyObjectInput) -> ReadConditions {
    ReadConditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    }
}

/// Here "not modified" is a failed condition too.
pub(super) fn check_source(conditions: &ReadConditions, located: &Located) -> S3Result<()> {
    match conditions.check(&located.etag, located.modified) {
        Verdict::Holds => Ok(()),
        Verdict::NotModified | Verdict::Failed => Err(s3_error!(PreconditionFailed)),
    }
}

fn attributes_of(
    input: &mut CopyObjectInput,
    located: &Located,
    replace_metadata: bool,
    replace_tags: bool,
) -> S3Result<ObjectAttributes> {
    let mut attributes = located.attributes.clone();
    let said = content_headers!(input);
    attributes::check_redirect(&said)?;
    // Never copied: they are said anew or not at all (CopyObject reference).
    attributes.headers.website_redirect.clone_from(&said.website_redirect);
    attributes.headers.storage_class.clone_from(&said.storage_class);
    // So is its lock (Amazon S3 User Guide, "Object Lock considerations").
    attributes.lock = lock_of_write!(input);
    if replace_metadata {
        attributes.headers = said;
        attributes.metadata = attributes::metadata(input.metadata.take())?;
    }
    if replace_tags {
        attributes.tags = tags::of_header(input.tagging.as_deref())?;
    }
    Ok(attributes)
}

/// A checksum that the client wants, or that the source has of its parts, and that the source does not have of the
/// whole: then all bytes must pass by here.
fn new_checksum(input: &CopyObjectInput, located: &Located) -> S3Result<AlgorithmSet> {
    let values = &located.checksums.values;
    let is_composite = |value: &String| ChecksumKind::of_value(value) == ChecksumKind::Composite;
    let Some(wanted) = &input.checksum_algorithm else {
        let composite = values.iter().filter(|(_, value)| is_composite(value));
        return Ok(composite.filter_map(|(name, _)| Algorithm::from_name(name)).collect());
    };
    let algorithm = Algorithm::from_name(wanted.as_str());
    let algorithm = algorithm.ok_or_else(|| s3_error!(InvalidRequest, "Unknown checksum algorithm"))?;
    let has_it = values.get(algorithm.name()).is_some_and(|value| !is_composite(value));
    Ok(if has_it { AlgorithmSet::NONE } else { AlgorithmSet::NONE.with(algorithm) })
}

/// Where the backend can copy by itself: one plain extent of ours whose MD5 is known, since that is what
/// the copy is verified by.
pub(super) fn server_side(located: &Located) -> Vec<(s3o_types::BackendId, ServerSide)> {
    let ([extent], Some(md5)) = (located.extents.as_slice(), md5_of(&located.etag)) else {
        return Vec::new();
    };
    let checksums = Checksums { values: BTreeMap::new() };
    let digest = extent.digest;
    let digests = BodyDigests { size: located.size, md5: Some(md5), hop: None, digest, checksums };
    let usable =
        extent.copies.iter().filter(|copy| copy.encoding.is_plain() && !copy.uncertain && !copy.foreign_key);
    usable
        .map(|copy| {
            (copy.backend, ServerSide { source_key: copy.storage_key.clone(), digests: digests.clone() })
        })
        .collect()
}

/// Bytes of an object as the body of a write; their MD5 is known where they are all of it.
pub(super) fn streamed(
    plane: &Arc<Plane>,
    source: Source,
    located: Arc<Located>,
    slice: Slice,
    also: AlgorithmSet,
) -> Payload {
    let whole = slice == Slice::all(located.size);
    let md5 = if whole { md5_of(&located.etag) } else { None };
    // What came in parts has no MD5 of its own: it is compared by the checksum of the whole, where there is one.
    let mut checksums = Checksums::default();
    if whole && located.parts.is_some() {
        let of_whole = |value: &String| ChecksumKind::of_value(value) == ChecksumKind::FullObject;
        let known = located.checksums.values.iter().filter(|(_, value)| of_whole(value));
        checksums.values = known.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
    let keep = plane.config.integrity.digest;
    let plane = Arc::clone(plane);
    let pieces = Pieces::default();
    let seen = pieces.clone();
    let reopen =
        Box::new(move || read::lazily(Arc::clone(&plane), source.clone(), &located, slice, seen.clone()));
    Payload::Object(ObjectBody { size: slice.len(), md5, checksums, also, keep, pieces, reopen })
}

/// What S3 copies by one request.
pub(super) fn check_size(bytes: u64) -> S3Result<()> {
    if bytes <= super::MAX_SINGLE_BYTES {
        return Ok(());
    }
    Err(s3_error!(
        InvalidRequest,
        "The specified copy source is larger than the maximum allowable size for a copy source: {}",
        super::MAX_SINGLE_BYTES
    ))
}

fn md5_of(etag: &str) -> Option<[u8; 16]> {
    hex::decode(etag).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn directives() {
        assert!(directive(Some("REPLACE"), "").expect("known"));
        assert!(!directive(None, "").expect("the default"));
        assert!(directive(Some("MERGE"), "").is_err());
    }

    #[test]
    fn a_plus_is_a_space() {
        let of = |said: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-copy-source", HeaderValue::from_static(said));
            spaced(&headers).map(|source| match source {
                CopySource::Bucket { key, .. } => key.to_string(),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(of("/photos/a+b%2Bc%20d"), Some("a b+c d".to_owned()));
        assert_eq!(of("photos/a%2Bb"), None, "the parser has it right");
        assert_eq!(spaced(&HeaderMap::new()).map(|_| ()), None);
    }

    #[test]
    fn only_md5_etags_verify() {
        assert!(md5_of("d41d8cd98f00b204e9800998ecf8427e").is_some());
        assert!(md5_of("d41d8cd98f00b204e9800998ecf8427e-3").is_none());
    }
}
