//! Headers that we send with objects: which are refused (`strip_headers`), which come back, and whether there is room for
//! what S3 has room for.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
    HeaderName, HeaderValue,
};
use s3o_blob::headers::META_DESCRIPTION;
use s3o_types::{ProbeFinding, Quirks};

use super::asker::{Asker, How};
use super::finding::failed;
use crate::client::BackendClient;
use crate::error::BackendError;

const STRIP_HEADERS: &str = "strip_headers";
const KEPT: &str = "kept_headers";
const METADATA: &str = "metadata";

const META_OTHER: &str = "x-amz-meta-other";
/// S3's limit for names and values of user metadata together (Amazon S3 User Guide, "Working with object metadata"); we
/// count the names whole, and so we fill it.
const MAX_METADATA_BYTES: usize = 2048;
const WITHOUT_METADATA: &str = "without them nothing can be read while the database is away, nor a \
    lost database be made again from the backends";

type Headers = Vec<(HeaderName, HeaderValue)>;

pub(super) async fn find(asker: &mut Asker<'_>) -> Vec<ProbeFinding> {
    let (strip, refused) = strip_headers(asker).await;
    let mut findings = vec![strip];
    if let Some(refused) = refused {
        findings.push(kept(asker, &refused).await);
    }
    findings.push(metadata(asker).await);
    findings
}

/// Each as some client may send it.
fn all() -> Headers {
    let fixed = |(name, value)| (name, HeaderValue::from_static(value));
    [
        (CONTENT_TYPE, "text/plain"),
        (CONTENT_ENCODING, "gzip"),
        (CONTENT_DISPOSITION, "attachment; filename=\"a b.txt\""),
        (CONTENT_LANGUAGE, "de"),
        (CACHE_CONTROL, "max-age=60"),
        (EXPIRES, "Thu, 01 Jan 2032 00:00:00 GMT"),
        (HeaderName::from_static(META_DESCRIPTION), "1 k=blob s=5"),
        (HeaderName::from_static(META_OTHER), "%s3o:a%20b"),
    ]
    .map(fixed)
    .into()
}

/// With all that the backend refuses; `None` where that could not be seen.
async fn strip_headers(asker: &mut Asker<'_>) -> (ProbeFinding, Option<Vec<String>>) {
    let unknown = |error: &BackendError| (ProbeFinding::unknown(STRIP_HEADERS, error.to_string()), None);
    let client = asker.with(Quirks { strip_headers: Vec::new(), ..asker.quirks().clone() });
    let together = match put(asker, &client, "headers", all()).await {
        Ok(()) => return (stripped(&asker.configured().strip_headers, &[]), Some(Vec::new())),
        Err(error) if crate::probe::is_refusal(&error) => error,
        Err(error) => return unknown(&error),
    };
    let mut refused = Vec::new();
    for (name, value) in all() {
        let text = name.as_str().to_owned();
        match put(asker, &client, &format!("header-{text}"), vec![(name, value)]).await {
            Ok(()) => {}
            Err(error) if crate::probe::is_refusal(&error) => refused.push(text),
            Err(error) => return unknown(&error),
        }
    }
    if refused.is_empty() {
        let detail = format!("each header is taken alone, and all together are not: {together}");
        return (ProbeFinding::unsupported(STRIP_HEADERS, detail), None);
    }
    (stripped(&asker.configured().strip_headers, &refused), Some(refused))
}

fn stripped(configured: &[String], refused: &[String]) -> ProbeFinding {
    let lacking = refused.iter().any(|name| !configured.contains(name));
    if refused.is_empty() && configured.is_empty() {
        return ProbeFinding::ok(STRIP_HEADERS, "no header is refused");
    }
    if refused.is_empty() {
        let detail = format!("no header is refused, and these are left out: {}", configured.join(", "));
        return ProbeFinding::ok(STRIP_HEADERS, detail).with_setting(Some(format!("{STRIP_HEADERS}: []")));
    }
    let detail = format!("refused: {}", refused.join(", "));
    if lacking {
        // What is left out already may have a reason that was not asked for.
        let others = configured.iter().filter(|name| !refused.contains(name)).cloned();
        let names: Vec<String> = refused.iter().cloned().chain(others).collect();
        return ProbeFinding::needs(
            STRIP_HEADERS,
            detail,
            format!("{STRIP_HEADERS}: [{}]", names.join(", ")),
        );
    }
    ProbeFinding::ok(STRIP_HEADERS, format!("{detail}; left out, as configured"))
}

async fn put(
    asker: &mut Asker<'_>,
    client: &BackendClient,
    name: &str,
    headers: Headers,
) -> Result<(), BackendError> {
    let how = if client.spec().quirks.unsigned_payload { How::Stream } else { How::Whole };
    asker.put_by(client, name, headers, Bytes::from_static(b"12345"), how).await.map(drop)
}

/// Of what is not refused.
async fn kept(asker: &mut Asker<'_>, refused: &[String]) -> ProbeFinding {
    let client = asker.with(Quirks { strip_headers: Vec::new(), ..asker.quirks().clone() });
    let sent: Headers = all()
        .into_iter()
        .filter(|(name, _)| !refused.iter().any(|refused| refused == name.as_str()))
        .collect();
    let lost = match lost(asker, &client, "kept", sent).await {
        Ok(lost) => lost,
        Err(error) => return failed(KEPT, &error, "headers of objects cannot be stored and read"),
    };
    if lost.is_empty() {
        return ProbeFinding::ok(KEPT, "all headers of an object come back as they were sent");
    }
    let list = lost.join(", ");
    if lost.iter().any(|name| name.starts_with("x-amz-meta-")) {
        return ProbeFinding::unsupported(KEPT, format!("lost or changed: {list}; {WITHOUT_METADATA}"));
    }
    let detail = format!("lost or changed: {list}; the database has them, reads without it lack them");
    ProbeFinding::ok(KEPT, detail)
}

/// 2 KiB of it.
async fn metadata(asker: &mut Asker<'_>) -> ProbeFinding {
    let half = MAX_METADATA_BYTES / 2;
    let header = |name: &'static str| {
        let value = HeaderValue::try_from("m".repeat(half - name.len()));
        value.ok().map(|value| (HeaderName::from_static(name), value))
    };
    let sent: Headers = [META_DESCRIPTION, META_OTHER].into_iter().filter_map(header).collect();
    let client = asker.client();
    match lost(asker, &client, "metadata", sent).await {
        Ok(lost) if lost.is_empty() => ProbeFinding::ok(METADATA, "2 KiB of user metadata come back"),
        Ok(lost) => ProbeFinding::unsupported(
            METADATA,
            format!("lost or changed: {}; {WITHOUT_METADATA}", lost.join(", ")),
        ),
        Err(error) => failed(METADATA, &error, "objects with 2 KiB of user metadata cannot be stored"),
    }
}

/// Those that do not come back as they were sent.
async fn lost(
    asker: &mut Asker<'_>,
    client: &BackendClient,
    name: &str,
    sent: Headers,
) -> Result<Vec<String>, BackendError> {
    put(asker, client, name, sent.clone()).await?;
    let head = asker.head(name).await?;
    let is_lost = |(name, value): &(HeaderName, HeaderValue)| head.headers.get(name) != Some(value);
    let names = sent.iter().filter(|header| is_lost(header)).map(|(name, _)| name.as_str().to_owned());
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3o_types::ProbeVerdict;

    #[test]
    fn what_is_left_out_already_stays_so() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let say = |configured: &[&str], refused: &[&str]| {
            let ProbeFinding { verdict, setting, .. } = stripped(&names(configured), &names(refused));
            (verdict, setting)
        };
        let line = |list: &str| Some(format!("strip_headers: [{list}]"));
        assert_eq!(say(&[], &[]), (ProbeVerdict::Ok, None));
        assert_eq!(say(&["a"], &[]), (ProbeVerdict::Ok, line("")));
        assert_eq!(say(&["a"], &["b"]), (ProbeVerdict::Needs, line("b, a")));
        assert_eq!(say(&["a", "b"], &["b"]), (ProbeVerdict::Ok, None));
    }
}
