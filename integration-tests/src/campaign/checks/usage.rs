//! Usage counters.
//!
//! What a process has counted since its last report is lost when it is killed: `monthly_usage` may then say less than
//! the backends saw. A request that never reached its backend is counted too: there it may say more. So no exact sum
//! can be demanded of a run with faults; its difference is only told. Demanded is this: with all services running, and
//! whatever the difference was before, **one flush interval after a burst of requests it is the same again**, per
//! backend and class, in requests and bytes: everything is counted once. (Data planes report every 3 s, control planes
//! every 10 s or on demand; what is waited for here is the report, not a time.)
//!
//! Background work goes on meanwhile: the journal's worker lists every backend with each tick, and writes what the burst
//! changed. It is counted like all else, so nothing of it has to be waited for: a request between the report and the
//! look at the backends makes one sample differ, and the next one has it. The difference before is one that was seen
//! three times in a row; the one after is asked for until it is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use s3o_testkit::s3server::{FaultyBackend, Operation};

use super::Violation;
use crate::campaign::buckets::BUCKETS;
use crate::campaign::field::Field;
use crate::s3;
use crate::settle::run_worker_on;
use crate::wait;

/// Seen by the backend minus recorded, by backend and what is counted.
type Differences = BTreeMap<(String, &'static str), i64>;

/// Longer than a data plane's report takes to come.
const BETWEEN: Duration = Duration::from_secs(4);
/// Objects of the burst.
const BURST: usize = 20;

pub(super) async fn check(field: &Field) -> Result<Vec<Violation>> {
    let before = match at_rest(field).await? {
        Ok(before) => before,
        Err(last) => {
            let what = format!("seen minus recorded never came to rest: {last:?}");
            return Ok(vec![Violation::new("usage", what)]);
        }
    };
    burst(field).await?;
    let mut after = before.clone();
    let reached = {
        let after = &mut after;
        let latest = std::sync::Mutex::new(Differences::new());
        let reached = wait::until("usage counters that have caught up", || async {
            let now = differences(field).await?;
            let same = now == before;
            *latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
            Ok(same)
        })
        .await;
        *after = latest.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        reached
    };
    if reached.is_ok() {
        return Ok(Vec::new());
    }
    let wrong = after.iter().filter(|(what, now)| before.get(*what) != Some(now));
    Ok(wrong
        .map(|((backend, what), now)| {
            let was = before.get(&(backend.clone(), *what)).copied().unwrap_or_default();
            let what =
                format!("{what} of {backend}: seen minus recorded is {now}, before the burst it was {was}");
            Violation::new("usage", what)
        })
        .collect())
}

/// What every backend has seen and `monthly_usage` does not say, once it no longer changes; `Err`: it goes on changing.
pub(crate) async fn at_rest(field: &Field) -> Result<Result<Differences, Differences>> {
    let (mut last, mut same) = (differences(field).await?, 0);
    for _ in 0..20 {
        tokio::time::sleep(BETWEEN).await;
        let now = differences(field).await?;
        same = if now == last { same + 1 } else { 0 };
        if same == 2 {
            return Ok(Ok(now));
        }
        last = now;
    }
    Ok(Err(last))
}

async fn burst(field: &Field) -> Result<()> {
    let bucket = BUCKETS[0].name;
    for n in 0..BURST {
        let (client, key) = (field.cluster.s3(n % field.cluster.data.len()), format!("usage/{n}"));
        let body = s3::body(&key, 10_000 + n);
        let done = async {
            s3::put(&client, bucket, &key, body).await?;
            s3::get(&client, bucket, &key).await?;
            s3::delete(&client, bucket, &key).await
        };
        done.await.map_err(|failure| anyhow::anyhow!("{key}: {failure:?}"))?;
    }
    // The blobs are deleted before the counters are compared for good.
    super::super::recover::settled(field).await
}

async fn differences(field: &Field) -> Result<Differences> {
    for index in 0..field.cluster.control.len() {
        run_worker_on(&field.cluster, index, "usage").await?;
    }
    let sql = field.cluster.sql().await?;
    let query = "SELECT k.name, u.api_class, u.requests, u.ingress_bytes, u.egress_bytes
                 FROM monthly_usage u JOIN backends k ON k.id = u.backend";
    let rows = sql.query(query, &[]).await?;
    let mut found = Differences::new();
    for backend in &field.cluster.backends {
        for (what, seen) in seen(&backend.server) {
            found.insert((backend.name.clone(), what), i64::try_from(seen)?);
        }
    }
    for row in rows {
        let name: String = row.get(0);
        let (class, requests, ingress, egress): (&str, i64, i64, i64) =
            (row.get(1), row.get(2), row.get(3), row.get(4));
        let mut subtract = |what: &'static str, n: i64| -> Result<()> {
            *found.get_mut(&(name.clone(), what)).context("a backend that nobody has")? -= n;
            Ok(())
        };
        subtract("bytes in", ingress)?;
        subtract("bytes out", egress)?;
        match class {
            "a" => subtract("requests of class a", requests)?,
            "b" => subtract("requests of class b", requests)?,
            "free" => subtract("requests of class free", requests)?,
            _ => {}
        }
    }
    Ok(found)
}

fn seen(server: &FaultyBackend) -> [(&'static str, u64); 5] {
    let sum = |operations: &[Operation]| operations.iter().map(|operation| server.count(*operation)).sum();
    let (received, sent) = server.bytes();
    [
        ("requests of class a", sum(&[Operation::Put, Operation::Copy, Operation::List])),
        ("requests of class b", sum(&[Operation::Get, Operation::Head])),
        ("requests of class free", sum(&[Operation::Delete])),
        ("bytes in", received),
        ("bytes out", sent),
    ]
}
