//! Sessions: the leases of data planes, and what they report.

use std::collections::BTreeMap;

use s3o_types::{BackendId, Consumption};
use uuid::Uuid;

/// How long a lease lasts without a heartbeat. Several heartbeats fit in, so that one lost packet
/// ends nothing; the reaper adds its own patience.
pub const LEASE_SECONDS: u32 = 60;

/// Age at which an intent must be listed in its session's heartbeat to live on.
pub const UNLISTED_SECONDS: u32 = 120;

/// What a data plane or a replica must know of the wire and the tables for a bucket to keep versions.
pub const VERSIONS_FEATURE: &str = "versions";

/// A data plane says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Minted at each start of its process.
    pub session: Uuid,
    /// Its name in logs.
    pub name: String,
    /// Its release.
    pub version: String,
    /// Features of the wire that it knows.
    pub features: Vec<String>,
}

/// What one backend was used for since the last report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendUsage {
    /// Calls by API class.
    pub requests: BTreeMap<String, u64>,
    /// Bytes sent to it.
    pub ingress_bytes: u64,
    /// Bytes read from it.
    pub egress_bytes: u64,
}

impl BackendUsage {
    /// All classes together.
    pub fn sum(&self) -> Consumption {
        let Self { requests, ingress_bytes, egress_bytes } = self;
        Consumption {
            api_requests: requests.values().sum(),
            egress_bytes: *egress_bytes,
            ingress_bytes: *ingress_bytes,
        }
    }
}

/// A numbered report: a repeat counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// Grows by one in a session.
    pub number: i64,
    /// By backend.
    pub usage: BTreeMap<BackendId, BackendUsage>,
}
