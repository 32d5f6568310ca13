//! The grammar of storage keys: how a blob is called on a backend.
//!
//! `{bucket}/{key}~{version}{extent}{gen}` where the key allows it, else
//! `.s3o/long/{sha256 of bucket/key}~{version}{extent}{gen}`.
//!
//! Invariants: both forms follow from bucket, key and blob name alone; different blobs never share a
//! storage key; parsing accepts exactly what formatting makes. The grammar is part of the stored
//! data: it cannot change once someone has data.

use std::fmt;

use aws_lc_rs::digest;

use crate::ids::{Extent, Gen};
use crate::version::VersionId;

/// Where a backend keeps the marker that says whose it is.
pub const MARKER: &str = ".s3o/backend";

/// What is written for a moment to find out what a backend can do.
pub const PROBE: &str = ".s3o/probe";
/// Everything under it is ours on every backend.
pub const RESERVED_PREFIX: &str = ".s3o/";
/// Prefix of the hashed form.
pub const LONG_PREFIX: &str = ".s3o/long/";
/// Prefix of journal segments and snapshots.
pub const JOURNAL_PREFIX: &str = ".s3o/journal/";

/// S3's limit for a key in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_KEY_BYTES: usize = 1024;
/// The longest file name of the file systems that folder backends stand on (`NAME_MAX`).
const MAX_SEGMENT_BYTES: usize = 255;
/// `~`, then 26 + 3 + 3 characters.
const SUFFIX_BYTES: usize = 33;

/// Which blob of an object: the version, its extent and the attempt that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName {
    /// The write of the object.
    pub version: VersionId,
    /// The piece of that write.
    pub extent: Extent,
    /// The attempt at that piece.
    pub r#gen: Gen,
}

impl BlobName {
    /// The blob a client's own write makes: extent 0, attempt 0.
    pub const fn first(version: VersionId) -> Self {
        Self { version, extent: Extent::ZERO, r#gen: Gen::ZERO }
    }

    /// Exactly 32 characters, as after the `~`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != SUFFIX_BYTES - 1 || !text.is_ascii() {
            return None;
        }
        let (version, rest) = text.split_at(VersionId::TEXT_LEN);
        let (extent, r#gen) = rest.split_at(3);
        Some(Self {
            version: VersionId::parse(version)?,
            extent: Extent::parse(extent)?,
            r#gen: Gen::parse(r#gen)?,
        })
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.version, self.extent, self.r#gen)
    }
}

/// A key on a backend, read by our grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageKey {
    /// A blob that names its bucket and key.
    Plain {
        /// The virtual bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// Which of its blobs.
        blob: BlobName,
    },
    /// A blob whose bucket and key are in its `x-amz-meta-s3o-key`.
    Hashed {
        /// Hexadecimal SHA-256 of `bucket/key`.
        digest: String,
        /// Which of its blobs.
        blob: BlobName,
    },
    /// Ours, but not a blob: the marker, the journal, or something a newer release put there.
    Reserved,
    /// Not ours.
    Foreign,
}

impl StorageKey {
    /// The storage key of a blob of `bucket/key`.
    pub fn format(bucket: &str, key: &str, blob: BlobName) -> String {
        if plain_form_stands(bucket, key) {
            format!("{bucket}/{key}~{blob}")
        } else {
            format!("{LONG_PREFIX}{}~{blob}", key_digest(bucket, key))
        }
    }

    /// What all blobs of `bucket/key` start with, up to and with the `~`.
    pub fn prefix(bucket: &str, key: &str) -> String {
        if plain_form_stands(bucket, key) {
            format!("{bucket}/{key}~")
        } else {
            format!("{LONG_PREFIX}{}~", key_digest(bucket, key))
        }
    }

    /// Whether blobs of this key go by the hashed form and so must carry bucket and key as metadata.
    pub fn is_hashed(bucket: &str, key: &str) -> bool {
        !plain_form_stands(bucket, key)
    }

    /// Reads any key found on a backend.
    pub fn parse(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix(RESERVED_PREFIX) {
            return parse_hashed(rest).unwrap_or(Self::Reserved);
        }
        parse_plain(text).unwrap_or(Self::Foreign)
    }
}

fn parse_hashed(rest: &str) -> Option<StorageKey> {
    let (digest, blob) = split_blob(rest.strip_prefix("long/")?)?;
    let is_hex = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| StorageKey::Hashed { digest: digest.to_owned(), blob })
}

fn parse_plain(text: &str) -> Option<StorageKey> {
    let (path, blob) = split_blob(text)?;
    let (bucket, key) = path.split_once('/')?;
    let canonical = !bucket.is_empty() && plain_form_stands(bucket, key);
    canonical.then(|| StorageKey::Plain { bucket: bucket.to_owned(), key: key.to_owned(), blob })
}

/// Splits off the fixed-length suffix. A `~` inside the key itself does not matter.
fn split_blob(text: &str) -> Option<(&str, BlobName)> {
    let at = text.len().checked_sub(SUFFIX_BYTES)?;
    let (path, suffix) = text.split_at_checked(at)?;
    Some((path, BlobName::parse(suffix.strip_prefix('~')?)?))
}

/// Whether every backend, folders included, takes the plain form byte for byte, and can say it in the XML of a listing
/// (XML 1.0, 2.2 "Characters").
fn plain_form_stands(bucket: &str, key: &str) -> bool {
    if bucket.len() + 1 + key.len() + SUFFIX_BYTES > MAX_KEY_BYTES || key.is_empty() {
        return false;
    }
    if key.chars().any(|c| c.is_control() || matches!(c, '\\' | '\u{fffe}' | '\u{ffff}')) {
        return false;
    }
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let room =
            if segments.peek().is_some() { MAX_SEGMENT_BYTES } else { MAX_SEGMENT_BYTES - SUFFIX_BYTES };
        if segment.is_empty() || segment == "." || segment == ".." || segment.len() > room {
            return false;
        }
    }
    true
}

fn key_digest(bucket: &str, key: &str) -> String {
    let mut sha256 = digest::Context::new(&digest::SHA256);
    sha256.update(bucket.as_bytes());
    sha256.update(b"/");
    sha256.update(key.as_bytes());
    hex::encode(sha256.finish())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blobs() -> impl Strategy<Value = BlobName> {
        (any::<u64>(), any::<u64>(), 0..=Extent::MAX, 0..=Gen::MAX).prop_map(|(s, r, e, g)| BlobName {
            version: VersionId::mint(s, r),
            extent: Extent::new(e).expect("in range"),
            r#gen: Gen::new(g).expect("in range"),
        })
    }

    /// Keys that people use, keys that break file systems, keys that look like storage keys.
    fn keys() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{1,8}(/[a-z.~]{1,8}){0,4}",
            "(/|\\.|\\.\\.|~|[a-z]|\\\\|\u{1}|\u{ffff}|é){1,40}",
            "[a-z]{1,3}~[0-9A-Z]{32}",
            "\\PC{1,200}",
            "[a-z/]{200,1024}",
        ]
        .prop_filter("S3's limit", |key| key.len() <= MAX_KEY_BYTES)
    }

    proptest! {
        #[test]
        fn parse_inverts_format(key in keys(), blob in blobs()) {
            let text = StorageKey::format("bucket", &key, blob);
            prop_assert!(text.len() <= MAX_KEY_BYTES);
            prop_assert!(text.starts_with(&StorageKey::prefix("bucket", &key)));
            match StorageKey::parse(&text) {
                StorageKey::Plain { bucket, key: parsed, blob: b } => {
                    prop_assert_eq!((bucket.as_str(), parsed, b), ("bucket", key, blob));
                }
                StorageKey::Hashed { digest, blob: b } => {
                    prop_assert!(StorageKey::is_hashed("bucket", &key));
                    prop_assert_eq!((digest, b), (key_digest("bucket", &key), blob));
                }
                other => prop_assert!(false, "{text:?} read as {other:?}"),
            }
        }

        #[test]
        fn different_blobs_never_collide(a in keys(), b in keys(), x in blobs(), y in blobs()) {
            let same = a == b && x == y;
            prop_assert_eq!(StorageKey::format("bucket", &a, x) == StorageKey::format("bucket", &b, y), same);
        }

        #[test]
        fn what_parses_formats_back(text in "\\PC{0,80}") {
            if let StorageKey::Plain { bucket, key, blob } = StorageKey::parse(&text) {
                prop_assert_eq!(StorageKey::format(&bucket, &key, blob), text);
            }
        }

        #[test]
        fn a_listing_can_say_every_storage_key(key in keys(), blob in blobs()) {
            let text = StorageKey::format("bucket", &key, blob);
            prop_assert!(text.chars().all(|c| c >= ' ' && c != '\u{fffe}' && c != '\u{ffff}'), "{text:?}");
        }

        #[test]
        fn a_folder_takes_every_storage_key(key in keys(), blob in blobs()) {
            let text = StorageKey::format("bucket", &key, blob);
            prop_assert!(text.split('/').all(|s| !s.is_empty() && s != "." && s != ".." && s.len() <= 255));
        }
    }

    #[test]
    fn known_forms() {
        let blob = BlobName::first(VersionId::mint(1, 2));
        let plain = StorageKey::format("photos", "2024/cat.jpg", blob);
        assert_eq!(plain, format!("photos/2024/cat.jpg~{}000000", blob.version));
        for odd in ["/x", "x/", "a//b", "..", "a/../b", "a/./b", "a\\b", "a\u{7f}b", &"x".repeat(223)] {
            assert!(StorageKey::format("photos", odd, blob).starts_with(LONG_PREFIX), "{odd:?}");
        }
        assert!(!StorageKey::is_hashed("photos", &"x".repeat(222)));
        assert_eq!(StorageKey::parse(MARKER), StorageKey::Reserved);
        assert_eq!(StorageKey::parse("photos/cat.jpg"), StorageKey::Foreign);
    }
}
