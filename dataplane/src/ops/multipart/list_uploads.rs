//! ListMultipartUploads: the open uploads of a bucket, rolled up by a delimiter where one is given.

use std::sync::Arc;

use s3o_types::Right;
use s3s::dto::{ListMultipartUploadsInput, ListMultipartUploadsOutput};
use s3s::{S3Request, S3Response, S3Result};

use super::storage_class;
use super::token::UploadToken;
use crate::access::allowed;
use crate::control::{Caller, Upload, UploadsQuery};
use crate::ops::elements::Elements;
use crate::ops::list::{ENTRY_BYTES, Encoder, owner};
use crate::ops::{Answer, bucket_of};
use crate::pipeline::faults::{self, invalid_argument};
use crate::plane::Plane;
use crate::snapshot::Bucket;

/// S3's page.
const MAX_UPLOADS: i32 = 1000;

/// What no key is greater than.
const LAST: &str = "\u{10FFFF}";

/// Answers with a page.
pub(in crate::ops) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<ListMultipartUploadsInput>,
) -> Answer<ListMultipartUploadsOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    allowed(plane, &req, &bucket, Right::List, req.input.prefix.as_deref().unwrap_or_default())?;
    let input = req.input;
    let encoder = Encoder::new(input.encoding_type.as_ref())?;
    let max_uploads = limit(input.max_uploads)?;
    let page = page(&caller, &bucket, &input, max_uploads).await?;
    let (next_key, next_upload) = page.next();
    let mut elements = Elements::with_capacity(page.entries.len() * ENTRY_BYTES);
    let echoes = [
        ("KeyMarker", Some(input.key_marker.as_deref().unwrap_or_default())),
        ("NextKeyMarker", next_key.as_deref()),
        ("Prefix", Some(input.prefix.as_deref().unwrap_or_default())),
        ("Delimiter", input.delimiter.as_deref()),
    ];
    encoder.echo(&mut elements, &echoes);
    // Beside a marker without a key it may be anything.
    elements.text("UploadIdMarker", input.upload_id_marker.as_deref().unwrap_or_default());
    entries(&mut elements, &page.entries, &encoder);
    let mut response = S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(bucket.name),
        next_upload_id_marker: next_upload,
        max_uploads: Some(max_uploads),
        is_truncated: Some(page.truncated),
        encoding_type: input.encoding_type,
        // The rest is written by itself.
        ..Default::default()
    });
    response.extensions.insert(elements);
    Ok(response)
}

fn limit(max_uploads: Option<i32>) -> S3Result<i32> {
    match max_uploads {
        None => Ok(MAX_UPLOADS),
        Some(n) if n >= 0 => Ok(n.min(MAX_UPLOADS)),
        Some(_) => Err(invalid_argument("Argument max-uploads must be an integer between 0 and 2147483647")),
    }
}

#[derive(Debug)]
enum Entry {
    Upload(Upload),
    CommonPrefix(String),
}

#[derive(Debug, Default)]
struct Page {
    entries: Vec<Entry>,
    truncated: bool,
}

impl Page {
    /// The markers of the next page.
    fn next(&self) -> (Option<String>, Option<String>) {
        match self.entries.last().filter(|_| self.truncated) {
            None => (None, None),
            Some(Entry::CommonPrefix(prefix)) => (Some(prefix.clone()), None),
            Some(Entry::Upload(upload)) => (Some(upload.key.clone()), Some(UploadToken::of(upload).format())),
        }
    }
}

/// Pages of the database until the client's is full: uploads that are rolled up are passed over in one step.
async fn page(
    caller: &Caller,
    bucket: &Bucket,
    input: &ListMultipartUploadsInput,
    max_uploads: i32,
) -> S3Result<Page> {
    let prefix = input.prefix.clone().unwrap_or_default();
    let delimiter = input.delimiter.clone().unwrap_or_default();
    let mut query = first(input, &prefix, &delimiter)?;
    let wanted = usize::try_from(max_uploads).unwrap_or_default();
    let mut page = Page::default();
    if wanted == 0 {
        return Ok(page);
    }
    loop {
        let found = caller.list_uploads(bucket.id, &query).await.map_err(faults::of_failure)?;
        let more = found.truncated;
        for upload in found.open {
            let common = common_prefix(&upload.key, &prefix, &delimiter);
            if let (Some(common), Some(Entry::CommonPrefix(last))) = (common, page.entries.last())
                && common == last
            {
                continue;
            }
            if page.entries.len() == wanted {
                page.truncated = true;
                return Ok(page);
            }
            (query.key_after, query.upload_after) = match common {
                Some(common) => (behind(common), None),
                None => (upload.key.clone(), Some(upload.id)),
            };
            page.entries.push(match common {
                Some(common) => Entry::CommonPrefix(common.to_owned()),
                None => Entry::Upload(upload),
            });
        }
        if !more {
            return Ok(page);
        }
    }
}

/// Where the listing begins. Without an upload id, uploads of the marker's own key are behind us; a marker within
/// a common prefix is behind all of that.
fn first(input: &ListMultipartUploadsInput, prefix: &str, delimiter: &str) -> S3Result<UploadsQuery> {
    let key = input.key_marker.clone().unwrap_or_default();
    if [prefix, delimiter, &key].iter().any(|text| text.contains('\0')) {
        return Err(invalid_argument("Prefix, delimiter and marker must not contain U+0000."));
    }
    let upload_after = match input.upload_id_marker.as_deref().filter(|id| !id.is_empty() && !key.is_empty())
    {
        None => None,
        Some(id) => {
            let token = UploadToken::parse(id).ok_or_else(|| invalid_argument("Invalid uploadId marker"))?;
            Some(token.id)
        }
    };
    let key_after = common_prefix(&key, prefix, delimiter).map_or_else(|| key.clone(), behind);
    Ok(UploadsQuery { prefix: prefix.to_owned(), key_after, upload_after, max_uploads: 1000 })
}

fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let at = key.strip_prefix(prefix)?.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// Greater than every key under a common prefix: no key has more than 1024 bytes, four of them a character.
fn behind(common: &str) -> String {
    format!("{common}{}", LAST.repeat(256))
}

/// The uploads of a page first, as S3 has them.
fn entries(elements: &mut Elements, entries: &[Entry], encoder: &Encoder) {
    for entry in entries {
        if let Entry::Upload(upload) = entry {
            elements.element("Upload", |elements| facts(elements, upload, encoder));
        }
    }
    for entry in entries {
        if let Entry::CommonPrefix(prefix) = entry {
            elements.element("CommonPrefixes", |elements| encoder.write(elements, "Prefix", prefix));
        }
    }
}

fn facts(elements: &mut Elements, upload: &Upload, encoder: &Encoder) {
    encoder.write(elements, "Key", &upload.key);
    elements.text("UploadId", &UploadToken::of(upload).format());
    elements.element("Initiator", |elements| elements.text("ID", &upload.initiator));
    owner(elements);
    elements.text("StorageClass", &storage_class(upload.storage_class.clone()));
    elements.time("Initiated", upload.initiated);
    if !upload.checksum_algorithm.is_empty() {
        elements.text("ChecksumAlgorithm", &upload.checksum_algorithm.to_ascii_uppercase());
        elements.text("ChecksumType", &upload.checksum_type);
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_up_to_the_delimiter() {
        assert_eq!(common_prefix("a/b/c", "", "/"), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(common_prefix("a/b/c", "a/b/", "/"), None);
        assert_eq!(common_prefix("a/b", "", ""), None);
        assert_eq!(common_prefix("x", "a", "/"), None);
    }

    #[test]
    fn a_marker_within_a_common_prefix_is_behind_all_of_it() {
        let mut input = ListMultipartUploadsInput::builder();
        input.set_bucket("b".to_owned()).set_key_marker(Some("a/b".to_owned()));
        let input = input.build().expect("complete");
        assert!(first(&input, "", "/").expect("good").key_after.as_str() > "a/zzz");
        assert_eq!(first(&input, "", "").expect("good").key_after, "a/b");
    }
}
