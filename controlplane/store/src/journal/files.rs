//! Which files there are. A file's bytes count as used from before its PUT until after its DELETE.

/// Backends that may take a file of `$1` bytes, those that hold others of them first.
pub(super) const TARGETS: &str = "
    SELECT b.id FROM backends b
    WHERE b.state = 'active' AND b.attached
      AND (b.quota_bytes IS NULL OR b.quota_bytes - $1::bigint >= (
          SELECT COALESCE(sum(used + reserved + orphaned), 0) FROM backend_usage u WHERE u.backend = b.id))
    ORDER BY EXISTS (SELECT FROM journal_files f WHERE f.backend = b.id AND f.stored) DESC, b.priority, b.position";

pub(super) const NOTE: &str = "
    WITH noted AS (
        INSERT INTO journal_files (backend, storage_key, number, bytes) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING backend, bytes
    )
    INSERT INTO backend_usage (backend, slot, used) SELECT backend, $5::smallint, bytes FROM noted
    ON CONFLICT (backend, slot) DO UPDATE SET used = backend_usage.used + excluded.used";

pub(super) const STORED: &str =
    "UPDATE journal_files SET stored = true WHERE backend = $1 AND storage_key = $2 AND NOT gone RETURNING 1";

/// What becomes of `f` when its bytes are nobody's any more. The row stays as long as the key is one of the journal's: no key
/// is written twice.
macro_rules! let_go {
    () => {
        "UPDATE journal_files f SET gone = true, lost = f.lost OR f.stored, stored = false, bytes = 0"
    };
}
pub(crate) use let_go;

pub(super) const FORGET: &str = concat!(
    "
    WITH was AS (
        SELECT backend, storage_key, bytes FROM journal_files
        WHERE backend = $1 AND storage_key = $2 AND NOT gone FOR UPDATE
    ),
    marked AS (
        ",
    let_go!(),
    "
        FROM was w WHERE f.backend = w.backend AND f.storage_key = w.storage_key RETURNING w.backend, w.bytes
    )
    INSERT INTO backend_usage (backend, slot, used) SELECT backend, $3::smallint, -bytes FROM marked
    ON CONFLICT (backend, slot) DO UPDATE SET used = backend_usage.used + excluded.used"
);

/// It is deleted with what was never stored, after an hour.
pub(super) const BAD: &str = "
    UPDATE journal_files SET stored = false, lost = true, noted = now()
    WHERE backend = $1 AND storage_key = $2 AND stored";

/// Files that nobody asks for any more leave nothing behind.
pub(super) const PRUNE: &str =
    "DELETE FROM journal_files WHERE gone AND number < (SELECT complete_before FROM journal)";

/// Files that were stored once and of which no copy is left that can be asked for.
pub(super) const HOLE: &str = "
    SELECT max(number) AS number FROM (
        SELECT f.number FROM journal_files f JOIN backends b ON b.id = f.backend
        WHERE f.number >= COALESCE((SELECT complete FROM journal), 0)
        GROUP BY f.number, f.storage_key
        HAVING bool_or(f.lost)
           AND NOT bool_or(f.stored AND b.state <> 'removed' AND b.removal IS DISTINCT FROM 'forget')
    ) AS holes";

/// Whether `f` is not needed: it is of before the second newest snapshot, or its PUT was not verified within the hour and is
/// not waited for any more, or its backend is drained and another one has it.
macro_rules! unneeded {
    () => {
        "NOT f.gone AND (f.number < (SELECT complete_before FROM journal)
           OR (NOT f.stored AND f.noted < now() - interval '1 hour')
           OR (f.stored AND EXISTS (SELECT FROM backends b WHERE b.id = f.backend AND b.state = 'draining')
               AND EXISTS (
                   SELECT FROM journal_files o JOIN backends a ON a.id = o.backend
                   WHERE o.storage_key = f.storage_key AND o.stored AND a.state = 'active')))"
    };
}

pub(super) const DELETE: &str = concat!(
    "SELECT f.backend, f.storage_key, f.number, f.bytes FROM journal_files f WHERE ",
    unneeded!(),
    " ORDER BY f.number LIMIT 1000"
);

/// From then on nobody counts on the file, and whoever has the journal deletes it. Only for the claim's owner, whose row is
/// held meanwhile, and where anything may be deleted at all. $1 owner.
pub(super) const CONDEMN: &str = concat!(
    "WITH ours AS MATERIALIZED (
         SELECT one FROM journal
         WHERE claimed_by = $1 AND may_delete() FOR SHARE
     )
     UPDATE journal_files f SET lost = f.lost OR f.stored, stored = false, noted = '-infinity'
     FROM ours WHERE f.backend = $2 AND f.storage_key = $3 AND ",
    unneeded!(),
    " RETURNING 1"
);

/// Stored files of which nothing was seen for `$1` microseconds, `$2` at most.
pub(super) const CHECK: &str = "
    WITH due AS (
        SELECT backend, storage_key FROM journal_files
        WHERE stored AND checked < now() - $1::bigint * interval '1 microsecond'
        ORDER BY checked LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    UPDATE journal_files f SET checked = now() FROM due d
    WHERE f.backend = d.backend AND f.storage_key = d.storage_key
    RETURNING f.backend, f.storage_key, f.number, f.bytes";

/// Files that fewer than `$1` backends have, where more could.
pub(super) const COPY: &str = "
    SELECT DISTINCT ON (f.storage_key) f.backend, f.storage_key, f.number, f.bytes
    FROM journal_files f JOIN backends b ON b.id = f.backend
    WHERE f.stored AND (SELECT count(*) FROM journal_files o JOIN backends a ON a.id = o.backend
                        WHERE o.storage_key = f.storage_key AND o.stored AND a.state = 'active')
                       < least($1::bigint, (SELECT count(*) FROM backends WHERE state = 'active' AND attached))
      AND f.number >= COALESCE((SELECT complete_before FROM journal), 0)
    ORDER BY f.storage_key, b.state LIMIT 100";

/// Not those that are given up: what they have is not waited for.
pub(super) const ALL_HOLDERS: &str = "
    SELECT DISTINCT f.backend FROM journal_files f JOIN backends b ON b.id = f.backend
    WHERE f.stored AND b.removal IS DISTINCT FROM 'forget'";

pub(super) const HOLDERS: &str = "SELECT backend FROM journal_files WHERE storage_key = $1";

pub(super) const KEYS: &str = "SELECT DISTINCT storage_key FROM journal_files WHERE number >= $1";
