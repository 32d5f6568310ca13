//! The few XML documents of the null backend.

use std::fmt::Write as _;

use http::HeaderValue;

use super::objects::Object;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// An `ETag` with its quotation marks.
fn quoted(etag: &HeaderValue) -> String {
    etag.to_str().unwrap_or_default().replace('"', "&quot;")
}

/// A page of `ListObjectsV2`.
pub(super) fn list(
    bucket: &str,
    prefix: &str,
    max_keys: usize,
    page: &[(String, Object)],
    more: bool,
) -> String {
    let mut out = String::with_capacity(300 + page.len() * 250);
    let (bucket, prefix_text) = (escape(bucket), escape(prefix));
    let _ = write!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Name>{bucket}</Name><Prefix>{prefix_text}</Prefix><KeyCount>{}</KeyCount><MaxKeys>{max_keys}</MaxKeys>\
         <IsTruncated>{more}</IsTruncated>",
        page.len()
    );
    for (key, object) in page {
        let _ = write!(
            out,
            "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            escape(key),
            quoted(object.content.etag()),
            object.content.size()
        );
    }
    if let (true, Some((last, _))) = (more, page.last()) {
        let _ = write!(out, "<NextContinuationToken>{}</NextContinuationToken>", escape(last));
    }
    out.push_str("</ListBucketResult>");
    out
}

/// An error.
pub(super) fn error(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{}</Message></Error>",
        escape(message)
    )
}

/// The keys of a `DeleteObjects` request.
pub(super) fn keys(request: &str) -> Vec<String> {
    let parts = request.split("<Key>").skip(1);
    parts.filter_map(|part| part.split_once("</Key>")).map(|(key, _)| unescape(key)).collect()
}

/// The answer to a `DeleteObjects` request.
pub(super) fn deleted(keys: &[String]) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    );
    for key in keys {
        let _ = write!(out, "<Deleted><Key>{}</Key></Deleted>", escape(key));
    }
    out.push_str("</DeleteResult>");
    out
}

/// What is between the first `<tag>` and its end.
fn inner<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    Some(rest.split_once(&format!("</{tag}>"))?.0)
}

/// Numbers and `ETag`s of a `CompleteMultipartUpload` request; what is no part is left out.
pub(super) fn parts(request: &str) -> Vec<(u16, String)> {
    let part = |text: &str| {
        let number = inner(text, "PartNumber")?.trim().parse::<u16>().ok()?;
        Some((number, unescape(inner(text, "ETag")?.trim())))
    };
    request.split("<Part>").skip(1).filter_map(part).collect()
}

/// The answer to `CreateMultipartUpload`.
pub(super) fn opened(bucket: &str, key: &str, id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
        escape(bucket),
        escape(key)
    )
}

/// The answer to `CompleteMultipartUpload`.
pub(super) fn completed(bucket: &str, key: &str, etag: &HeaderValue) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
         <Bucket>{}</Bucket><Key>{}</Key><ETag>{}</ETag></CompleteMultipartUploadResult>",
        escape(bucket),
        escape(key),
        quoted(etag)
    )
}
