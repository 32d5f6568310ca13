//! Reads of parts, and reads on a condition.

use bytes::Bytes;
use s3o_types::Etag;

use super::asker::Asker;
use super::finding::Finding;
use crate::client::ByteRange;

const RANGE: &str = "range";
const IF_MATCH: &str = "if_match";
const NAME: &str = "read";

/// The MD5 of nothing that is stored.
const OTHER: &str = "00000000000000000000000000000000";
const PRECONDITION_FAILED: u16 = 412;

pub(super) async fn find(asker: &mut Asker<'_>) -> Vec<Finding> {
    let body = Bytes::from_static(b"0123456789");
    match asker.put(NAME, Vec::new(), body.clone()).await {
        Ok(put) => vec![range(asker, &body).await, if_match(asker, put.etag.as_ref(), &body).await],
        Err(error) => vec![Finding::unknown(RANGE, error.to_string())],
    }
}

async fn range(asker: &mut Asker<'_>, body: &Bytes) -> Finding {
    let meaning = "ranges of objects, and large objects in several parts, cannot be read from it";
    match asker.get(NAME, Some(ByteRange { first: 3, last: 5 }), None).await {
        Ok(got) if got.bytes == body.slice(3..6) => Finding::ok(RANGE, "a range of an object can be read"),
        Ok(_) => Finding::unsupported(RANGE, format!("other bytes than those asked for; {meaning}")),
        Err(error) => Finding::failed(RANGE, &error, meaning),
    }
}

async fn if_match(asker: &mut Asker<'_>, etag: Option<&Etag>, body: &Bytes) -> Finding {
    let meaning = "only reads of imported objects have If-Match: do not import from it";
    match asker.get(NAME, None, Some(&Etag::new(OTHER))).await {
        Ok(_) => {
            return Finding::unsupported(
                IF_MATCH,
                "If-Match is passed over: an imported object that somebody overwrites there is read as the old one",
            );
        }
        Err(error) if error.status == Some(PRECONDITION_FAILED) => {}
        Err(error) => return Finding::failed(IF_MATCH, &error, meaning),
    }
    let Some(etag) = etag else {
        return Finding::unsupported(IF_MATCH, format!("its PUTs are answered without an ETag; {meaning}"));
    };
    match asker.get(NAME, None, Some(etag)).await {
        Ok(got) if got.bytes == *body => Finding::ok(IF_MATCH, "If-Match is looked at"),
        Ok(_) => Finding::unsupported(IF_MATCH, format!("other bytes came back; {meaning}")),
        Err(error) => Finding::failed(IF_MATCH, &error, meaning),
    }
}
