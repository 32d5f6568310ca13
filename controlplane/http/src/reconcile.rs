//! Reconcile and import as REST: the answer comes when the run has ended, with what the reference answers; or, to who
//! accepts `application/x-ndjson`, how far each run is, line by line.

use actix_web::{HttpRequest, HttpResponse, web};
use s3o_proto::v1;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tonic::{Status, Streaming};

use crate::admin::Answer;
use crate::edge::RequestId;
use crate::failure::Failure;
use crate::lines::{lines, wants_lines};
use crate::server::State;

/// `POST /admin/api/reconcile`: its query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    #[serde(default)]
    backend: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    accept_losses: bool,
}

/// `POST /admin/api/sync`: its query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sync {
    backend: String,
    bucket: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Reconciled {
    status: &'static str,
    imported: u64,
    removed: u64,
    backends_scanned: u64,
}

#[derive(Serialize)]
struct Synced {
    status: &'static str,
    imported: u64,
    skipped: u64,
}

#[derive(Serialize)]
struct Runs {
    runs: Vec<Progress>,
}

#[derive(Serialize)]
struct Progress {
    backend: String,
    kind: String,
    dry_run: bool,
    state: String,
    cursor: String,
    expected: u64,
    counts: std::collections::BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<v1::RunProgress> for Progress {
    fn from(run: v1::RunProgress) -> Self {
        let v1::RunProgress { backend, kind, dry_run, state, cursor, expected, counts, error } = run;
        let counts = counts.into_iter().collect();
        Self { backend, kind, dry_run, state, cursor, expected, counts, error }
    }
}

/// A query, or what is wrong with it, as every failure is said.
pub(crate) fn query<T: DeserializeOwned>(request: &HttpRequest, id: &RequestId) -> Result<T, Failure> {
    let read = web::Query::<T>::from_query(request.query_string());
    read.map(web::Query::into_inner).map_err(|error| Failure::new(400, error.to_string(), id))
}

fn count(run: &v1::RunProgress, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| run.counts.get(*name)).sum()
}

/// Waits for all runs; one that failed fails the call.
async fn ended(
    mut progress: Streaming<v1::RunProgress>,
    id: &RequestId,
) -> Result<Vec<v1::RunProgress>, Failure> {
    let failed = |status: &Status| Failure::of_status(status, id);
    let mut ended = Vec::new();
    while let Some(run) = progress.message().await.map_err(|status| failed(&status))? {
        if let Some(error) = run.error.as_ref().filter(|_| run.state == "failed") {
            let status = Status::failed_precondition(format!("{}: {error}", run.backend));
            return Err(failed(&status));
        }
        if run.state == "done" {
            ended.push(run);
        }
    }
    if ended.is_empty() {
        return Err(Failure::new(503, "the service is ending; the run goes on", id));
    }
    Ok(ended)
}

/// `POST /admin/api/reconcile[?backend=]`.
pub(crate) async fn reconcile(state: web::Data<State>, id: RequestId, request: HttpRequest) -> Answer {
    let Reconcile { backend, dry_run, accept_losses } = query(&request, &id)?;
    let wants_lines = wants_lines(&request);
    let mut admin = state.deps.admin.clone();
    let request = v1::ReconcileRequest { backend, dry_run, accept_losses };
    let progress = admin.reconcile(request).await.map_err(|error| Failure::of_status(&error, &id))?;
    if wants_lines {
        return Ok(lines::<_, Progress>(progress.into_inner()));
    }
    let runs = ended(progress.into_inner(), &id).await?;
    Ok(HttpResponse::Ok().json(Reconciled {
        status: "ok",
        imported: runs.iter().map(|run| count(run, &["attached", "imported"])).sum(),
        removed: runs.iter().map(|run| count(run, &["marked"])).sum(),
        backends_scanned: runs.len() as u64,
    }))
}

/// `POST /admin/api/sync?backend=&bucket=[&prefix=][&dry_run=true]`.
pub(crate) async fn sync(state: web::Data<State>, id: RequestId, request: HttpRequest) -> Answer {
    let Sync { backend, bucket, prefix, dry_run } = query(&request, &id)?;
    let wants_lines = wants_lines(&request);
    let mut admin = state.deps.admin.clone();
    let request = v1::ImportRequest { backend, bucket, prefix, dry_run };
    let progress = admin.import(request).await.map_err(|error| Failure::of_status(&error, &id))?;
    if wants_lines {
        return Ok(lines::<_, Progress>(progress.into_inner()));
    }
    let runs = ended(progress.into_inner(), &id).await?;
    Ok(HttpResponse::Ok().json(Synced {
        status: "ok",
        imported: runs.iter().map(|run| count(run, &["imported"])).sum(),
        skipped: runs.iter().map(|run| count(run, &["skipped", "ambiguous"])).sum(),
    }))
}

/// `GET /admin/api/reconcile`: each backend's last run.
pub(crate) async fn runs(state: web::Data<State>, id: RequestId) -> Answer {
    let mut admin = state.deps.admin.clone();
    let reply = crate::admin::asked(admin.list_runs(v1::ListRunsRequest {}), &id).await?;
    Ok(HttpResponse::Ok().json(Runs { runs: reply.runs.into_iter().map(Progress::from).collect() }))
}
