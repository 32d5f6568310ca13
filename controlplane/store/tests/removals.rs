//! Backends that are given up: what a preview counts, when an order is taken, and what goes.
#![allow(clippy::unwrap_used)]

mod support;

use s3o_core::call::{Call, GiveUp, Outcome};
use s3o_core::ports::{Drains, Ledger, Maintenance, Queues, Removals};
use s3o_core::removal::{NotRemoved, Removal, RemovalMode, RemovalOrder, RemovalPreview};
use s3o_core::{cleanup::Claim, removal::HeldCopy};
use s3o_types::{AckLevel, BackendId, ErrorCode};
use support::{World, op};
use uuid::Uuid;

const B0: BackendId = BackendId(1);

impl World {
    async fn preview(&self) -> RemovalPreview {
        self.store.preview_removal("b0").await.unwrap().unwrap()
    }

    async fn order(&self, mode: RemovalMode, accepts_losses: bool) -> RemovalOrder {
        let until_us = self.preview().await.now_us + 60_000_000;
        RemovalOrder { backend: B0, removal: Removal { mode, accepts_losses }, until_us }
    }

    async fn give_up(&self, copy: HeldCopy) -> Outcome {
        let HeldCopy { of, r#gen } = copy;
        self.store.submit(self.request(op(), Call::GiveUp(GiveUp { of, backend: B0, r#gen }))).await
    }

    async fn claimable(&self) -> usize {
        self.sql.batch_execute("UPDATE cleanup_queue SET not_before = now()").await.unwrap();
        let claim = Claim { owner: Uuid::new_v4(), lasts_us: 1, limit: 100, due_for_us: 0 };
        self.store.claim_cleanup(claim).await.unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_taken_for_a_drained_backend_and_in_time() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    let preview = world.store.preview_removal("b0").await.unwrap();
    assert_eq!(preview, Err(NotRemoved::NotDrained));
    assert_eq!(world.store.preview_removal("nobody").await.unwrap(), Err(NotRemoved::Unknown));
    let removal = Removal { mode: RemovalMode::Purge, accepts_losses: true };
    let order = RemovalOrder { backend: B0, removal, until_us: i64::MAX };
    assert_eq!(world.store.remove(order).await.unwrap(), Err(NotRemoved::NotDrained));
    let unknown = RemovalOrder { backend: BackendId(99), ..order };
    assert_eq!(world.store.remove(unknown).await.unwrap(), Err(NotRemoved::Unknown));

    assert!(world.store.drain("b0").await.unwrap());
    let now_us = world.preview().await.now_us;
    let late = RemovalOrder { until_us: now_us - 1, ..order };
    assert_eq!(world.store.remove(late).await.unwrap(), Err(NotRemoved::Expired));
    assert!(world.store.removals().await.unwrap().is_empty());
    let in_time = RemovalOrder { until_us: now_us + 60_000_000, ..order };
    assert_eq!(world.store.remove(in_time).await.unwrap(), Ok(()));
    assert_eq!(world.store.removals().await.unwrap(), [(B0, removal)]);
    let drains = world.store.drains().await.unwrap();
    assert_eq!(drains[0].removal, Some(removal));
    // The drain is taken back, and asked for again: what was confirmed once is not.
    assert!(world.store.undrain("b0").await.unwrap());
    assert!(world.store.removals().await.unwrap().is_empty());
    assert!(world.store.drain("b0").await.unwrap());
    assert!(world.store.removals().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_go_one_by_one_and_the_last_ones_by_leave() {
    let world = World::copied(AckLevel::One, 2).await;
    for n in 0..3 {
        let key = format!("k{n}");
        let (version, _) = world.put(&key, 10).await;
        assert!(matches!(world.copy(&key, 10, version).await, Outcome::Committed { .. }));
    }
    world.put("only", 10).await;
    world.store.drain("b0").await.unwrap();
    let preview = world.preview().await;
    let RemovalPreview { objects, bytes, imported, last_copies, uploads, .. } = preview;
    assert_eq!((objects, bytes, imported, last_copies, uploads), (4, 40, 0, 1, 0));
    let first = world.store.held_copies(B0, None, 1).await.unwrap();
    let after = Some((first[0].of.version, first[0].of.extent));
    let rest = world.store.held_copies(B0, after, 100).await.unwrap();
    assert_eq!((first.len(), rest.len()), (1, 3));
    let held: Vec<HeldCopy> = first.into_iter().chain(rest).collect();

    let refused = world.give_up(held[0].clone()).await;
    assert!(matches!(refused, Outcome::Refused(ref why) if why.code == ErrorCode::PreconditionFailed));
    let careful = world.order(RemovalMode::Purge, false).await;
    world.store.remove(careful).await.unwrap().unwrap();
    for copy in &held[..3] {
        assert_eq!(world.give_up(copy.clone()).await, Outcome::CopyChanged);
    }
    let refused = world.give_up(held[3].clone()).await;
    assert!(matches!(refused, Outcome::Refused(ref why) if why.code == ErrorCode::PreconditionFailed));
    assert_eq!(world.count("SELECT count(*) FROM replication_queue WHERE task = 'add'").await, 4);
    world.audit().await;
    let bold = world.order(RemovalMode::Purge, true).await;
    world.store.remove(bold).await.unwrap().unwrap();
    let lost = world.give_up(held[3].clone()).await;
    assert_eq!(lost, Outcome::Deleted { existed: true, version: None, delete_marker: false });
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 3);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE reason = 'given_up'").await, 3);
    world.audit().await;
    assert_eq!(world.claimable().await, 4, "a purge lets the queue do its work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_not_asked_for_and_counts_no_more() {
    let world = World::copied(AckLevel::One, 1).await;
    for n in 0..5 {
        world.put(&format!("k{n}"), 10).await;
        world.store.submit(world.delete(op(), &format!("k{n}"))).await;
    }
    let dead = "INSERT INTO cleanup_dlq (id, kind, backend, storage_key, version, extent, gen, backend_version, size,
                    reason, uncertain, second_pass, attempts, last_error, queued)
                SELECT id, kind, backend, storage_key, version, extent, gen, backend_version, size, reason, uncertain,
                    second_pass, 10, 'no', queued FROM cleanup_queue ORDER BY id LIMIT 2";
    world.sql.batch_execute(dead).await.unwrap();
    let moved = "DELETE FROM cleanup_queue WHERE id IN (SELECT id FROM cleanup_dlq)";
    world.sql.batch_execute(moved).await.unwrap();
    world.store.drain("b0").await.unwrap();
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 0, "it is not given up");
    let purge = world.order(RemovalMode::Purge, false).await;
    world.store.remove(purge).await.unwrap().unwrap();
    assert_eq!(world.store.forget_queued(B0, 1).await.unwrap(), 1);
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 1);
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 0);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE attempts = 0").await, 5, "tried again");
    world.audit().await;

    world.sql.batch_execute(dead).await.unwrap();
    world.sql.batch_execute(moved).await.unwrap();
    let forget = world.order(RemovalMode::Forget, false).await;
    world.store.remove(forget).await.unwrap().unwrap();
    assert_eq!(world.claimable().await, 0);
    assert_eq!(world.store.forget_queued(B0, 2).await.unwrap(), 4, "two of each kind");
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 1);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_dlq").await, 0);
    assert_eq!(world.count("SELECT sum(orphaned)::bigint FROM backend_usage").await, 0);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_at_copies_of_versions_that_are_gone_are_forgotten() {
    let world = World::copied(AckLevel::One, 2).await;
    let (version, _) = world.put("k", 10).await;
    world.copy("k", 10, version).await;
    // As a Begin leaves them that was decided while its version was deleted.
    let orphans = "INSERT INTO copy_attempts (version, extent, attempts)
                   SELECT gen_random_uuid(), 0, 1 FROM generate_series(1, 1500)";
    world.sql.batch_execute(orphans).await.unwrap();
    let (next, first) = world.store.prune_copy_attempts(None).await.unwrap();
    let (end, second) = world.store.prune_copy_attempts(next).await.unwrap();
    assert!(next.is_some() && end.is_none());
    assert_eq!(first + second, 1500);
    assert_eq!(world.count("SELECT count(*) FROM copy_attempts").await, 1, "that of the living");
}
