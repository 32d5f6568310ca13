//! The statements of those that only look: readers, and workers that look up versions and blobs. None of them locks.
//!
//! As in `reads.rs`, each looks its rows up by index, once an item.

use super::columns::{copies, is_named, object};

/// What a reader needs: the current object of a key, the copies of one that came whole, one row a copy, and its
/// bucket's name. Where versions are kept and nothing is current, the newest row, which is a marker (`m_…`).
pub(super) const LOCATE: &str = concat!(
    "SELECT t.bucket AS t_bucket, t.key AS t_key, NULL::uuid AS t_version, false AS t_null, b.name AS bucket_name,
           b.versioning <> 'off' AS versioned, m.version AS m_version, m.is_null AS m_is_null, m.modified AS m_modified, ",
    object!(),
    ", ",
    copies!(),
    "
    FROM unnest($1::int[], $2::text[]) AS t (bucket, key)
    CROSS JOIN LATERAL (SELECT name, versioning FROM buckets WHERE buckets.id = t.bucket LIMIT 1) AS b
    LEFT JOIN LATERAL (
        SELECT * FROM objects WHERE objects.bucket = t.bucket AND objects.key = t.key LIMIT 1
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT * FROM copies WHERE copies.version = o.version AND o.parts_of = o.version IS NOT TRUE OFFSET 0
    ) AS c ON true
    LEFT JOIN LATERAL (
        SELECT version, is_null, modified FROM object_versions v
        WHERE v.bucket = t.bucket AND v.key = t.key AND o.seq IS NULL AND b.versioning <> 'off'
        ORDER BY v.seq DESC LIMIT 1
    ) AS m ON true
    WHERE o.seq IS NOT NULL OR m.version IS NOT NULL"
);

/// The same of a version by its id, or, where that is NULL, of the null version, current or not: one of the branches
/// has a row. OFFSET keeps the id's index the way to it, however many versions the key has.
pub(super) const LOCATE_VERSION: &str = concat!(
    "SELECT t.bucket AS t_bucket, t.key AS t_key, t.version AS t_version, t.version IS NULL AS t_null,
           b.name AS bucket_name, b.versioning <> 'off' AS versioned,
           CASE WHEN o.delete_marker THEN o.version END AS m_version, o.is_null AS m_is_null, o.modified AS m_modified,
           o.bucket, o.key, CASE WHEN NOT o.delete_marker THEN o.seq END AS seq, o.version, o.size, o.etag, o.modified,
           o.attributes, o.checksums, o.tags, o.is_null, o.retain_until, o.retain_mode, o.legal_hold, o.parts, ",
    copies!(),
    "
    FROM unnest($1::int[], $2::text[], $3::uuid[]) AS t (bucket, key, version)
    CROSS JOIN LATERAL (SELECT name, versioning FROM buckets WHERE buckets.id = t.bucket LIMIT 1) AS b
    CROSS JOIN LATERAL (
        SELECT bucket, key, seq, version, false AS delete_marker, size, etag, modified, attributes, checksums, tags,
               is_null, retain_until, retain_mode, legal_hold, CASE WHEN parts_of = version THEN parts END AS parts
        FROM objects
        WHERE objects.bucket = t.bucket AND objects.key = t.key
          AND CASE WHEN t.version IS NULL THEN is_null ELSE objects.version = t.version AND NOT is_null END
        UNION ALL
        SELECT bucket, key, seq, version, delete_marker, size, etag, modified, attributes, checksums, tags, is_null,
               retain_until, retain_mode, legal_hold, parts
        FROM (SELECT * FROM object_versions WHERE object_versions.version = t.version OFFSET 0) AS v
        WHERE v.bucket = t.bucket AND v.key = t.key AND NOT v.is_null
        UNION ALL
        SELECT bucket, key, seq, version, delete_marker, size, etag, modified, attributes, checksums, tags, is_null,
               retain_until, retain_mode, legal_hold, parts
        FROM object_versions v
        WHERE v.bucket = t.bucket AND v.key = t.key AND v.is_null AND t.version IS NULL
    ) AS o
    LEFT JOIN LATERAL (
        SELECT * FROM copies WHERE copies.version = o.version AND o.parts IS NULL OFFSET 0
    ) AS c ON true"
);

/// The copies of those extents that a range covers, from its beginning on, 256 at most (`EXTENT_ROWS`), or of the part at
/// a place in their order, counted from 0. The one extent of an object that came whole covers every range.
pub(super) const EXTENTS: &str = concat!(
    "SELECT t.n, (SELECT name FROM buckets WHERE buckets.id = c.bucket) AS bucket_name, ",
    copies!(),
    "
    FROM unnest($1::int[], $2::uuid[], $3::bigint[], $4::bigint[]) AS t (n, version, first, until)
    CROSS JOIN LATERAL (
        SELECT * FROM copies
        WHERE copies.version = t.version AND (extent_offset IS NULL
              OR (extent_offset < t.until AND extent_offset + extent_size > t.first))
        ORDER BY extent LIMIT 256
    ) AS c
    UNION ALL
    SELECT t.n, (SELECT name FROM buckets WHERE buckets.id = c.bucket) AS bucket_name, ",
    copies!(),
    "
    FROM unnest($5::int[], $6::uuid[], $7::smallint[]) AS t (n, version, place)
    CROSS JOIN LATERAL (
        SELECT DISTINCT extent FROM copies
        WHERE copies.version = t.version AND extent_offset IS NOT NULL ORDER BY extent OFFSET t.place LIMIT 1
    ) AS e
    CROSS JOIN LATERAL (
        SELECT * FROM copies WHERE copies.version = t.version AND copies.extent = e.extent OFFSET 0
    ) AS c"
);

/// The copies of the next 64 extents of a version, with the state of their backends.
pub(crate) const COPIES_AFTER: &str = concat!(
    "SELECT b.state AS b_state, ",
    copies!(),
    "
    FROM (
        SELECT DISTINCT extent FROM copies
        WHERE version = $1::uuid AND extent > $2::smallint ORDER BY extent LIMIT 64
    ) AS e
    JOIN LATERAL (
        SELECT * FROM copies WHERE copies.version = $1::uuid AND copies.extent = e.extent OFFSET 0
    ) AS c ON true
    JOIN LATERAL (SELECT state FROM backends WHERE backends.id = c.backend LIMIT 1) AS b ON true
    ORDER BY c.extent, c.backend"
);

/// A version that is there, current or not, and how many copies its bucket wants.
pub(crate) const VERSION: &str = concat!(
    "SELECT b.name AS bucket_name, b.replication_factor, ",
    object!(),
    "
    FROM (
        SELECT bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null, retain_until,
               retain_mode, legal_hold, parts, parts_of
        FROM objects
        UNION ALL
        SELECT bucket, key, seq, version, size, etag, modified, attributes, checksums, tags, is_null, retain_until,
               retain_mode, legal_hold, parts, version
        FROM object_versions WHERE NOT delete_marker
    ) AS o JOIN buckets b ON b.id = o.bucket
    WHERE o.bucket = $1::int AND o.key = $2::text AND o.version = $3::uuid"
);

/// Copies of a version, $2 at most, as `CopyRecord` reads them.
pub(crate) const COPIES_OF: &str = concat!(
    "SELECT ",
    copies!(),
    "
    FROM copies c WHERE c.version = $1::uuid ORDER BY c.extent, c.backend LIMIT $2::bigint"
);

/// What names each of many blobs of one backend, in their order; and how far version numbers are, and were `$6` microseconds ago.
pub(crate) const STRAYS: &str = concat!(
    "SELECT ",
    is_named!(),
    " AS is_named, (SELECT last_value FROM version_seq) AS newest,
           (SELECT max(sequence) FROM version_marks WHERE at <= now() - $6::bigint * interval '1 microsecond') AS settled
    FROM unnest($2::uuid[], $3::smallint[], $4::smallint[], $5::text[]) WITH ORDINALITY
             AS s (version, extent, gen, storage_key, place)
    CROSS JOIN LATERAL (SELECT s.*, $1::int AS backend) AS t
    ORDER BY s.place"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_the_text_are_those_of_the_code() {
        assert!(EXTENTS.contains(&format!("LIMIT {}", s3o_core::object::EXTENT_ROWS)));
    }
}
