//! The journal: what is read for it, and how far it is.
//!
//! Invariants: a step is taken only while the claim is its owner's; the numbers of segments have no gap.

mod files;
pub(crate) mod lines;

pub(crate) use files::let_go;

use async_trait::async_trait;
use s3o_core::cleanup::Claim;
use s3o_core::journal::{
    JournalChores, JournalState, JournalStep, LogPage, LogPlace, OpenSnapshot, RowPlace, RowsRead, StoredFile,
};
use s3o_core::ports::{Journal, PortError};
use s3o_core::usage::signed;
use s3o_types::BackendId;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::Store;
use crate::error::Failure;
use crate::rows::{Cells, corrupt};

const CLAIM: &str = "
    UPDATE journal SET claimed_by = $1, claimed_until = now() + $2::bigint * interval '1 microsecond'
    WHERE claimed_by IS NULL OR claimed_by = $1 OR claimed_until < now()
       OR NOT EXISTS (SELECT FROM sessions s WHERE s.id = journal.claimed_by AND s.deadline > now())
    RETURNING xid::text AS xid, n, segment, snapshot, snapshot_files, snapshot_bucket, snapshot_key, snapshot_seq,
              snapshot_read, complete, (extract(epoch FROM now() - completed) * 1000000)::bigint AS complete_age";

/// The first change behind the journal's place, by its index: none of those that wait is counted. One of a transaction that
/// others may commit before is not shipped yet, and is late all the same.
const LAG: &str = "
    SELECT GREATEST((extract(epoch FROM now() - at) * 1000000)::bigint, 0) AS lag FROM changes
    WHERE (xid, n) > ((SELECT xid FROM journal), (SELECT n FROM journal))
    ORDER BY xid, n LIMIT 1";

const RELEASE: &str = "UPDATE journal SET claimed_by = NULL, claimed_until = NULL WHERE claimed_by = $1";

/// Each of the steps, by the words that a statement is told; all of them only by the claim's owner, for the segment that it
/// saw.
const STEP: &str = "
    UPDATE journal SET
        xid = CASE WHEN $3 IN ('shipped', 'passed') THEN $4::text::xid8 ELSE xid END,
        n = CASE WHEN $3 IN ('shipped', 'passed') THEN $5::bigint ELSE n END,
        segment = CASE WHEN $3 = 'shipped' THEN segment + 1 ELSE segment END,
        snapshot = CASE $3 WHEN 'begun' THEN segment WHEN 'complete' THEN NULL ELSE snapshot END,
        snapshot_files = CASE $3 WHEN 'begun' THEN '{}' WHEN 'piece' THEN snapshot_files || $6::text ELSE snapshot_files END,
        snapshot_bucket = CASE $3 WHEN 'begun' THEN 0 WHEN 'piece' THEN $7::int ELSE snapshot_bucket END,
        snapshot_key = CASE $3 WHEN 'begun' THEN '' WHEN 'piece' THEN $8::text ELSE snapshot_key END,
        snapshot_seq = CASE $3 WHEN 'begun' THEN 0 WHEN 'piece' THEN $9::bigint ELSE snapshot_seq END,
        snapshot_read = $3 = 'read' OR (snapshot_read AND $3 NOT IN ('begun', 'complete')),
        snapshot_upto = CASE WHEN $3 = 'read' THEN pg_snapshot_xmax(pg_current_snapshot()) ELSE snapshot_upto END,
        complete_before = CASE WHEN $3 = 'complete' THEN complete ELSE complete_before END,
        complete = CASE WHEN $3 = 'complete' THEN snapshot ELSE complete END,
        completed = CASE WHEN $3 = 'complete' THEN now() ELSE completed END
    WHERE claimed_by = $1 AND segment = $2
    RETURNING segment";

/// Whether everything that ran when the last row was read has ended, and so will be in the segments that are shipped now.
const SETTLED: &str =
    "SELECT snapshot_upto <= pg_snapshot_xmin(pg_current_snapshot()) AS settled FROM journal";

fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn state(cells: Cells<'_>) -> Result<JournalState, String> {
    let place = LogPlace { xid: xid(cells.get("xid")?)?, n: cells.get("n")? };
    let open = |open: i64| -> Result<OpenSnapshot, String> {
        Ok(OpenSnapshot {
            number: number(open),
            files: cells.get("snapshot_files")?,
            upto: RowPlace {
                bucket: cells.get("snapshot_bucket")?,
                key: cells.get("snapshot_key")?,
                seq: cells.get("snapshot_seq")?,
            },
            is_read: cells.get("snapshot_read")?,
        })
    };
    let complete: Option<i64> = cells.get("complete")?;
    let age: Option<i64> = cells.get("complete_age")?;
    Ok(JournalState {
        shipped: place,
        segment: number(cells.get("segment")?),
        snapshot: cells.get::<Option<i64>>("snapshot")?.map(open).transpose()?,
        complete: complete.map(number).zip(age),
    })
}

fn xid(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("xid: {error}"))
}

fn file(row: &Row) -> Result<StoredFile, Failure> {
    let cells = Cells(row);
    let read = || -> Result<StoredFile, String> {
        Ok(StoredFile {
            backend: BackendId(cells.get("backend")?),
            storage_key: cells.get("storage_key")?,
            number: number(cells.get("number")?),
            bytes: cells.unsigned("bytes")?,
        })
    };
    read().map_err(|why| corrupt("journal_files", "a row", why))
}

/// Of a row of the changes, `xid` and `n`.
pub(crate) fn place_of(row: &Row) -> Result<LogPlace, Failure> {
    let xid = xid(row.get("xid")).map_err(|why| corrupt("changes", "a row", why))?;
    Ok(LogPlace { xid, n: row.get("n") })
}

#[async_trait]
impl Journal for Store {
    async fn claim_journal(&self, claim: Claim) -> Result<Option<JournalState>, PortError> {
        let Claim { owner, lasts_us, limit: _, due_for_us: _ } = claim;
        let rows = self.inner.general.run(CLAIM, &[&owner, &lasts_us]).await?;
        let state = rows.first().map(|row| state(Cells(row))).transpose();
        Ok(state.map_err(|why| corrupt("journal", "its row", why))?)
    }

    async fn journal_lag_us(&self) -> Result<u64, PortError> {
        let rows = self.inner.general.run(LAG, &[]).await?;
        Ok(rows.first().map_or(0, |row| number(row.get("lag"))))
    }

    async fn release_journal(&self, owner: Uuid) -> Result<(), PortError> {
        self.inner.general.run(RELEASE, &[&owner]).await?;
        Ok(())
    }

    async fn journal_backends(&self) -> Result<Vec<BackendId>, PortError> {
        let rows = self.inner.general.run(files::ALL_HOLDERS, &[]).await?;
        Ok(rows.iter().map(|row| BackendId(row.get("backend"))).collect())
    }

    async fn changes(&self, after: LogPlace, limit: u32) -> Result<LogPage, PortError> {
        let params: [&(dyn ToSql + Sync); 3] = [&after.xid.to_string(), &after.n, &i64::from(limit)];
        let rows = self.inner.general.run(&lines::CHANGES, &params).await?;
        let upto = match rows.last() {
            None => after,
            Some(row) => place_of(row)?,
        };
        let lines = rows.iter().filter_map(|row| row.get::<_, Option<String>>("line")).collect();
        Ok(LogPage { lines, upto, more: rows.len() >= limit as usize })
    }

    async fn journal_header(&self, upto: LogPlace) -> Result<String, PortError> {
        let params: [&(dyn ToSql + Sync); 2] = [&upto.xid.to_string(), &upto.n];
        let rows = self.inner.general.run(&lines::HEADER, &params).await?;
        let header = rows.first().map(|row| row.get("header"));
        Ok(header.ok_or_else(|| corrupt("settings", "a header", "no row"))?)
    }

    async fn snapshot_rows(&self, after: &RowPlace, limit: u32) -> Result<RowsRead, PortError> {
        let RowPlace { bucket, key, seq } = after;
        let rows = self.inner.general.run(lines::ROWS, &[bucket, key, seq, &i64::from(limit)]).await?;
        let place =
            |row: &Row| RowPlace { bucket: row.get("bucket"), key: row.get("key"), seq: row.get("seq") };
        Ok(RowsRead { lines: rows.iter().map(|row| row.get("line")).collect(), upto: rows.last().map(place) })
    }

    async fn snapshot_settled(&self) -> Result<bool, PortError> {
        let rows = self.inner.general.run(SETTLED, &[]).await?;
        Ok(rows.first().and_then(|row| row.get::<_, Option<bool>>("settled")).unwrap_or(false))
    }

    async fn journal_step(&self, owner: Uuid, segment: u64, step: JournalStep) -> Result<bool, PortError> {
        let (mut at, mut piece) = (LogPlace::default(), (String::new(), RowPlace::start()));
        let word = match step {
            JournalStep::Shipped(place) => {
                at = place;
                "shipped"
            }
            JournalStep::Passed(place) => {
                at = place;
                "passed"
            }
            JournalStep::SnapshotBegun => "begun",
            JournalStep::SnapshotPiece(file, upto) => {
                piece = (file, upto);
                "piece"
            }
            JournalStep::SnapshotRead => "read",
            JournalStep::SnapshotComplete => "complete",
        };
        let (file, upto) = piece;
        let params: [&(dyn ToSql + Sync); 9] = [
            &owner,
            &signed(segment),
            &word,
            &at.xid.to_string(),
            &at.n,
            &file,
            &upto.bucket,
            &upto.key,
            &upto.seq,
        ];
        // Not tried again: a step whose answer was lost may have been taken, and is not to be taken twice.
        let step = async |connection: &mut crate::connection::Connection| connection.run(STEP, &params).await;
        Ok(!self.inner.general.with_connection(step).await?.is_empty())
    }

    async fn journal_targets(&self, bytes: u64) -> Result<Vec<BackendId>, PortError> {
        let rows = self.inner.general.run(files::TARGETS, &[&signed(bytes)]).await?;
        Ok(rows.iter().map(|row| BackendId(row.get(0))).collect())
    }

    async fn note_journal_file(&self, file: &StoredFile) -> Result<(), PortError> {
        let StoredFile { backend, storage_key, number, bytes } = file;
        let (number, bytes, slot) = (signed(*number), signed(*bytes), self.inner.slots.maintenance());
        self.inner.general.run(files::NOTE, &[&backend.0, storage_key, &number, &bytes, &slot]).await?;
        Ok(())
    }

    async fn journal_file_stored(&self, backend: BackendId, storage_key: &str) -> Result<bool, PortError> {
        Ok(!self.inner.general.run(files::STORED, &[&backend.0, &storage_key]).await?.is_empty())
    }

    async fn journal_file_bad(&self, backend: BackendId, storage_key: &str) -> Result<(), PortError> {
        self.inner.general.run(files::BAD, &[&backend.0, &storage_key]).await?;
        Ok(())
    }

    async fn journal_hole(&self) -> Result<Option<u64>, PortError> {
        let rows = self.inner.general.run(files::HOLE, &[]).await?;
        Ok(rows.first().and_then(|row| row.get::<_, Option<i64>>("number")).map(number))
    }

    async fn journal_file_gone(&self, backend: BackendId, storage_key: &str) -> Result<(), PortError> {
        let slot = self.inner.slots.maintenance();
        self.inner.general.run(files::FORGET, &[&backend.0, &storage_key, &slot]).await?;
        Ok(())
    }

    async fn condemn_journal_file(
        &self,
        owner: Uuid,
        backend: BackendId,
        storage_key: &str,
    ) -> Result<bool, PortError> {
        Ok(!self.inner.general.run(files::CONDEMN, &[&owner, &backend.0, &storage_key]).await?.is_empty())
    }

    async fn journal_holders(&self, storage_key: &str) -> Result<Vec<BackendId>, PortError> {
        let rows = self.inner.general.run(files::HOLDERS, &[&storage_key]).await?;
        Ok(rows.iter().map(|row| BackendId(row.get(0))).collect())
    }

    async fn journal_keys(&self, from: u64) -> Result<Vec<String>, PortError> {
        let rows = self.inner.general.run(files::KEYS, &[&signed(from)]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn journal_checks(&self, after_us: i64, limit: u32) -> Result<Vec<StoredFile>, PortError> {
        let rows = self.inner.general.run(files::CHECK, &[&after_us, &i64::from(limit)]).await?;
        Ok(rows.iter().map(file).collect::<Result<Vec<_>, _>>()?)
    }

    async fn journal_chores(&self, copies: u16) -> Result<JournalChores, PortError> {
        let read = |rows: Vec<Row>| rows.iter().map(file).collect::<Result<Vec<_>, _>>();
        self.inner.general.run(files::PRUNE, &[]).await?;
        let delete = read(self.inner.general.run(files::DELETE, &[]).await?)?;
        let copy = read(self.inner.general.run(files::COPY, &[&i64::from(copies)]).await?)?;
        Ok(JournalChores { delete, copy })
    }
}
