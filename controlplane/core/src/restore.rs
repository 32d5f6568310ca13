//! A database made again, or brought up to date, from the journal and the blobs on the backends.
//!
//! Invariants: of a key's versions and markers the same rows stay as a database would have that was never lost: those that no
//! record removes, and of null ones the newest; nothing is deleted from any backend.

use std::fmt;

use s3o_types::{BackendId, Etag, VersionId};

/// A backend as its marker and its declaration say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBackend {
    /// Its id, which its marker says.
    pub id: BackendId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub endpoint: String,
    /// The real bucket there.
    pub bucket: String,
}

/// A key that a backend lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// The key.
    pub storage_key: String,
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
}

/// A blob that no record of the journal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnnamedBlob {
    /// Where one copy is.
    pub backend: BackendId,
    /// The key there.
    pub storage_key: String,
    /// The version that it says.
    pub version: VersionId,
    /// Bytes.
    pub size: u64,
    /// The backend's ETag.
    pub etag: Option<Etag>,
    /// Whether it is a piece of a version, or all of it for all its name says.
    pub is_piece: bool,
}

/// What a blob says of the object that it is, for one that no record names.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundObject {
    /// The virtual bucket.
    pub bucket_name: String,
    /// The object's key.
    pub key: String,
    /// The version.
    pub version: VersionId,
    /// Bytes.
    pub size: u64,
    /// The MD5 of the bytes.
    pub etag: Etag,
    /// When it was stored, in microseconds since 1970, by the backend's clock.
    pub modified_us: i64,
    /// Headers and metadata.
    pub attributes: s3o_types::ObjectAttributes,
}

/// What became of an object that a blob describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revived {
    /// It is staged.
    Staged,
    /// Its key has a newer one, and its bucket keeps no versions.
    Older,
    /// Its bucket is not there.
    NoBucket,
}

/// What keys came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Keys looked at.
    pub keys: u64,
    /// Versions and markers that were not there.
    pub added: u64,
    /// Those that were there, and that the journal says were removed or replaced.
    pub removed: u64,
    /// Copies that were attached.
    pub copies: u64,
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        let Self { keys, added, removed, copies } = other;
        self.keys += keys;
        self.added += added;
        self.removed += removed;
        self.copies += copies;
    }
}

/// A version of which bytes are nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVersion {
    /// The virtual bucket.
    pub bucket_name: String,
    /// The object's key.
    pub key: String,
    /// The version.
    pub version: VersionId,
}

impl fmt::Display for LostVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket_name, key, version } = self;
        write!(f, "{bucket_name}/{key} {version}")
    }
}

/// Versions of which bytes are nowhere, current ones and others; delete markers have none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LostVersions {
    /// How many.
    pub count: u64,
    /// The first of them, by their ids.
    pub first: Vec<LostVersion>,
}

/// What buckets came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergedBuckets {
    /// Made, since the database lacked them.
    pub made: u64,
    /// Set otherwise: CORS or lifecycle rules, versioning.
    pub changed: u64,
    /// Deleted, as they were in the time that was lost.
    pub deleted: u64,
    /// Deleted once, and not now; a line each, with the reason.
    pub kept: Vec<String>,
}

impl std::ops::AddAssign for MergedBuckets {
    fn add_assign(&mut self, other: Self) {
        let Self { made, changed, deleted, kept } = other;
        self.made += made;
        self.changed += changed;
        self.deleted += deleted;
        self.kept.extend(kept);
    }
}

/// What was found, and what is not known. [`RestoreReport::lines`] puts it into words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreReport {
    /// Files of the journal that were read.
    pub files: u64,
    /// Records in them.
    pub records: u64,
    /// The snapshot that was taken as the base.
    pub snapshot: Option<u64>,
    /// Segments that are on no backend.
    pub missing: Vec<u64>,
    /// Files that are not whole, and why.
    pub unreadable: Vec<String>,
    /// Keys on the backends: each copy is one.
    pub blobs: u64,
    /// What keys came to.
    pub applied: Applied,
    /// What buckets came to.
    pub buckets: MergedBuckets,
    /// Versions made of blobs that no record names: they were written after the journal's end, some perhaps never
    /// acknowledged; such an object may also have been deleted since.
    pub revived: u64,
    /// Versions of which there are blobs, and of which it is not known what they are.
    pub unknown_versions: u64,
    /// A blob of each of the first of them, and why.
    pub unknown: Vec<String>,
    /// Versions of which bytes are on no backend.
    pub lost: LostVersions,
}

impl RestoreReport {
    /// As operators read it, a fact a line; of what there may be many, the first ones by name. The only place that puts it
    /// into words.
    pub fn lines(&self) -> Vec<String> {
        let Self { files, records, snapshot, missing, unreadable, blobs, applied, buckets, .. } = self;
        let Applied { keys, added, removed, copies } = applied;
        let MergedBuckets { made, changed, deleted, kept } = buckets;
        let base = snapshot.map_or_else(|| "no snapshot".to_owned(), |number| format!("snapshot {number}"));
        let mut lines = vec![
            format!("journal: {files} files, {records} records, {base}"),
            format!("backends: {blobs} keys"),
            format!(
                "{keys} keys looked at: {added} versions and delete markers added, {removed} removed, {copies} copies attached"
            ),
            format!("buckets: {made} made, {changed} set otherwise, {deleted} deleted"),
            format!("of after the journal's end, by their blobs alone: {} objects", self.revived),
            format!("versions whose blobs do not say what they are: {}", self.unknown_versions),
            format!("versions of which bytes are on no backend: {}", self.lost.count),
        ];
        lines.extend(missing.iter().map(|number| format!("missing: segment {number} of the journal")));
        lines.extend(unreadable.iter().map(|why| format!("unreadable: {why}")));
        lines.extend(kept.iter().map(|why| format!("kept: bucket {why}")));
        lines.extend(self.unknown.iter().map(|blob| format!("unknown: {blob}")));
        lines.extend(self.lost.first.iter().map(|version| format!("lost: {version}")));
        lines
    }
}

/// Where keys are gone on with.
pub type KeyPlace = (i32, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_versions_and_names_the_first() {
        let lost = |n: u64| LostVersion {
            bucket_name: "photos".to_owned(),
            key: format!("k{n}"),
            version: VersionId::mint(n, 1),
        };
        let report = RestoreReport {
            missing: vec![7],
            buckets: MergedBuckets {
                kept: vec!["b: it was deleted, and it has objects".into()],
                ..Default::default()
            },
            lost: LostVersions { count: 1234, first: vec![lost(1), lost(2)] },
            unknown_versions: 2,
            unknown: vec!["photos/x: why".to_owned()],
            ..RestoreReport::default()
        };
        let lines = report.lines();
        for line in [
            "versions of which bytes are on no backend: 1234",
            "versions whose blobs do not say what they are: 2",
            "missing: segment 7 of the journal",
            "kept: bucket b: it was deleted, and it has objects",
            "unknown: photos/x: why",
        ] {
            assert!(lines.iter().any(|other| other == line), "{line} in {lines:#?}");
        }
        assert!(lines.iter().any(|line| line.starts_with("lost: photos/k2 ")), "{lines:#?}");
    }
}
