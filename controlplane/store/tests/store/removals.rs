//! Backends that are given up: what a preview counts, when an order is taken, and what goes.

use crate::support::{World, declared, eventually, op, raw};
use s3o_core::call::{Call, GiveUp, Outcome};
use s3o_core::journal::StoredFile;
use s3o_core::ports::{Drains, Journal, Ledger, Maintenance, Queues, Recovery, Removals, Restore};
use s3o_core::removal::{NotRemoved, Removal, RemovalMode, RemovalOrder, RemovalPreview, RemovalSeen};
use s3o_core::{cleanup::Claim, removal::HeldCopy};
use s3o_types::{AckLevel, BackendId, ErrorCode, Place, Seq};
use uuid::Uuid;

const B0: BackendId = BackendId(1);

impl World {
    async fn preview(&self) -> RemovalPreview {
        self.store.preview_removal("b0").await.unwrap().unwrap()
    }

    pub(crate) async fn order(&self, mode: RemovalMode, accepts_losses: bool) -> RemovalOrder {
        let RemovalSeen { now_us, drained_us, place, log_head } = self.preview().await.seen;
        let removal = Removal { mode, losses_upto: accepts_losses.then_some(log_head) };
        RemovalOrder { backend: B0, removal, drained_us, place, until_us: now_us + 60_000_000 }
    }

    async fn give_up(&self, copy: HeldCopy) -> Outcome {
        let HeldCopy { of, r#gen } = copy;
        self.store.submit(self.request(op(), Call::GiveUp(GiveUp { of, backend: B0, r#gen }))).await
    }

    /// For its turn to change how a backend is given up: `LOCK_REMOVALS`.
    async fn until_one_waits(&self) {
        eventually("it waits for its turn", async || {
            let waits = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                         WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = 1932750598
                           AND NOT l.granted";
            self.count(waits).await == 1
        })
        .await;
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
    let removal = Removal { mode: RemovalMode::Purge, losses_upto: Some(Seq(99)) };
    let (drained_us, place) = (0, Place::FIRST);
    let order = RemovalOrder { backend: B0, removal, drained_us, place, until_us: i64::MAX };
    assert_eq!(world.store.remove("b0", order).await.unwrap(), Err(NotRemoved::NotDrained));
    let unknown = RemovalOrder { backend: BackendId(99), ..order };
    assert_eq!(world.store.remove("b0", unknown).await.unwrap(), Err(NotRemoved::Unknown));

    assert!(world.store.drain("b0").await.unwrap());
    let order = world.order(RemovalMode::Purge, true).await;
    assert_eq!(world.store.remove("b1", order).await.unwrap(), Err(NotRemoved::Unknown), "another's");
    for changed in [
        RemovalOrder { until_us: order.until_us - 120_000_000, ..order },
        RemovalOrder { drained_us: order.drained_us - 1, ..order },
        RemovalOrder { place: Place::from_number(order.place.number() + 1), ..order },
    ] {
        assert_eq!(world.store.remove("b0", changed).await.unwrap(), Err(NotRemoved::Expired));
    }
    assert!(world.store.removals().await.unwrap().is_empty());
    assert_eq!(world.store.remove("b0", order).await.unwrap(), Ok(()));
    assert_eq!(world.store.removals().await.unwrap(), [(B0, order.removal)]);
    let again = RemovalOrder { until_us: 0, ..order };
    assert_eq!(world.store.remove("b0", again).await.unwrap(), Ok(()), "its first answer was lost");
    let drains = world.store.drains().await.unwrap();
    assert_eq!(drains[0].removal, Some(order.removal));
    assert!(world.store.drain("b0").await.unwrap(), "to ask for the drain again changes nothing");
    assert_eq!(world.store.removals().await.unwrap().len(), 1);
    // The drain is taken back, and asked for again: what was confirmed once is not.
    let generation = "SELECT value::bigint FROM settings WHERE name = 'generation'";
    let before = world.count(generation).await;
    assert!(world.store.undrain("b0").await.unwrap());
    assert_eq!(world.count(generation).await, before + 1, "one change");
    assert!(world.store.removals().await.unwrap().is_empty());
    assert!(world.store.drain("b0").await.unwrap());
    assert!(world.store.removals().await.unwrap().is_empty());
    assert_eq!(world.store.remove("b0", order).await.unwrap(), Err(NotRemoved::Expired), "of another drain");
}

/// Whoever lets copies go shares the backend with others who do, one batch after the other: who takes the drain back has its
/// turn before those that come later, and holds nobody up who writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_take_a_drain_back_is_not_overtaken() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    world.store.drain("b0").await.unwrap();
    let order = world.order(RemovalMode::Purge, true).await;
    world.store.remove("b0", order).await.unwrap().unwrap();
    let held = world.store.held_copies(B0, None, 10).await.unwrap();
    // As a batch under way: `LOCK_REMOVALS`, and the row.
    let batch = raw(&world.url).await;
    batch.batch_execute("BEGIN; SELECT pg_advisory_xact_lock_shared(1932750598, 1)").await.unwrap();
    batch.batch_execute("SELECT FROM backends WHERE id = 1 FOR SHARE").await.unwrap();
    let store = world.store.clone();
    let undrain = tokio::spawn(async move { store.undrain("b0").await });
    world.until_one_waits().await;
    let free = "BEGIN; SELECT FROM backend_usage WHERE slot = 0 FOR UPDATE NOWAIT; COMMIT";
    world.sql.batch_execute(free).await.unwrap();
    let refused = world.give_up(held[0].clone()).await;
    assert!(matches!(refused, Outcome::Refused(ref why) if why.code == ErrorCode::PreconditionFailed));
    assert_eq!(world.store.forget_queued(B0, 10).await.unwrap(), 0);
    batch.batch_execute("COMMIT").await.unwrap();
    assert!(undrain.await.unwrap().unwrap());
    assert!(world.store.removals().await.unwrap().is_empty());
    assert_eq!(world.count("SELECT count(*) FROM objects").await, 1);
}

/// Neither for its bucket, of which another factor is declared, nor for the backend's place, which is another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_waits_for_its_turn_holds_no_commit_up() {
    let world = World::copied(AckLevel::One, 1).await;
    world.store.drain("b0").await.unwrap();
    let batch = raw(&world.url).await;
    batch.batch_execute("BEGIN; SELECT pg_advisory_xact_lock_shared(1932750598, 1)").await.unwrap();
    let mut other = declared(&[None, None, None]);
    other.backends[2].endpoint = "http://127.0.0.1:9999".to_owned();
    other.buckets[0].replication_factor = 2;
    let store = world.store.clone();
    let reload = tokio::spawn(async move { store.apply_declared(&other, "other").await });
    world.until_one_waits().await;
    world.put("k", 10).await;
    batch.batch_execute("COMMIT").await.unwrap();
    reload.await.unwrap().unwrap();
    let moved = "SELECT count(*) FROM backends WHERE spec->>'endpoint' = 'http://127.0.0.1:9999'";
    assert_eq!(world.count(moved).await, 1);
}

/// One that no file declares is drained by itself: there is no drain to take back, but the removal is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_taken_back_whoever_began_the_drain() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    let mut without = declared(&[None, None, None]);
    without.backends.remove(0);
    world.store.apply_declared(&without, "without b0").await.unwrap();
    assert!(!world.store.undrain("b0").await.unwrap());
    let order = world.order(RemovalMode::Forget, true).await;
    world.store.remove("b0", order).await.unwrap().unwrap();
    assert!(world.store.undrain("b0").await.unwrap(), "the removal is taken back");
    assert!(world.store.removals().await.unwrap().is_empty());
    let order = world.order(RemovalMode::Forget, true).await;
    world.store.remove("b0", order).await.unwrap().unwrap();
    world.store.apply_declared(&declared(&[None, None, None]), "with b0 again").await.unwrap();
    assert!(world.store.removals().await.unwrap().is_empty(), "it is declared again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_in_the_recovery_mode() {
    let world = World::copied(AckLevel::One, 1).await;
    world.put("k", 10).await;
    world.put("gone", 10).await;
    world.store.submit(world.delete(op(), "gone")).await;
    world.store.drain("b0").await.unwrap();
    let order = world.order(RemovalMode::Forget, true).await;
    world.store.remove("b0", order).await.unwrap().unwrap();
    world.store.enter_recovery("another timeline").await.unwrap();
    let held = world.store.held_copies(B0, None, 10).await.unwrap();
    let refused = world.give_up(held[0].clone()).await;
    assert!(matches!(refused, Outcome::Refused(ref why) if why.code == ErrorCode::PreconditionFailed));
    assert_eq!(world.store.forget_queued(B0, 10).await.unwrap(), 0);
    world.store.restore_begin().await.unwrap();
    world.store.end_recovery().await.unwrap();
    assert_eq!(world.store.forget_queued(B0, 10).await.unwrap(), 1);
    assert!(matches!(world.give_up(held[0].clone()).await, Outcome::Deleted { .. }));
    world.audit().await;
}

/// What another backend is said to have counts only where that one is relied on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_on_backends_that_are_down_lost_or_unattached_count_for_nothing() {
    let world = World::copied(AckLevel::All, 2).await;
    world.put("k", 10).await;
    world.store.drain("b0").await.unwrap();
    assert_eq!(world.preview().await.last_copies, 0);
    let order = world.order(RemovalMode::Purge, false).await;
    world.store.remove("b0", order).await.unwrap().unwrap();
    let held = world.store.held_copies(B0, None, 10).await.unwrap();
    for (bad, good) in [
        ("UPDATE backends SET attached = false WHERE name <> 'b0'", "UPDATE backends SET attached = true"),
        (
            "INSERT INTO copy_scans (kind, subject) SELECT 'unhealthy', id FROM backends WHERE name <> 'b0'",
            "DELETE FROM copy_scans WHERE kind = 'unhealthy'",
        ),
        (
            "INSERT INTO backend_views (replica, backend, down_us, seen)
             SELECT gen_random_uuid(), id, 1, now() + interval '1 day' FROM backends WHERE name <> 'b0'",
            "INSERT INTO backend_views (replica, backend, seen)
             SELECT gen_random_uuid(), id, now() + interval '1 day' FROM backends",
        ),
    ] {
        world.sql.batch_execute(bad).await.unwrap();
        assert_eq!(world.preview().await.last_copies, 1, "{bad}");
        let refused = world.give_up(held[0].clone()).await;
        assert!(matches!(refused, Outcome::Refused(ref why) if why.code == ErrorCode::PreconditionFailed));
        world.sql.batch_execute(good).await.unwrap();
    }
    assert_eq!(world.give_up(held[0].clone()).await, Outcome::CopyChanged);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_go_one_by_one_and_the_last_ones_by_leave() {
    let world = World::copied(AckLevel::All, 2).await;
    for n in 0..3 {
        world.put(&format!("k{n}"), 10).await;
    }
    world.want(AckLevel::One, 2).await;
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
    world.store.remove("b0", careful).await.unwrap().unwrap();
    for copy in &held[..3] {
        assert_eq!(world.give_up(copy.clone()).await, Outcome::CopyChanged);
    }
    let refused = world.give_up(held[3].clone()).await;
    assert!(matches!(refused, Outcome::Refused(ref why) if why.code == ErrorCode::PreconditionFailed));
    assert_eq!(world.count("SELECT count(*) FROM replication_queue WHERE task = 'add'").await, 4);
    world.audit().await;
    let bold = world.order(RemovalMode::Purge, true).await;
    world.store.remove("b0", bold).await.unwrap().unwrap();
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
    world.store.remove("b0", purge).await.unwrap().unwrap();
    assert_eq!(world.store.forget_queued(B0, 1).await.unwrap(), 1);
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 1);
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 0);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_queue WHERE attempts = 0").await, 5, "tried again");
    world.audit().await;

    world.sql.batch_execute(dead).await.unwrap();
    world.sql.batch_execute(moved).await.unwrap();
    let file = |number: u64, backend| StoredFile {
        backend,
        storage_key: format!(".s3o/journal/{number}"),
        number,
        bytes: 10,
    };
    for file in [file(1, B0), file(1, BackendId(2)), file(2, B0)] {
        world.store.note_journal_file(&file).await.unwrap();
        assert!(world.store.journal_file_stored(file.backend, &file.storage_key).await.unwrap());
    }
    assert_eq!(world.store.journal_hole().await.unwrap(), None);
    let forget = world.order(RemovalMode::Forget, false).await;
    world.store.remove("b0", forget).await.unwrap().unwrap();
    assert_eq!(world.claimable().await, 0);
    assert_eq!(world.store.forget_queued(B0, 2).await.unwrap(), 6, "two of each kind");
    assert_eq!(world.store.journal_hole().await.unwrap(), Some(2), "nobody else has it");
    assert!(!world.store.journal_file_stored(B0, ".s3o/journal/1").await.unwrap(), "a PUT that ends late");
    assert_eq!(world.store.forget_queued(B0, 100).await.unwrap(), 1);
    assert_eq!(world.count("SELECT count(*) FROM cleanup_dlq").await, 0);
    assert_eq!(world.count("SELECT sum(orphaned)::bigint FROM backend_usage").await, 0);
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_at_copies_of_versions_that_are_gone_are_forgotten() {
    let world = World::copied(AckLevel::One, 2).await;
    world.put("k", 10).await;
    let living = "INSERT INTO copy_attempts (version, extent, attempts) SELECT version, 0, 1 FROM objects";
    world.sql.batch_execute(living).await.unwrap();
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
