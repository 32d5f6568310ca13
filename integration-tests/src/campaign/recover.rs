//! After the last fault: everything is healed, what was left open is given up, and the workers do all that is to do.
//!
//! Invariant: nothing is repaired here by hand. Only what an operator would do is done (start what is down, restore the
//! configuration, undrain, abort uploads that were left), and waiting is cut short by the database's clock.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::buckets::{BUCKETS, Declared};
use super::faults::{Fault, Kind};
use super::field::Field;
use super::plan::{BACKENDS, CONTROL_PLANES, DATA_PLANES};
use crate::backend::Backend;
use crate::s3::Failure;
use crate::settle::{COPY_SCAN, JOURNAL, SCRUBBER, run_worker, settle};
use crate::wait;

/// Heals everything and waits until all services are ready.
pub(super) async fn heal(field: &mut Field) -> Result<()> {
    field.supervise()?;
    if field.cluster.sql().await.is_err() {
        field.cluster.database.restart().await?;
    }
    for backend in 0..BACKENDS {
        field.cluster.backends[backend].server.restart().await?;
    }
    field.cluster.backends.iter().for_each(Backend::heal);
    let links = field.cluster.data.iter().flat_map(|data| &data.links);
    links.for_each(|link| link.set(crate::Mode::Pass));
    let of = |kind: Kind, count: usize| (0..count).map(move |target| Fault { kind, target, amount: 0 });
    let processes = of(Kind::KillData, DATA_PLANES)
        .chain(of(Kind::KillControl, CONTROL_PLANES))
        .chain(of(Kind::PauseData, DATA_PLANES))
        .chain(of(Kind::PauseControl, CONTROL_PLANES));
    for fault in processes {
        fault.heal(field).await?;
    }
    for http in field.cluster.control.iter().map(|control| control.http) {
        wait::ready(http).await?;
    }
    for http in field.cluster.data.iter().map(|data| data.http) {
        wait::ready(http).await?;
    }
    restore(field).await
}

/// The configuration and the backends' states, as in the beginning.
async fn restore(field: &mut Field) -> Result<()> {
    field.declare(|declared| *declared = Declared::default()).await?;
    let wanted: BTreeMap<&str, i16> = BUCKETS
        .iter()
        .map(|bucket| anyhow::Ok((bucket.name, i16::try_from(bucket.factor)?)))
        .collect::<Result<_>>()?;
    let field = &*field;
    wait::until("the declared factors, and no backend that is drained", || async {
        let sql = field.cluster.sql().await?;
        let rows = sql.query("SELECT name, replication_factor FROM buckets", &[]).await?;
        let are: BTreeMap<&str, i16> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let drained =
            sql.query("SELECT name FROM backends WHERE state = 'draining' OR NOT attached", &[]).await?;
        for name in drained.iter().map(|row| row.get::<_, &str>(0)) {
            let number = field.cluster.backends.iter().position(|backend| backend.name == name);
            super::faults::undrain(field, number.context("an unknown backend")?).await.ok();
        }
        Ok(are == wanted && drained.is_empty())
    })
    .await
}

/// Gives up every multipart upload that is open.
pub(super) async fn abort_uploads(field: &Field) -> Result<u64> {
    let (client, mut aborted) = (field.cluster.s3(0), 0);
    for bucket in BUCKETS {
        loop {
            let page = client.list_multipart_uploads().bucket(bucket.name).send().await;
            let page = page.map_err(|error| anyhow::anyhow!("{:?}", Failure::of(&error)))?;
            for upload in page.uploads() {
                let call = client.abort_multipart_upload().bucket(bucket.name);
                let call = call.set_key(upload.key().map(str::to_owned));
                let done = call.set_upload_id(upload.upload_id().map(str::to_owned)).send().await;
                done.map_err(|error| anyhow::anyhow!("aborting {upload:?}: {:?}", Failure::of(&error)))?;
                aborted += 1;
            }
            if page.uploads().is_empty() {
                break;
            }
        }
    }
    Ok(aborted)
}

/// Lets the workers do everything that is to do.
pub(super) async fn settled(field: &Field) -> Result<()> {
    let cluster = &field.cluster;
    wait::until("the end of all scans for copies", || async {
        let sql = cluster.sql().await?;
        sql.batch_execute("UPDATE copy_scans SET not_before = now() WHERE NOT finished").await?;
        run_worker(cluster, COPY_SCAN).await?;
        let open = "SELECT count(*) FROM copy_scans WHERE NOT finished OR kind = 'unhealthy'";
        Ok(sql.query_one(open, &[]).await?.get::<_, i64>(0) == 0)
    })
    .await?;
    settle(cluster).await
}

/// Has the scrubber read every copy once, and what it finds repaired.
pub(super) async fn scrubbed(field: &Field) -> Result<()> {
    let cluster = &field.cluster;
    let anew =
        "UPDATE scrub_cursors SET after_version = '00000000-0000-0000-0000-000000000000', after_extent = -1,
                       copies = 0, pass_ended = NULL";
    cluster.sql().await?.batch_execute(anew).await?;
    wait::until("the end of a round over every backend", || async {
        let sql = cluster.sql().await?;
        sql.batch_execute("UPDATE scrub_cursors SET refilled = now() - interval '1 hour'").await?;
        run_worker(cluster, SCRUBBER).await?;
        let open = "SELECT (SELECT count(*) FROM backends WHERE state <> 'removed')
                        - (SELECT count(*) FROM scrub_cursors WHERE pass_ended IS NOT NULL)";
        Ok(sql.query_one(open, &[]).await?.get::<_, i64>(0) <= 0)
    })
    .await?;
    settle(cluster).await
}

/// Has the journal shipped to its end.
pub(super) async fn shipped(field: &Field) -> Result<()> {
    let cluster = &field.cluster;
    wait::until("the journal's end", || async {
        let sql = cluster.sql().await?;
        // A control plane that was killed has left its claim, which lasts 15 minutes. One that lives renews it with
        // each tick, and with everything well none of them takes a minute.
        let claim =
            "UPDATE journal SET claimed_until = now() WHERE claimed_until < now() + interval '14 minutes'";
        sql.batch_execute(claim).await?;
        run_worker(cluster, JOURNAL).await?;
        let left = "SELECT count(*) FROM changes c, journal j WHERE (c.xid, c.n) > (j.xid, j.n)";
        Ok(sql.query_one(left, &[]).await?.get::<_, i64>(0) == 0)
    })
    .await
}

/// Takes the journal away from its workers, for good: files that a rebuild has seen must be there when it reads them.
/// (Whoever rebuilds a database has no control plane that would go on with the journal of the old one.)
pub(super) async fn closed(field: &Field) -> Result<()> {
    wait::until("the journal's claim", || async {
        let sql = field.cluster.sql().await?;
        let claim =
            "UPDATE journal SET claimed_by = gen_random_uuid(), claimed_until = now() + interval '1 day'
                     WHERE claimed_by IS NULL OR claimed_until < now()";
        Ok(sql.execute(claim, &[]).await? == 1)
    })
    .await
}
