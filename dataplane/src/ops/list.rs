//! ListObjects and ListObjectsV2: one page of the database each.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3o_types::Right;
use s3s::dto::{
    ChecksumType, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
};
use s3s::{S3Request, S3Response, S3Result};

use super::buckets::OWNER;
use super::elements::Elements;
use super::{Answer, bucket_of, token};
use crate::access::allowed;
use crate::control::{Caller, ListQuery, Listed, ListedObject, Page};
use crate::pipeline::audit;
use crate::pipeline::faults::{self, invalid_argument};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// S3's page.
const MAX_KEYS: i32 = 1000;
/// About what an entry takes in the document.
pub(super) const ENTRY_BYTES: usize = 256;
/// What stands as it is in a URL-encoded key: RFC 3986's unreserved characters and the slash.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');

/// ListObjectsV2.
pub(super) async fn v2(
    plane: &Arc<Plane>,
    req: S3Request<ListObjectsV2Input>,
) -> Answer<ListObjectsV2Output> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    allowed(plane, &req, &bucket, Right::List, req.input.prefix.as_deref().unwrap_or_default())?;
    let input = req.input;
    let encoder = Encoder::new(input.encoding_type.as_ref())?;
    let max_keys = max_keys(input.max_keys)?;
    let after = match &input.continuation_token {
        Some(text) => token::decode(text)
            .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))?,
        None => input.start_after.clone().unwrap_or_default(),
    };
    let page =
        page(&caller, &bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, max_keys).await?;
    let next = page.next.as_deref().map(token::encode);
    let mut elements = Elements::with_capacity(page.entries.len() * ENTRY_BYTES);
    let echoes = [
        ("Prefix", Some(input.prefix.as_deref().unwrap_or_default())),
        ("Delimiter", input.delimiter.as_deref()),
        ("StartAfter", input.start_after.as_deref()),
    ];
    encoder.echo(&mut elements, &echoes);
    encoder.entries(&mut elements, &page.entries, input.fetch_owner.unwrap_or(false));
    let mut response = S3Response::new(ListObjectsV2Output {
        name: Some(bucket.name),
        max_keys: Some(max_keys),
        key_count: i32::try_from(page.entries.len()).ok(),
        continuation_token: input.continuation_token,
        is_truncated: Some(next.is_some()),
        next_continuation_token: next,
        encoding_type: input.encoding_type,
        // The rest is written by itself.
        ..Default::default()
    });
    response.extensions.insert(elements);
    Ok(response)
}

/// ListObjects.
pub(super) async fn v1(plane: &Arc<Plane>, req: S3Request<ListObjectsInput>) -> Answer<ListObjectsOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    allowed(plane, &req, &bucket, Right::List, req.input.prefix.as_deref().unwrap_or_default())?;
    let input = req.input;
    let encoder = Encoder::new(input.encoding_type.as_ref())?;
    let max_keys = max_keys(input.max_keys)?;
    let after = input.marker.clone().unwrap_or_default();
    let page =
        page(&caller, &bucket, input.prefix.as_deref(), input.delimiter.as_deref(), after, max_keys).await?;
    let is_truncated = page.next.is_some();
    // S3 says it only where a client could not know it: the last entry may be a common prefix.
    let with_delimiter = input.delimiter.as_deref().is_some_and(|delimiter| !delimiter.is_empty());
    let next_marker = page.next.filter(|_| with_delimiter);
    let mut elements = Elements::with_capacity(page.entries.len() * ENTRY_BYTES);
    let echoes = [
        ("Prefix", Some(input.prefix.as_deref().unwrap_or_default())),
        ("Marker", Some(input.marker.as_deref().unwrap_or_default())),
        ("Delimiter", input.delimiter.as_deref()),
        ("NextMarker", next_marker.as_deref()),
    ];
    encoder.echo(&mut elements, &echoes);
    encoder.entries(&mut elements, &page.entries, true);
    let mut response = S3Response::new(ListObjectsOutput {
        name: Some(bucket.name),
        max_keys: Some(max_keys),
        is_truncated: Some(is_truncated),
        encoding_type: input.encoding_type,
        // The rest is written by itself.
        ..Default::default()
    });
    response.extensions.insert(elements);
    Ok(response)
}

pub(super) fn max_keys(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(MAX_KEYS) {
        negative if negative < 0 => {
            Err(invalid_argument("Argument maxKeys must be an integer between 0 and 2147483647"))
        }
        keys => Ok(keys.min(MAX_KEYS)),
    }
}

async fn page(
    caller: &Caller,
    bucket: &Bucket,
    prefix: Option<&str>,
    delimiter: Option<&str>,
    after: String,
    max_keys: i32,
) -> S3Result<Page> {
    let texts = [prefix.unwrap_or_default(), delimiter.unwrap_or_default(), &after];
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(invalid_argument("Prefix, delimiter and marker must not contain U+0000."));
    }
    // S3 answers nothing, and "not truncated", whatever there is.
    let Ok(max_keys @ 1..) = u32::try_from(max_keys) else { return Ok(Page::default()) };
    let query = ListQuery {
        prefix: prefix.unwrap_or_default().to_owned(),
        delimiter: delimiter.unwrap_or_default().to_owned(),
        after,
        max_keys,
    };
    let page = caller.list(bucket.id, &query).await.map_err(faults::of_failure)?;
    audit::listed(caller, &bucket.name, &query.prefix, page.entries.len());
    Ok(page)
}

/// Keys as the client wants them.
pub(super) struct Encoder {
    url: bool,
}

impl Encoder {
    pub(super) fn new(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(_) => Err(invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    /// A text of a page, as the client wants it.
    pub(super) fn write(&self, elements: &mut Elements, name: &str, text: &str) {
        if self.url {
            elements.plain(name, utf8_percent_encode(text, ESCAPED));
        } else {
            elements.text(name, text);
        }
    }

    /// What the client said of the page, and where the next one begins; what is absent stays so.
    pub(super) fn echo(&self, elements: &mut Elements, texts: &[(&str, Option<&str>)]) {
        for (name, text) in texts {
            if let Some(text) = text {
                self.write(elements, name, text);
            }
        }
    }

    /// The entries of a page: objects first, as S3 has them.
    fn entries(&self, elements: &mut Elements, entries: &[Listed], with_owner: bool) {
        for entry in entries {
            if let Listed::Object(object) = entry {
                elements.element("Contents", |elements| {
                    self.write(elements, "Key", &object.key);
                    elements.time("LastModified", object.modified);
                    object_facts(elements, object);
                    if with_owner {
                        owner(elements);
                    }
                });
            }
        }
        for entry in entries {
            if let Listed::CommonPrefix(prefix) = entry {
                elements.element("CommonPrefixes", |elements| self.write(elements, "Prefix", prefix));
            }
        }
    }
}

/// Whoever owns everything.
pub(super) fn owner(elements: &mut Elements) {
    elements.element("Owner", |elements| elements.plain("ID", OWNER));
}

/// What a listing says of an object's bytes.
pub(super) fn object_facts(elements: &mut Elements, object: &ListedObject) {
    elements.element("ETag", |elements| elements.quoted(&object.etag));
    for name in &object.checksum_algorithms {
        elements.text("ChecksumAlgorithm", &name.to_ascii_uppercase());
    }
    // Of an object that came in parts it is not known here which one.
    if !object.checksum_algorithms.is_empty() && !object.etag.contains('-') {
        elements.plain("ChecksumType", ChecksumType::FULL_OBJECT);
    }
    elements.plain("Size", object.size);
    let class = object.storage_class.as_str();
    elements.text("StorageClass", if class.is_empty() { "STANDARD" } else { class });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_encoding() {
        let told = |url: bool, text: &str| {
            let mut elements = Elements::default();
            Encoder { url }.echo(&mut elements, &[("A", None), ("K", Some(text))]);
            elements.as_str().to_owned()
        };
        assert_eq!(told(true, "a b/ü+~\u{1}&"), "<K>a%20b/%C3%BC%2B~%01%26</K>");
        assert_eq!(told(false, "a b\u{1}&"), "<K>a b&#1;&amp;</K>");
        assert!(Encoder::new(Some(&EncodingType::from("rot13".to_owned()))).is_err());
    }

    #[test]
    fn pages_have_limits() {
        assert_eq!(max_keys(None).expect("fine"), 1000);
        assert_eq!(max_keys(Some(5000)).expect("fine"), 1000);
        assert_eq!(max_keys(Some(0)).expect("fine"), 0);
        assert!(max_keys(Some(-1)).is_err());
    }
}
