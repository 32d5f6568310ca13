//! Workers that change copies of one version at the same moment, on two stores: between them they leave what must be left.

use crate::support::{World, begun, op};
use s3o_core::call::{Call, CopyChange, GiveUp, Outcome, Request};
use s3o_core::object::CopyState;
use s3o_core::ports::{Drains, Ledger, Removals, Replication};
use s3o_core::removal::RemovalMode;
use s3o_store::Store;
use s3o_types::{AckLevel, BackendId, VersionId};
use tokio::sync::Barrier;
use uuid::Uuid;

const B0: BackendId = BackendId(1);

/// Often enough that each may come first.
const TIMES: usize = 20;

/// Objects of so many copies each, of which one is wanted.
async fn with_copies(copies: u16) -> (World, Store, Vec<(String, VersionId)>) {
    let world = World::copied(AckLevel::One, copies).await;
    let mut objects = Vec::new();
    for n in 0..TIMES {
        let key = format!("k{n}");
        let (version, _) = world.put(&key, 10).await;
        for _ in 1..copies {
            world.copy(&key, 10, version).await;
        }
        objects.push((key, version));
    }
    world.want(AckLevel::One, 1).await;
    let other = world.another_store().await;
    (world, other, objects)
}

/// Each request on one of the stores in turn, all at once.
async fn at_once(stores: [&Store; 2], requests: Vec<Request>) -> Vec<Outcome> {
    let all = Barrier::new(requests.len());
    let submits = requests.into_iter().zip(stores.into_iter().cycle()).map(|(request, store)| {
        let all = &all;
        async move {
            all.wait().await;
            store.submit(request).await
        }
    });
    futures::future::join_all(submits).await
}

fn changed(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| **outcome == Outcome::CopyChanged).count()
}

impl World {
    async fn verified(&self, key: &str, version: VersionId) -> usize {
        let rows = self.rows(key, version).await;
        rows.iter().filter(|row| row.state == CopyState::Verified).count()
    }

    async fn give_b0_up(&self) {
        self.store.drain("b0").await.unwrap();
        let order = self.order(RemovalMode::Purge, false).await;
        self.store.remove("b0", order).await.unwrap().unwrap();
    }
}

/// The over-replication cleaner takes one, and the scrubber or the reconciler finds that the other is wrong or gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_is_dropped_or_the_other_marked_never_both() {
    let (world, other, objects) = with_copies(2).await;
    for (n, (key, version)) in objects.iter().enumerate() {
        let rows = world.rows(key, *version).await;
        let state = if n % 2 == 0 { CopyState::Quarantined } else { CopyState::Missing };
        let requests =
            vec![world.change(&rows[0], CopyChange::Drop), world.change(&rows[1], CopyChange::Mark(state))];
        let outcomes = at_once([&world.store, &other], requests).await;
        assert_eq!(changed(&outcomes), 1, "{outcomes:?}");
        assert_eq!(world.verified(key, *version).await, 1, "{outcomes:?}");
    }
    world.audit().await;
}

/// A backend is given up, and the copy that it would be let go for is found to be wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_is_given_up_or_the_other_marked_never_both() {
    let (world, other, objects) = with_copies(2).await;
    world.give_b0_up().await;
    for (key, version) in &objects {
        let rows = world.rows(key, *version).await;
        let here = rows.iter().find(|row| row.backend == B0).expect("the first backend has one of each");
        let there = rows.iter().find(|row| row.backend != B0).expect("and another one the other");
        let give_up = GiveUp { of: world.of(key, *version), backend: B0, r#gen: here.blob.r#gen };
        let requests = vec![
            world.request(op(), Call::GiveUp(give_up)),
            world.change(there, CopyChange::Mark(CopyState::Quarantined)),
        ];
        let outcomes = at_once([&world.store, &other], requests).await;
        assert_eq!(changed(&outcomes), 1, "{outcomes:?}");
        assert_eq!(world.verified(key, *version).await, 1, "{outcomes:?}");
    }
    world.audit().await;
}

/// The one that is given up counts for none of those that would be dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_that_are_dropped_and_given_up_at_once_one_stays() {
    let (world, other, objects) = with_copies(3).await;
    world.give_b0_up().await;
    for (key, version) in &objects {
        let rows = world.rows(key, *version).await;
        assert_eq!(rows.len(), 3);
        let requests = rows.iter().map(|row| {
            if row.backend != B0 {
                return world.change(row, CopyChange::Drop);
            }
            let give_up = GiveUp { of: world.of(key, *version), backend: B0, r#gen: row.blob.r#gen };
            world.request(op(), Call::GiveUp(give_up))
        });
        let outcomes = at_once([&world.store, &other], requests.collect()).await;
        assert_eq!(changed(&outcomes), 2, "{outcomes:?}");
        let left = world.rows(key, *version).await;
        assert_eq!(left.len(), 1, "{outcomes:?}");
        assert!(left[0].backend != B0 && left[0].state == CopyState::Verified, "{left:?}");
    }
    world.audit().await;
}

/// A backend is down, as all see it: what it has stands in for none of those that are dropped, and for one again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_those_that_are_dropped_while_a_backend_is_down_one_that_can_be_read_stays() {
    let (world, other, objects) = with_copies(3).await;
    let viewer = Uuid::new_v4();
    world.store.note_views(viewer, vec![(B0, Some(1))]).await.unwrap();
    // However long this takes.
    world.sql.batch_execute("UPDATE backend_views SET seen = now() + interval '1 day'").await.unwrap();
    for (key, version) in &objects {
        let rows = world.rows(key, *version).await;
        assert_eq!(rows.len(), 3);
        let readable = rows.iter().filter(|row| row.backend != B0);
        let requests = readable.map(|row| world.change(row, CopyChange::Drop)).collect();
        let outcomes = at_once([&world.store, &other], requests).await;
        assert_eq!(changed(&outcomes), 1, "{outcomes:?}");
        let left = world.rows(key, *version).await;
        assert!(left.len() == 2 && left.iter().any(|row| row.backend != B0), "{left:?}");
    }
    world.store.note_views(viewer, vec![(B0, None)]).await.unwrap();
    for (key, version) in &objects {
        let rows = world.rows(key, *version).await;
        let requests = rows.iter().map(|row| world.change(row, CopyChange::Drop)).collect();
        let outcomes = at_once([&world.store, &other], requests).await;
        assert_eq!(changed(&outcomes), 1, "{outcomes:?}");
        assert_eq!(world.verified(key, *version).await, 1, "{outcomes:?}");
    }
    world.audit().await;
}

/// The rebalancer has made a copy and takes its source away; the cleaner sees three and takes another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_that_is_moved_is_not_trimmed_below_what_is_wanted() {
    let (world, other, objects) = with_copies(2).await;
    world.want(AckLevel::One, 2).await;
    for (key, version) in &objects {
        let rows = world.rows(key, *version).await;
        let copy = op();
        let begin = world.request(copy, world.begin_copy(key, *version));
        let begun = begun(world.store.submit(begin).await);
        let commit = world.commit_copy(copy, key, 10, &begun);
        let (source, another) =
            (world.change(&rows[0], CopyChange::Drop), world.change(&rows[1], CopyChange::Drop));
        let both = Barrier::new(2);
        let moves = async {
            both.wait().await;
            let made = world.store.submit(commit).await;
            assert!(matches!(made, Outcome::Committed { .. }), "{made:?}");
            world.store.submit(source).await
        };
        let trims = async {
            both.wait().await;
            other.submit(another).await
        };
        let (moved, trimmed) = tokio::join!(moves, trims);
        let outcomes = [moved, trimmed];
        assert_eq!(changed(&outcomes), 1, "{outcomes:?}");
        assert_eq!(world.verified(key, *version).await, 2, "{outcomes:?}");
    }
    world.audit().await;
}
