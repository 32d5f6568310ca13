//! What an operator declares for a standalone: the sections of a control plane's file that say what
//! there is, not how the process runs.
//!
//! Invariant: a section that is declared is used as it is; what is not declared is made up.

use std::path::Path;

use s3o_runtime::config::{Problems, Validate, load};
use serde::Deserialize;
use serde_json::Value;

/// The file of `--config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Declared {
    pub(crate) routing: Option<Value>,
    pub(crate) backends: Vec<Value>,
    pub(crate) buckets: Vec<Value>,
    pub(crate) credentials: Vec<Value>,
    pub(crate) cleanup: Option<Value>,
    pub(crate) pending_reaper: Option<Value>,
    pub(crate) multipart: Option<Value>,
    pub(crate) replication: Option<Value>,
    pub(crate) rebalance: Option<Value>,
    pub(crate) integrity: Option<Value>,
    pub(crate) reconcile: Option<Value>,
    pub(crate) lifecycle: Option<Value>,
}

impl Validate for Declared {
    // The control plane validates the sections; here is only what follows from standing alone.
    fn validate(&self, problems: &mut Problems) {
        if self.buckets.is_empty() != self.credentials.is_empty() {
            problems.push("buckets and credentials are declared together, or neither is and both are made");
        }
    }
}

impl Declared {
    /// Reads the file, if there is one.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        match file {
            Some(file) => Ok(load(file)?),
            None => Ok(Self::default()),
        }
    }

    /// Bucket, access key id and secret to show: the first credential that names a bucket.
    pub(crate) fn shown(&self) -> Option<(String, String, String)> {
        self.credentials.iter().find_map(|credential| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let bucket = text(credential.get("grants")?.get(0)?.get("bucket")?)?;
            Some((
                bucket,
                text(credential.get("access_key_id")?)?,
                text(credential.get("secret_access_key")?)?,
            ))
        })
    }
}
