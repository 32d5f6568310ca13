//! Ports that remember what they were asked and answer what they were told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use s3o_core::bucket::BucketChange;
use s3o_core::call::{Call, Outcome, Refusal, Request};
use s3o_core::cleanup::{Claim, CleanupItem, CleanupResult, QueueDepths};
use s3o_core::config::{
    BackendConfig, BucketConfig, BucketState, ClusterConfig, CredentialConfig, MarkerPlace, MarkerSeen,
    Routing,
};
use s3o_core::intent::Intent;
use s3o_core::listing::{ListQuery, Page};
use s3o_core::object::{Locate, Lookup};
use s3o_core::ports::{
    Buckets, Configs, Drains, Ledger, ObjectScrub, Overview, PortError, Queues, Rebalancing, Replication,
    Sessions, Uploads, Versions, WorkerControl,
};
use s3o_core::rebalance::{Move, RebalanceTotals, RebalanceWish};
use s3o_core::reconcile::AskRun;
use s3o_core::removal::RemovalOrder;
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyTask, Drain, ReplicationEntry, ReplicationItem, ReplicationResult,
};
use s3o_core::scrub::{ScrubObject, ScrubbedCopy, Verdict};
use s3o_core::session::{BackendUsage, Hello, UsageReport};
use s3o_core::upload::{PartsPage, PartsQuery, UploadRow, UploadsPage, UploadsQuery};
use s3o_core::usage::Usage;
use s3o_core::versions::{SetVersioning, VersionsPage, VersionsQuery};
use s3o_core::worker::{Counts, WorkerStatus};
use s3o_types::{
    AckLevel, BackendId, BackendSpec, BackendState, BucketId, CorsRule, Credentials, DegradedReads,
    ErrorCode, Extent, Op, Place, Quirks, Rights, Scope, Secret, Timestamp, UsageLimits, VersionId,
    Versioning,
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

/// For how long each backend has been down.
type Views = Vec<(BackendId, Option<i64>)>;

pub(super) struct Fakes {
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) outcomes: Mutex<VecDeque<Outcome>>,
    /// How many more looks at the drain find something left.
    pub(super) drain_looks: AtomicU64,
    /// Runs that were asked for, and how often each was looked at.
    pub(super) runs_asked: Mutex<Vec<(AskRun, usize)>>,
    /// Why the recovery mode is on.
    pub(super) recovery: Mutex<Option<String>>,
    pub(super) located: Mutex<Lookup>,
    pub(super) locates: Mutex<Vec<Locate>>,
    pub(super) lists: Mutex<Vec<ListQuery>>,
    pub(super) page: Mutex<Page>,
    pub(super) parts: Mutex<Option<PartsPage>>,
    pub(super) parts_asked: Mutex<Vec<PartsQuery>>,
    pub(super) uploads_asked: Mutex<Vec<UploadsQuery>>,
    pub(super) bucket_changes: Mutex<Vec<BucketChange>>,
    pub(super) bucket_outcomes: Mutex<VecDeque<Result<i64, Refusal>>>,
    pub(super) versions_asked: Mutex<Vec<VersionsQuery>>,
    pub(super) versions_page: Mutex<VersionsPage>,
    pub(super) versioning_set: Mutex<Vec<SetVersioning>>,
    pub(super) queued: Mutex<Vec<ReplicationEntry>>,
    /// Deletes wait for it, to be decided after what came later.
    pub(super) late: Notify,
    pub(super) hellos: Mutex<Vec<Hello>>,
    pub(super) renewed: Mutex<Vec<(Uuid, Vec<Uuid>)>>,
    pub(super) closed: Mutex<Vec<Uuid>>,
    pub(super) usage: Mutex<BTreeMap<(Uuid, i64), UsageReport>>,
    /// How data planes saw the backends.
    pub(super) views: Mutex<Vec<(Uuid, Views)>>,
    /// Backends that were given up.
    pub(super) removed: Mutex<Vec<RemovalOrder>>,
    pub(super) reachable: AtomicBool,
    pub(super) config: watch::Sender<Arc<ClusterConfig>>,
}

impl Default for Fakes {
    fn default() -> Self {
        Self {
            requests: Mutex::default(),
            outcomes: Mutex::default(),
            drain_looks: AtomicU64::new(2),
            runs_asked: Mutex::default(),
            recovery: Mutex::default(),
            located: Mutex::new(Lookup::Nothing),
            locates: Mutex::default(),
            lists: Mutex::default(),
            page: Mutex::default(),
            parts: Mutex::default(),
            parts_asked: Mutex::default(),
            uploads_asked: Mutex::default(),
            bucket_changes: Mutex::default(),
            bucket_outcomes: Mutex::default(),
            versions_asked: Mutex::default(),
            versions_page: Mutex::default(),
            versioning_set: Mutex::default(),
            queued: Mutex::default(),
            late: Notify::new(),
            hellos: Mutex::default(),
            renewed: Mutex::default(),
            closed: Mutex::default(),
            usage: Mutex::default(),
            views: Mutex::default(),
            removed: Mutex::default(),
            reachable: AtomicBool::new(true),
            config: watch::Sender::new(Arc::new(config(1))),
        }
    }
}

pub(super) fn config(generation: i64) -> ClusterConfig {
    let bucket = |id, name: &str, state| BucketConfig {
        id: BucketId(id),
        name: name.parse().unwrap(),
        state,
        ack: AckLevel::One,
        replication_factor: 1,
        max_object_size: Some(5),
        created: Timestamp(7),
        lifecycle: vec![s3o_types::LifecycleRule {
            expire_after_days: Some(7),
            ..s3o_types::LifecycleRule::default()
        }],
        cors: vec![CorsRule {
            allowed_origins: vec!["*".into()],
            max_age_seconds: Some(9),
            ..CorsRule::default()
        }],
        versioning: Versioning::Off,
        lock: None,
        degraded_reads: DegradedReads::Cache,
    };
    ClusterConfig {
        generation,
        cluster: Uuid::from_u128(99),
        routing: Routing::Pack,
        backends: vec![BackendConfig {
            spec: BackendSpec {
                id: BackendId(3),
                name: "b3".into(),
                endpoint: "http://127.0.0.1:1".into(),
                region: "r".into(),
                bucket: "real".into(),
                place: Place::from_number(2),
                credentials: Credentials::Static {
                    access_key_id: "ak".into(),
                    secret_access_key: Secret::new("sk"),
                    session_token: None,
                },
                quirks: Quirks::default(),
            },
            state: BackendState::Active,
            quota_bytes: Some(1000),
            max_object_size: None,
            limits: UsageLimits { egress_bytes: Some(10), ..UsageLimits::default() },
            priority: 0,
            attached: true,
            removal: None,
        }],
        buckets: vec![bucket(1, "photos", BucketState::Active), bucket(2, "old", BucketState::Deleting)],
        credentials: vec![CredentialConfig {
            scopes: vec![(BucketId(2), Scope { prefix: "p/".into(), rights: Rights::READ })],
            access_key_id: "client".into(),
            secret_access_key: Secret::new("hush"),
            create_buckets: true,
            grants: vec![(BucketId(1), true)],
        }],
    }
}

#[async_trait]
impl Ledger for Fakes {
    async fn submit(&self, request: Request) -> Outcome {
        let late = matches!(request.call, Call::Delete(_));
        self.requests.lock().unwrap().push(request);
        if late {
            self.late.notified().await;
            return Outcome::Deleted { existed: true, version: None, delete_marker: false };
        }
        let next = self.outcomes.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Refusal::new(ErrorCode::ServiceUnavailable, "nothing prepared").into())
    }

    async fn locate(&self, query: Locate) -> Result<Lookup, Refusal> {
        self.locates.lock().unwrap().push(query);
        Ok(self.located.lock().unwrap().clone())
    }

    async fn list(&self, query: ListQuery) -> Result<Page, Refusal> {
        self.lists.lock().unwrap().push(query);
        Ok(self.page.lock().unwrap().clone())
    }
}

#[async_trait]
impl Sessions for Fakes {
    async fn open(&self, hello: Hello) -> Result<(), PortError> {
        self.hellos.lock().unwrap().push(hello);
        Ok(())
    }

    async fn renew(&self, session: Uuid, open_ops: Vec<Uuid>) -> Result<(), PortError> {
        if !self.database_reachable() {
            return Err(PortError::Unavailable("away".into()));
        }
        self.renewed.lock().unwrap().push((session, open_ops));
        Ok(())
    }

    async fn close(&self, session: Uuid) -> Result<(), PortError> {
        self.closed.lock().unwrap().push(session);
        Ok(())
    }

    async fn add_usage(&self, session: Uuid, report: UsageReport) -> Result<(), PortError> {
        self.usage.lock().unwrap().entry((session, report.number)).or_insert(report);
        Ok(())
    }

    fn database_reachable(&self) -> bool {
        self.reachable.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Configs for Fakes {
    fn current(&self) -> Arc<ClusterConfig> {
        self.config.borrow().clone()
    }

    async fn newer_than(&self, generation: i64) -> Arc<ClusterConfig> {
        let mut receiver = self.config.subscribe();
        receiver.wait_for(|config| config.generation > generation).await.unwrap().clone()
    }

    async fn newest(&self) -> Result<Arc<ClusterConfig>, PortError> {
        Ok(self.current())
    }

    async fn attach(&self, _: MarkerSeen) -> Result<(), PortError> {
        Ok(())
    }

    async fn detach(&self, _: MarkerPlace) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl Buckets for Fakes {
    async fn change(&self, change: BucketChange) -> Result<Result<i64, Refusal>, PortError> {
        self.bucket_changes.lock().unwrap().push(change);
        let next = self.bucket_outcomes.lock().unwrap().pop_front();
        next.ok_or_else(|| PortError::Unavailable("nothing prepared".into()))
    }

    async fn retire(&self) -> Result<Counts, PortError> {
        Ok(Counts::new())
    }
}

#[async_trait]
impl Queues for Fakes {
    async fn claim_cleanup(&self, _: Claim) -> Result<Vec<CleanupItem>, PortError> {
        Ok(Vec::new())
    }

    async fn finish_cleanup(
        &self,
        _: Uuid,
        _: Vec<(CleanupItem, CleanupResult)>,
    ) -> Result<Counts, PortError> {
        Ok(Counts::new())
    }

    async fn claim_expired_intents(&self, _: Claim) -> Result<Vec<Intent>, PortError> {
        Ok(Vec::new())
    }

    async fn release_intents(&self, _: Uuid, _: Vec<Op>) -> Result<(), PortError> {
        Ok(())
    }

    async fn depths(&self) -> Result<QueueDepths, PortError> {
        Ok(QueueDepths { cleanup: 5, dead_letters: 6, intents: 7 })
    }
}

#[async_trait]
impl Overview for Fakes {
    async fn backend_usage(&self) -> Result<Vec<(BackendId, Usage, BackendUsage)>, PortError> {
        let usage = Usage { used: 10, reserved: 20, orphaned: 30, objects: 4 };
        let requests = BTreeMap::from([("get".to_owned(), 2), ("put".to_owned(), 3)]);
        let month = BackendUsage { requests, ingress_bytes: 8, egress_bytes: 9 };
        Ok(vec![(BackendId(3), usage, month)])
    }

    async fn sessions(&self) -> Result<Vec<(Hello, bool)>, PortError> {
        Ok(self.hellos.lock().unwrap().iter().map(|hello| (hello.clone(), true)).collect())
    }

    async fn record_tick(&self, _: &str, _: &str, _: Result<(), String>) -> Result<(), PortError> {
        Ok(())
    }

    async fn workers(&self) -> Result<Vec<WorkerStatus>, PortError> {
        Ok(vec![WorkerStatus {
            name: "cleanup_queue".into(),
            instance: "replica-2".into(),
            last_success: Some(Timestamp(1_000_000)),
            last_failure: None,
            last_error: None,
            consecutive_failures: 0,
        }])
    }

    async fn waiting(&self, worker: &str) -> Result<Option<u64>, PortError> {
        match worker {
            "cleanup_queue" => Ok(Some(5)),
            "broken" => Err(PortError::Unavailable("for a moment".to_owned())),
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl Drains for Fakes {
    async fn drain(&self, name: &str) -> Result<bool, PortError> {
        Ok(name == "b3")
    }

    async fn undrain(&self, name: &str) -> Result<bool, PortError> {
        Ok(name == "b3")
    }

    /// Each look finds less.
    async fn drains(&self) -> Result<Vec<Drain>, PortError> {
        let left = self.drain_looks.fetch_sub(1, Ordering::SeqCst).saturating_sub(1);
        Ok(vec![Drain {
            backend: BackendId(3),
            name: "b3".into(),
            asked: true,
            objects: left,
            bytes: 10 * left,
            other_bytes: left,
            waiting: left,
            done: left == 0,
            removal: None,
        }])
    }

    async fn retire(&self) -> Result<u64, PortError> {
        Ok(0)
    }
}

#[async_trait]
impl WorkerControl for Fakes {
    async fn run(&self, name: &str) -> Result<Counts, Option<String>> {
        match name {
            "cleanup_queue" => Ok(Counts::from([("success".to_owned(), 2)])),
            "broken" => Err(Some("it broke".into())),
            _ => Err(None),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        vec!["cleanup_queue", "broken"]
    }
}

#[async_trait]
impl Rebalancing for Fakes {
    async fn rebalance(
        &self,
        wish: RebalanceWish,
        mut tell: Box<dyn FnMut(Move, RebalanceTotals) + Send>,
    ) -> Result<RebalanceTotals, String> {
        if wish.batch == 0 {
            return Err("a run goes on already".to_owned());
        }
        let totals = RebalanceTotals {
            planned_bytes: u64::from(wish.threshold_percent),
            moved: 1,
            moved_bytes: 9,
            failed: 0,
        };
        let result = (!wish.dry_run).then(|| Err(wish.strategy.as_str().to_owned()));
        let (bucket, key) = ("photos".to_owned(), "k".to_owned());
        tell(Move { bucket, key, from: "b1".to_owned(), to: "b2".to_owned(), size: 9, result }, totals);
        Ok(totals)
    }

    fn usual(&self) -> RebalanceWish {
        RebalanceWish { strategy: Routing::Spread, threshold_percent: 10, batch: 5, dry_run: false }
    }
}

#[async_trait]
impl ObjectScrub for Fakes {
    async fn scrub_object(
        &self,
        object: ScrubObject,
        mut tell: Box<dyn FnMut(ScrubbedCopy) + Send>,
    ) -> Result<(), Refusal> {
        if object.key != "photo" {
            return Err(Refusal::new(ErrorCode::NoSuchKey, "there is no object"));
        }
        for verdict in [Verdict::Good, Verdict::Unread("b2 is down".to_owned())] {
            tell(ScrubbedCopy {
                version: VersionId::mint(1, 1),
                extent: Extent::ZERO,
                backend: "b1".to_owned(),
                storage_key: "k".to_owned(),
                size: 3,
                verdict,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Replication for Fakes {
    async fn claim_versions(&self, _: CopyTask, _: Claim) -> Result<Vec<ReplicationItem>, PortError> {
        Ok(vec![])
    }

    async fn finish_versions(
        &self,
        _: Uuid,
        _: Vec<(ReplicationItem, ReplicationResult)>,
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn queue_versions(&self, entries: Vec<ReplicationEntry>) -> Result<(), PortError> {
        self.queued.lock().unwrap().extend(entries);
        Ok(())
    }

    async fn copies(&self, _: CopiesQuery) -> Result<Option<CopiesPage>, PortError> {
        Ok(None)
    }

    async fn waiting(&self, _: CopyTask) -> Result<u64, PortError> {
        Ok(0)
    }

    async fn note_views(&self, viewer: Uuid, views: Views) -> Result<(), PortError> {
        self.views.lock().unwrap().push((viewer, views));
        Ok(())
    }

    async fn unhealthy(
        &self,
        _: Uuid,
        _: Vec<(BackendId, Option<i64>)>,
        _: i64,
    ) -> Result<Vec<BackendId>, PortError> {
        Ok(vec![])
    }

    async fn scan(&self, _: &[BackendId]) -> Result<Option<Counts>, PortError> {
        Ok(None)
    }
}

#[async_trait]
impl Uploads for Fakes {
    async fn parts(&self, query: PartsQuery) -> Result<Option<PartsPage>, PortError> {
        self.parts_asked.lock().unwrap().push(query);
        Ok(self.parts.lock().unwrap().clone())
    }

    async fn uploads(&self, query: UploadsQuery) -> Result<UploadsPage, PortError> {
        self.uploads_asked.lock().unwrap().push(query);
        let uploads = self.parts.lock().unwrap().iter().map(|page| page.upload.clone()).collect();
        Ok(UploadsPage { uploads, truncated: true })
    }

    async fn stale_uploads(&self, _: i64, _: u32) -> Result<Vec<UploadRow>, PortError> {
        Ok(vec![])
    }

    async fn prune_uploads(&self) -> Result<Counts, PortError> {
        Ok(Counts::from([("pruned".to_owned(), 0)]))
    }

    async fn active_uploads(&self) -> Result<Vec<(BackendId, u64)>, PortError> {
        Ok(vec![])
    }
}

#[async_trait]
impl Versions for Fakes {
    async fn list_versions(&self, query: VersionsQuery) -> Result<VersionsPage, Refusal> {
        self.versions_asked.lock().unwrap().push(query);
        Ok(self.versions_page.lock().unwrap().clone())
    }

    async fn versioning(&self, bucket: BucketId) -> Result<Option<Versioning>, PortError> {
        Ok((bucket == BucketId(1)).then_some(Versioning::Suspended))
    }

    async fn set_versioning(&self, set: SetVersioning) -> Result<(), Refusal> {
        self.versioning_set.lock().unwrap().push(set);
        Ok(())
    }
}

#[async_trait]
impl s3o_core::ports::Recovery for Fakes {
    async fn recovery(&self) -> Result<Option<String>, PortError> {
        Ok(self.recovery.lock().unwrap().clone())
    }

    async fn enter_recovery(&self, _: &str) -> Result<(), PortError> {
        Ok(())
    }

    async fn pass_numbers(&self, _: &str) -> Result<(), PortError> {
        Ok(())
    }

    async fn holds_journal(&self) -> Result<bool, PortError> {
        Ok(false)
    }

    async fn journal_looked_at(&self, _: &str) -> Result<(), PortError> {
        Ok(())
    }

    async fn server_start(&self) -> Result<String, PortError> {
        Ok(String::new())
    }

    async fn may_delete(&self) -> Result<bool, PortError> {
        Ok(true)
    }

    async fn end_recovery(&self) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl s3o_core::ports::Recovering for Fakes {
    async fn recover(&self, _: Vec<String>) -> Result<s3o_core::restore::RestoreReport, String> {
        Err("nothing is to be recovered".to_owned())
    }
}
