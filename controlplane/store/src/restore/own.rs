//! What the database's own change log says of versions that are gone: what was deleted since must not come back.
//!
//! Invariants: a version that is there has a row, so that only what is gone is staged; before a key's rows are touched, all
//! that was committed of the key is staged: its lock is held, and whoever writes holds it until the commit.

use std::sync::LazyLock;

use s3o_core::journal::LogPlace;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::run::RestoreRun;
use super::staged_as_events;
use crate::error::Failure;
use crate::journal::lines::{self, GONE_OF_KEYS};
use crate::journal::place_of;
use crate::pool::Pool;

/// Changes in one statement.
const PAGE: i64 = 10_000;

/// Like [`lines::PAGE`], whose parameters it has; answers the last place of the page, and how many changes it had.
static STAGE: LazyLock<String> = LazyLock::new(|| {
    let (page, gone) = (lines::PAGE, lines::GONE.as_str());
    let staged = staged(&lines::lines_of(&format!("(SELECT * FROM page WHERE outcome IN ({gone}))")));
    format!(
        "WITH page AS MATERIALIZED ({page}), staged AS ({staged})
         SELECT xid::text AS xid, n, (SELECT count(*) FROM page) AS changes
         FROM page ORDER BY page.xid DESC, n DESC LIMIT 1"
    )
});

static STAGE_KEYS: LazyLock<String> = LazyLock::new(|| staged(&GONE_OF_KEYS));

fn staged(lines: &str) -> String {
    let from = format!("({lines}) AS p (xid, n, text), LATERAL (SELECT text::jsonb AS line) AS l");
    staged_as_events(&from, "line->>'k' IN ('gone', 'cleared', 'dead')")
}

/// Stages a page of it; where it ended, and whether there may be more.
pub(super) async fn stage(
    pool: &Pool,
    run: &RestoreRun,
    after: LogPlace,
) -> Result<(LogPlace, bool), Failure> {
    let stage = async |transaction: &Transaction<'_>| {
        run.goes_on(transaction).await?;
        let params: [&(dyn ToSql + Sync); 3] = [&after.xid.to_string(), &after.n, &PAGE];
        let Some(row) = transaction.query_opt(STAGE.as_str(), &params).await? else {
            return Ok((after, false));
        };
        Ok((place_of(&row)?, row.get::<_, i64>("changes") >= PAGE))
    };
    pool.transact_within(super::PATIENCE, stage).await
}

/// Stages what was committed of some keys, whose locks are held, behind a place.
pub(super) async fn stage_keys(
    transaction: &Transaction<'_>,
    after: LogPlace,
    buckets: &[i32],
    keys: &[String],
) -> Result<(), Failure> {
    let params: [&(dyn ToSql + Sync); 4] = [&after.xid.to_string(), &after.n, &buckets, &keys];
    transaction.execute(STAGE_KEYS.as_str(), &params).await?;
    Ok(())
}
