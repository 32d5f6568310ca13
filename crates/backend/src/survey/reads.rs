//! Reads of parts, and reads on a condition.

use bytes::Bytes;
use s3o_types::{Etag, ProbeFinding};

use super::asker::Asker;
use super::finding::failed;
use crate::client::ByteRange;

const RANGE: &str = "range";
const IF_MATCH: &str = "if_match";
const NAME: &str = "read";

/// The MD5 of nothing that is stored.
const OTHER: &str = "00000000000000000000000000000000";
const PRECONDITION_FAILED: u16 = 412;

pub(super) async fn find(asker: &mut Asker<'_>) -> Vec<ProbeFinding> {
    let body = Bytes::from_static(b"0123456789");
    match asker.put(NAME, Vec::new(), body.clone()).await {
        Ok(put) => vec![range(asker, &body).await, if_match(asker, put.etag.as_ref(), &body).await],
        Err(error) => vec![ProbeFinding::unknown(RANGE, error.to_string())],
    }
}

async fn range(asker: &mut Asker<'_>, body: &Bytes) -> ProbeFinding {
    let meaning = "ranges of objects, and large objects in several parts, cannot be read from it";
    match asker.get(NAME, Some(ByteRange { first: 3, last: 5 }), None).await {
        Ok(got) if got.bytes == body.slice(3..6) => {
            ProbeFinding::ok(RANGE, "a range of an object can be read")
        }
        Ok(_) => ProbeFinding::unsupported(RANGE, format!("other bytes than those asked for; {meaning}")),
        Err(error) => failed(RANGE, &error, meaning),
    }
}

async fn if_match(asker: &mut Asker<'_>, etag: Option<&Etag>, body: &Bytes) -> ProbeFinding {
    let meaning = "only reads of imported objects have If-Match: do not import from it";
    match asker.get(NAME, None, Some(&Etag::new(OTHER))).await {
        Ok(_) => {
            return ProbeFinding::unsupported(
                IF_MATCH,
                "If-Match is passed over: an imported object that somebody overwrites there is read as the old one",
            );
        }
        Err(error) if error.status == Some(PRECONDITION_FAILED) => {}
        Err(error) => return failed(IF_MATCH, &error, meaning),
    }
    let Some(etag) = etag else {
        return ProbeFinding::unsupported(
            IF_MATCH,
            format!("its PUTs are answered without an ETag; {meaning}"),
        );
    };
    match asker.get(NAME, None, Some(etag)).await {
        Ok(got) if got.bytes == *body => ProbeFinding::ok(IF_MATCH, "If-Match is looked at"),
        Ok(_) => ProbeFinding::unsupported(IF_MATCH, format!("other bytes came back; {meaning}")),
        Err(error) => failed(IF_MATCH, &error, meaning),
    }
}
