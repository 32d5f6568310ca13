//! The sections about this process.

use std::net::SocketAddr;

use s3o_core::cleanup::CleanupTimes;
use s3o_core::scrub::ScrubPace;
use s3o_runtime::{ByteSize, HumanDuration, TlsFiles};
use s3o_store::StoreOptions;
use s3o_types::{DigestKind, Secret};
use s3o_workers::{JournalSettings, RebalanceSettings};
use serde::{Deserialize, Serialize};

use super::declared::Strategy;

/// `database`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// `postgres://user:password@host:port/database`. The connection must not go through a pooler that
    /// pools transactions.
    pub url: Secret,
    /// Commit lanes, each with a connection. A key always meets the same one.
    #[serde(default = "default_lanes")]
    pub lanes: u16,
    /// Begin lanes.
    #[serde(default = "default_begin_lanes")]
    pub begin_lanes: u16,
    /// Calls that one transaction decides, at most; 1 turns group commit off.
    #[serde(default = "default_batch_items")]
    pub batch_items: u16,
}

/// `grpc`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcSection {
    /// Address and port.
    #[serde(default = "default_grpc")]
    pub listen: SocketAddr,
    /// TLS; with `client_ca`, mTLS.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// The token that data planes must show.
    pub dataplane_token: Secret,
    /// The token that admin clients must show; without it the admin service is closed on the network.
    #[serde(default)]
    pub admin_token: Option<Secret>,
    /// How long a connection lasts, give or take a tenth, so that data planes spread over replicas that
    /// were added; 0 for ever.
    #[serde(default = "default_age")]
    pub max_connection_age: HumanDuration,
}

/// `http`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Address and port.
    pub listen: SocketAddr,
    /// `X-Admin-Token` of the admin API; without it the admin API is closed.
    pub admin_token: Option<Secret>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 9091)), admin_token: None }
    }
}

/// `cleanup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanupSection {
    /// How long displaced and deleted blobs wait for readers that hold them.
    pub read_grace: HumanDuration,
    /// How long they wait at least, for point-in-time restores of the database.
    pub cleanup_delay: HumanDuration,
    /// When a key whose PUT may still complete is deleted a second time.
    pub late_put_window: HumanDuration,
    /// How often the queue is looked at.
    pub interval: HumanDuration,
    /// Deletes at a time.
    pub concurrency: u16,
}

impl Default for CleanupSection {
    fn default() -> Self {
        Self {
            read_grace: HumanDuration::from_secs(15 * 60),
            cleanup_delay: HumanDuration::from_secs(0),
            late_put_window: HumanDuration::from_secs(60 * 60),
            interval: HumanDuration::from_secs(5),
            concurrency: 16,
        }
    }
}

impl CleanupSection {
    /// As the queue counts.
    pub fn times(&self) -> CleanupTimes {
        CleanupTimes {
            read_grace_us: self.read_grace.micros(),
            cleanup_delay_us: self.cleanup_delay.micros(),
            late_put_window_us: self.late_put_window.micros(),
        }
    }
}

/// `pending_reaper`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReaperSection {
    /// How often expired intents are looked for.
    pub interval: HumanDuration,
    /// Intents that are settled at a time.
    pub concurrency: u16,
}

impl Default for ReaperSection {
    fn default() -> Self {
        Self { interval: HumanDuration::from_secs(15), concurrency: 16 }
    }
}

/// `multipart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MultipartSection {
    /// When a multipart upload that is still open is given up.
    pub stale_after: HumanDuration,
}

impl Default for MultipartSection {
    fn default() -> Self {
        Self { stale_after: HumanDuration::from_secs(24 * 60 * 60) }
    }
}

/// `integrity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntegritySection {
    /// How often copies that are to be read are looked for.
    pub interval: HumanDuration,
    /// Bytes that are read from each backend to look at copies that nobody asks for; 0: none.
    pub scrub_bytes_per_hour: ByteSize,
    /// Between the end of a round over a backend and the next.
    pub scrub_rest: HumanDuration,
    /// What is kept of bytes that are read, where nothing was kept when they were written.
    pub digest: DigestKind,
}

impl Default for IntegritySection {
    fn default() -> Self {
        Self {
            interval: HumanDuration::from_secs(10),
            scrub_bytes_per_hour: ByteSize(32 << 20),
            scrub_rest: HumanDuration::from_secs(7 * 24 * 60 * 60),
            digest: DigestKind::default(),
        }
    }
}

impl IntegritySection {
    pub(crate) fn pace(&self) -> ScrubPace {
        let rest_s = self.scrub_rest.micros() / 1_000_000;
        ScrubPace { bytes_per_hour: self.scrub_bytes_per_hour.0, rest_s }
    }
}

/// `rebalance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RebalanceSection {
    /// Whether it runs by itself; `s3o admin rebalance` runs it anyway.
    pub enabled: bool,
    /// How often.
    pub interval: HumanDuration,
    /// `pack` or `spread`; without it that of `routing`.
    pub strategy: Option<Strategy>,
    /// In percent of a backend's quota: `spread` leaves alone what is this close to the mean, `pack` leaves this much
    /// free.
    pub threshold_percent: u8,
    /// Copies that a run moves at most.
    pub batch: u32,
    /// Copies that are moved at a time.
    pub concurrency: u16,
}

impl Default for RebalanceSection {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: HumanDuration::from_secs(6 * 60 * 60),
            strategy: None,
            threshold_percent: 10,
            batch: 100,
            concurrency: 4,
        }
    }
}

impl RebalanceSection {
    pub(crate) fn settings(&self) -> RebalanceSettings {
        let Self { enabled, interval: _, strategy, threshold_percent, batch, concurrency } = *self;
        let strategy = strategy.map(Strategy::routing);
        RebalanceSettings { enabled, strategy, threshold_percent, batch, concurrency: concurrency.into() }
    }
}

/// `replication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicationSection {
    /// How often versions that lack copies are looked for.
    pub interval: HumanDuration,
    /// Copies made at a time.
    pub concurrency: u16,
    /// After how long what a backend holds that is down is replaced elsewhere.
    pub unhealthy_threshold: HumanDuration,
    /// How often versions that have too many copies are looked for.
    pub trim_interval: HumanDuration,
    /// How often the next versions are queued that a new factor, a drain or a lost backend concerns.
    pub scan_interval: HumanDuration,
}

impl Default for ReplicationSection {
    fn default() -> Self {
        Self {
            interval: HumanDuration::from_secs(5),
            concurrency: 4,
            unhealthy_threshold: HumanDuration::from_secs(10 * 60),
            trim_interval: HumanDuration::from_secs(30),
            scan_interval: HumanDuration::from_secs(10),
        }
    }
}

/// `reconcile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcileSection {
    /// Whether backends are compared with the tables by themselves. It can always be asked for.
    pub enabled: bool,
    /// How long after a backend's last run the next one begins. Each lists the whole backend.
    pub interval: HumanDuration,
    /// How often runs that were asked for are looked for.
    pub check_interval: HumanDuration,
    /// Blobs that nothing names are left alone while their version is younger.
    pub orphan_after: HumanDuration,
}

impl Default for ReconcileSection {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: HumanDuration::from_secs(24 * 60 * 60),
            check_interval: HumanDuration::from_secs(15),
            orphan_after: HumanDuration::from_secs(24 * 60 * 60),
        }
    }
}

/// `journal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalSection {
    /// Whether changes are shipped to the backends. What is not shipped cannot be rebuilt.
    pub enabled: bool,
    /// After how long a change is shipped at most.
    pub interval: HumanDuration,
    /// How old the newest snapshot may grow, where there were changes since.
    pub snapshot_interval: HumanDuration,
    /// On how many backends each file is kept.
    pub copies: u16,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: HumanDuration::from_secs(5 * 60),
            snapshot_interval: HumanDuration::from_secs(24 * 60 * 60),
            copies: 2,
        }
    }
}

impl JournalSection {
    pub(crate) fn settings(&self) -> JournalSettings {
        let Self { enabled, interval, snapshot_interval, copies } = *self;
        let (interval, snapshot_interval) = (interval.get(), snapshot_interval.get());
        JournalSettings { enabled, interval, snapshot_interval, copies }
    }
}

/// `lifecycle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleSection {
    /// How often buckets with rules are gone through.
    pub interval: HumanDuration,
    /// Rows that are looked at at once.
    pub batch: u32,
}

impl Default for LifecycleSection {
    fn default() -> Self {
        Self { interval: HumanDuration::from_secs(60 * 60), batch: 1000 }
    }
}

/// `workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkersSection {
    /// Whether this replica runs them. Some replica must.
    pub enabled: bool,
}

impl Default for WorkersSection {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// As the store has them.
fn store_options() -> StoreOptions {
    StoreOptions::new(String::new())
}

fn default_lanes() -> u16 {
    store_options().lanes
}

fn default_begin_lanes() -> u16 {
    store_options().begin_lanes
}

fn default_batch_items() -> u16 {
    store_options().batch_items
}

fn default_grpc() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9090))
}

fn default_age() -> HumanDuration {
    HumanDuration::from_secs(30 * 60)
}

pub(super) fn default_grace() -> HumanDuration {
    HumanDuration::from_secs(30)
}

pub(super) fn default_instance() -> String {
    let host = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    format!("{}-{:06x}", host.as_deref().unwrap_or("controlplane"), rand::random::<u32>() >> 8)
}
