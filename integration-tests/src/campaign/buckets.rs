//! What the campaign declares: its buckets, and what faults change of the declaration.
//!
//! Invariant: the buckets whose factor changes and those whose blobs are damaged are not the same: a factor that falls
//! may leave the damaged copy as one of those that stay, and nobody could know.

use serde_json::{Map, Value, json};

use super::plan::{BACKENDS, LONGEST_MS};
use crate::config::KEY;

/// A bucket.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Its name.
    pub name: &'static str,
    /// Copies wanted while nothing changes that.
    pub factor: usize,
    /// Its ack level.
    pub ack: &'static str,
    /// Whether it keeps versions.
    pub versioned: bool,
    /// Whether a fault may change the factor.
    pub factor_changes: bool,
    /// Whether a fault may damage single blobs.
    pub may_be_damaged: bool,
}

const fn bucket(name: &'static str, factor: usize, ack: &'static str) -> Bucket {
    Bucket { name, factor, ack, versioned: false, factor_changes: false, may_be_damaged: false }
}

/// All of them.
pub const BUCKETS: [Bucket; 5] = [
    bucket("single", 1, "one"),
    Bucket { factor_changes: true, ..bucket("pair", 2, "one") },
    Bucket { factor_changes: true, ..bucket("quorum", 3, "quorum") },
    Bucket { may_be_damaged: true, ..bucket("every", 2, "all") },
    Bucket { versioned: true, may_be_damaged: true, ..bucket("kept", 2, "one") },
];

/// What is declared now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Copies, by bucket.
    pub factors: [usize; BUCKETS.len()],
    /// Bytes, by backend.
    pub quotas: [u64; BACKENDS],
}

/// More than any run writes.
pub const QUOTA: u64 = 1 << 40;

impl Default for Declared {
    fn default() -> Self {
        Self { factors: BUCKETS.map(|bucket| bucket.factor), quotas: [QUOTA; BACKENDS] }
    }
}

impl Declared {
    /// Puts it into a control plane's file.
    pub fn write(&self, file: &mut Value) {
        file["buckets"] = self.buckets();
        for (backend, quota) in file["backends"].as_array_mut().into_iter().flatten().zip(self.quotas) {
            backend["quota_bytes"] = quota.into();
        }
    }

    fn buckets(&self) -> Value {
        let one = |(bucket, factor): (&Bucket, &usize)| {
            let mut value = json!({"name": bucket.name, "replication_factor": factor, "ack": bucket.ack});
            if bucket.versioned {
                value["versioning"] = json!("enabled");
            }
            value
        };
        BUCKETS.iter().zip(&self.factors).map(one).collect()
    }
}

/// The sections of control planes' files.
pub fn sections() -> Map<String, Value> {
    let grants: Vec<Value> =
        BUCKETS.iter().map(|bucket| json!({"bucket": bucket.name, "access": "read_write"})).collect();
    let late_put_window = format!("{}ms", 5 * LONGEST_MS / 2);
    let sections = [
        ("buckets", Declared::default().buckets()),
        ("credentials", json!([{"access_key_id": KEY.0, "secret_access_key": KEY.1, "grants": grants}])),
        ("cleanup", json!({"read_grace": "2s", "late_put_window": late_put_window, "interval": "1s"})),
        ("pending_reaper", json!({"interval": "2s"})),
        // A file is deleted two snapshots after it was written: nothing that a fault holds back comes that late.
        ("journal", json!({"enabled": true, "interval": "3s", "snapshot_interval": "20s"})),
        (
            "replication",
            // Short enough that a backend that is down for a fault's time is replaced.
            json!({"interval": "1s", "trim_interval": "1s", "scan_interval": "1s", "unhealthy_threshold": "3s"}),
        ),
    ];
    sections.into_iter().map(|(name, section)| (name.to_owned(), section)).collect()
}
