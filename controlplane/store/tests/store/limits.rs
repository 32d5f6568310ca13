//! Monthly limits on a real database: declared, read back, and held against what was reported of the month.

use std::collections::BTreeMap;

use crate::support::{World, begun, declared, op};
use s3o_core::call::Outcome;
use s3o_core::cleanup::Claim;
use s3o_core::ports::{Configs, Ledger, Overview, Reconciliation, Scrubs, Sessions};
use s3o_core::scrub::{SCRUB_BATCH, ScrubPace};
use s3o_core::session::{BackendUsage, UsageReport};
use s3o_types::{BackendId, ErrorCode, UsageLimit, UsageLimits};

/// `b0` and `b1`, which take 100 bytes and 50 bytes a month.
async fn limited() -> (World, Vec<BackendId>) {
    let world = World::new(&[None, None]).await;
    let mut limited = declared(&[None, None]);
    for (backend, bytes) in limited.backends.iter_mut().zip([100, 50]) {
        backend.limits.ingress_bytes = Some(bytes);
    }
    world.store.apply_declared(&limited, "limits").await.unwrap();
    let config = world.store.newest().await.unwrap();
    let known: Vec<Option<u64>> = config.backends.iter().map(|b| b.limits.ingress_bytes).collect();
    assert_eq!(known, [Some(100), Some(50)], "as they were declared");
    (world, config.backends.iter().map(|b| b.spec.id).collect())
}

impl World {
    async fn sent(&self, number: i64, backend: BackendId, bytes: u64) {
        let usage = BackendUsage { ingress_bytes: bytes, ..BackendUsage::default() };
        let report = UsageReport { number, usage: BTreeMap::from([(backend, usage)]) };
        self.store.add_usage(self.session, report).await.unwrap();
    }

    async fn placed(&self, size: u64) -> BackendId {
        begun(self.store.submit(self.begin(op(), "k", size)).await).1[0].backend
    }
}

#[tokio::test]
async fn what_was_reported_of_this_month_counts() {
    let (world, ids) = limited().await;
    let before = "INSERT INTO monthly_usage (month, backend, api_class, ingress_bytes)
                  SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date, id, 'put', 1000
                  FROM backends";
    world.sql.batch_execute(before).await.unwrap();
    assert_eq!(world.placed(100).await, ids[0], "the month before is over");
    world.sent(1, ids[0], 60).await;
    world.sent(2, ids[0], 30).await;
    assert_eq!((world.placed(10).await, world.placed(11).await), (ids[0], ids[1]));
    world.sent(3, ids[1], 40).await;
    let Outcome::Refused(refusal) = world.store.submit(world.begin(op(), "k", 11)).await else {
        panic!("no month has 11 bytes left")
    };
    assert_eq!(
        (refusal.code, refusal.limit),
        (ErrorCode::InsufficientStorage, Some(UsageLimit::IngressBytes))
    );
    let rejections = world.store.stats().writes.limit_rejections;
    assert_eq!(rejections, BTreeMap::from([(("put", UsageLimit::IngressBytes), 1)]));
    // Taken out of the file, it is no limit any more.
    world.store.apply_declared(&declared(&[None, None]), "none").await.unwrap();
    assert_eq!(world.placed(1000).await, ids[0]);
    assert_eq!(world.count("SELECT count(*) FROM backends WHERE usage_limits IS NOT NULL").await, 0);
    world.audit().await;
}

#[tokio::test]
async fn whose_month_is_used_up_is_not_scrubbed_nor_listed_unasked() {
    let (world, ids) = limited().await;
    let mut all = declared(&[None, None]);
    all.backends[0].limits = UsageLimits { egress_bytes: Some(5), ..UsageLimits::default() };
    world.store.apply_declared(&all, "egress").await.unwrap();
    let config = world.store.newest().await.unwrap();
    assert!(world.store.spent(&config).await.unwrap().is_empty(), "nothing was read yet");
    let usage = BackendUsage { egress_bytes: 5, ..BackendUsage::default() };
    let report = UsageReport { number: 1, usage: BTreeMap::from([(ids[0], usage)]) };
    world.store.add_usage(world.session, report).await.unwrap();
    let spent = world.store.spent(&config).await.unwrap();
    assert_eq!(spent, [ids[0]]);

    let pace = ScrubPace { bytes_per_hour: 1 << 40, rest_s: 0 };
    let claim = Claim { owner: world.owner().await, lasts_us: 60_000_000, limit: SCRUB_BATCH, due_for_us: 0 };
    world.store.claim_scrub(claim, pace, &spent).await.unwrap();
    let refill = "UPDATE scrub_cursors SET refilled = now() - interval '1 hour', claimed_by = NULL";
    world.sql.batch_execute(refill).await.unwrap();
    let batch = world.store.claim_scrub(claim, pace, &spent).await.unwrap().unwrap();
    assert_eq!(batch.backend, ids[1]);
    assert_eq!(world.store.claim_scrub(claim, pace, &ids).await.unwrap(), None);
    assert_eq!(world.store.ask_due(0, &spent).await.unwrap(), 1, "the other one");
}
