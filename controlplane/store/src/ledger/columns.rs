//! What statements of calls and of readers have in common: columns, as the records in `rows/` read them, and conditions.

/// As `CopyRecord` reads them.
macro_rules! copies {
    () => {
        "c.backend AS c_backend, c.version AS c_version, c.extent AS c_extent, c.gen AS c_gen,
           c.bucket AS c_bucket, c.key AS c_key, c.state AS c_state, c.stored_size AS c_stored_size,
           c.backend_etag AS c_backend_etag, c.backend_version AS c_backend_version,
           c.encoding AS c_encoding, c.foreign_key AS c_foreign_key,
           c.extent_offset AS c_extent_offset, c.extent_size AS c_extent_size, c.md5 AS c_md5,
           c.digest AS c_digest, c.checksums AS c_checksums"
    };
}
pub(super) use copies;

/// As `ObjectRecord` reads them.
macro_rules! object {
    () => {
        "o.bucket, o.key, o.seq, o.version, o.size, o.etag, o.modified, o.attributes, o.checksums, o.tags,
           o.is_null, o.retain_until, o.retain_mode, o.legal_hold,
           CASE WHEN o.parts_of = o.version THEN o.parts END AS parts"
    };
}
pub(super) use object;

/// Whether `t` names a version that its key has, current or not.
macro_rules! version_is_there {
    () => {
        "(EXISTS (
               SELECT FROM objects o WHERE o.bucket = t.bucket AND o.key = t.key AND o.version = t.version)
           OR EXISTS (
               SELECT FROM object_versions o WHERE o.bucket = t.bucket AND o.key = t.key AND o.version = t.version))"
    };
}
pub(super) use version_is_there;

/// Whether anything names the blob `t` on its backend: a copy, an imported one, a part of an upload, an intent, a queued
/// deletion, a dead letter.
macro_rules! is_named {
    () => {
        "(EXISTS (SELECT FROM copies c
                  WHERE c.version = t.version AND c.extent = t.extent AND c.backend = t.backend AND c.gen = t.gen)
          OR EXISTS (SELECT FROM copies c WHERE c.backend = t.backend AND c.foreign_key = t.storage_key)
          OR EXISTS (SELECT FROM uploads u JOIN part_copies p ON p.upload = u.id
                     WHERE u.version = t.version AND p.part = t.extent AND p.gen = t.gen AND p.backend = t.backend)
          OR EXISTS (SELECT FROM intents i
                     WHERE t.backend = ANY (i.target_backend) AND t.storage_key = ANY (i.target_key))
          OR EXISTS (SELECT FROM cleanup_queue q WHERE q.backend = t.backend AND q.storage_key = t.storage_key)
          OR EXISTS (SELECT FROM cleanup_dlq d WHERE d.backend = t.backend AND d.storage_key = t.storage_key))"
    };
}
pub(super) use is_named;
