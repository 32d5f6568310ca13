//! CreateMultipartUpload: what the object will carry is said here. Nothing is placed yet.

use std::sync::Arc;

use s3o_blob::{Algorithm, ChecksumKind};
use s3o_types::{ObjectAttributes, Timestamp};
use s3s::dto::{ChecksumAlgorithm, ChecksumType, CreateMultipartUploadInput, CreateMultipartUploadOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use uuid::Uuid;

use super::token::UploadToken;
use crate::control::NewUpload;
use crate::ops::attributes::{check_write, object_attributes};
use crate::ops::elements::Elements;
use crate::ops::{Answer, bucket_of, check_key, expiration, object_lock};
use crate::pipeline::task::to_its_end;
use crate::pipeline::{audit, faults};
use crate::plane::Plane;

/// Answers with the upload's id.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<CreateMultipartUploadInput>,
) -> Answer<CreateMultipartUploadOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    let input = &mut req.input;
    check(input)?;
    let checksum = checksum(input)?;
    let attributes = attributes_of(input)?;
    object_lock::check_bucket(plane, &caller, &bucket, &attributes.lock).await?;
    let (bucket_id, name, key) = (bucket.id, bucket.name.clone(), input.key.clone());
    let call = async move {
        let checksum = checksum.map(|(algorithm, kind)| (algorithm.name(), kind.as_str()));
        let new = NewUpload { attributes: &attributes, checksum };
        let id = caller.create_upload(bucket_id, &key, &new).await;
        if id.is_ok() {
            audit::begun(&caller, &name, &key);
        }
        id
    };
    let id = to_its_end(plane, call).await?.map_err(faults::of_failure)?;
    let (abort_date, abort_rule_id) = expiration::of_upload(&bucket, &input.key, begun(id)).unzip();
    let mut elements = Elements::default();
    elements.text("Key", &input.key);
    let mut response = S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(bucket.name),
        upload_id: Some(UploadToken { id, checksum }.format()),
        checksum_algorithm: checksum
            .map(|(algorithm, _)| ChecksumAlgorithm::from(algorithm.name().to_ascii_uppercase())),
        checksum_type: checksum.map(|(_, kind)| ChecksumType::from_static(kind.as_str())),
        abort_date,
        abort_rule_id,
        ..Default::default()
    });
    response.extensions.insert(elements);
    Ok(response)
}

/// When an upload was begun: its id is that of the operation, and says so.
fn begun(id: Uuid) -> Timestamp {
    let (seconds, nanos) = id.get_timestamp().map(|at| at.to_unix()).unwrap_or_default();
    let seconds = i64::try_from(seconds).unwrap_or_default();
    Timestamp(seconds.saturating_mul(1_000_000) + i64::from(nanos / 1000))
}

fn check(input: &CreateMultipartUploadInput) -> S3Result<()> {
    check_key(&input.key)?;
    let customer = input.sse_customer_algorithm.is_some() || input.sse_customer_key.is_some();
    check_write!(input, customer: customer);
    Ok(())
}

/// `x-amz-checksum-algorithm` and `x-amz-checksum-type`, as far as S3 knows them together.
fn checksum(input: &CreateMultipartUploadInput) -> S3Result<Option<(Algorithm, ChecksumKind)>> {
    let kind = input.checksum_type.as_ref().map(ChecksumType::as_str);
    let Some(algorithm) = &input.checksum_algorithm else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            )),
        };
    };
    let algorithm = Algorithm::from_name(algorithm.as_str()).ok_or_else(|| {
        let known = Algorithm::ALL.map(|algorithm| algorithm.name().to_ascii_uppercase()).join(", ");
        s3_error!(
            InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{known}]"
        )
    })?;
    let Some(kind) = kind else { return Ok(Some((algorithm, ChecksumKind::default_of(algorithm)))) };
    let fitting = ChecksumKind::from_word(kind).filter(|kind| kind.fits(algorithm)).ok_or_else(|| {
        let name = algorithm.name();
        s3_error!(
            InvalidRequest,
            "The {kind} checksum type cannot be used with the {name} checksum algorithm."
        )
    })?;
    Ok(Some((algorithm, fitting)))
}

fn attributes_of(input: &mut CreateMultipartUploadInput) -> S3Result<ObjectAttributes> {
    Ok(object_attributes!(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Option<&str>, kind: Option<&str>) -> Result<Option<(Algorithm, ChecksumKind)>, String> {
        let mut input = CreateMultipartUploadInput::builder();
        input.set_bucket("b".to_owned()).set_key("k".to_owned());
        input.set_checksum_algorithm(algorithm.map(|name| ChecksumAlgorithm::from(name.to_owned())));
        input.set_checksum_type(kind.map(|kind| ChecksumType::from(kind.to_owned())));
        checksum(&input.build().expect("complete")).map_err(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn an_id_says_when_it_was_made() {
        let at = uuid::Timestamp::from_unix_time(1_355_911_200, 5_000_000, 0, 0);
        assert_eq!(begun(Uuid::new_v7(at)), Timestamp(1_355_911_200_005_000));
    }

    #[test]
    fn checksums() {
        use Algorithm::{Crc32, Crc64nvme};
        assert_eq!(of(None, None), Ok(None));
        assert_eq!(of(Some("CRC32"), None), Ok(Some((Crc32, ChecksumKind::Composite))));
        assert_eq!(of(Some("CRC32"), Some("FULL_OBJECT")), Ok(Some((Crc32, ChecksumKind::FullObject))));
        assert_eq!(of(Some("XXHASH3"), None), Ok(Some((Algorithm::Xxhash3, ChecksumKind::Composite))));
        assert_eq!(of(Some("CRC64NVME"), None), Ok(Some((Crc64nvme, ChecksumKind::FullObject))));
        for (algorithm, kind) in [
            (Some("CRC64NVME"), Some("COMPOSITE")),
            (Some("SHA256"), Some("FULL_OBJECT")),
            (Some("MD5"), Some("FULL_OBJECT")),
            (Some("ROT13"), None),
            (None, Some("COMPOSITE")),
            (Some("CRC32"), Some("HALF")),
        ] {
            assert_eq!(of(algorithm, kind), Err("InvalidRequest".to_owned()), "{algorithm:?} {kind:?}");
        }
    }
}
