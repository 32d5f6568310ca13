//! What is known of a backend by configuration: where it is and how it must be spoken to.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, Place};
use crate::secret::Secret;

/// Whether a backend takes new blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// Reads and writes.
    Active,
    /// Being emptied: reads and deletes only.
    Draining,
    /// Empty and no longer configured.
    Removed,
}

impl BackendState {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Removed => "removed",
        }
    }
}

impl FromStr for BackendState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "draining" => Ok(Self::Draining),
            "removed" => Ok(Self::Removed),
            other => Err(format!("backend state `{other}` is none of active, draining, removed")),
        }
    }
}

/// Who we are towards a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// An access key and its secret.
    Static {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: Secret,
        /// For temporary credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_token: Option<Secret>,
    },
    /// Whatever the AWS default chain finds: environment, profile, web identity, instance role.
    AwsDefaultChain,
}

/// What is known of the ETag that a backend answers to a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum EtagProof {
    /// Not looked at yet; treated as `Opaque`.
    #[default]
    Unknown,
    /// Seen to be the MD5 of the body: it verifies a PUT.
    Md5,
    /// That, and the backend was seen to take a CRC-64/NVME behind the body, to refuse a wrong one and to
    /// answer with the right one: then a PUT is verified, and its MD5 known, without computing one here.
    Md5Trailer,
    /// Something else: every PUT is read back before it counts.
    Opaque,
}

impl EtagProof {
    /// Whether the ETag of a PUT is the MD5 of its body.
    pub const fn is_md5(self) -> bool {
        matches!(self, Self::Md5 | Self::Md5Trailer)
    }
}

/// Which new-style checksum goes to the backend with a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumMode {
    /// None. Every S3 server takes that.
    #[default]
    None,
    /// `Content-MD5` where the MD5 is known before the body.
    ContentMd5,
}

/// In what a backend differs from S3.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// Sign `UNSIGNED-PAYLOAD` instead of the body's hash. Streams cannot be hashed ahead, so over
    /// plain HTTP this is what keeps the body from being protected by the signature.
    pub unsigned_payload: bool,
    /// Which checksum header to send.
    pub checksum: ChecksumMode,
    /// Headers the backend rejects and that are therefore left out, in lower case.
    pub strip_headers: Vec<String>,
    /// Overrides what the marker's ETag showed.
    pub etag: EtagProof,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            path_style: true,
            unsigned_payload: true,
            checksum: ChecksumMode::None,
            strip_headers: Vec::new(),
            etag: EtagProof::Unknown,
        }
    }
}

/// Everything needed to speak to a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackendSpec {
    /// Its row.
    pub id: BackendId,
    /// Its name in configuration, metrics and logs.
    pub name: String,
    /// Scheme, host and port, without a path.
    pub endpoint: String,
    /// Region for the signature.
    pub region: String,
    /// The real bucket there.
    pub bucket: String,
    /// Which of its places endpoint and bucket are.
    #[serde(default)]
    pub place: Place,
    /// Who we are there.
    pub credentials: Credentials,
    /// In what it differs.
    pub quirks: Quirks,
}
