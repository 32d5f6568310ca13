//! Every version that the tables name is whole on every backend that they name for it.
//!
//! Invariant: bytes are compared with what the client sent, not with what any of our code says of them. How many
//! copies there must be is the audit's question.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use bytes::Bytes;

use super::{Unrepaired, Violation};
use crate::audit::{self, CopyOf};
use crate::campaign::board::Board;
use crate::campaign::field::Field;
use crate::s3::md5;

/// Blobs by backend and storage key.
type Stored = HashMap<(String, String), Bytes>;

pub(super) async fn check(field: &Field, damaged: &Unrepaired) -> Result<Vec<Violation>> {
    let mut stored = Stored::new();
    for backend in &field.cluster.backends {
        let blobs = backend.server.blobs();
        stored.extend(blobs.into_iter().map(|(key, blob)| ((backend.name.clone(), key), blob.bytes)));
    }
    let mut versions: BTreeMap<(String, String), BTreeMap<i16, Vec<CopyOf>>> = BTreeMap::new();
    for copy in audit::copies_of_objects(&field.cluster).await? {
        let version = versions.entry((copy.name.clone(), copy.etag.clone())).or_default();
        version.entry(copy.extent).or_default().push(copy);
    }
    let mut found = Vec::new();
    for ((name, etag), extents) in versions {
        if let Err(what) = is_whole(&field.board, &stored, damaged, &etag, &extents) {
            let what = format!("{name} with ETag {etag}: {what}");
            found.push(Violation { check: "whole copies", what, key: Some(name) });
        }
    }
    Ok(found)
}

fn is_whole(
    board: &Board,
    stored: &Stored,
    damaged: &Unrepaired,
    etag: &str,
    extents: &BTreeMap<i16, Vec<CopyOf>>,
) -> Result<(), String> {
    let mut whole = Vec::new();
    for copies in extents.values() {
        let mut bytes: Option<&Bytes> = None;
        for CopyOf { backend, storage_key, .. } in copies {
            let place = (backend.clone(), storage_key.clone());
            if damaged.contains(&place) {
                continue;
            }
            let blob = stored.get(&place).ok_or_else(|| format!("{storage_key} is not on {backend}"))?;
            if bytes.is_some_and(|bytes| bytes != blob) {
                return Err(format!("{storage_key} on {backend} has other bytes than another copy"));
            }
            bytes = Some(blob);
        }
        whole.extend_from_slice(bytes.ok_or("every copy was damaged")?);
    }
    let (found, content) = (md5(&whole), board.content(etag));
    match content {
        None => Err("nobody wrote it".to_owned()),
        Some(content) if content.md5() != found => {
            Err(format!("its bytes have the MD5 {found}, written was {}", content.md5()))
        }
        Some(_) => Ok(()),
    }
}
