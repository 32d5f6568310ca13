//! Runs over backends, as the admin service begins and follows them.
//!
//! Invariant: a run is a row: whoever follows it only looks, and one that follows for longer than a replica lives asks
//! another.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use s3o_core::config::{BackendConfig, BucketState, ClusterConfig};
use s3o_core::ports::Reconciliation;
use s3o_core::reconcile::{AskRun, Run, RunKind, RunState};
use s3o_proto::v1;
use s3o_runtime::Shutdown;
use tokio_stream::Stream;
use tonic::{Code, Status};

use crate::status::{about_field, bad_request, port_failed, refused};
use crate::wiring::Ports;

/// Between two reports.
const EVERY: Duration = Duration::from_millis(500);

/// The worker that does it.
const WORKER: &str = "reconciler";

/// How far runs are, until all have ended.
pub(crate) type Progress = Pin<Box<dyn Stream<Item = Result<v1::RunProgress, Status>> + Send>>;

fn backend<'a>(config: &'a ClusterConfig, name: &str) -> Result<&'a BackendConfig, Status> {
    let found = config.backends.iter().find(|backend| backend.spec.name == name);
    found.ok_or_else(|| about_field(Code::NotFound, "backend", &format!("there is no backend `{name}`")))
}

/// What is asked for, by name or of all backends that show our marker.
pub(crate) fn reconcile(
    config: &ClusterConfig,
    request: v1::ReconcileRequest,
) -> Result<Vec<AskRun>, Status> {
    let v1::ReconcileRequest { backend: name, dry_run, accept_losses } = request;
    let ask = |backend: &BackendConfig| AskRun {
        backend: backend.spec.id,
        kind: RunKind::Reconcile,
        dry_run,
        accept_losses,
    };
    if !name.is_empty() {
        return Ok(vec![ask(backend(config, &name)?)]);
    }
    let asks: Vec<AskRun> = config.backends.iter().filter(|backend| backend.attached).map(ask).collect();
    if asks.is_empty() {
        return Err(Status::failed_precondition("no backend is attached: none showed its marker"));
    }
    Ok(asks)
}

/// What is asked for.
pub(crate) fn import(config: &ClusterConfig, request: v1::ImportRequest) -> Result<AskRun, Status> {
    let v1::ImportRequest { backend: name, bucket, prefix, dry_run } = request;
    if bucket.is_empty() {
        return Err(bad_request("bucket", "is empty"));
    }
    let active = |known: &&s3o_core::config::BucketConfig| known.state == BucketState::Active;
    let known = config.buckets.iter().filter(active).find(|known| known.name.as_str() == bucket);
    let missing = || about_field(Code::NotFound, "bucket", &format!("there is no bucket `{bucket}`"));
    let bucket = known.ok_or_else(missing)?.id;
    let backend = backend(config, &name)?.spec.id;
    Ok(AskRun { backend, kind: RunKind::Import { bucket, prefix }, dry_run, accept_losses: false })
}

/// Begins all runs, or none, and follows them. In the recovery mode the worker is held, and whoever follows would wait
/// without a word.
pub(crate) async fn begin(ports: &Ports, shutdown: &Shutdown, asks: Vec<AskRun>) -> Result<Progress, Status> {
    if let Some(why) = ports.recovery.recovery().await.map_err(|error| port_failed(&error))? {
        let held =
            format!("the recovery mode is on ({why}): `s3o recover` ends it, and compares what it has to");
        return Err(Status::failed_precondition(held));
    }
    let store = ports.reconciliation.clone();
    let runs = store.ask_all(asks).await.map_err(|error| port_failed(&error))?.map_err(refused)?;
    let begun = runs.iter().map(|run| run.id).collect();
    // Now, and not at the worker's next tick; a replica without workers leaves it to the others.
    let workers = ports.workers.clone();
    drop(shutdown.spawn(async move {
        let _ = workers.run(WORKER).await;
    }));
    Ok(Box::pin(follow(store, shutdown.clone(), begun)))
}

struct Following {
    store: Arc<dyn Reconciliation>,
    shutdown: Shutdown,
    /// Runs that have not ended.
    left: Vec<i64>,
    /// Reports that are still to be sent.
    reports: std::vec::IntoIter<v1::RunProgress>,
    wait: Duration,
}

fn follow(
    store: Arc<dyn Reconciliation>,
    shutdown: Shutdown,
    left: Vec<i64>,
) -> impl Stream<Item = Result<v1::RunProgress, Status>> + Send {
    let start = Following { store, shutdown, left, reports: Vec::new().into_iter(), wait: Duration::ZERO };
    futures::stream::unfold(start, |mut following| async move {
        loop {
            if let Some(report) = following.reports.next() {
                return Some((Ok(report), following));
            }
            if following.left.is_empty() {
                return None;
            }
            tokio::select! {
                () = following.shutdown.stopping() => return None,
                () = tokio::time::sleep(following.wait) => {}
            }
            following.wait = EVERY;
            if let Err(status) = following.look().await {
                following.left.clear();
                return Some((Err(status), following));
            }
        }
    })
}

impl Following {
    /// A run that a newer one has taken the place of has ended too; how, is not known any more.
    async fn look(&mut self) -> Result<(), Status> {
        let runs = self.store.runs().await.map_err(|error| port_failed(&error))?;
        let mine: Vec<Run> = runs.into_iter().filter(|run| self.left.contains(&run.id)).collect();
        self.left = mine.iter().filter(|run| run.state == RunState::Running).map(|run| run.id).collect();
        let reports: Vec<v1::RunProgress> = mine.into_iter().map(to_wire).collect();
        self.reports = reports.into_iter();
        Ok(())
    }
}

pub(crate) async fn list(store: &dyn Reconciliation) -> Result<Vec<v1::RunProgress>, Status> {
    let runs = store.runs().await.map_err(|error| port_failed(&error))?;
    Ok(runs.into_iter().map(to_wire).collect())
}

fn to_wire(run: Run) -> v1::RunProgress {
    let Run { id: _, ask, backend_name, state, phase: _, cursor, expected, tally, error } = run;
    let AskRun { backend: _, kind, dry_run, accept_losses: _ } = ask;
    let kind = match kind {
        RunKind::Reconcile => "reconcile",
        RunKind::Import { .. } => "import",
    };
    let counts = tally.fields().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    v1::RunProgress {
        backend: backend_name,
        kind: kind.to_owned(),
        dry_run,
        state: state.as_str().to_owned(),
        cursor,
        expected,
        counts,
        error,
    }
}
