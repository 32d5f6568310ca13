//! What the backend's answer to a PUT proves: the setting `etag`.
//!
//! Invariant: as in [`crate::probe_puts`], a checksum behind the body is trusted only after a wrong one was refused, and
//! the right one was taken and said back with the MD5 as the ETag, and the body came back as it was.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use s3o_blob::{Algorithm, AlgorithmSet, BodyDigests, BodyHasher};
use s3o_types::{Etag, EtagProof, ProbeFinding};

use super::asker::{Asker, How};
use crate::client::PutDone;
use crate::error::BackendError;
use crate::probe;

const ETAG: &str = "etag";

/// What is proven, `None` where that could not be seen, and what there is to say of it.
pub(super) async fn find(asker: &mut Asker<'_>) -> (Option<EtagProof>, ProbeFinding) {
    let seen = match plain(asker).await {
        Ok(false) => Ok((EtagProof::Opaque, "its ETags are not MD5s: every upload is read back".to_owned())),
        Ok(true) => trailer(asker).await,
        Err(error) => Err(error.to_string()),
    };
    match seen {
        Ok((proof, detail)) => (Some(proof), finding(asker.configured().etag, proof, detail)),
        Err(why) => (None, ProbeFinding::unknown(ETAG, why)),
    }
}

fn finding(configured: EtagProof, found: EtagProof, detail: String) -> ProbeFinding {
    let setting = format!("{ETAG}: {}", word(found));
    if rank(configured) > rank(found) {
        let detail = format!("{detail}; `{}` is taken for granted now", word(configured));
        return ProbeFinding::needs(ETAG, detail, setting);
    }
    ProbeFinding::ok(ETAG, detail).with_setting((configured != found).then_some(setting))
}

const fn word(proof: EtagProof) -> &'static str {
    match proof {
        EtagProof::Unknown => "unknown",
        EtagProof::Md5 => "md5",
        EtagProof::Md5Trailer => "md5_trailer",
        EtagProof::Opaque => "opaque",
    }
}

/// How much is taken for granted.
const fn rank(proof: EtagProof) -> u8 {
    match proof {
        EtagProof::Unknown | EtagProof::Opaque => 0,
        EtagProof::Md5 => 1,
        EtagProof::Md5Trailer => 2,
    }
}

/// Whether the ETag of a PUT, and of the GET after it, is the body's MD5.
async fn plain(asker: &mut Asker<'_>) -> Result<bool, BackendError> {
    let body = Bytes::from_static(b"what is the MD5 of this?");
    let digests = BodyHasher::digest(&body, AlgorithmSet::NONE);
    let put = asker.put("etag", Vec::new(), body.clone()).await?;
    let got = asker.get("etag", None, None).await?;
    Ok(is_md5(put.etag.as_ref(), &digests) && is_md5(got.etag.as_ref(), &digests) && got.bytes == body)
}

fn is_md5(etag: Option<&Etag>, digests: &BodyDigests) -> bool {
    let md5 = digests.etag();
    etag.zip(md5.as_ref()).is_some_and(|(etag, md5)| etag.as_str().eq_ignore_ascii_case(md5.as_str()))
}

/// What a checksum behind the body does. `Err`: that could not be seen.
async fn trailer(asker: &mut Asker<'_>) -> Result<(EtagProof, String), String> {
    let md5_only = |why: &str| Ok((EtagProof::Md5, format!("its ETags are MD5s; {why}")));
    let unseen = |error: BackendError| {
        format!("its ETags are MD5s; what a checksum behind the body does could not be seen: {error}")
    };
    let body = probe::body();
    let crc = AlgorithmSet::NONE.with(Algorithm::Crc64nvme);
    let (digests, other) = (BodyHasher::digest(&body, crc), BodyHasher::digest(b"something else", crc));
    match put(asker, "trailer-wrong", &body, &other).await {
        Ok(_) => return md5_only("a CRC-64/NVME behind the body is not compared"),
        Err(error) if probe::is_refusal(&error) => {}
        Err(error) => return Err(unseen(error)),
    }
    let put = match put(asker, "trailer-right", &body, &digests).await {
        Ok(put) => put,
        Err(error) if probe::is_refusal(&error) => {
            return md5_only(&format!("a body in aws-chunked with a trailer is refused: {error}"));
        }
        Err(error) => return Err(unseen(error)),
    };
    if put.crc64nvme.is_none() || put.crc64nvme.as_deref() != digests.checksum(Algorithm::Crc64nvme) {
        return md5_only("a CRC-64/NVME behind the body is not said back");
    }
    let got = asker.get("trailer-right", None, None).await.map_err(unseen)?;
    let encoding = got.headers.get(CONTENT_ENCODING);
    if got.bytes != body || encoding.is_none_or(|encoding| encoding != probe::OWN_ENCODING) {
        return md5_only("a body in aws-chunked does not come back as it was");
    }
    if !is_md5(put.etag.as_ref(), &digests) {
        let detail = "the ETag of a body in aws-chunked is not its MD5: every upload is read back";
        return Ok((EtagProof::Opaque, detail.to_owned()));
    }
    let detail = "its ETags are MD5s, and it compares a CRC-64/NVME behind the body: no MD5 is computed here";
    Ok((EtagProof::Md5Trailer, detail.to_owned()))
}

async fn put(
    asker: &mut Asker<'_>,
    name: &str,
    body: &Bytes,
    said: &BodyDigests,
) -> Result<PutDone, BackendError> {
    let value = said.checksum(Algorithm::Crc64nvme).unwrap_or_default().to_owned();
    let headers: Vec<(HeaderName, HeaderValue)> =
        vec![(CONTENT_ENCODING, HeaderValue::from_static(probe::OWN_ENCODING))];
    let client = asker.client();
    asker.put_by(&client, name, headers, body.clone(), How::Trailer(value)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3o_types::ProbeVerdict;

    #[test]
    fn too_much_trust_is_a_need_and_too_little_a_hint() {
        let say = |configured, found| {
            let ProbeFinding { verdict, setting, .. } = finding(configured, found, String::new());
            (verdict, setting)
        };
        let line = |word: &str| Some(format!("etag: {word}"));
        assert_eq!(say(EtagProof::Md5, EtagProof::Opaque), (ProbeVerdict::Needs, line("opaque")));
        assert_eq!(say(EtagProof::Md5Trailer, EtagProof::Md5), (ProbeVerdict::Needs, line("md5")));
        assert_eq!(say(EtagProof::Opaque, EtagProof::Md5), (ProbeVerdict::Ok, line("md5")));
        assert_eq!(say(EtagProof::Unknown, EtagProof::Md5Trailer), (ProbeVerdict::Ok, line("md5_trailer")));
        assert_eq!(say(EtagProof::Md5, EtagProof::Md5), (ProbeVerdict::Ok, None));
    }
}
