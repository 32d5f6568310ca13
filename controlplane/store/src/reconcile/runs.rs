//! Runs over backends, a row each: asked for, claimed, carried on, ended.
//!
//! Invariants: a backend has one run at a time; a claim carries owner and deadline and is the only fence, and each page
//! renews it; what a dead owner left is carried on from its last page.

use s3o_core::call::Refusal;
use s3o_core::cleanup::Claim;
use s3o_core::ports::PortError;
use s3o_core::reconcile::{AskRun, Run, RunKind, RunState, RunTally};
use s3o_types::{BackendId, BucketId, ErrorCode};
use tokio_postgres::{Row, Transaction};

use crate::error::Failure;
use crate::pool::Pool;
use crate::queues::printable;
use crate::rows::{Cells, corrupt};

/// As [`run`] reads them.
macro_rules! columns {
    () => {
        "r.id, r.backend, b.name AS backend_name, r.kind, r.bucket, r.prefix, r.dry_run, r.accept_losses, r.state,
         r.phase, r.cursor, r.expected, r.tally, r.error"
    };
}

const ALL: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM reconcile_runs r JOIN backends b ON b.id = r.backend AND b.state <> 'removed' ORDER BY b.name"
);

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM reconcile_runs r JOIN backends b ON b.id = r.backend WHERE r.backend = $1"
);

/// The row lock of the backend's old run orders two that ask at the same time.
const BEGIN: &str = "
    INSERT INTO reconcile_runs (backend, kind, bucket, prefix, dry_run, accept_losses, last_reconcile)
    VALUES ($1, $2::text, $3, $4, $5, $6, CASE WHEN $2::text = 'reconcile' THEN now() END)
    ON CONFLICT (backend) DO UPDATE SET id = DEFAULT,
        kind = excluded.kind, bucket = excluded.bucket, prefix = excluded.prefix, dry_run = excluded.dry_run,
        accept_losses = excluded.accept_losses, state = 'running', phase = 'plain', cursor = '', expected = 0,
        tally = '{}', error = NULL, begun = now(), ended = NULL, claimed_by = NULL, claimed_until = NULL,
        last_reconcile = COALESCE(excluded.last_reconcile, reconcile_runs.last_reconcile)
    WHERE reconcile_runs.state <> 'running'";

/// One that was asked for by an operator counts too.
/// Begins a run of the backends that `$where` names, unless it has one.
macro_rules! begin {
    ($where:literal) => {
        concat!(
            "INSERT INTO reconcile_runs (backend, kind, dry_run, accept_losses, last_reconcile)
            SELECT b.id, 'reconcile', false, false, now() FROM backends b WHERE ",
            $where,
            "
            ON CONFLICT (backend) DO UPDATE SET id = DEFAULT,
                kind = excluded.kind, bucket = NULL, prefix = '', dry_run = false, accept_losses = false, state = 'running',
                phase = 'plain', cursor = '', expected = 0, tally = '{}', error = NULL, begun = now(), ended = NULL,
                claimed_by = NULL, claimed_until = NULL, last_reconcile = now()
            WHERE reconcile_runs.state <> 'running'
            RETURNING 1"
        )
    };
}

const BEGIN_DUE: &str = begin!(
    "b.state = 'active' AND b.attached AND NOT b.id = ANY ($2::int[]) AND NOT EXISTS (
        SELECT FROM reconcile_runs r WHERE r.backend = b.id
        AND (r.state = 'running' OR r.last_reconcile > now() - $1::bigint * interval '1 microsecond'))"
);

/// Begins a run of a backend, whenever its last one was.
pub(crate) async fn begin(transaction: &Transaction<'_>, backend: i32) -> Result<(), Failure> {
    transaction.execute(begin!("b.id = $1::int"), &[&backend]).await?;
    Ok(())
}

/// The first claim counts what to expect, and forgets what an earlier run has gathered. A process has one run at a time:
/// what it still has a claim on is what a tick that failed has left.
const CLAIM: &str = concat!(
    "WITH due AS (
        SELECT backend FROM reconcile_runs
        WHERE state = 'running' AND (claimed_by IS NULL OR claimed_by = $1 OR claimed_until < now()
            OR NOT EXISTS (SELECT FROM sessions s WHERE s.id = claimed_by AND s.deadline > now()))
        ORDER BY begun LIMIT 1 FOR UPDATE SKIP LOCKED
    ), old AS (
        DELETE FROM reconcile_hashed h USING reconcile_runs r, due
        WHERE r.backend = due.backend AND h.backend = r.backend AND h.run <> r.id
    ), r AS (
        UPDATE reconcile_runs r SET claimed_by = $1, claimed_until = now() + $2::bigint * interval '1 microsecond',
            expected = CASE WHEN r.expected > 0 THEN r.expected ELSE (
                SELECT GREATEST(COALESCE(sum(u.objects), 0), 0)::bigint FROM backend_usage u
                WHERE u.backend = r.backend) END
        FROM due WHERE r.backend = due.backend
        RETURNING r.*
    )
    SELECT ",
    columns!(),
    " FROM r JOIN backends b ON b.id = r.backend"
);

const SAVE: &str = "
    WITH saved AS (
        UPDATE reconcile_runs SET state = $3::text, phase = $4, cursor = $5, tally = $6::text::jsonb, error = $7,
            claimed_until = CASE WHEN $3::text = 'running' THEN now() + $8::bigint * interval '1 microsecond' END,
            claimed_by = CASE WHEN $3::text = 'running' THEN claimed_by END,
            ended = CASE WHEN $3::text <> 'running' THEN now() END
        WHERE id = $1 AND claimed_by = $2 AND state = 'running' RETURNING backend, state
    ), gathered AS (
        DELETE FROM reconcile_hashed h USING saved WHERE h.backend = saved.backend AND saved.state <> 'running'
    )
    SELECT backend FROM saved";

fn run(row: &Row) -> Result<Run, Failure> {
    read(Cells(row)).map_err(|why| corrupt("reconcile_runs", row.get::<_, i32>("backend"), why))
}

fn read(cells: Cells<'_>) -> Result<Run, String> {
    let kind = match cells.get::<&str>("kind")? {
        "reconcile" => RunKind::Reconcile,
        "import" => RunKind::Import {
            bucket: BucketId(cells.get::<Option<i32>>("bucket")?.ok_or("an import without a bucket")?),
            prefix: cells.get("prefix")?,
        },
        other => return Err(format!("kind `{other}` is not known")),
    };
    let mut tally = RunTally::default();
    if let serde_json::Value::Object(fields) = cells.get("tally")? {
        fields.iter().for_each(|(name, value)| tally.set(name, value.as_u64().unwrap_or(0)));
    }
    Ok(Run {
        id: cells.get("id")?,
        ask: AskRun {
            backend: BackendId(cells.get("backend")?),
            kind,
            dry_run: cells.get("dry_run")?,
            accept_losses: cells.get("accept_losses")?,
        },
        backend_name: cells.get("backend_name")?,
        state: cells.word("state")?,
        phase: cells.word("phase")?,
        cursor: cells.get("cursor")?,
        expected: cells.unsigned("expected")?,
        tally,
        error: cells.get("error")?,
    })
}

pub(super) async fn all(pool: &Pool) -> Result<Vec<Run>, PortError> {
    let rows = pool.run(ALL, &[]).await?;
    Ok(rows.iter().map(run).collect::<Result<_, _>>()?)
}

/// All of them, or none.
pub(super) async fn ask_all(pool: &Pool, asks: &[AskRun]) -> Result<Result<Vec<Run>, Refusal>, PortError> {
    let begun = pool.retried(|| {
        pool.transact_once(async |transaction: &Transaction<'_>| {
            transaction.batch_execute("SAVEPOINT asked").await?;
            let mut runs = Vec::with_capacity(asks.len());
            for ask in asks {
                match begin_or_join(transaction, ask).await? {
                    Ok(run) => runs.push(run),
                    Err(refusal) => {
                        transaction.batch_execute("ROLLBACK TO SAVEPOINT asked").await?;
                        return Ok(Err(refusal));
                    }
                }
            }
            Ok(Ok(runs))
        })
    });
    Ok(begun.await?)
}

async fn begin_or_join(transaction: &Transaction<'_>, ask: &AskRun) -> Result<Result<Run, Refusal>, Failure> {
    if let Some(refusal) = unusable(transaction, ask).await? {
        return Ok(Err(refusal));
    }
    let AskRun { backend, kind, dry_run, accept_losses } = ask;
    let (kind, bucket, prefix) = match kind {
        RunKind::Reconcile => ("reconcile", None, ""),
        RunKind::Import { bucket, prefix } => ("import", Some(bucket.0), prefix.as_str()),
    };
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&backend.0, &kind, &bucket, &prefix, dry_run, accept_losses];
    transaction.execute(BEGIN, &params).await?;
    let found = run(&transaction.query_one(ONE, &[&backend.0]).await?)?;
    Ok(if found.ask == *ask { Ok(found) } else { Err(other(&found)) })
}

fn other(run: &Run) -> Refusal {
    let what = match run.ask.kind {
        RunKind::Reconcile => "a reconcile",
        RunKind::Import { .. } => "an import",
    };
    let dry = if run.ask.dry_run { " (dry)" } else { "" };
    let why = format!("{what}{dry} of {} is under way; ask again when it is done", run.backend_name);
    Refusal::new(ErrorCode::OperationAborted, why)
}

async fn unusable(transaction: &Transaction<'_>, ask: &AskRun) -> Result<Option<Refusal>, Failure> {
    let sql = "SELECT name, state, attached FROM backends WHERE id = $1 AND state <> 'removed'";
    let row = transaction.query_opt(sql, &[&ask.backend.0]).await?;
    let Some(row) = row else {
        return Ok(Some(Refusal::new(ErrorCode::InvalidArgument, "there is no such backend")));
    };
    let (name, state, attached): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
    let why = if !attached {
        format!("{name} is not attached: its marker was not read, or is not ours")
    } else if matches!(ask.kind, RunKind::Import { .. }) && state != "active" {
        format!("{name} is {state}: nothing is imported there")
    } else {
        return Ok(None);
    };
    Ok(Some(Refusal::new(ErrorCode::PreconditionFailed, why)))
}

pub(super) async fn ask_due(pool: &Pool, every_us: i64, without: &[BackendId]) -> Result<u64, PortError> {
    let without: Vec<i32> = without.iter().map(|id| id.0).collect();
    Ok(u64::try_from(pool.run(BEGIN_DUE, &[&every_us, &without]).await?.len()).unwrap_or(u64::MAX))
}

pub(super) async fn claim(pool: &Pool, claim: Claim) -> Result<Option<Run>, PortError> {
    let rows = pool.run(CLAIM, &[&claim.owner, &claim.lasts_us]).await?;
    Ok(rows.first().map(run).transpose()?)
}

pub(super) async fn save(pool: &Pool, claim: Claim, run: &Run) -> Result<bool, PortError> {
    let fields = run.tally.fields().into_iter().map(|(name, value)| (name.to_owned(), value.into()));
    let tally = serde_json::Value::Object(fields.collect()).to_string();
    let error = run.error.as_deref().map(printable);
    let (state, phase) = (run.state.as_str(), run.phase.as_str());
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
        [&run.id, &claim.owner, &state, &phase, &run.cursor, &tally, &error, &claim.lasts_us];
    let saved = pool.run(SAVE, &params).await?;
    // A statement whose reply was lost is repeated, and finds the run ended.
    Ok(!saved.is_empty() || run.state != RunState::Running && ended(pool, run).await?)
}

async fn ended(pool: &Pool, run: &Run) -> Result<bool, PortError> {
    let sql = "SELECT FROM reconcile_runs WHERE id = $1 AND state = $2";
    Ok(!pool.run(sql, &[&run.id, &run.state.as_str()]).await?.is_empty())
}
