//! Repeats at the gRPC port: the first outcome each time, whatever happened in between, also when the
//! original arrives after its repeat.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use s3o_integration_tests::config::BUCKET;
use s3o_integration_tests::s3::{self, body, md5};
use s3o_integration_tests::settle::{CLEANUP, REAPER, run_worker};
use s3o_integration_tests::wire::{Wire, abort, begin, commit, delete, locate, op};
use s3o_integration_tests::{Cluster, Options, wait};
use s3o_proto::v1;
use s3o_proto::v1::outcome::Result as Outcome;
use s3o_testkit::s3server::{Fault, Operation, Rule};

const WRITE_LOST: i32 = 10;
const PRECONDITION_FAILED: i32 = 4;

/// A cluster without data plane traffic: the test is the data plane.
struct Plane {
    cluster: Cluster,
    wire: Wire,
    bucket: i32,
}

impl Plane {
    async fn start() -> Result<Self> {
        let options = Options { backends: 1, data_planes: 0, ..Options::default() };
        let cluster = Cluster::start(options).await?;
        let wire = cluster.wire(0).await?;
        let bucket = cluster.bucket_id().await?;
        Ok(Self { cluster, wire, bucket })
    }

    /// Puts the bytes where the intent says.
    fn store(&self, intent: &v1::Intent, bytes: &[u8]) {
        self.cluster.backends[0].server.plant(&intent.targets[0].storage_key, bytes.to_vec());
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(uuid::Uuid, v1::Intent, i64)> {
        let op = op();
        let intent = self.wire.begin(op, self.bucket, key, bytes.len() as u64).await?;
        self.store(&intent, bytes);
        match self.wire.call(op, commit(&intent, &md5(bytes))).await? {
            Outcome::Committed(committed) => Ok((op, intent, committed.seq)),
            other => bail!("commit: {other:?}"),
        }
    }

    async fn etag(&self, key: &str) -> Result<Option<String>> {
        match self.wire.call(op(), locate(self.bucket, key)).await? {
            Outcome::Located(located) => Ok(Some(located.etag)),
            Outcome::Refused(refused) if refused.code == 3 => Ok(None),
            other => bail!("locate: {other:?}"),
        }
    }

    async fn orphaned(&self) -> Result<i64> {
        let sum = "SELECT coalesce(sum(orphaned), 0)::bigint FROM backend_usage";
        Ok(self.cluster.sql().await?.query_one(sum, &[]).await?.get(0))
    }
}

fn refused(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Refused(refused) => refused.code,
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_outcome_each_time() -> Result<()> {
    let plane = Plane::start().await?;
    begin_twice(&plane).await?;
    commit_after_an_overwrite(&plane).await?;
    delete_after_a_put(&plane).await?;
    abort_after_commit(&plane).await?;
    aborts_count_once(&plane).await?;
    commit_of_nothing(&plane).await?;
    refusals_are_repeated(&plane).await?;
    let Plane { cluster, wire, .. } = plane;
    drop(wire);
    cluster.finish().await
}

async fn begin_twice(plane: &Plane) -> Result<()> {
    let op = op();
    let first = plane.wire.begin(op, plane.bucket, "begin", 10).await?;
    let again = plane.wire.begin(op, plane.bucket, "begin", 10).await?;
    ensure!(first == again, "{first:?} and {again:?}");
    let Outcome::Aborted(_) = plane.wire.call(op, abort(&first, v1::TargetEnd::NotSent)).await? else {
        bail!("the abort was refused")
    };
    // A Begin that arrives after the end of its own write must not open it again.
    let late = plane.wire.call(op, begin(plane.bucket, "begin", 10, v1::Conditions::default())).await?;
    ensure!(!matches!(late, Outcome::Begun(_)), "{late:?}");
    ensure!(plane.cluster.intents().await? == 0, "an intent was left");
    Ok(())
}

async fn commit_after_an_overwrite(plane: &Plane) -> Result<()> {
    let (first, intent, seq) = plane.put("over", b"first").await?;
    let (_, _, later) = plane.put("over", b"second").await?;
    ensure!(later > seq);
    match plane.wire.call(first, commit(&intent, &md5(b"first"))).await? {
        Outcome::Committed(committed) => ensure!(committed.seq == seq, "another outcome than the first"),
        other => bail!("{other:?}"),
    }
    ensure!(plane.etag("over").await? == Some(md5(b"second")), "a repeat brought an old version back");
    Ok(())
}

async fn delete_after_a_put(plane: &Plane) -> Result<()> {
    plane.put("gone", b"first").await?;
    let deletion = op();
    let first = plane.wire.call(deletion, delete(plane.bucket, "gone")).await?;
    ensure!(first == Outcome::Deleted(v1::Deleted { existed: true, ..v1::Deleted::default() }), "{first:?}");
    // Its reply was lost; another client's PUT is acknowledged; then the repeat.
    plane.put("gone", b"second").await?;
    let again = plane.wire.call(deletion, delete(plane.bucket, "gone")).await?;
    ensure!(again == first, "{again:?}");
    ensure!(plane.etag("gone").await? == Some(md5(b"second")), "the repeat deleted a newer object");
    Ok(())
}

async fn abort_after_commit(plane: &Plane) -> Result<()> {
    let (op, intent, seq) = plane.put("kept", b"kept").await?;
    match plane.wire.call(op, abort(&intent, v1::TargetEnd::Unknown)).await? {
        Outcome::Committed(committed) => ensure!(committed.seq == seq),
        other => bail!("an abort after the commit: {other:?}"),
    }
    ensure!(plane.etag("kept").await? == Some(md5(b"kept")));
    Ok(())
}

async fn aborts_count_once(plane: &Plane) -> Result<()> {
    let before = plane.orphaned().await?;
    let op = op();
    let intent = plane.wire.begin(op, plane.bucket, "aborted", 1000).await?;
    plane.store(&intent, &[0; 1000]);
    for _ in 0..3 {
        let outcome = plane.wire.call(op, abort(&intent, v1::TargetEnd::Stored)).await?;
        ensure!(outcome == Outcome::Aborted(v1::Aborted {}), "{outcome:?}");
    }
    // The worker may have been quicker than this look, but never has it more than once.
    let orphaned = plane.orphaned().await? - before;
    ensure!(orphaned <= 1000, "{orphaned} orphan bytes");
    // The original commit, late: the abort stands.
    let late = plane.wire.call(op, commit(&intent, "0")).await?;
    ensure!(late == Outcome::Aborted(v1::Aborted {}) || refused(&late) != 0, "{late:?}");
    ensure!(plane.etag("aborted").await?.is_none());
    Ok(())
}

/// The database forgot the intent in a crash: a commit of it is refused for good, and its blob goes.
async fn commit_of_nothing(plane: &Plane) -> Result<()> {
    let op = op();
    let intent = plane.wire.begin(op, plane.bucket, "lost", 4).await?;
    plane.store(&intent, b"lost");
    let sql = plane.cluster.sql().await?;
    sql.batch_execute(
        "BEGIN; DELETE FROM intents; UPDATE backend_usage SET reserved = reserved - 4 WHERE slot = 0; COMMIT",
    )
    .await?;
    for _ in 0..2 {
        let outcome = plane.wire.call(op, commit(&intent, &md5(b"lost"))).await?;
        ensure!(refused(&outcome) == WRITE_LOST, "{outcome:?}");
    }
    ensure!(plane.etag("lost").await?.is_none());
    Ok(())
}

async fn refusals_are_repeated(plane: &Plane) -> Result<()> {
    let conditions = v1::Conditions { if_absent: true, if_match: None };
    let (one, two) = (op(), op());
    let first = plane.wire.begin_if(one, plane.bucket, "cond", 3, conditions.clone()).await?;
    let second = plane.wire.begin_if(two, plane.bucket, "cond", 3, conditions).await?;
    plane.store(&first, b"one");
    plane.store(&second, b"two");
    let won = plane.wire.call(one, commit(&first, &md5(b"one"))).await?;
    ensure!(matches!(won, Outcome::Committed(_)), "{won:?}");
    let lost = plane.wire.call(two, commit(&second, &md5(b"two"))).await?;
    ensure!(refused(&lost) == PRECONDITION_FAILED, "{lost:?}");
    // The winner is deleted: the loser's repeat must not win now.
    plane.wire.call(op(), delete(plane.bucket, "cond")).await?;
    let again = plane.wire.call(two, commit(&second, &md5(b"two"))).await?;
    ensure!(again == lost, "{again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_through_another_control_plane() -> Result<()> {
    let options = Options { backends: 1, data_planes: 0, control_planes: 2, ..Options::default() };
    let mut cluster = Cluster::start(options).await?;
    let bucket = cluster.bucket_id().await?;
    let (one, two) = (cluster.wire(0).await?, cluster.wire(1).await?);
    for n in 0..10 {
        let (op, key) = (op(), format!("both/{n}"));
        let intent = one.begin(op, bucket, &key, 5).await?;
        ensure!(two.begin(op, bucket, &key, 5).await? == intent, "two intents for one operation");
        cluster.backends[0].server.plant(&intent.targets[0].storage_key, &b"bytes"[..]);
        let (a, b) = tokio::join!(
            one.call(op, commit(&intent, &md5(b"bytes"))),
            two.call(op, commit(&intent, &md5(b"bytes")))
        );
        let (a, b) = (a?, b?);
        ensure!(matches!(a, Outcome::Committed(_)) && a == b, "{a:?} and {b:?}");
    }
    // The one that decided is gone; the other knows.
    let put = op();
    let intent = one.begin(put, bucket, "moved", 5).await?;
    cluster.backends[0].server.plant(&intent.targets[0].storage_key, &b"bytes"[..]);
    let first = one.call(put, commit(&intent, &md5(b"bytes"))).await?;
    cluster.control[0].process.kill()?;
    ensure!(two.call(put, commit(&intent, &md5(b"bytes"))).await? == first);
    drop((one, two));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reaper_and_the_writer_never_both_win() -> Result<()> {
    let plane = Plane::start().await?;
    for n in 0..8 {
        let (put, key) = (op(), format!("race/{n}"));
        let intent = plane.wire.begin(put, plane.bucket, &key, 5).await?;
        // Planted blobs have no self-description, so the reaper can only give them up.
        plane.store(&intent, b"bytes");
        s3o_integration_tests::settle::expire_leases(&plane.cluster).await?;
        let (reaped, outcome) = tokio::join!(
            run_worker(&plane.cluster, REAPER),
            plane.wire.call(put, commit(&intent, &md5(b"bytes")))
        );
        reaped?;
        let mut outcome = outcome?;
        // Claimed: busy until the reaper has decided.
        while refused(&outcome) == 11 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            run_worker(&plane.cluster, REAPER).await?;
            outcome = plane.wire.call(put, commit(&intent, &md5(b"bytes"))).await?;
        }
        let there = plane.etag(&key).await?.is_some();
        ensure!(matches!(outcome, Outcome::Committed(_)) == there, "{key}: {outcome:?}, there: {there}");
    }
    let Plane { cluster, wire, .. } = plane;
    drop(wire);
    cluster.finish().await
}

/// A PUT whose end nobody knows completes at the backend after the cleanup's DELETE got its 404.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_completes_after_its_delete_is_removed() -> Result<()> {
    let mut options = Options { backends: 1, ..Options::default() };
    options.times.late_put_window_s = 16;
    let cluster = Cluster::start(options).await?;
    let late =
        Rule::new(Fault::Late(Duration::from_secs(8))).on(Operation::Put).key_contains("late").times(1);
    cluster.backends[0].server.inject(late);
    let answer = s3::put(&cluster.s3(0), BUCKET, "late", body("late", 12 << 20)).await;
    ensure!(answer.as_ref().is_err_and(s3::Failure::is_unknown), "{answer:?}");
    wait::until("the first DELETE", || async {
        run_worker(&cluster, CLEANUP).await?;
        Ok(cluster.backends[0].server.count(Operation::Delete) >= 1)
    })
    .await?;
    wait::until("the late blob", || async { Ok(cluster.backends[0].blob_count() == 1) }).await?;
    wait::until("its removal", || async {
        run_worker(&cluster, CLEANUP).await?;
        Ok(cluster.backends[0].blob_count() == 0)
    })
    .await?;
    cluster.finish().await
}
