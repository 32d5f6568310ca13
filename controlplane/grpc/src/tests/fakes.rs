//! Ports that remember what they were asked and answer what they were told to.

mod background;
mod cluster;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use s3o_core::bucket::BucketChange;
use s3o_core::call::{Call, Outcome, Refusal, Request};
use s3o_core::config::{ClusterConfig, MarkerPlace, MarkerSeen};
use s3o_core::listing::{ListQuery, Page};
use s3o_core::object::{Locate, Lookup};
use s3o_core::ports::{Buckets, Configs, Ledger, PortError, Sessions, Uploads, Versions};
use s3o_core::reconcile::AskRun;
use s3o_core::removal::RemovalOrder;
use s3o_core::replication::ReplicationEntry;
use s3o_core::session::{Hello, UsageReport};
use s3o_core::upload::{PartsPage, PartsQuery, UploadRow, UploadsPage, UploadsQuery};
use s3o_core::versions::{SetVersioning, VersionsPage, VersionsQuery};
use s3o_core::worker::Counts;
use s3o_types::{BackendId, BucketId, ErrorCode, Versioning};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

pub(super) use cluster::config;

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
