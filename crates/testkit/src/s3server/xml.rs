//! The few XML documents S3 answers with.

use std::fmt::Write as _;
use std::time::SystemTime;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::store::Blob;

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {
                // Writing into a String cannot fail.
                let _ = write!(out, "&#x{:X};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

pub(super) fn iso_date(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

pub(super) fn http_date(time: SystemTime) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    OffsetDateTime::from(time).format(&format).unwrap_or_default()
}

pub(super) fn error(status: u16, key: &str) -> String {
    let code = match status {
        400 => "BadDigest",
        403 => "AccessDenied",
        404 => "NoSuchKey",
        412 => "PreconditionFailed",
        416 => "InvalidRange",
        501 => "NotImplemented",
        503 => "SlowDown",
        401..=499 => "InvalidRequest",
        _ => "InternalError",
    };
    let key = escape(key);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>made by the test kit</Message><Key>{key}</Key></Error>"
    )
}

pub(super) fn copied(blob: &Blob) -> String {
    let date = iso_date(blob.modified);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><CopyObjectResult xmlns=\"{NAMESPACE}\"><LastModified>{date}</LastModified><ETag>&quot;{}&quot;</ETag></CopyObjectResult>",
        blob.etag
    )
}

/// A page of a listing.
pub(super) struct Page<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    /// As it was asked for.
    pub(super) start_after: Option<&'a str>,
    pub(super) max_keys: usize,
    /// Keys and prefixes as in a URL.
    pub(super) encoded: bool,
    pub(super) contents: Vec<(String, Blob)>,
    pub(super) common_prefixes: Vec<String>,
    pub(super) next: Option<String>,
}

pub(super) fn listing(page: &Page<'_>) -> String {
    let text = |text: &str| {
        if page.encoded { utf8_percent_encode(text, NON_ALPHANUMERIC).to_string() } else { escape(text) }
    };
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"{NAMESPACE}\"><Name>{}</Name><Prefix>{}</Prefix><MaxKeys>{}</MaxKeys><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>",
        escape(page.bucket),
        text(page.prefix),
        page.max_keys,
        page.contents.len() + page.common_prefixes.len(),
        page.next.is_some(),
    );
    if page.encoded {
        out.push_str("<EncodingType>url</EncodingType>");
    }
    if let Some(after) = page.start_after {
        // Writing into a String cannot fail.
        let _ = write!(out, "<StartAfter>{}</StartAfter>", text(after));
    }
    for (key, blob) in &page.contents {
        let _ = write!(
            out,
            "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            text(key),
            iso_date(blob.modified),
            blob.etag,
            blob.bytes.len()
        );
    }
    for prefix in &page.common_prefixes {
        let _ = write!(out, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", text(prefix));
    }
    if let Some(next) = &page.next {
        let _ = write!(out, "<NextContinuationToken>{}</NextContinuationToken>", escape(next));
    }
    out.push_str("</ListBucketResult>");
    out
}
