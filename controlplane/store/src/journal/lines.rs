//! The records of the journal, as the database writes them: JSON, a line each. `restore/` reads them.
//!
//! | `k` | what it says |
//! |---|---|
//! | `version` | a version was written: `b` bucket, `key`, `seq`, `v` its id, `size`, `etag`, `m` modified, `a` attributes, `t` tags, `c` checksums, `l` lock (`s3o_types::ObjectLock`), `null`, `parts`; `x` its extents (number, offset, size, stored size, MD5, digest, and of a part with checksums those), `f` its foreign copies (extent, backend, key, ETag) |
//! | `marker` | a delete marker was made: `b`, `key`, `seq`, `v`, `m`, `null` |
//! | `tags` | a version got other tags: `v`, `seq` of the change, `t` |
//! | `lock` | a version is kept by something else: `b`, `key`, `v`, `seq` of the change, `l` |
//! | `gone` | a version or a marker was removed for good: `v` |
//! | `cleared` | a key of a bucket that keeps no versions has none any more: `b`, `key`, `seq` of the change, `v` if there was one |
//! | `dead` | a write was given up, or refused when it was committed: `v` |
//! | `bucket` | a bucket was made, deleted or set otherwise: `b`, `seq` of the change. What it is then is in the file's header, so that the record only lets a file be written |
//!
//! Invariant: the form is stored data. Words may be added, which an older release passes over; none changes what it means.

use std::sync::LazyLock;

use s3o_core::outcome_log::Logged;

use crate::rows::lock_json;

/// Of the copies of the version `p.version`: they are where what has no change of its own stands.
macro_rules! copies_of {
    () => {
        "'x', (SELECT jsonb_agg(jsonb_build_array(x.extent, x.extent_offset, x.extent_size, x.stored_size,
                                                  x.md5, encode(x.digest, 'hex'))
                                || CASE WHEN x.checksums IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(x.checksums) END
                                ORDER BY x.extent)
               FROM (SELECT DISTINCT ON (c.extent) c.* FROM copies c WHERE c.version = p.version
                     ORDER BY c.extent, c.state = 'verified' DESC, c.digest IS NOT NULL DESC,
                              c.checksums IS NOT NULL DESC) AS x),
         'f', (SELECT jsonb_agg(jsonb_build_array(c.extent, c.backend, c.foreign_key, c.backend_etag))
               FROM copies c WHERE c.version = p.version AND c.foreign_key IS NOT NULL)"
    };
}

/// What an outcome of the change log is for the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Version,
    Marker,
    Tags,
    Lock,
    Gone,
    Cleared,
    /// The same, if the bucket keeps no versions.
    Nothing,
    Dead,
    Bucket,
    /// It leaves no record.
    Silent,
}

/// A new outcome is to be thought of here.
const fn kind(logged: Logged) -> Kind {
    match logged {
        Logged::Committed | Logged::Promoted | Logged::Imported => Kind::Version,
        Logged::MarkerMade => Kind::Marker,
        Logged::TagsSet => Kind::Tags,
        Logged::LockSet => Kind::Lock,
        Logged::VersionDeleted | Logged::MarkerDeleted => Kind::Gone,
        Logged::Deleted => Kind::Cleared,
        Logged::DeletedNothing => Kind::Nothing,
        Logged::Aborted
        | Logged::Dropped
        | Logged::Superseded
        | Logged::Lost
        | Logged::ConditionFailed
        | Logged::BucketGone
        | Logged::TooFewCopies
        | Logged::MatchMissing
        | Logged::BackendMoved
        | Logged::Locked
        | Logged::LockMissing => Kind::Dead,
        Logged::VersioningSet | Logged::BucketChanged => Kind::Bucket,
        Logged::PartStored
        | Logged::UploadAborted
        | Logged::UploadGone
        | Logged::CopyStored
        | Logged::CopyUnwanted
        | Logged::CopyDropped
        | Logged::CopyMarked
        | Logged::CopyAttached
        | Logged::BlobOrphaned => Kind::Silent,
    }
}

/// The outcomes of a kind, as SQL lists their numbers.
fn codes(of: Kind) -> String {
    let codes =
        Logged::ALL.into_iter().filter(|logged| kind(*logged) == of).map(|logged| logged.code().to_string());
    codes.collect::<Vec<_>>().join(", ")
}

/// The changes behind a place, below the oldest transaction that still runs: none can come before them any more. $1 and $2
/// the place, $3 how many.
pub(crate) static CHANGES: LazyLock<String> = LazyLock::new(|| {
    let page = PAGE;
    lines_of(&format!("({page})"))
});

/// As they stand there.
pub(crate) const PAGE: &str = "
    SELECT * FROM changes
    WHERE (xid, n) > ($1::text::xid8, $2::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, n LIMIT $3::bigint";

/// Outcomes that change nothing of what clients see: those of workers, and of what came to nothing.
pub(crate) static SILENT: LazyLock<String> =
    LazyLock::new(|| [Kind::Silent, Kind::Dead].map(codes).join(", "));

/// Outcomes after which a version, or whatever a key had, is gone.
pub(crate) static GONE: LazyLock<String> =
    LazyLock::new(|| [Kind::Gone, Kind::Cleared, Kind::Nothing, Kind::Dead].map(codes).join(", "));

/// Of some keys, $3 and $4, what is gone by changes behind a place that are committed: who holds the keys' locks sees all.
pub(crate) static GONE_OF_KEYS: LazyLock<String> = LazyLock::new(|| {
    let gone = GONE.as_str();
    lines_of(&format!(
        "(SELECT * FROM changes
          WHERE (xid, n) > ($1::text::xid8, $2::bigint) AND outcome IN ({gone})
            AND (bucket, key) IN (SELECT * FROM unnest($3::int[], $4::text[])))"
    ))
});

/// What changes, the rows of a FROM item, leave behind.
pub(crate) fn lines_of(changes: &str) -> String {
    format!(concat!(
    "SELECT p.xid::text AS xid, p.n, CASE
        WHEN p.outcome IN ({written}) AND p.object IS NOT NULL THEN jsonb_build_object(
            'k', 'version', 'b', p.bucket, 'key', p.key, 'seq', p.object->'seq', 'v', p.version,
            'size', p.object->'size', 'etag', p.object->'etag', 'm', p.object->'modified',
            'a', (p.object->'attributes') - 'tags' - 'lock', 't', p.object->'attributes'->'tags', 'c', p.object->'checksums',
            'l', p.object->'attributes'->'lock',
            'null', p.object->'is_null', 'parts', p.object->'parts', ",
    copies_of!(),
    ")
        WHEN p.outcome IN ({marker}) THEN jsonb_build_object(
            'k', 'marker', 'b', p.bucket, 'key', p.key, 'seq', p.n, 'v', p.version,
            'm', (extract(epoch FROM p.at) * 1000000)::bigint, 'null', COALESCE(p.is_null, false))
        WHEN p.outcome IN ({tags}) THEN jsonb_build_object(
            'k', 'tags', 'b', p.bucket, 'key', p.key, 'seq', p.n, 'v', p.version, 't', p.object->'attributes'->'tags')
        WHEN p.outcome IN ({lock}) THEN jsonb_build_object(
            'k', 'lock', 'b', p.bucket, 'key', p.key, 'seq', p.n, 'v', p.version, 'l', p.object->'attributes'->'lock')
        WHEN p.outcome IN ({cleared}) OR (p.outcome IN ({nothing}) AND EXISTS (
            SELECT FROM buckets b WHERE b.id = p.bucket AND b.versioning = 'off')) THEN jsonb_build_object(
            'k', 'cleared', 'b', p.bucket, 'key', p.key, 'seq', p.n, 'v', p.version, 'null', true)
        WHEN p.outcome IN ({gone}) THEN jsonb_build_object('k', 'gone', 'b', p.bucket, 'key', p.key, 'v', p.version)
        WHEN p.outcome IN ({bucket}) THEN jsonb_build_object('k', 'bucket', 'b', p.bucket, 'seq', p.n)
        WHEN p.outcome IN ({dead}) AND p.version IS NOT NULL THEN jsonb_build_object(
            'k', 'dead', 'b', p.bucket, 'key', p.key, 'v', p.version)
        END::text AS line
     FROM {changes} AS p
     ORDER BY p.xid, p.n"
    ),
    changes = changes,
    written = codes(Kind::Version),
    marker = codes(Kind::Marker),
    tags = codes(Kind::Tags),
    lock = codes(Kind::Lock),
    cleared = codes(Kind::Cleared),
    nothing = codes(Kind::Nothing),
    gone = codes(Kind::Gone),
    bucket = codes(Kind::Bucket),
    dead = codes(Kind::Dead),
)
}

/// Rows of the objects and their versions behind a row, whichever of both tables has them: a version that moves from one to
/// the other keeps its place.
pub(super) const ROWS: &str = concat!(
    "WITH p AS (
        (SELECT bucket, key, seq, version, false AS delete_marker, size, etag, modified, attributes, checksums, tags, is_null,
                retain_until, retain_mode, legal_hold, CASE WHEN parts_of = version THEN parts END AS parts
         FROM objects
         WHERE (bucket, key) >= ($1::int, $2::text) AND NOT ((bucket, key) = ($1, $2) AND seq >= $3::bigint)
         ORDER BY bucket, key LIMIT $4::bigint)
        UNION ALL
        (SELECT bucket, key, seq, version, delete_marker, size, etag, modified, attributes, checksums, tags, is_null,
                retain_until, retain_mode, legal_hold, parts
         FROM object_versions
         WHERE (bucket, key) >= ($1, $2) AND NOT ((bucket, key) = ($1, $2) AND seq >= $3)
         ORDER BY bucket, key, seq DESC LIMIT $4)
        ORDER BY bucket, key, seq DESC LIMIT $4
     )
     SELECT p.bucket, p.key, p.seq, CASE WHEN p.delete_marker THEN jsonb_build_object(
            'k', 'marker', 'b', p.bucket, 'key', p.key, 'seq', p.seq, 'v', p.version,
            'm', (extract(epoch FROM p.modified) * 1000000)::bigint, 'null', p.is_null)
        ELSE jsonb_build_object(
            'k', 'version', 'b', p.bucket, 'key', p.key, 'seq', p.seq, 'v', p.version, 'size', p.size, 'etag', p.etag,
            'm', (extract(epoch FROM p.modified) * 1000000)::bigint, 'a', p.attributes, 't', p.tags, 'c', p.checksums,
            'null', p.is_null, 'parts', p.parts, 'l', ",
    lock_json!("p"),
    ", ",
    copies_of!(),
    ") END::text AS line
     FROM p ORDER BY p.bucket, p.key, p.seq DESC"
);

/// What a file says before its records. `open`: no version that its changes do not name has a lower number but those that
/// were given up or deleted before; asked for after the changes were read, up to `$1`, `$2`. Versions of parts are no
/// matter: they are never made objects by their blobs. While no snapshot is complete, what was made again from the
/// backends is in no file, and the mark stays where it was.
pub(super) static HEADER: LazyLock<String> = LazyLock::new(|| {
    format!("
    WITH seen AS (
        SELECT least(
            (SELECT version FROM intents WHERE kind IN ('put', 'copy') ORDER BY version LIMIT 1),
            (SELECT version FROM changes WHERE (xid, n) > ($1::text::xid8, $2::bigint) AND outcome IN ({written})
             ORDER BY version LIMIT 1),
            COALESCE((SELECT lpad(to_hex(max(sequence)), 16, '0') || repeat('0', 16) FROM version_marks
                      WHERE at <= now() - interval '10 minutes'), repeat('0', 32))::uuid) AS open
    ),
    raised AS (
        UPDATE journal j SET open = GREATEST(j.open, seen.open) FROM seen WHERE j.complete IS NOT NULL RETURNING j.open
    )
    SELECT jsonb_build_object(
        'format', 1,
        'cluster', (SELECT value FROM settings WHERE name = 'cluster'),
        'at', now(),
        'generation', (SELECT value FROM settings WHERE name = 'generation'),
        'change_seq', (SELECT last_value FROM change_seq),
        'version_seq', (SELECT last_value FROM version_seq),
        'open', COALESCE((SELECT open FROM raised), (SELECT open FROM journal)),
        'buckets', (SELECT COALESCE(jsonb_agg(to_jsonb(b) ORDER BY b.id), '[]') FROM buckets b),
        'backends', (SELECT COALESCE(jsonb_agg(jsonb_build_object(
                         'id', id, 'name', name, 'state', state, 'place', place) ORDER BY id), '[]')
                     FROM backends),
        'grants', (SELECT COALESCE(jsonb_agg(to_jsonb(g)), '[]') FROM scoped_grants g
                   WHERE bucket IN (SELECT id FROM buckets WHERE owner IS NOT NULL AND state <> 'gone'))
    )::text AS header", written = codes(Kind::Version))
});

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in people's databases.
    #[test]
    fn outcomes_are_recorded_by_their_numbers() {
        let all = [
            (Kind::Version, "1, 2, 42"),
            (Kind::Marker, "30"),
            (Kind::Tags, "13"),
            (Kind::Lock, "50"),
            (Kind::Gone, "31, 32"),
            (Kind::Cleared, "3"),
            (Kind::Nothing, "4"),
            (Kind::Bucket, "33, 34"),
        ];
        for (kind, numbers) in all {
            assert_eq!(codes(kind), numbers, "{kind:?}");
            assert!(CHANGES.contains(&format!("p.outcome IN ({numbers})")), "{kind:?}");
        }
        let mut dead: Vec<i16> = codes(Kind::Dead).split(", ").map(|code| code.parse().unwrap()).collect();
        dead.sort_unstable();
        assert_eq!(dead, [5, 6, 7, 8, 9, 10, 11, 12, 14, 51, 52]);
        assert!(HEADER.contains("outcome IN (1, 2, 42)"));
    }
}
