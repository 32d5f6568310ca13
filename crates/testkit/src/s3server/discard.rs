//! PUTs whose bodies are hashed as they come and not kept: for tests of sizes that memory does not hold.
//!
//! Invariant: a body whose framing or checksum is wrong is refused. What a PUT that is kept also looks at
//! (Content-MD5, If-None-Match, the announced length) is passed over: nothing reads these blobs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use md5::{Digest as _, Md5};

use super::serve::{Answer, HangUp, empty, error};
use super::store::{Blob, Place, Shared};
use crate::aws_chunked::{BrokenFraming, CRC64NVME, Decoder};

/// Takes a body and stores a blob of no bytes under its ETag.
pub(super) async fn put(
    shared: &Shared,
    place: Place,
    headers: &HeaderMap,
    mut body: Incoming,
) -> Result<Answer, HangUp> {
    let mut intake = Intake::of(headers);
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| HangUp)?.into_data() else { continue };
        if intake.push(&chunk).is_err() {
            return Ok(error(400, &place.1));
        }
    }
    let Ok((etag, crc)) = intake.finish() else { return Ok(error(400, &place.1)) };
    let mut answer = empty(StatusCode::OK);
    answer.headers_mut().extend(HeaderValue::try_from(format!("\"{etag}\"")).ok().map(|etag| (ETAG, etag)));
    let crc = crc.and_then(|crc| HeaderValue::try_from(crc).ok());
    answer.headers_mut().extend(crc.map(|crc| (HeaderName::from_static(CRC64NVME), crc)));
    shared.store(place, Blob::with_etag(Bytes::new(), etag, headers));
    Ok(answer)
}

/// A body on its way through.
struct Intake {
    md5: Md5,
    /// With a trailer: the framing, and the checksum to compare.
    framed: Option<(Decoder, Crc)>,
}

impl Intake {
    fn of(headers: &HeaderMap) -> Self {
        let is_framed = headers
            .get("x-amz-content-sha256")
            .is_some_and(|payload| payload == "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let framed = is_framed.then(|| (Decoder::default(), Crc::new(CrcAlgorithm::Crc64Nvme)));
        Self { md5: Md5::new(), framed }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), BrokenFraming> {
        let Self { md5, framed } = self;
        let Some((decoder, crc)) = framed else {
            md5.update(bytes);
            return Ok(());
        };
        decoder.push(bytes, |data| {
            md5.update(data);
            crc.update(data);
        })
    }

    /// The ETag, and the checksum that was compared, base64.
    fn finish(self) -> Result<(String, Option<String>), ()> {
        let Self { md5, framed } = self;
        let etag = hex::encode(md5.finalize());
        let Some((decoder, crc)) = framed else { return Ok((etag, None)) };
        let crc = BASE64.encode(crc.finalize().to_be_bytes());
        if decoder.end().map_err(drop)? == crc { Ok((etag, Some(crc))) } else { Err(()) }
    }
}
