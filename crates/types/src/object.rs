//! What an object carries besides its bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::etag::Etag;
use crate::lock::ObjectLock;

/// The standard headers that S3 stores and returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentHeaders {
    /// `Content-Type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect: Option<String>,
    /// `x-amz-storage-class`, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
}

/// Headers, user metadata, tags and lock of a version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectAttributes {
    /// Standard headers.
    pub headers: ContentHeaders,
    /// User metadata without the `x-amz-meta-` prefix, names in lower case.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Object tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What keeps it from being removed.
    #[serde(skip_serializing_if = "ObjectLock::is_none")]
    pub lock: ObjectLock,
}

/// The additional checksums of a version, base64 as S3 writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksums {
    /// By S3's algorithm name in lower case, as `crc64nvme`.
    pub values: BTreeMap<String, String>,
}

/// What must hold of the key's current version at the moment of the commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `If-None-Match: *`: there must be none.
    pub if_absent: bool,
    /// `If-Match`: there must be one with this ETag (`*` = any).
    pub if_match: Option<Etag>,
}

impl Conditions {
    /// Whether there is nothing to check.
    pub const fn is_empty(&self) -> bool {
        !self.if_absent && self.if_match.is_none()
    }
}

/// How a blob's bytes differ from the object's. This release writes plain blobs only; the field
/// stands in rows and on the wire so that later releases need no new shape.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Encoding {
    /// Empty for plain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cipher: String,
    /// Which key sealed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key_id: String,
    /// Bytes of plain text a chunk; 0 where it does not apply.
    pub chunk_size: u32,
    /// Empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
}

impl Encoding {
    /// Whether the blob's bytes are the object's.
    pub fn is_plain(&self) -> bool {
        self.cipher.is_empty() && self.compression.is_empty()
    }
}
