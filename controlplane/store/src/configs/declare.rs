//! Applies what YAML declares, once per content.
//!
//! Invariant: applying never loses an object. What disappeared from YAML loses access (a bucket, a
//! credential) or new writes (a backend); a backend is forgotten only when no row names a byte on it,
//! decided under the lock that Begin takes.

use std::collections::HashMap;

use s3o_core::config::{Declared, DeclaredBackend, DeclaredBucket, DeclaredCredential};
use s3o_types::Scope;
use tokio_postgres::Transaction;

use super::{mint, object_lock, versioning};
use crate::Store;
use crate::error::{Failure, StoreError};
use crate::removals::lock_removal;
use crate::rows::{limits_json, rules_json, spec_json};
use crate::scan::{self, Scan};
use crate::schema::{LOCK_BUCKET, LOCK_MIGRATION, LOCK_PLACES};

impl Store {
    /// Applies `declared` unless a declaration of the same `hash` was the last one applied. Replicas that
    /// start together take turns, and all but the first find it done.
    pub async fn apply_declared(&self, declared: &Declared, hash: &str) -> Result<(), StoreError> {
        let pool = &self.inner.general;
        pool.retried(|| pool.transact_once(async |transaction| apply(transaction, declared, hash).await))
            .await?;
        self.inner.wake_config.notify_one();
        Ok(())
    }
}

async fn apply(transaction: &Transaction<'_>, declared: &Declared, hash: &str) -> Result<(), Failure> {
    let lock = format!("SELECT pg_advisory_xact_lock({LOCK_MIGRATION}, 0)");
    transaction.batch_execute(&lock).await?;
    let same = "SELECT value #>> '{}' = $1 FROM settings WHERE name = 'declared_hash'";
    let known = transaction.query_opt(same, &[&hash]).await?.is_some_and(|row| row.get(0));
    let mut changed = !known;
    if !known {
        lock_drained(transaction).await?;
        versioning::lock_declared(transaction, &declared.buckets).await?;
        object_lock::refuse_suspension(transaction, &declared.buckets).await?;
        let buckets = buckets(transaction, &declared.buckets).await?;
        unsay(transaction, &buckets).await?;
        versioning::declare(transaction, &declared.buckets, &buckets).await?;
        object_lock::declare(transaction, &declared.buckets, &buckets).await?;
        backends(transaction, &declared.backends).await?;
        credentials(transaction, &declared.credentials, &buckets).await?;
        set(transaction, "routing", declared.routing.as_str()).await?;
        set(transaction, "declared_hash", hash).await?;
    }
    changed |= retire_empty(transaction).await? > 0;
    if changed {
        mint(transaction).await?;
    }
    Ok(())
}

/// A bucket of which nothing is said any more keeps its versioning and its Object Lock, and they are its clients' to change.
async fn unsay(transaction: &Transaction<'_>, said: &HashMap<String, i32>) -> Result<(), Failure> {
    let said: Vec<i32> = said.values().copied().collect();
    let unsaid = "UPDATE buckets SET versioning_declared = false, object_lock_declared = false
                  WHERE (versioning_declared OR object_lock_declared) AND NOT id = ANY ($1)";
    transaction.execute(unsaid, &[&said]).await?;
    Ok(())
}

async fn set(transaction: &Transaction<'_>, name: &str, text: &str) -> Result<(), Failure> {
    let upsert = "INSERT INTO settings (name, value) VALUES ($1, to_jsonb($2::text))
                  ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    transaction.execute(upsert, &[&name, &text]).await?;
    Ok(())
}

fn optional(bytes: Option<u64>) -> Option<i64> {
    bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

async fn buckets(
    transaction: &Transaction<'_>,
    declared: &[DeclaredBucket],
) -> Result<HashMap<String, i32>, Failure> {
    let upsert = "INSERT INTO buckets AS b (name, ack, replication_factor, max_object_size, cors, degraded_reads, lifecycle,
                                          declared)
                  VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7::text::jsonb, true)
                  ON CONFLICT (name) WHERE state <> 'gone' DO UPDATE SET ack = excluded.ack, declared = true,
                      replication_factor = excluded.replication_factor, max_object_size = excluded.max_object_size,
                      cors = excluded.cors, degraded_reads = excluded.degraded_reads,
                      stored_cors = CASE WHEN excluded.cors IS NULL THEN b.stored_cors END,
                      lifecycle = excluded.lifecycle,
                      stored_lifecycle = CASE WHEN excluded.lifecycle IS NULL THEN b.stored_lifecycle END
                  RETURNING id";
    refuse_taken(transaction, declared).await?;
    let factor_of = "SELECT id, replication_factor FROM buckets WHERE name = $1 AND state <> 'gone'";
    let mut ids = HashMap::new();
    for bucket in declared {
        let DeclaredBucket {
            name,
            ack,
            replication_factor,
            max_object_size,
            cors,
            lifecycle,
            versioning: _,
            lock: _,
            degraded_reads,
        } = bucket;
        let factor = i16::try_from(*replication_factor).unwrap_or(i16::MAX);
        let max = optional(*max_object_size);
        let cors = stored(name.as_str(), cors)?;
        let lifecycle = stored(name.as_str(), lifecycle)?;
        let before = transaction.query_opt(factor_of, &[&name.as_str()]).await?;
        if let Some(before) = before.filter(|before| before.get::<_, i16>("replication_factor") != factor) {
            let id: i32 = before.get("id");
            // Commits under the old factor finish first: the scan finds what they left.
            transaction.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&LOCK_BUCKET, &id]).await?;
            scan::begin(transaction, Scan::Factor, id).await?;
        }
        let (name, ack, degraded) = (name.as_str(), ack.as_str(), degraded_reads.as_str());
        let row = transaction
            .query_one(upsert, &[&name, &ack, &factor, &max, &cors, &degraded, &lifecycle])
            .await?;
        ids.insert(name.to_owned(), row.get(0));
    }
    // The objects of a bucket that is not declared any more stay; nobody may reach them.
    let gone = "WITH gone AS (
                    UPDATE buckets SET declared = false WHERE declared AND NOT name = ANY ($1) RETURNING id
                ), scoped AS (DELETE FROM scoped_grants WHERE bucket IN (SELECT id FROM gone))
                DELETE FROM grants WHERE bucket IN (SELECT id FROM gone)";
    let names: Vec<&String> = ids.keys().collect();
    transaction.execute(gone, &[&names]).await?;
    Ok(ids)
}

/// Rules as their column has them; none are NULL.
fn stored<T: serde::Serialize>(bucket: &str, rules: &[T]) -> Result<Option<String>, Failure> {
    if rules.is_empty() { Ok(None) } else { rules_json(bucket, rules).map(Some) }
}

/// A name that a client has taken is not taken away by declaring it.
async fn refuse_taken(transaction: &Transaction<'_>, declared: &[DeclaredBucket]) -> Result<(), Failure> {
    let taken = "SELECT name, owner FROM buckets
                 WHERE name = ANY ($1) AND owner IS NOT NULL AND state <> 'gone' ORDER BY name LIMIT 1";
    let names: Vec<&str> = declared.iter().map(|bucket| bucket.name.as_str()).collect();
    match transaction.query_opt(taken, &[&names]).await? {
        None => Ok(()),
        Some(row) => {
            let (name, owner): (&str, &str) = (row.get("name"), row.get("owner"));
            Err(Failure::Declaration(format!(
                "buckets: `{name}` was made through the S3 API by the access key {owner}; delete it there, or declare \
                 another name"
            )))
        }
    }
}

/// Whoever decides whether a blob counts holds its lock shared: the commits under way finish first, at the
/// old places, and every later one sees the new. Other declarations are kept out by the migration lock, so
/// what is compared here is what will be changed.
async fn lock_places(transaction: &Transaction<'_>, declared: &[DeclaredBackend]) -> Result<(), Failure> {
    let moves = "
        SELECT EXISTS (
            SELECT FROM unnest($1::text[], $2::text[], $3::text[]) AS d (name, endpoint, bucket)
            JOIN backends b ON b.name = d.name AND b.state <> 'removed'
            WHERE b.spec->>'endpoint' <> d.endpoint OR b.spec->>'bucket' <> d.bucket)";
    let column = |of: fn(&DeclaredBackend) -> &str| declared.iter().map(of).collect::<Vec<&str>>();
    let (names, endpoints, buckets) = (column(|d| &d.name), column(|d| &d.endpoint), column(|d| &d.bucket));
    if transaction.query_one(moves, &[&names, &endpoints, &buckets]).await?.get(0) {
        let lock = format!("SELECT pg_advisory_xact_lock({LOCK_PLACES}, 0)");
        transaction.batch_execute(&lock).await?;
    }
    Ok(())
}

/// A backend that was emptied, removed, and is declared again where it was, is itself again: the marker there
/// names it. What may have been left of it in the meantime (the cleanup of a write that nobody knew) names
/// storage keys, which are never used twice.
async fn take_up_again(
    transaction: &Transaction<'_>,
    DeclaredBackend { name, endpoint, bucket, .. }: &DeclaredBackend,
) -> Result<(), Failure> {
    let again = "
        UPDATE backends SET state = 'active'
        WHERE id = (SELECT max(id) FROM backends WHERE name = $1 AND state = 'removed'
                      AND spec->>'endpoint' = $2 AND spec->>'bucket' = $3)
          AND NOT EXISTS (SELECT FROM backends WHERE name = $1 AND state <> 'removed')";
    transaction.execute(again, &[name, endpoint, bucket]).await?;
    Ok(())
}

/// What is let go of a backend that is given up is let go before, or after what is declared. Before any lock that commits take,
/// of a bucket or of the places: it is waited for as long as a batch of them takes.
async fn lock_drained(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let drained = "SELECT id FROM backends WHERE state = 'draining' ORDER BY id";
    for row in transaction.query(drained, &[]).await? {
        lock_removal(transaction, row.get("id")).await?;
    }
    Ok(())
}

async fn backends(transaction: &Transaction<'_>, declared: &[DeclaredBackend]) -> Result<(), Failure> {
    lock_places(transaction, declared).await?;
    // A Begin that is placing on one of them finishes first, and the next sees what is written here.
    let lock = "SELECT backend FROM backend_usage WHERE slot = 0 ORDER BY backend FOR UPDATE";
    transaction.query(lock, &[]).await?;
    // Another endpoint or bucket is another place: nothing is placed there before its marker was read, and
    // nothing counts any more that goes to the one before.
    let upsert = "
        INSERT INTO backends AS b (name, spec, quota_bytes, max_object_size, usage_limits, priority, position, declared)
        VALUES ($1, $2, $3, $4, $5, $6, $7, true)
        ON CONFLICT (name) WHERE state <> 'removed' DO UPDATE SET
            spec = excluded.spec, quota_bytes = excluded.quota_bytes, max_object_size = excluded.max_object_size,
            usage_limits = excluded.usage_limits, priority = excluded.priority, position = excluded.position, declared = true,
            state = CASE WHEN b.asked_to_drain THEN 'draining' ELSE 'active' END,
            removal = CASE WHEN b.asked_to_drain THEN b.removal END,
            removal_losses_upto = CASE WHEN b.asked_to_drain THEN b.removal_losses_upto END,
            place = b.place + CASE WHEN b.spec->'endpoint' = excluded.spec->'endpoint'
                                    AND b.spec->'bucket' = excluded.spec->'bucket' THEN 0 ELSE 1 END,
            attached = b.attached AND b.spec->'endpoint' = excluded.spec->'endpoint'
                       AND b.spec->'bucket' = excluded.spec->'bucket',
            etag_proof = CASE WHEN b.spec->'endpoint' = excluded.spec->'endpoint'
                               AND b.spec->'bucket' = excluded.spec->'bucket' THEN b.etag_proof ELSE 'unknown' END
        RETURNING id, state = 'active' AND EXISTS (
            SELECT FROM copy_scans s WHERE s.kind = 'drain' AND s.subject = b.id) AS taken_back";
    let slot = "INSERT INTO backend_usage (backend, slot) VALUES ($1, 0) ON CONFLICT DO NOTHING";
    let mut names = Vec::new();
    for (position, backend) in declared.iter().enumerate() {
        take_up_again(transaction, backend).await?;
        let spec = spec_json(backend)?;
        let quota = optional(backend.quota_bytes);
        let max = optional(backend.max_object_size);
        let limits = limits_json(backend)?;
        let position = i32::try_from(position).unwrap_or(i32::MAX);
        let row = transaction
            .query_one(upsert, &[&backend.name, &spec, &quota, &max, &limits, &backend.priority, &position])
            .await?;
        let id: i32 = row.get(0);
        transaction.execute(slot, &[&id]).await?;
        if row.get("taken_back") {
            scan::end(transaction, Scan::Drain, id).await?;
            scan::begin(transaction, Scan::Returned, id).await?;
        }
        names.push(backend.name.as_str());
    }
    let drain = "UPDATE backends SET state = 'draining', declared = false
                 WHERE declared AND state <> 'removed' AND NOT name = ANY ($1) RETURNING id";
    for row in transaction.query(drain, &[&names]).await? {
        scan::begin(transaction, Scan::Drain, row.get(0)).await?;
    }
    Ok(())
}

async fn credentials(
    transaction: &Transaction<'_>,
    declared: &[DeclaredCredential],
    buckets: &HashMap<String, i32>,
) -> Result<(), Failure> {
    let clear =
        "DELETE FROM grants WHERE access_key_id IN (SELECT access_key_id FROM credentials WHERE declared)";
    transaction.execute(clear, &[]).await?;
    // Buckets that were made through the API are their makers', whatever YAML says.
    let clear = "DELETE FROM scoped_grants
                 WHERE access_key_id IN (SELECT access_key_id FROM credentials WHERE declared)
                   AND bucket NOT IN (SELECT id FROM buckets WHERE owner IS NOT NULL AND state <> 'gone')";
    transaction.execute(clear, &[]).await?;
    transaction.execute("DELETE FROM credentials WHERE declared", &[]).await?;
    let add = "INSERT INTO credentials (access_key_id, secret_access_key, create_buckets, declared)
               VALUES ($1, $2, $3, true)
               ON CONFLICT (access_key_id) DO UPDATE SET secret_access_key = excluded.secret_access_key,
                   create_buckets = excluded.create_buckets, declared = true";
    let grant = "INSERT INTO grants (access_key_id, bucket, can_write) VALUES ($1, $2, $3)
                 ON CONFLICT (access_key_id, bucket) DO UPDATE SET can_write = excluded.can_write";
    let scope = "INSERT INTO scoped_grants AS g (access_key_id, bucket, prefix, rights) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (access_key_id, bucket, prefix) DO UPDATE SET rights = g.rights | excluded.rights";
    for DeclaredCredential { access_key_id, secret_access_key, create_buckets, grants, scopes } in declared {
        transaction.execute(add, &[access_key_id, &secret_access_key.expose(), create_buckets]).await?;
        for (bucket, can_write) in grants {
            // Configuration was checked before: a grant names a declared bucket.
            if let Some(id) = buckets.get(bucket.as_str()) {
                transaction.execute(grant, &[access_key_id, id, can_write]).await?;
            }
        }
        for (bucket, Scope { prefix, rights }) in scopes {
            if let Some(id) = buckets.get(bucket.as_str()) {
                let rights = i16::from(rights.bits());
                transaction.execute(scope, &[access_key_id, id, prefix, &rights]).await?;
            }
        }
    }
    Ok(())
}

/// Whether `b` is in no file any more and nothing names a byte on it.
macro_rules! empty {
    () => {
        "b.state = 'draining' AND NOT b.declared
          AND NOT EXISTS (SELECT FROM copies c WHERE c.backend = b.id)
          AND NOT EXISTS (SELECT FROM part_copies p WHERE p.backend = b.id)
          AND NOT EXISTS (SELECT FROM journal_files f WHERE f.backend = b.id AND NOT f.gone)
          AND NOT EXISTS (SELECT FROM intents i WHERE b.id = ANY (i.target_backend))
          AND NOT EXISTS (SELECT FROM cleanup_queue q WHERE q.backend = b.id)
          AND NOT EXISTS (SELECT FROM cleanup_dlq d WHERE d.backend = b.id)"
    };
}

/// Backends that are neither declared nor stored any more, and on which no row names a byte.
pub(crate) async fn retire_empty(transaction: &Transaction<'_>) -> Result<usize, Failure> {
    // Looked at without the lock first: every Begin waits for it.
    let any = concat!("SELECT FROM backends b WHERE ", empty!(), " LIMIT 1");
    if transaction.query_opt(any, &[]).await?.is_none() {
        return Ok(0);
    }
    let lock = "SELECT u.backend FROM backend_usage u JOIN backends b ON b.id = u.backend
                WHERE u.slot = 0 AND b.state = 'draining' AND NOT b.declared ORDER BY u.backend FOR UPDATE OF u";
    transaction.query(lock, &[]).await?;
    // A new statement: it sees what those that held the locks have written.
    let retire = concat!(
        "UPDATE backends b SET state = 'removed', attached = false, asked_to_drain = false, removal = NULL,
             removal_losses_upto = NULL WHERE ",
        empty!(),
        " RETURNING b.id"
    );
    let retired = transaction.query(retire, &[]).await?;
    for row in &retired {
        scan::end_all(transaction, row.get(0)).await?;
    }
    Ok(retired.len())
}
