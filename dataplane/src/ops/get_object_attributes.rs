//! GetObjectAttributes: the database alone answers.

mod parts;

use std::sync::Arc;

use s3o_blob::ChecksumKind;
use s3o_types::Checksums;
use s3s::dto::{
    Checksum, ChecksumType, ETag, GetObjectAttributesInput, GetObjectAttributesOutput,
    GetObjectAttributesParts, ObjectAttributes, StorageClass,
};
use s3s::{S3Request, S3Response, S3Result};

use self::parts::Page;
use super::checksums::set_checksums;
use super::get_object::MAX_LOCATES;
use super::headers::timestamp;
use super::locate::locate;
use super::{Answer, bucket_of, check_key, refuse_unsupported, version};
use crate::control::{Located, Want};
use crate::pipeline::faults::{self, invalid_argument};
use crate::plane::Plane;

/// What a request may name (GetObjectAttributes reference, `x-amz-object-attributes`).
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one name of a set")]
struct Wanted {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
}

/// Answers with what was named and what there is.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<GetObjectAttributesInput>,
) -> Answer<GetObjectAttributesOutput> {
    let bucket = bucket_of(&req)?;
    let input = &req.input;
    check_key(&input.key)?;
    let version = version::named(input.version_id.as_deref())?;
    refuse_unsupported(&[(input.sse_customer_key.is_some(), "Encryption with customer keys")])?;
    let wanted = wanted(input.object_attributes.iter().map(ObjectAttributes::as_str))?;
    let page = if wanted.parts { Some(Page::of(input)?) } else { None };
    let want = page.as_ref().map_or(Want::Range(0, 0), Page::want);
    for _ in 0..MAX_LOCATES {
        // A caller of its own each time: a repeat by the same op may get the same answer.
        let caller = plane.caller(&req);
        let located = locate(plane, &req, &caller, (&bucket, input.key.as_str(), version), want).await?;
        let Some((page, total)) = page.as_ref().zip(located.parts) else {
            return Ok(respond(&located, &wanted, None));
        };
        let named = (bucket.id, input.key.as_str());
        let listed = parts::list(&caller, named, (located.as_ref(), total), page).await?;
        if listed.is_some() {
            return Ok(respond(&located, &wanted, listed));
        }
    }
    Err(faults::unavailable("The object changes faster than it can be looked at. Please try again."))
}

fn respond(
    located: &Located,
    wanted: &Wanted,
    parts: Option<GetObjectAttributesParts>,
) -> S3Response<GetObjectAttributesOutput> {
    let class = located.attributes.headers.storage_class.as_deref().unwrap_or("STANDARD");
    S3Response::new(GetObjectAttributesOutput {
        checksum: if wanted.checksum { checksum(&located.checksums) } else { None },
        e_tag: wanted.etag.then(|| ETag::Strong(located.etag.clone())),
        last_modified: timestamp(located.modified),
        object_parts: parts,
        object_size: if wanted.size { i64::try_from(located.size).ok() } else { None },
        version_id: located.version_id.clone(),
        storage_class: wanted.storage_class.then(|| StorageClass::from(class.to_owned())),
        ..Default::default()
    })
}

/// The names, each header's separated by commas: `s3s` splits the headers only.
fn wanted<'a>(headers: impl Iterator<Item = &'a str>) -> S3Result<Wanted> {
    let mut wanted = Wanted::default();
    for name in headers.flat_map(|header| header.split(',')) {
        let field = match name.trim() {
            "ETag" => &mut wanted.etag,
            "Checksum" => &mut wanted.checksum,
            "ObjectParts" => &mut wanted.parts,
            "StorageClass" => &mut wanted.storage_class,
            "ObjectSize" => &mut wanted.size,
            _ => return Err(invalid_argument("Invalid attribute name specified.")),
        };
        *field = true;
    }
    Ok(wanted)
}

/// AWS leaves the `-N` of a composite checksum out here, and here alone; `ObjectParts` has the number.
fn without_count(checksums: &Checksums) -> Checksums {
    let base64 =
        |value: &String| value.split_once('-').map_or(value.as_str(), |(base64, _)| base64).to_owned();
    Checksums { values: checksums.values.iter().map(|(name, value)| (name.clone(), base64(value))).collect() }
}

fn checksum(checksums: &Checksums) -> Option<Checksum> {
    let kind = ChecksumKind::of_value(checksums.values.values().next()?);
    let mut checksum =
        Checksum { checksum_type: Some(ChecksumType::from_static(kind.as_str())), ..Default::default() };
    let told = without_count(checksums);
    set_checksums!(checksum, told);
    Some(checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let all =
            wanted(["ETag, Checksum,ObjectParts", "StorageClass,ObjectSize"].into_iter()).expect("known");
        assert_eq!(all, Wanted { etag: true, checksum: true, parts: true, storage_class: true, size: true });
        assert_eq!(wanted(["ETag"].into_iter()).expect("known"), Wanted { etag: true, ..Wanted::default() });
        for bad in ["etag", ",", "ETag,Owner", ""] {
            assert!(wanted([bad].into_iter()).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_checksum_is_no_element() {
        assert!(checksum(&Checksums::default()).is_none());
        let one = Checksums { values: [("sha256".to_owned(), "x".to_owned())].into() };
        let one = checksum(&one).expect("one");
        assert_eq!((one.checksum_sha256.as_deref(), one.checksum_crc32), (Some("x"), None));
        assert_eq!(one.checksum_type.expect("said").as_str(), "FULL_OBJECT");
        let composite = Checksums { values: [("sha256".to_owned(), "x=-3".to_owned())].into() };
        let composite = checksum(&composite).expect("one");
        assert_eq!(composite.checksum_sha256.as_deref(), Some("x="), "as AWS says it here");
        assert_eq!(composite.checksum_type.expect("said").as_str(), "COMPOSITE");
    }
}
