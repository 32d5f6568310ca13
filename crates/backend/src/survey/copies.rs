//! Copies that the backend makes itself.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use s3o_blob::headers::META_DESCRIPTION;
use s3o_types::ProbeFinding;

use super::asker::Asker;
use super::finding::failed;
use crate::error::BackendError;

const COPY: &str = "copy";
const SOURCE: &str = "copy source/é+%";
const TARGET: &str = "copy-target";

pub(super) async fn find(asker: &mut Asker<'_>) -> ProbeFinding {
    let body = Bytes::from_static(b"to be copied");
    if let Err(error) = asker.put(SOURCE, description("1 k=blob s=1"), body.clone()).await {
        return ProbeFinding::unknown(COPY, error.to_string());
    }
    let meaning = "copies of objects within it fail, or are made on another backend";
    match copied(asker, &body).await {
        Ok(true) => ProbeFinding::ok(COPY, "it copies objects by itself, with other headers"),
        Ok(false) => ProbeFinding::unsupported(
            COPY,
            format!("a copy has other bytes or headers than it should; {meaning}"),
        ),
        Err(error) => failed(COPY, &error, meaning),
    }
}

/// Whether the copy has the source's bytes and its own headers.
async fn copied(asker: &mut Asker<'_>, body: &Bytes) -> Result<bool, BackendError> {
    let headers = description("1 k=blob s=2");
    asker.copy(SOURCE, TARGET, body.len() as u64, headers.clone()).await?;
    let got = asker.get(TARGET, None, None).await?;
    let kept = headers.iter().all(|(name, value)| got.headers.get(name) == Some(value));
    Ok(kept && got.bytes == *body)
}

fn description(text: &'static str) -> Vec<(HeaderName, HeaderValue)> {
    vec![(HeaderName::from_static(META_DESCRIPTION), HeaderValue::from_static(text))]
}
