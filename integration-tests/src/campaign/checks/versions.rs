//! Buckets that keep versions: what was acknowledged with a version id is listed under it, for ever.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Violation;
use crate::campaign::buckets::BUCKETS;
use crate::campaign::field::Field;
use crate::s3::{Failure, unquoted};

pub(super) async fn check(field: &Field) -> Result<Vec<Violation>> {
    let mut listed = BTreeMap::new();
    for bucket in BUCKETS.iter().filter(|bucket| bucket.versioned) {
        list(field, bucket.name, &mut listed).await?;
    }
    let mut found = Vec::new();
    for kept in field.board.kept_versions() {
        let wrong = match listed.get(&(kept.key.clone(), kept.id.clone())) {
            None => "is not listed".to_owned(),
            Some(etag) if *etag != kept.etag => format!("is listed with the ETag {etag}"),
            Some(_) => continue,
        };
        let key = format!("{}/{}", kept.bucket, kept.key);
        let what = format!("{key}: the acknowledged version {} with ETag {} {wrong}", kept.id, kept.etag);
        found.push(Violation { check: "versions", what, key: Some(key) });
    }
    Ok(found)
}

/// Adds the ETag of each version, by key and version id.
async fn list(field: &Field, bucket: &str, all: &mut BTreeMap<(String, String), String>) -> Result<()> {
    let client = field.cluster.s3(0);
    let (mut key, mut version) = (None, None);
    loop {
        let call = client.list_object_versions().bucket(bucket).set_key_marker(key);
        let page = call.set_version_id_marker(version).send().await;
        let page = page.map_err(|error| anyhow::anyhow!("listing versions: {:?}", Failure::of(&error)))?;
        for entry in page.versions() {
            let name = (
                entry.key().unwrap_or_default().to_owned(),
                entry.version_id().unwrap_or_default().to_owned(),
            );
            all.insert(name, unquoted(entry.e_tag()));
        }
        if page.is_truncated() != Some(true) {
            return Ok(());
        }
        key = page.next_key_marker().map(str::to_owned);
        version = page.next_version_id_marker().map(str::to_owned);
    }
}
