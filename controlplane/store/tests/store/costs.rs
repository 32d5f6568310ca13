//! What a call costs the database: transactions and round trips, which do not depend on the machine.

use crate::support::{World, begun, op};
use futures::future::join_all;
use s3o_core::object::{Locate, Want};
use s3o_core::ports::Ledger;
use s3o_store::Store;

/// Transactions and round trips of all lanes so far.
fn spent(store: &Store) -> (u64, u64) {
    let lanes = store.stats().lanes;
    (lanes.iter().map(|lane| lane.transactions).sum(), lanes.iter().map(|lane| lane.round_trips).sum())
}

async fn cost(store: &Store, work: impl Future<Output = ()>) -> (u64, u64) {
    let before = spent(store);
    work.await;
    let after = spent(store);
    (after.0 - before.0, after.1 - before.1)
}

fn locate(world: &World, key: &str) -> Locate {
    Locate { bucket: world.bucket, key: key.to_owned(), version: None, want: Want::All }
}

#[tokio::test]
async fn a_lone_call_costs_what_it_must() {
    let world = World::new(&[None]).await;
    let store = &world.store;
    let put = cost(store, async {
        world.put("k", 5).await;
    })
    .await;
    assert_eq!(put, (2, 4), "PUT: Begin and Commit, two flights each");
    let overwrite = cost(store, async {
        world.put("k", 5).await;
    })
    .await;
    assert_eq!(overwrite, (2, 4), "an overwrite costs no more");
    let get = cost(store, async {
        store.locate(locate(&world, "k")).await.unwrap();
    })
    .await;
    assert_eq!(get, (1, 1), "GET and HEAD: one statement");
    let delete = cost(store, async {
        store.submit(world.delete(op(), "k")).await;
    })
    .await;
    assert_eq!(delete, (1, 2), "DELETE: one transaction");
}

#[tokio::test]
async fn calls_that_come_together_share() {
    const CALLS: usize = 200;
    let world = World::new(&[None]).await;
    let ops: Vec<_> = (0..CALLS).map(|n| (op(), format!("k{n}"))).collect();
    let mut written = Vec::new();
    let begins = cost(&world.store, async {
        let calls = ops.iter().map(|(op, key)| world.store.submit(world.begin(*op, key, 1)));
        written = join_all(calls).await.into_iter().map(begun).collect();
    })
    .await;
    // The first goes alone; those that came meanwhile fit into one batch, or two.
    assert!(begins.0 <= 4, "{begins:?}");
    let commits = cost(&world.store, async {
        let calls = ops.iter().zip(&written);
        join_all(calls.map(|((op, key), b)| world.store.submit(world.commit(*op, key, 1, b)))).await;
    })
    .await;
    assert!(commits.0 <= 8, "{commits:?}: two lanes");
    let reads = cost(&world.store, async {
        join_all(ops.iter().map(|(_, key)| world.store.locate(locate(&world, key)))).await;
    })
    .await;
    assert!(reads.0 <= 4, "{reads:?}");
}
