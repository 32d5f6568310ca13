//! The scrubber's rounds and the rebalancer's runs on a real database: whose turn it is, how much, where it goes on.

use crate::support::World;
use s3o_core::cleanup::Claim;
use s3o_core::ports::{Rebalances, Scrubs, Sessions};
use s3o_core::rebalance::Transfer;
use s3o_core::scrub::{SCRUB_BATCH, ScrubBatch, ScrubPace, ScrubProgress};
use s3o_types::{AckLevel, BackendId, Extent, VersionId};
use uuid::Uuid;

const ALL: ScrubPace = ScrubPace { bytes_per_hour: 1 << 40, rest_s: 0 };

impl World {
    async fn claim(&self, owner: Uuid, pace: ScrubPace) -> Option<ScrubBatch> {
        let claim = Claim { owner, lasts_us: 60_000_000, limit: SCRUB_BATCH, due_for_us: 0 };
        self.store.claim_scrub(claim, pace, &[]).await.unwrap()
    }

    /// An hour passes for the backends' allowances, and what one of them has now.
    async fn refill(&self) {
        let sql = "WITH u AS (UPDATE scrub_cursors SET refilled = now() - interval '1 hour' RETURNING 1)
                   SELECT count(*) FROM u";
        self.count(sql).await;
    }
}

fn progress(batch: &ScrubBatch, read: usize) -> ScrubProgress {
    let done = &batch.copies[..read];
    ScrubProgress {
        backend: batch.backend,
        after: done.last().map(|item| (item.entry.version, item.extent)),
        copies: read as u64,
        bytes: done.iter().map(|item| item.size).sum(),
        is_last: batch.is_last && read == batch.copies.len(),
    }
}

fn versions(batch: &ScrubBatch) -> Vec<(VersionId, Extent)> {
    batch.copies.iter().map(|item| (item.entry.version, item.extent)).collect()
}

/// The first claim makes the rows, which have nothing to spend yet.
async fn two_backends() -> (World, Uuid) {
    let world = World::copied(AckLevel::All, 2).await;
    let owner = world.owner().await;
    let others = "WITH u AS (UPDATE backends SET attached = false WHERE id NOT IN (
                      SELECT id FROM backends ORDER BY priority, position, id LIMIT 2) RETURNING 1) SELECT count(*) FROM u";
    world.count(others).await;
    assert_eq!(world.claim(owner, ALL).await, None);
    for _ in 0..2 {
        world.refill().await;
        let batch = world.claim(owner, ScrubPace { rest_s: 3600, ..ALL }).await.unwrap();
        world.store.finish_scrub(owner, progress(&batch, batch.copies.len())).await.unwrap();
    }
    assert_eq!(world.count("SELECT count(*) FROM scrub_cursors WHERE pass_ended IS NULL").await, 0);
    (world, owner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_backend_is_read_by_one_owner_from_where_it_stopped() {
    let (world, owner) = two_backends().await;
    let mut written = Vec::new();
    for n in 0..5 {
        written.push((world.put(&format!("k{n}"), 10).await.0, Extent::ZERO));
    }
    world.refill().await;
    let first = world.claim(owner, ALL).await.unwrap();
    assert_eq!((versions(&first), first.is_last), (written.clone(), true));
    let other = world.owner().await;
    let second = world.claim(other, ALL).await.unwrap();
    assert_ne!(first.backend, second.backend);
    world.refill().await;
    assert!(
        world.claim(other, ALL).await.is_none_or(|third| third.backend != first.backend),
        "it is claimed"
    );

    // Broken off after two; whoever is not the owner changes nothing.
    world.store.finish_scrub(other, progress(&first, 5)).await.unwrap();
    world.store.finish_scrub(owner, progress(&first, 2)).await.unwrap();
    world.refill().await;
    let rest = world.claim(owner, ALL).await.unwrap();
    assert_eq!((rest.backend, versions(&rest)), (first.backend, written[2..].to_vec()));
    // The owner dies: its session's end frees the claim, and the same copies are read again.
    Sessions::close(&world.store, owner).await.unwrap();
    world.refill().await;
    let again = world.claim(world.owner().await, ALL).await.unwrap();
    assert_eq!((again.backend, versions(&again)), (first.backend, written[2..].to_vec()));
}

/// The database was away for a moment when the batch was to be written down as done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_takes_up_what_it_has_left() {
    let (world, owner) = two_backends().await;
    world.put("k", 10).await;
    let one = "WITH u AS (UPDATE backends SET attached = (id = 1) RETURNING 1) SELECT count(*) FROM u";
    world.count(one).await;
    world.refill().await;
    let left = world.claim(owner, ALL).await.unwrap();
    assert_eq!(left.copies.len(), 1);
    assert_eq!(world.claim(world.owner().await, ALL).await, None, "another one does not");
    assert_eq!(world.claim(owner, ALL).await, Some(left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_counted_and_a_round_rests() {
    let (world, owner) = two_backends().await;
    for n in 0..4 {
        world.put(&format!("k{n}"), 100).await;
    }
    world
        .count("WITH u AS (UPDATE scrub_cursors SET allowance = 0 RETURNING 1) SELECT count(*) FROM u")
        .await;
    world.refill().await;
    let pace = ScrubPace { bytes_per_hour: 150, rest_s: 3600 };
    // Both are at the end of a round that was done just now.
    assert_eq!(world.claim(owner, pace).await, None);
    let pace = ScrubPace { rest_s: 0, ..pace };
    let batch = world.claim(owner, pace).await.unwrap();
    assert_eq!((batch.copies.len(), batch.is_last), (2, false), "the second one on credit");
    world.store.finish_scrub(owner, progress(&batch, 2)).await.unwrap();
    let other = world.claim(owner, pace).await.unwrap();
    assert_ne!(other.backend, batch.backend);
    world.store.finish_scrub(owner, progress(&other, 2)).await.unwrap();
    assert_eq!(world.claim(owner, pace).await, None, "nothing is left to spend");
    // In the middle of a round nobody rests.
    world.refill().await;
    let rest = world.claim(owner, ScrubPace { rest_s: 3600, ..pace }).await.unwrap();
    assert_eq!(rest.copies.len(), 1, "what was taken on credit is paid back");
    world.store.finish_scrub(owner, progress(&rest, 1)).await.unwrap();
    let rounds = world.store.scrub_rounds().await.unwrap();
    assert_eq!(rounds.iter().map(|round| round.copies).max(), Some(3));
    assert!(rounds.iter().all(|round| round.last_done_s.is_some()));
    assert_eq!(world.claim(owner, ScrubPace { bytes_per_hour: 0, rest_s: 0 }).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_round_is_read_page_by_page_and_then_begins_anew() {
    let (world, owner) = two_backends().await;
    let mut written = Vec::new();
    for n in 0..70 {
        written.push((world.put(&format!("k{n}"), 1).await.0, Extent::ZERO));
    }
    let sql = "WITH u AS (DELETE FROM scrub_cursors WHERE backend <> 1 RETURNING 1) SELECT count(*) FROM u";
    world.count(sql).await;
    let (mut seen, mut ends) = (Vec::new(), 0);
    for _ in 0..6 {
        world.refill().await;
        let Some(batch) = world.claim(owner, ALL).await else { continue };
        if batch.backend.0 == 1 {
            seen.extend(versions(&batch));
            ends += usize::from(batch.is_last);
        }
        world.store.finish_scrub(owner, progress(&batch, batch.copies.len())).await.unwrap();
        if ends > 0 && seen.len() > 70 {
            break;
        }
    }
    assert_eq!(seen[..70], written[..], "each once, in their order");
    assert_eq!(seen[70], written[0], "and then from the start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_backend_has_cannot_be_moved_there() {
    let world = World::copied(AckLevel::One, 2).await;
    let mut written = Vec::new();
    for n in 0..3 {
        written.push((world.put(&format!("k{n}"), 10).await.0, Extent::ZERO));
    }
    let from = world.count("SELECT min(backend)::bigint FROM copies").await;
    let from = BackendId(i32::try_from(from).unwrap());
    let transfer = Transfer { from, to: BackendId(from.0 + 1), bytes: 100 };
    let found = world.store.candidates(transfer, None).await.unwrap();
    let versions = |copies: &[s3o_core::replication::CopyItem]| -> Vec<_> {
        copies.iter().map(|item| (item.entry.version, item.extent)).collect()
    };
    assert_eq!((versions(&found.copies), found.next), (written.clone(), None));
    let sql = format!(
        "WITH c AS (INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size)
            SELECT version, extent, {}, 32767, bucket, key, 'quarantined', stored_size FROM copies WHERE key = 'k1'
            RETURNING 1),
         m AS (UPDATE copies SET state = 'uncertain' WHERE key = 'k2' RETURNING 1) SELECT count(*) FROM c, m",
        transfer.to.0
    );
    assert_eq!(world.count(&sql).await, 1);
    let found = world.store.candidates(transfer, None).await.unwrap();
    assert_eq!(versions(&found.copies), written[..1]);
    let behind = world.store.candidates(transfer, Some(written[0])).await.unwrap();
    assert_eq!(versions(&behind.copies), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_of_one_owner_until_it_ends_or_dies() {
    let world = World::copied(AckLevel::One, 2).await;
    let (one, two) = (world.owner().await, world.owner().await);
    let claim = |owner| Claim { owner, lasts_us: 60_000_000, limit: 1, due_for_us: 0 };
    let claimed = async |owner| world.store.claim_run("rebalance", claim(owner)).await.unwrap();
    assert!(claimed(one).await && !claimed(two).await && claimed(one).await);
    assert!(world.store.claim_run("other", claim(two)).await.unwrap());
    world.store.release_run("rebalance", two).await.unwrap();
    assert!(!claimed(two).await, "it was not its to give back");
    world.store.release_run("rebalance", one).await.unwrap();
    assert!(claimed(two).await && !claimed(one).await);
    Sessions::close(&world.store, two).await.unwrap();
    assert!(claimed(one).await, "the owner is dead");
}
