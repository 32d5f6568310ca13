//! Buckets that keep versions: what was acknowledged with a version id is listed under it, for ever, or until somebody
//! asks for its deletion; what was acknowledged as deleted never again.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{Violation, own};
use crate::campaign::board::KeptVersion;
use crate::campaign::buckets::BUCKETS;
use crate::campaign::field::Field;
use crate::campaign::own::{Deletion, MARKER};
use crate::s3::{Failure, unquoted};

/// Versions and delete markers, by bucket and key with a slash between, and by version id.
pub(super) type Listed = BTreeMap<(String, String), Entry>;

/// A version or a delete marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its ETag, or [`MARKER`].
    pub(super) etag: String,
    /// Whether the listing says that it is the newest one of its key.
    pub(super) is_latest: bool,
}

pub(super) async fn check(field: &Field) -> Result<Vec<Violation>> {
    let mut listed = Listed::new();
    for bucket in BUCKETS.iter().filter(|bucket| bucket.versioned) {
        list(field, bucket.name, &mut listed).await?;
    }
    let mut found = Vec::new();
    for kept in field.board.kept_versions() {
        let key = format!("{}/{}", kept.bucket, kept.key);
        let entry = listed.get(&(key.clone(), kept.id.clone()));
        if let Some(wrong) = wrong(&kept, entry, field.board.deletion(&kept.id)) {
            let what = format!("{key}: the acknowledged version {} with ETag {} {wrong}", kept.id, kept.etag);
            found.push(Violation { check: "versions", what, key: Some(key) });
        }
    }
    found.extend(own::check(field, &listed).await);
    Ok(found)
}

fn wrong(kept: &KeptVersion, entry: Option<&Entry>, deletion: Option<Deletion>) -> Option<String> {
    match (entry, deletion) {
        (None, None) => Some("is not listed".to_owned()),
        (Some(_), Some(Deletion::Done)) => Some("is listed, though its deletion was acknowledged".to_owned()),
        (Some(entry), _) if entry.etag != kept.etag => {
            Some(format!("is listed with the ETag {}", entry.etag))
        }
        _ => None,
    }
}

/// Adds everything that is listed of a bucket.
async fn list(field: &Field, bucket: &str, all: &mut Listed) -> Result<()> {
    let client = field.cluster.s3(0);
    let (mut key, mut version) = (None, None);
    let name = |key: Option<&str>, id: Option<&str>| {
        (format!("{bucket}/{}", key.unwrap_or_default()), id.unwrap_or_default().to_owned())
    };
    loop {
        let call = client.list_object_versions().bucket(bucket).set_key_marker(key);
        let page = call.set_version_id_marker(version).send().await;
        let page = page.map_err(|error| anyhow::anyhow!("listing versions: {:?}", Failure::of(&error)))?;
        for version in page.versions() {
            let is_latest = version.is_latest() == Some(true);
            let entry = Entry { etag: unquoted(version.e_tag()), is_latest };
            all.insert(name(version.key(), version.version_id()), entry);
        }
        for marker in page.delete_markers() {
            let entry = Entry { etag: MARKER.to_owned(), is_latest: marker.is_latest() == Some(true) };
            all.insert(name(marker.key(), marker.version_id()), entry);
        }
        if page.is_truncated() != Some(true) {
            return Ok(());
        }
        key = page.next_key_marker().map(str::to_owned);
        version = page.next_version_id_marker().map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_gave_up_is_there_and_what_is_gone_is_not() {
        let kept = KeptVersion {
            bucket: "kept".to_owned(),
            key: "k".to_owned(),
            id: "1".to_owned(),
            etag: "right".to_owned(),
        };
        let entry = |etag: &str| Entry { etag: etag.to_owned(), is_latest: false };
        let (right, other) = (entry("right"), entry("other"));
        for (entry, deletion, is_wrong) in [
            (Some(&right), None, false),
            (None, None, true),
            (Some(&other), None, true),
            (Some(&right), Some(Deletion::Asked), false),
            (Some(&other), Some(Deletion::Asked), true),
            (None, Some(Deletion::Asked), false),
            (Some(&right), Some(Deletion::Done), true),
            (None, Some(Deletion::Done), false),
        ] {
            assert_eq!(wrong(&kept, entry, deletion).is_some(), is_wrong, "{entry:?} {deletion:?}");
        }
    }
}
