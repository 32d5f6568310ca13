//! What may be moved from one backend to another, and whose run it is.

use async_trait::async_trait;
use s3o_core::cleanup::Claim;
use s3o_core::ports::{PortError, Rebalances};
use s3o_core::rebalance::{CandidatePage, Transfer};
use s3o_core::replication::CopyItem;
use s3o_types::{Extent, VersionId};
use uuid::Uuid;

use crate::Store;
use crate::rows::fifteen_bits;
use crate::scrubs::{item, place};

/// Copies looked at at once.
const PAGE: usize = 1000;

/// $1 from, $2 to, $3 and $4 the last copy, $5 rows.
const CANDIDATES: &str = "
    WITH page AS MATERIALIZED (
        SELECT version, extent, bucket, key, stored_size, state FROM copies
        WHERE backend = $1 AND version >= $3 AND (version, extent) > ($3, $4)
        ORDER BY version, extent LIMIT $5
    )
    SELECT version, extent, bucket, key, stored_size, state = 'verified' AND NOT EXISTS (
        SELECT FROM copies c WHERE c.version = p.version AND c.extent = p.extent AND c.backend = $2) AS may_move
    FROM page p ORDER BY version, extent";

const CLAIM: &str = "
    INSERT INTO run_claims (name, claimed_by, claimed_until)
    VALUES ($1, $2, now() + $3::bigint * interval '1 microsecond')
    ON CONFLICT (name) DO UPDATE SET claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until
    WHERE run_claims.claimed_until < now() OR run_claims.claimed_by = excluded.claimed_by OR NOT EXISTS (
        SELECT FROM sessions s WHERE s.id = run_claims.claimed_by AND s.deadline > now())
    RETURNING 1";

const RELEASE: &str = "DELETE FROM run_claims WHERE name = $1 AND claimed_by = $2";

#[async_trait]
impl Rebalances for Store {
    async fn candidates(
        &self,
        transfer: Transfer,
        after: Option<(VersionId, Extent)>,
    ) -> Result<CandidatePage, PortError> {
        let Transfer { from, to, bytes: _ } = transfer;
        let version = after.map_or(Uuid::nil(), |(version, _)| version.to_uuid());
        let extent = after.map_or(-1, |(_, extent)| fifteen_bits(extent.get()));
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&from.0, &to.0, &version, &extent, &limit];
        let rows = self.inner.general.run(CANDIDATES, &params).await?;
        let found: Vec<(CopyItem, bool)> =
            self.inner.unreadable.pass(&rows, "copies", |cells| Ok((item(cells)?, cells.get("may_move")?)));
        Ok(CandidatePage {
            next: place(&rows).filter(|_| rows.len() == PAGE),
            copies: found.into_iter().filter(|(_, may)| *may).map(|(copy, _)| copy).collect(),
        })
    }

    async fn claim_run(&self, name: &str, claim: Claim) -> Result<bool, PortError> {
        let rows = self.inner.general.run(CLAIM, &[&name, &claim.owner, &claim.lasts_us]).await?;
        Ok(!rows.is_empty())
    }

    async fn release_run(&self, name: &str, owner: Uuid) -> Result<(), PortError> {
        self.inner.general.run(RELEASE, &[&name, &owner]).await?;
        Ok(())
    }
}
