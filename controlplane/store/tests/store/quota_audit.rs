//! The audit of the counters on a real database: what is wrong is told and put right, beside writers.

use std::collections::BTreeMap;

use crate::support::{World, op};
use s3o_core::ports::Reconciliation;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_finds_what_is_wrong_and_puts_it_right() {
    let world = World::new(&[None, None]).await;
    for n in 0..5 {
        world.put(&format!("k{n}"), 10).await;
    }
    world.begun(op(), "open", 7).await;
    let world = &world;
    let drifts = |repair| async move { world.store.audit(repair).await.unwrap() };
    assert!(drifts(true).await.iter().all(s3o_core::usage::UsageDrift::agrees));
    let wrong = "UPDATE backend_usage SET used = used + 100, reserved = reserved - 3, objects = objects + 1 \
                 WHERE ctid = (SELECT ctid FROM backend_usage WHERE used > 0 LIMIT 1)";
    world.sql.batch_execute(wrong).await.unwrap();
    let by_backend = |drifts: &[s3o_core::usage::UsageDrift]| {
        drifts.iter().map(|drift| (drift.backend, drift.bytes())).collect::<BTreeMap<_, _>>()
    };
    let seen = by_backend(&drifts(false).await);
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [103, 0]);
    assert_eq!(by_backend(&drifts(true).await), seen, "what was wrong is told");
    assert!(drifts(false).await.iter().all(s3o_core::usage::UsageDrift::agrees));
    world.audit().await;
}

/// Writers go on while it counts, and are not counted wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_repairs_beside_writers() {
    let world = World::new(&[None]).await;
    world.sql.batch_execute("UPDATE backend_usage SET used = used - 1000").await.unwrap();
    let writes = async {
        for n in 0..60 {
            world.put(&format!("k{}", n % 10), 10).await;
        }
    };
    let audits = async {
        for _ in 0..20 {
            world.store.audit(true).await.unwrap();
        }
    };
    futures::future::join(writes, audits).await;
    world.audit().await;
}
