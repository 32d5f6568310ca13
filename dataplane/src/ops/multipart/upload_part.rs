//! UploadPart: a write whose blob becomes a part. A part that is sent again takes the place of the one before.

use std::sync::Arc;

use futures::TryStreamExt as _;
use s3o_blob::{Algorithm, Expected};
use s3o_proto::v1::WriteKind;
use s3o_types::{Conditions, ObjectAttributes};
use s3s::dto::{ETag, UploadPartInput, UploadPartOutput};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::token::UploadToken;
use super::{no_such_upload, part_number};
use crate::control::PartOf;
use crate::ops::headers::add_part_checksums;
use crate::ops::{Answer, MAX_SINGLE_BYTES, bucket_of, check_key, refuse_unsupported, upload};
use crate::pipeline::body::{ByteStream, ClientBody, Payload};
use crate::pipeline::put::{Write, write};
use crate::plane::Plane;

/// Answers when the part is stored.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    mut req: S3Request<UploadPartInput>,
) -> Answer<UploadPartOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    check_key(&req.input.key)?;
    refuse_unsupported(&[(req.input.sse_customer_key.is_some(), "Encryption with customer keys")])?;
    let number = part_number(req.input.part_number)?;
    let token = UploadToken::parse(&req.input.upload_id).ok_or_else(no_such_upload)?;
    let size = upload::content_length(&req, req.input.content_length)?;
    if size > bucket.max_object_size.min(MAX_SINGLE_BYTES) {
        return Err(s3_error!(EntityTooLarge));
    }
    let mut expected = upload::expected(&req.headers, size, req.trailing_headers.take())?;
    expected.keep = Some(plane.config.integrity.digest);
    if let Some((algorithm, _)) = token.checksum {
        expect(&mut expected, algorithm)?;
    }
    let body: ByteStream = match req.input.body.take() {
        Some(body) => Box::pin(body.map_err(Into::into)),
        None => Box::pin(futures::stream::empty()),
    };
    let request = Write {
        caller,
        bucket,
        key: req.input.key,
        size,
        conditions: Conditions::default(),
        kind: WriteKind::Part,
        part: Some(PartOf { upload: token.id, number }),
        attributes: ObjectAttributes::default(),
        payload: Payload::Client(ClientBody::new(body, expected, plane.replay.reserve(size))),
        etag: None,
        checksums: None,
        server_side: Vec::new(),
    };
    let written = write(plane, request).await?;
    let mut response = S3Response::new(UploadPartOutput {
        e_tag: Some(ETag::Strong(written.etag.as_str().to_owned())),
        ..Default::default()
    });
    add_part_checksums(&mut response.headers, &written.checksums);
    Ok(response)
}

/// Every part has the upload's checksum, whether or not the client sends it; another one is a mistake of the client.
fn expect(expected: &mut Expected, algorithm: Algorithm) -> S3Result<()> {
    let others = Algorithm::ALL.into_iter().filter(|other| *other != algorithm);
    for other in others {
        let sent = expected.checksums.values.contains_key(other.name()) || expected.trailers.contains(other);
        if sent {
            let (wanted, sent) = (algorithm.name(), other.name());
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {wanted}, actual checksum Type: {sent}"
            ));
        }
    }
    expected.also = expected.also.with(algorithm);
    Ok(())
}

#[cfg(test)]
mod tests {
    use s3o_blob::AlgorithmSet;

    use super::*;

    #[test]
    fn the_uploads_checksum_and_no_other() {
        let mut expected = Expected::of_size(1);
        expect(&mut expected, Algorithm::Crc32c).expect("none was sent");
        assert!(expected.also.contains(Algorithm::Crc32c));
        expected.checksums.values.insert("crc32c".to_owned(), "AAAAAA==".to_owned());
        expect(&mut expected, Algorithm::Crc32c).expect("the one");
        assert!(expect(&mut expected, Algorithm::Sha256).is_err());
        let mut trailing = Expected::of_size(1);
        trailing.trailers = AlgorithmSet::NONE.with(Algorithm::Crc32);
        assert!(expect(&mut trailing, Algorithm::Crc32c).is_err());
        expect(&mut trailing, Algorithm::Crc32).expect("the one");
    }
}
