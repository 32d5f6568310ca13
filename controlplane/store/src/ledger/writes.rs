//! The statements of the second flight. Rows come as arrays, one a column.

use crate::rows::lock_columns;

/// With the attempts at them: a version's number is never used again.
pub(super) const DROP_COPIES: &str = "
    WITH forgotten AS (DELETE FROM copy_attempts WHERE version = ANY ($1::uuid[]))
    DELETE FROM copies WHERE version = ANY ($1::uuid[])";

pub(super) const TAKE_COPIES: &str = "
    DELETE FROM copies c USING unnest($1::uuid[], $2::smallint[], $3::int[]) AS t (version, extent, backend)
    WHERE c.version = t.version AND c.extent = t.extent AND c.backend = t.backend";

pub(super) const MARK_COPIES: &str = "
    UPDATE copies c SET state = t.state, digest = COALESCE(c.digest, t.digest)
    FROM unnest($1::uuid[], $2::smallint[], $3::int[], $4::text[], $5::bytea[])
         AS t (version, extent, backend, state, digest)
    WHERE c.version = t.version AND c.extent = t.extent AND c.backend = t.backend";

pub(super) const COUNT_COPIES: &str = "
    INSERT INTO copy_attempts (version, extent, attempts)
    SELECT version, extent, attempts
    FROM unnest($1::uuid[], $2::smallint[], $3::smallint[]) AS t (version, extent, attempts)
    ON CONFLICT (version, extent) DO UPDATE SET attempts = excluded.attempts";

/// A version that waits already is looked at once more, whatever its worker finds now. One that is to be verified is
/// that first, whatever else has failed of it: what is found decides what else is to be done; one that could not be verified
/// waits for its next try, however many readers report it, also where it is looked at for the rest meanwhile (`verify`).
pub(crate) const ADD_REPLICATION: &str = "
    INSERT INTO replication_queue (version, bucket, key, task)
    SELECT DISTINCT ON (version) version, bucket, key, task
    FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS t (version, bucket, key, task)
    ORDER BY version, task = 'verify' DESC, task
    ON CONFLICT (version) DO UPDATE SET
        task = CASE WHEN replication_queue.claimed_by IS NULL AND replication_queue.task <> 'verify'
                         AND NOT replication_queue.verify
            THEN excluded.task ELSE replication_queue.task END,
        verify = replication_queue.verify OR (replication_queue.claimed_by IS NOT NULL AND excluded.task = 'verify'),
        again = replication_queue.claimed_by IS NOT NULL,
        attempts = CASE WHEN replication_queue.task <> 'verify' AND NOT replication_queue.verify AND excluded.task = 'verify'
            THEN 0 ELSE replication_queue.attempts END,
        not_before = CASE WHEN replication_queue.claimed_by IS NULL AND replication_queue.attempts > 0
                               AND (replication_queue.task = 'verify' OR replication_queue.verify)
                               AND excluded.task = 'verify'
            THEN replication_queue.not_before ELSE now() END";

pub(super) const DROP_OBJECTS: &str = "
    DELETE FROM objects o USING unnest($1::int[], $2::text[]) AS t (bucket, key)
    WHERE o.bucket = t.bucket AND o.key = t.key";

/// Noncurrent rows that go.
pub(super) const DROP_VERSIONS: &str = "
    DELETE FROM object_versions v USING unnest($1::int[], $2::text[], $3::bigint[]) AS t (bucket, key, seq)
    WHERE v.bucket = t.bucket AND v.key = t.key AND v.seq = t.seq";

/// Current versions become noncurrent as they are, before whatever takes their place is written.
pub(super) const RETIRE_OBJECTS: &str = "
    INSERT INTO object_versions (bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null,
                                 retain_until, retain_mode, legal_hold, parts)
    SELECT o.bucket, o.key, o.seq, o.version, o.size, o.etag, o.modified, o.attributes, o.checksums, o.tags, o.is_null,
           o.retain_until, o.retain_mode, o.legal_hold, CASE WHEN o.parts_of = o.version THEN o.parts END
    FROM unnest($1::int[], $2::text[]) AS t (bucket, key) JOIN objects o ON o.bucket = t.bucket AND o.key = t.key";

/// The other way round, when whatever was in their place is gone.
pub(super) const RESTORE_VERSIONS: &str = "
    WITH restored AS (
        DELETE FROM object_versions v USING unnest($1::int[], $2::text[], $3::bigint[]) AS t (bucket, key, seq)
        WHERE v.bucket = t.bucket AND v.key = t.key AND v.seq = t.seq AND NOT v.delete_marker
        RETURNING v.*
    )
    INSERT INTO objects (bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null,
                         retain_until, retain_mode, legal_hold, parts, parts_of)
    SELECT bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null, retain_until,
           retain_mode, legal_hold, parts, CASE WHEN parts IS NOT NULL THEN version END
    FROM restored";

pub(super) const ADD_MARKERS: &str = "
    INSERT INTO object_versions (bucket, key, seq, version, delete_marker, size, etag, modified, is_null)
    SELECT bucket, key, seq, version, true, 0, '', modified, is_null
    FROM unnest($1::int[], $2::text[], $3::bigint[], $4::uuid[], $5::timestamptz[], $6::boolean[])
         AS t (bucket, key, seq, version, modified, is_null)";

pub(super) const TAG_VERSIONS: &str = "
    UPDATE object_versions v SET tags = t.tags::jsonb
    FROM unnest($1::int[], $2::text[], $3::uuid[], $4::text[]) AS t (bucket, key, version, tags)
    WHERE v.version = t.version AND v.bucket = t.bucket AND v.key = t.key";

/// By the version too: it cannot be another under the key's lock, and a row that is not there must not be made.
pub(super) const SET_TAGS: &str = "
    UPDATE objects o SET tags = t.tags::jsonb
    FROM unnest($1::int[], $2::text[], $3::uuid[], $4::text[]) AS t (bucket, key, version, tags)
    WHERE o.bucket = t.bucket AND o.key = t.key AND o.version = t.version";

/// The same of locks, of versions that are current or are not.
pub(super) const SET_LOCKS: &str = concat!(
    "WITH t AS MATERIALIZED (
        SELECT bucket, key, version, lock::jsonb AS lock
        FROM unnest($1::int[], $2::text[], $3::uuid[], $4::text[]) AS u (bucket, key, version, lock)
    ), current AS (
        UPDATE objects o SET (retain_until, retain_mode, legal_hold) = ROW (",
    lock_columns!("t.lock"),
    ") FROM t WHERE o.bucket = t.bucket AND o.key = t.key AND o.version = t.version
    )
    UPDATE object_versions v SET (retain_until, retain_mode, legal_hold) = ROW (",
    lock_columns!("t.lock"),
    ") FROM t WHERE v.version = t.version AND v.bucket = t.bucket AND v.key = t.key AND NOT v.delete_marker"
);

/// What most transactions write, in one statement: intents that are settled, objects as they are now, their
/// copies, and the log. The parts touch different tables, so it does not matter that they see one snapshot.
pub(super) const SETTLE: &str = concat!(
    "WITH settled AS (
        DELETE FROM intents i USING unnest($1::uuid[], $2::int[]) AS t (op, item)
        WHERE i.op = t.op AND i.item = t.item
    ), current AS (
        INSERT INTO objects (bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null,
                             parts, parts_of, retain_until, retain_mode, legal_hold)
        SELECT bucket, key, seq, version, size, etag, modified, attributes::jsonb, checksums::jsonb, tags::jsonb,
               is_null, parts, CASE WHEN parts IS NOT NULL THEN version END, ",
    lock_columns!("lock::jsonb"),
    "
        FROM unnest($3::int[], $4::text[], $5::bigint[], $6::uuid[], $7::bigint[], $8::text[], $9::timestamptz[],
                    $10::text[], $11::text[], $12::text[], $13::boolean[], $14::int[], $40::text[])
             AS t (bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null, parts, lock)
        ON CONFLICT (bucket, key) DO UPDATE SET
            seq = excluded.seq, version = excluded.version, size = excluded.size, etag = excluded.etag,
            modified = excluded.modified, attributes = excluded.attributes, checksums = excluded.checksums,
            tags = excluded.tags, is_null = excluded.is_null, parts = excluded.parts,
            parts_of = excluded.parts_of, retain_until = excluded.retain_until,
            retain_mode = excluded.retain_mode, legal_hold = excluded.legal_hold
    ), stored AS (
        INSERT INTO copies (version, extent, backend, gen, bucket, key, state, stored_size, backend_etag,
                            backend_version, encoding, foreign_key, extent_offset, extent_size, md5, digest,
                            checksums)
        SELECT version, extent, backend, gen, bucket, key, state, stored_size, backend_etag, backend_version,
               encoding::jsonb, foreign_key, extent_offset, extent_size, md5, digest, checksums::jsonb
        FROM unnest($15::uuid[], $16::smallint[], $17::int[], $18::smallint[], $19::int[], $20::text[], $21::text[],
                    $22::bigint[], $23::text[], $24::text[], $25::text[], $26::text[], $27::bigint[], $28::bigint[],
                    $29::uuid[], $30::bytea[], $41::text[])
             AS t (version, extent, backend, gen, bucket, key, state, stored_size, backend_etag, backend_version,
                   encoding, foreign_key, extent_offset, extent_size, md5, digest, checksums)
    )
    INSERT INTO changes (n, op, item, outcome, bucket, key, version, object, is_null)
    SELECT n, op, item, outcome, bucket, key, version, object::jsonb, is_null
    FROM unnest($31::bigint[], $32::uuid[], $33::int[], $34::smallint[], $35::int[], $36::text[], $37::uuid[],
                $38::text[], $39::boolean[]) AS t (n, op, item, outcome, bucket, key, version, object, is_null)"
);

pub(super) const ADD_INTENTS: &str = "
    INSERT INTO intents (op, item, session, bucket, key, version, size, kind, if_absent, if_match,
                         required_copies, log_floor, begun, target_backend, target_extent, target_gen, target_key,
                         target_place, upload)
    SELECT op, item, session, bucket, key, version, size, kind, if_absent, if_match, required_copies, log_floor,
           begun, backends::int[], extents::smallint[], gens::smallint[], keys::text[], places::int[], upload
    FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::int[], $5::text[], $6::uuid[], $7::bigint[], $8::text[],
                $9::boolean[], $10::text[], $11::smallint[], $12::bigint[], $13::timestamptz[], $14::text[],
                $15::text[], $16::text[], $17::text[], $18::text[], $19::uuid[])
         AS t (op, item, session, bucket, key, version, size, kind, if_absent, if_match, required_copies,
               log_floor, begun, backends, extents, gens, keys, places, upload)";

/// The places may be fewer than the targets: a release that does not count them left theirs out.
pub(super) const ADD_TARGETS: &str = "
    UPDATE intents i SET
        target_backend = i.target_backend || t.backend, target_extent = i.target_extent || t.extent,
        target_gen = i.target_gen || t.gen, target_key = i.target_key || t.key,
        target_place = i.target_place
            || array_fill(1, ARRAY[cardinality(i.target_backend) - cardinality(i.target_place)]) || t.place
    FROM unnest($1::uuid[], $2::int[], $3::int[], $4::smallint[], $5::smallint[], $6::text[], $7::int[])
         AS t (op, item, backend, extent, gen, key, place)
    WHERE i.op = t.op AND i.item = t.item";

pub(super) const ADD_CLEANUP: &str = "
    INSERT INTO cleanup_queue (backend, storage_key, version, extent, gen, backend_version, size, reason,
                               uncertain, not_before)
    SELECT backend, storage_key, version, extent, gen, backend_version, size, reason, uncertain,
           now() + wait * interval '1 microsecond'
    FROM unnest($1::int[], $2::text[], $3::uuid[], $4::smallint[], $5::smallint[], $6::text[], $7::bigint[],
                $8::text[], $9::boolean[], $10::bigint[])
         AS t (backend, storage_key, version, extent, gen, backend_version, size, reason, uncertain, wait)";

/// One row for a version of many extents; `versions.rs` makes rows of its copies when it is due.
pub(super) const ADD_VERSIONS: &str = "
    INSERT INTO cleanup_queue (kind, backend, storage_key, version, extent, gen, size, reason, uncertain, not_before)
    SELECT 'version', 0, prefix, version, 0, 0, size, reason, false, now() + wait * interval '1 microsecond'
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[])
         AS t (version, prefix, size, reason, wait)";

pub(super) const OPEN_UPLOADS: &str = "
    INSERT INTO uploads (id, bucket, key, version, state, attributes, checksum_algorithm, checksum_type, initiated,
                         initiator)
    SELECT id, bucket, key, version, 'open', attributes::jsonb, algorithm, type, initiated, initiator
    FROM unnest($1::uuid[], $2::int[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                $8::timestamptz[], $9::text[])
         AS t (id, bucket, key, version, attributes, algorithm, type, initiated, initiator)";

/// The attempts stay until the upload is forgotten.
pub(super) const CLOSE_UPLOADS: &str = "
    WITH closed AS (
        UPDATE uploads u SET state = t.state, closed = now(), etag = t.etag, checksums = t.checksums::jsonb, seq = t.seq,
                             is_null = t.is_null
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::boolean[])
             AS t (id, state, etag, checksums, seq, is_null)
        WHERE u.id = t.id
    )
    DELETE FROM upload_parts WHERE upload = ANY ($1::uuid[])";

pub(super) const PUT_PARTS: &str = "
    INSERT INTO upload_parts (upload, part, gen, backend, size, etag, checksums, backend_etag, backend_version, modified,
                              others, digest, copied)
    SELECT upload, part, gen, backend, size, etag, checksums::jsonb, backend_etag, backend_version, modified,
           others::jsonb, digest, copied::jsonb
    FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::int[], $5::bigint[], $6::text[], $7::text[],
                $8::text[], $9::text[], $10::timestamptz[], $11::text[], $12::bytea[], $13::text[])
         AS t (upload, part, gen, backend, size, etag, checksums, backend_etag, backend_version, modified, others,
               digest, copied)
    ON CONFLICT (upload, part) DO UPDATE SET
        gen = excluded.gen, backend = excluded.backend, size = excluded.size, etag = excluded.etag,
        checksums = excluded.checksums, backend_etag = excluded.backend_etag,
        backend_version = excluded.backend_version, modified = excluded.modified, others = excluded.others,
        digest = excluded.digest, copied = excluded.copied";

pub(super) const COUNT_ATTEMPTS: &str = "
    INSERT INTO part_attempts (upload, part, attempts)
    SELECT upload, part, attempts FROM unnest($1::uuid[], $2::smallint[], $3::smallint[]) AS t (upload, part, attempts)
    ON CONFLICT (upload, part) DO UPDATE SET attempts = excluded.attempts";

pub(super) const ADD_USAGE: &str = "
    INSERT INTO backend_usage (backend, slot, used, reserved, orphaned, objects)
    SELECT backend, $1::smallint, used, reserved, orphaned, objects
    FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
         AS t (backend, used, reserved, orphaned, objects)
    ORDER BY backend
    ON CONFLICT (backend, slot) DO UPDATE SET
        used = backend_usage.used + excluded.used, reserved = backend_usage.reserved + excluded.reserved,
        orphaned = backend_usage.orphaned + excluded.orphaned, objects = backend_usage.objects + excluded.objects";

pub(super) const ALL: [&str; 23] = [
    DROP_COPIES,
    TAKE_COPIES,
    MARK_COPIES,
    COUNT_COPIES,
    ADD_REPLICATION,
    DROP_VERSIONS,
    RETIRE_OBJECTS,
    DROP_OBJECTS,
    RESTORE_VERSIONS,
    ADD_MARKERS,
    SET_TAGS,
    TAG_VERSIONS,
    SET_LOCKS,
    SETTLE,
    ADD_INTENTS,
    ADD_TARGETS,
    OPEN_UPLOADS,
    CLOSE_UPLOADS,
    PUT_PARTS,
    COUNT_ATTEMPTS,
    ADD_CLEANUP,
    ADD_VERSIONS,
    ADD_USAGE,
];
