//! ListObjectVersions: one page of the database. A page goes on behind a version by its place in the key's order, which
//! stands behind its name in the marker: it holds when that version is deleted meanwhile, as tools that empty a bucket
//! do. A plain version id is taken for a marker too.

use std::sync::Arc;

use s3o_types::{Right, VersionRef};
use s3s::dto::{ListObjectVersionsInput, ListObjectVersionsOutput};
use s3s::{S3Request, S3Response, S3Result};

use super::elements::Elements;
use super::list::{ENTRY_BYTES, Encoder, max_keys, object_facts, owner};
use super::{Answer, bucket_of};
use crate::access::allowed;
use crate::control::{ListedVersion, VersionEntry, VersionsPage, VersionsQuery};
use crate::pipeline::audit;
use crate::pipeline::faults::{self, invalid_argument};
use crate::plane::Plane;

/// Answers with a page.
pub(super) async fn answer(
    plane: &Arc<Plane>,
    req: S3Request<ListObjectVersionsInput>,
) -> Answer<ListObjectVersionsOutput> {
    let (bucket, caller) = (bucket_of(&req)?, plane.caller(&req));
    allowed(plane, &req, &bucket, Right::List, req.input.prefix.as_deref().unwrap_or_default())?;
    let input = req.input;
    let encoder = Encoder::new(input.encoding_type.as_ref())?;
    let max_keys = max_keys(input.max_keys)?;
    let query = query(&input, max_keys)?;
    // S3 answers nothing, and "not truncated", whatever there is.
    let page = if max_keys == 0 {
        VersionsPage::default()
    } else {
        let page = caller.list_versions(bucket.id, &query).await.map_err(faults::of_failure)?;
        audit::listed_versions(&caller, &bucket.name, &query.prefix, page.entries.len());
        page
    };
    let next = page.entries.last().filter(|_| page.truncated).map(position);
    let (next_key, next_version) = next.map_or((None, None), |(key, version)| (Some(key), version));
    let mut elements = Elements::with_capacity(page.entries.len() * ENTRY_BYTES);
    let echoes = [
        ("Prefix", Some(&*query.prefix)),
        ("KeyMarker", Some(&*query.key_after)),
        ("NextKeyMarker", next_key.as_deref()),
        ("Delimiter", input.delimiter.as_deref()),
    ];
    encoder.echo(&mut elements, &echoes);
    entries(&mut elements, &page.entries, &encoder);
    let mut response = S3Response::new(ListObjectVersionsOutput {
        name: Some(bucket.name),
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        max_keys: Some(max_keys),
        is_truncated: Some(page.truncated),
        next_version_id_marker: next_version,
        encoding_type: input.encoding_type,
        // The rest is written by itself.
        ..Default::default()
    });
    response.extensions.insert(elements);
    Ok(response)
}

fn query(input: &ListObjectVersionsInput, max_keys: i32) -> S3Result<VersionsQuery> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (prefix, delimiter, key_after) =
        (text(&input.prefix), text(&input.delimiter), text(&input.key_marker));
    if [&prefix, &delimiter, &key_after].iter().any(|text| text.contains('\0')) {
        return Err(invalid_argument("Prefix, delimiter and marker must not contain U+0000."));
    }
    let marker = input.version_id_marker.as_deref().filter(|marker| !marker.is_empty());
    if marker.is_some() && key_after.is_empty() {
        return Err(invalid_argument("A version-id marker cannot be specified without a key marker."));
    }
    let after = marker
        .map(|marker| parse(marker).ok_or_else(|| invalid_argument("Invalid version id marker specified")));
    let (version_after, seq_after) = match after.transpose()? {
        None => (None, None),
        Some((_, Some(seq))) => (None, Some(seq)),
        Some((version, None)) => (Some(version), None),
    };
    let max_keys = u32::try_from(max_keys).unwrap_or_default();
    Ok(VersionsQuery { prefix, delimiter, key_after, seq_after, version_after, max_keys })
}

/// A version's name, and its place where that is said.
fn parse(marker: &str) -> Option<(VersionRef, Option<i64>)> {
    match marker.split_once('.') {
        None => Some((marker.parse().ok()?, None)),
        Some((name, seq)) => Some((name.parse().ok()?, Some(seq.parse().ok().filter(|seq| *seq > 0)?))),
    }
}

/// Where a page goes on behind an entry.
fn position(entry: &VersionEntry) -> (String, Option<String>) {
    match entry {
        VersionEntry::CommonPrefix(prefix) => (prefix.clone(), None),
        VersionEntry::Version(row) | VersionEntry::Marker(row) => {
            (row.object.key.clone(), Some(format!("{}.{}", row.version_id, row.seq)))
        }
    }
}

/// Versions and markers in one order, keys ascending and the newest first; then the common prefixes.
fn entries(elements: &mut Elements, entries: &[VersionEntry], encoder: &Encoder) {
    for entry in entries {
        match entry {
            VersionEntry::CommonPrefix(_) => {}
            VersionEntry::Marker(marker) => {
                elements.element("DeleteMarker", |elements| facts(elements, encoder, marker));
            }
            VersionEntry::Version(version) => elements.element("Version", |elements| {
                facts(elements, encoder, version);
                object_facts(elements, &version.object);
            }),
        }
    }
    for entry in entries {
        if let VersionEntry::CommonPrefix(prefix) = entry {
            elements.element("CommonPrefixes", |elements| encoder.write(elements, "Prefix", prefix));
        }
    }
}

/// What versions and markers have.
fn facts(elements: &mut Elements, encoder: &Encoder, of: &ListedVersion) {
    let ListedVersion { object, seq: _, version_id, is_latest } = of;
    encoder.write(elements, "Key", &object.key);
    elements.text("VersionId", version_id);
    elements.plain("IsLatest", is_latest);
    elements.time("LastModified", object.modified);
    owner(elements);
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use s3o_types::VersionId;

    use super::*;

    #[test]
    fn markers() {
        let id = VersionId::mint(3, 4);
        assert_eq!(parse(&format!("{id}.17")), Some((VersionRef::Id(id), Some(17))));
        assert_eq!(parse("null.1"), Some((VersionRef::Null, Some(1))));
        assert_eq!(parse(&id.to_string()), Some((VersionRef::Id(id), None)));
        for bad in ["x", "null.", "null.0", "null.-1", "null.x", ".1", &format!("{id}x")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_version_needs_its_key() {
        let input = |key: &str, version: &str| ListObjectVersionsInput {
            key_marker: Some(key.to_owned()),
            version_id_marker: Some(version.to_owned()),
            ..Default::default()
        };
        assert!(query(&input("", "null"), 5).is_err());
        assert!(query(&input("k", "bad"), 5).is_err());
        let read = query(&input("k", "null.7"), 5).expect("good");
        assert_eq!((read.seq_after, read.version_after, read.max_keys), (Some(7), None, 5));
        let read = query(&input("k", ""), 5).expect("good");
        assert_eq!((read.seq_after, read.version_after), (None, None));
    }
}
