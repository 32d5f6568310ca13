//! What operators look at, and the ports of background work.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use s3o_core::call::Refusal;
use s3o_core::cleanup::{Claim, CleanupItem, CleanupResult, QueueDepths};
use s3o_core::config::Routing;
use s3o_core::intent::Intent;
use s3o_core::ports::{
    Drains, ObjectScrub, Overview, PortError, Queues, Rebalancing, Replication, WorkerControl,
};
use s3o_core::rebalance::{Move, RebalanceTotals, RebalanceWish};
use s3o_core::replication::{
    CopiesPage, CopiesQuery, CopyTask, Drain, ReplicationEntry, ReplicationItem, ReplicationResult,
};
use s3o_core::scrub::{ScrubObject, ScrubbedCopy, Verdict};
use s3o_core::session::{BackendUsage, Hello};
use s3o_core::usage::Usage;
use s3o_core::worker::{Counts, WorkerStatus};
use s3o_types::{BackendId, ErrorCode, Extent, Op, Timestamp, VersionId};
use uuid::Uuid;

use super::{Fakes, Views};

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
