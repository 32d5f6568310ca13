//! The statements of the first flight: what calls are decided from. Those of readers are in `lookups.rs`.
//!
//! Each looks its rows up by index, once an item: joins are nested loops from the batch's arrays (the
//! session allows no others), and `LATERAL (… LIMIT 1)` says so to the planner where a key is unique.
//! Columns stand here, and in `columns.rs`, as the records in `rows/` read them.

use super::columns::{copies, is_named, object, version_is_there};
use crate::scan::is_away;

/// Keys, then buckets, then, where `$4`, places: the branches of an Append run in their order. The subqueries
/// are sorted before the lock function runs over them: OFFSET keeps them subqueries, so the order of the
/// hashes is the order of the locks, in every transaction.
///
/// The lock of the places is taken by batches whose outcome depends on where backends are; whoever moves one
/// takes it alone, before slot 0 of any usage. 1932750593 = `schema::LOCK_BUCKET`, 1932750595 =
/// `schema::LOCK_PLACES`.
pub(super) const LOCKS: &str = "
    SELECT count(pg_advisory_xact_lock(h)) FROM (
        SELECT DISTINCT hashtextextended(t.key, t.bucket) AS h
        FROM unnest($1::int[], $2::text[]) AS t (bucket, key) ORDER BY h OFFSET 0
    ) AS hashes
    UNION ALL
    SELECT count(pg_advisory_xact_lock_shared(1932750593, id)) FROM (
        SELECT t.id FROM unnest($3::int[]) AS t (id) ORDER BY t.id OFFSET 0
    ) AS ids
    UNION ALL
    SELECT count(pg_advisory_xact_lock_shared(1932750595, 0)) FROM generate_series(1, 1) AS once WHERE $4::boolean";

pub(super) const TRY_LOCK_KEYS: &str = "
    SELECT bucket, key, pg_try_advisory_xact_lock(h) AS locked FROM (
        SELECT t.bucket, t.key, hashtextextended(t.key, t.bucket) AS h
        FROM unnest($1::int[], $2::text[]) AS t (bucket, key) ORDER BY h OFFSET 0
    ) AS hashes";

pub(super) const PLACES: &str = "
    SELECT b.id, b.place
    FROM unnest($1::int[]) AS t (id),
    LATERAL (SELECT id, place FROM backends WHERE backends.id = t.id AND state <> 'removed' LIMIT 1) AS b";

/// As `IntentRecord` reads them.
macro_rules! intents {
    () => {
        "
    SELECT i.op, i.item, i.session, i.bucket, i.key, i.version, i.size, i.kind, i.if_absent, i.if_match,
           i.required_copies, i.log_floor, i.begun, i.target_backend, i.target_extent, i.target_gen,
           i.target_key, i.target_place, i.claimed_by, i.upload
    FROM unnest($1::uuid[], $2::int[]) AS t (op, item) JOIN intents i ON i.op = t.op AND i.item = t.item"
    };
}

/// Blobs that were found on backends.
pub(super) const FOUND: &str = concat!(
    "SELECT t.op, t.item, ",
    is_named!(),
    " AS is_named, ",
    version_is_there!(),
    " AS version_is_there
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::uuid[], $6::smallint[], $7::smallint[], $8::int[],
                $9::text[]) AS t (op, item, bucket, key, version, extent, gen, backend, storage_key)"
);

pub(super) const INTENTS: &str = concat!(intents!(), " ORDER BY i.op, i.item FOR UPDATE OF i");

/// Begin looks once it holds slot 0, without locking: lock order has intents before usage.
pub(super) const INTENTS_AGAIN: &str = intents!();

/// What each call finds: the outcome that it has already, and the current object of its key, for calls that may
/// take it away with its copies, one row a copy; those of many extents (16 = `MANY_EXTENTS`) are summed up by
/// [`SUMS`] instead. No ORDER BY within: it would invite a walk along the index of numbers. An operation has one row.
pub(super) const CALLS: &str = concat!(
    "SELECT t.op, t.item, l.outcome, l.n, l.at, l.version AS l_version, l.is_null AS l_is_null, ",
    object!(),
    ", ",
    copies!(),
    "
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::boolean[]) AS t (op, item, bucket, key, displaces)
    LEFT JOIN LATERAL (
        SELECT outcome, n, at, version, is_null FROM changes
        WHERE op = t.op AND item = t.item AND day >= (now() AT TIME ZONE 'UTC')::date - 1 LIMIT 1
    ) AS l ON true
    LEFT JOIN LATERAL (
        SELECT * FROM objects WHERE objects.bucket = t.bucket AND objects.key = t.key LIMIT 1
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT * FROM copies
        WHERE copies.version = o.version AND t.displaces
          AND (o.parts <= 16 OR o.parts_of = o.version IS NOT TRUE) OFFSET 0
    ) AS c ON true
    WHERE l.n IS NOT NULL OR o.seq IS NOT NULL"
);

/// What a version of many extents holds, by backend.
pub(super) const SUMS: &str = "
    SELECT c.version, c.backend, sum(c.stored_size)::bigint AS bytes,
           count(*) FILTER (WHERE c.extent_offset = 0) AS objects
    FROM copies c WHERE c.version = ANY ($1::uuid[]) GROUP BY c.version, c.backend";

/// Noncurrent versions and markers of keys, one row a copy: the one with an id, the null one, the two newest. Copies
/// where the call may remove the version, unless they are many (16 = `MANY_EXTENTS`).
pub(super) const VERSIONS: &str = concat!(
    "SELECT v.bucket, v.key, v.seq, v.version, v.delete_marker, v.size, v.etag, v.modified, v.attributes, v.checksums,
           v.tags, v.is_null, v.retain_until, v.retain_mode, v.legal_hold, v.parts, ",
    copies!(),
    "
    FROM unnest($1::int[], $2::text[], $3::uuid[], $4::boolean[], $5::boolean[], $6::boolean[])
         AS t (bucket, key, version, is_null, newest, displaces)
    CROSS JOIN LATERAL (
        SELECT seq FROM (SELECT * FROM object_versions WHERE object_versions.version = t.version OFFSET 0) AS n
        WHERE n.bucket = t.bucket AND n.key = t.key AND NOT n.is_null
        UNION
        SELECT seq FROM object_versions AS n
        WHERE n.bucket = t.bucket AND n.key = t.key AND n.is_null AND t.is_null
        UNION
        SELECT seq FROM (
            SELECT seq FROM object_versions AS n
            WHERE n.bucket = t.bucket AND n.key = t.key AND t.newest ORDER BY n.seq DESC LIMIT 2
        ) AS newest
    ) AS s
    CROSS JOIN LATERAL (
        SELECT * FROM object_versions AS n
        WHERE n.bucket = t.bucket AND n.key = t.key AND n.seq = s.seq LIMIT 1
    ) AS v
    LEFT JOIN LATERAL (
        SELECT * FROM copies WHERE copies.version = v.version AND t.displaces AND (v.parts <= 16 OR v.parts IS NULL) OFFSET 0
    ) AS c ON true"
);

/// The copies of an extent and the state of their backends, one row a copy, if its version is there, current or not;
/// and how often workers have begun to write it. A backend whose marker is not known to be ours is not relied on, nor one
/// that is down or lost, like one that is drained.
pub(super) const COPIES_OF_EXTENTS: &str = concat!(
    "SELECT t.version AS t_version, t.extent AS t_extent, a.attempts,
           CASE WHEN b.state = 'active' AND (NOT b.attached OR ",
    is_away!("c.backend"),
    ")
               THEN 'draining' ELSE b.state END AS b_state, ",
    copies!(),
    "
    FROM unnest($1::uuid[], $2::smallint[], $3::int[], $4::text[]) AS t (version, extent, bucket, key)
    JOIN LATERAL (
        SELECT * FROM copies WHERE copies.version = t.version AND copies.extent = t.extent OFFSET 0
    ) AS c ON true
    JOIN LATERAL (SELECT state, attached FROM backends WHERE backends.id = c.backend LIMIT 1) AS b ON true
    LEFT JOIN LATERAL (
        SELECT attempts FROM copy_attempts
        WHERE copy_attempts.version = t.version AND copy_attempts.extent = t.extent LIMIT 1
    ) AS a ON true
    WHERE ",
    version_is_there!(),
);

/// How backends are given up. Held until the end: whoever takes a drain back waits, and sees all that was let go. While
/// somebody changes it, or waits to, none is given up, and a batch with others in it need not wait. None is in the recovery
/// mode. 1932750598 = `schema::LOCK_REMOVALS`.
pub(super) const REMOVALS: &str = "
    SELECT id, removal, removal_losses_upto FROM backends
    WHERE id = ANY ($1::int[]) AND state = 'draining' AND removal IS NOT NULL
      AND NOT EXISTS (SELECT FROM settings WHERE name = 'recovery')
      AND pg_try_advisory_xact_lock_shared(1932750598, id)
    ORDER BY id FOR SHARE SKIP LOCKED";

/// What access keys may do besides whole buckets.
pub(super) const SCOPES: &str = "
    SELECT g.access_key_id, g.bucket, g.prefix, g.rights
    FROM unnest($1::text[], $2::int[]) AS t (access_key_id, bucket)
    JOIN scoped_grants g ON g.access_key_id = t.access_key_id AND g.bucket = t.bucket";

/// Multipart uploads, as `UploadRecord` reads them.
pub(super) const UPLOADS: &str = concat!(
    "SELECT ",
    crate::uploads::columns!(),
    "
    FROM unnest($1::uuid[]) AS t (id),
    LATERAL (SELECT * FROM uploads WHERE uploads.id = t.id LIMIT 1) AS u"
);

/// Stored parts, as `PartRecord` reads them: one of an upload, or all. What they were copied from decides nothing: whoever
/// completes an upload has compared it by then.
pub(super) const PARTS: &str = concat!(
    "SELECT ",
    crate::uploads::part_columns!(),
    ", NULL::jsonb AS p_copied
    FROM unnest($1::uuid[], $2::smallint[]) AS t (upload, part)
    JOIN upload_parts p ON p.upload = t.upload
        AND p.part BETWEEN COALESCE(t.part, 0) AND COALESCE(t.part, 10000)"
);

/// How often parts were begun.
pub(super) const ATTEMPTS: &str = "
    SELECT a.upload, a.part, a.attempts
    FROM unnest($1::uuid[], $2::smallint[]) AS t (upload, part)
    JOIN part_attempts a ON a.upload = t.upload AND a.part = t.part";

/// The buckets, and which of some keys may write to each.
pub(super) const BUCKETS_AND_WRITERS: &str = "
    SELECT b.id, b.name, b.state, b.ack, b.replication_factor, b.max_object_size, b.versioning, b.object_lock,
           ARRAY(
               SELECT g.access_key_id FROM unnest($2::text[]) AS t (access_key_id),
               LATERAL (
                   SELECT access_key_id FROM grants
                   WHERE grants.access_key_id = t.access_key_id AND grants.bucket = b.id AND can_write LIMIT 1
               ) AS g
           ) AS writers
    FROM buckets b WHERE b.id = ANY ($1)";

pub(super) const NAMED: &str = "
    SELECT c.version, c.extent, c.gen, c.backend
    FROM unnest($1::uuid[], $2::smallint[], $3::int[]) AS t (version, extent, backend),
    LATERAL (
        SELECT version, extent, gen, backend FROM copies
        WHERE copies.version = t.version AND copies.extent = t.extent AND copies.backend = t.backend LIMIT 1
    ) AS c
    UNION ALL
    SELECT t.version, p.part, p.gen, p.backend
    FROM unnest($1::uuid[], $2::smallint[], $3::int[]) AS t (version, extent, backend),
    LATERAL (SELECT id FROM uploads WHERE uploads.version = t.version LIMIT 1) AS u,
    LATERAL (
        SELECT part, gen, backend FROM part_copies
        WHERE part_copies.upload = u.id AND part = t.extent AND part_copies.backend = t.backend LIMIT 1
    ) AS p";

/// Intents that stand and that another transaction has locked: one snapshot for both looks. Takes the locks
/// of the others.
pub(super) const HELD_INTENTS: &str = "
    WITH mine AS MATERIALIZED (
        SELECT i.op, i.item
        FROM unnest($1::uuid[], $2::int[]) AS t (op, item) JOIN intents i ON i.op = t.op AND i.item = t.item
        ORDER BY i.op, i.item FOR UPDATE OF i SKIP LOCKED
    )
    SELECT i.op, i.item
    FROM unnest($1::uuid[], $2::int[]) AS t (op, item) JOIN intents i ON i.op = t.op AND i.item = t.item
    WHERE NOT EXISTS (SELECT FROM mine WHERE mine.op = i.op AND mine.item = i.item)";

/// 1, 2, 3, 30, 31, 32, 42 are the outcomes for which `Logged::changed_key` holds; a test compares them. Intents older than
/// `core` promotes (12 h) would have the whole log read; an hour more, so that the rule stays there.
pub(super) const OVERTAKEN: &str = "
    WITH t AS MATERIALIZED (
        SELECT op, item, floor, bucket, key
        FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::int[], $5::text[], $6::timestamptz[])
             AS u (op, item, floor, bucket, key, begun)
        WHERE begun > now() - interval '13 hours'
    )
    SELECT DISTINCT t.op, t.item
    FROM changes c JOIN t ON c.bucket = t.bucket AND c.key = t.key AND c.n > t.floor
    WHERE c.n > (SELECT min(floor) FROM t) AND c.outcome IN (1, 2, 3, 30, 31, 32, 42)";

/// Numbers of the log, and, where `$2`, of versions.
pub(super) const NUMBERS: &str = "
    SELECT nextval('change_seq') AS n, CASE WHEN $2::boolean THEN nextval('version_seq') END AS version, now() AS now
    FROM generate_series(1, $1::int)";

pub(super) const LOCK_ROOM: &str =
    "SELECT backend FROM backend_usage WHERE slot = 0 ORDER BY backend FOR UPDATE";

/// This month's use is read only where it is limited.
pub(super) const ROOM: &str = "
    SELECT b.id, b.place, b.state, b.attached, b.priority, b.position, b.quota_bytes, b.max_object_size,
           b.usage_limits, u.used, u.reserved, u.orphaned, u.objects, m.api_requests, m.egress_bytes, m.ingress_bytes,
           (SELECT value #>> '{}' FROM settings WHERE name = 'routing') AS routing
    FROM backends b,
    LATERAL (
        SELECT COALESCE(sum(used), 0)::bigint AS used, COALESCE(sum(reserved), 0)::bigint AS reserved,
               COALESCE(sum(orphaned), 0)::bigint AS orphaned, COALESCE(sum(objects), 0)::bigint AS objects
        FROM backend_usage WHERE backend_usage.backend = b.id
    ) AS u,
    LATERAL (
        SELECT COALESCE(sum(requests), 0)::bigint AS api_requests,
               COALESCE(sum(egress_bytes), 0)::bigint AS egress_bytes,
               COALESCE(sum(ingress_bytes), 0)::bigint AS ingress_bytes
        FROM monthly_usage
        WHERE b.usage_limits IS NOT NULL AND monthly_usage.backend = b.id
          AND monthly_usage.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
    ) AS m
    WHERE b.state <> 'removed'";

pub(super) const ALL: [&str; 24] = [
    LOCKS,
    TRY_LOCK_KEYS,
    PLACES,
    INTENTS,
    INTENTS_AGAIN,
    HELD_INTENTS,
    CALLS,
    SUMS,
    COPIES_OF_EXTENTS,
    REMOVALS,
    VERSIONS,
    SCOPES,
    UPLOADS,
    PARTS,
    ATTEMPTS,
    BUCKETS_AND_WRITERS,
    NAMED,
    FOUND,
    OVERTAKEN,
    super::expiry::RULES,
    super::expiry::STANDINGS,
    NUMBERS,
    LOCK_ROOM,
    ROOM,
];

#[cfg(test)]
mod tests {
    use super::*;
    use s3o_core::outcome_log::Logged;

    #[test]
    fn numbers_in_the_text_are_those_of_the_code() {
        assert!(LOCKS.contains(&crate::schema::LOCK_BUCKET.to_string()));
        assert!(LOCKS.contains(&crate::schema::LOCK_PLACES.to_string()));
        assert!(REMOVALS.contains(&crate::schema::LOCK_REMOVALS.to_string()));
        let changing: Vec<String> = (0..100)
            .filter(|&code| Logged::from_code(code).is_some_and(Logged::changed_key))
            .map(|code| code.to_string())
            .collect();
        assert!(CALLS.contains(&format!("<= {}", s3o_core::object::MANY_EXTENTS)));
        assert!(VERSIONS.contains(&format!("<= {}", s3o_core::object::MANY_EXTENTS)));
        assert!(PARTS.contains(&format!("t.part, {})", s3o_core::upload::MAX_PARTS)));
        assert!(OVERTAKEN.contains(&format!("IN ({})", changing.join(", "))));
    }
}
